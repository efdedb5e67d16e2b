"""The walk of one audit: fiche → transcripts → timeline → steps → score, each stage durable (spec/audits §3.3).

Nothing here holds a rule: a stage is a function of `stages`, run once and remembered, or a child job.
"""

from datetime import datetime, timedelta
from typing import Any

import structlog
from pydantic import BaseModel

from conforme.audits import casting, confirmation, endings, reruns, stages
from conforme.audits.errors import AnswerIncomplete, AuditFailed
from conforme.fiches.schemas import FetchFiche
from conforme.fiches.workflows import fetch_fiche
from conforme.foundation.durable import (
    Child,
    JobContext,
    Lane,
    LaneLimits,
    Outcome,
    Priority,
    Retry,
    job,
    schedule,
)
from conforme.foundation.errors import ConformeError
from conforme.foundation.llm import ModelUnavailable
from conforme.settings import Settings
from conforme.transcriptions.workflows import transcribe_child

log = structlog.get_logger(__name__)


def _audit_limits(settings: Settings) -> LaneLimits:
    return LaneLimits(
        at_once=settings.audit_run_concurrency, per_key=settings.audit_run_per_fiche_concurrency
    )


def _bulk_limits(settings: Settings) -> LaneLimits:
    return LaneLimits(
        at_once=settings.audit_bulk_concurrency or settings.audit_run_concurrency,
        per_key=settings.audit_run_per_fiche_concurrency,
    )


def _analysis_limits(settings: Settings) -> LaneLimits:
    return LaneLimits(at_once=settings.audit_step_worker_concurrency)


def _speaker_limits(settings: Settings) -> LaneLimits:
    return LaneLimits(at_once=settings.audit_step_worker_concurrency, per_key=1)


AUDITS = Lane("audits", _audit_limits)
BULK_AUDITS = Lane("audits-bulk", _bulk_limits)
"""Audits of batches and runs: however many there are, one that somebody waits for finds a place."""
ANALYSIS = Lane("analysis", _analysis_limits)
SPEAKERS = Lane("speakers", _speaker_limits)
"""Who speaks in a recording is asked by one audit after the other: the first answer is the others' too."""
ATTEMPTS_TO_NAME_SPEAKERS = 2
"""Few, and no longer than they take: where the model is away, each audit that waits asks in vain, one after the other."""


class RunAuditJob(BaseModel):
    """Payload of `audit/run`."""

    audit_id: int
    job_id: str
    transcribe: bool = True
    """Whether what cannot be heard yet is transcribed first."""


class AnalyseStepJob(BaseModel):
    """Payload of `audit/step.analyze`."""

    audit_id: int
    step_position: int


class ResolveSpeakersJob(BaseModel):
    """Payload of `audit/speakers.resolve`."""

    audit_id: int
    recording_id: int


def _deadline(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.audit_deadline_seconds)


@job("audit/run", lane=AUDITS, deadline=_deadline)
async def run_audit(ctx: JobContext, payload: RunAuditJob) -> dict[str, Any]:
    """Carries one audit to its end; whatever goes wrong, the row says so."""
    return await _carry(ctx, payload)


@job("audit/run.bulk", lane=BULK_AUDITS, deadline=_deadline)
async def run_bulk_audit(ctx: JobContext, payload: RunAuditJob) -> dict[str, Any]:
    """The same for one of many that were asked for together."""
    return await _carry(ctx, payload)


async def _carry(ctx: JobContext, payload: RunAuditJob) -> dict[str, Any]:
    try:
        return await _walk(ctx, payload)
    except AuditFailed as failure:
        reason = failure
    except ConformeError as error:
        reason = AuditFailed(error.message, phase="unexpected", code=error.code)
    except Exception as error:
        log.exception("audit failed unexpectedly", audit_id=payload.audit_id)
        reason = AuditFailed(f"Unexpected error ({type(error).__name__})", phase="unexpected")
    return await ctx.step("fail", lambda: endings.fail(ctx.resources, payload.audit_id, reason))


async def _walk(ctx: JobContext, payload: RunAuditJob) -> dict[str, Any]:
    audit_id, resources = payload.audit_id, ctx.resources
    started = await ctx.step("begin", lambda: stages.begin(resources, audit_id))
    priority = Priority(started["priority"])
    if not started["frozen"]:
        await _gather(ctx, payload, started, priority)
    plan = await ctx.step("prepare", lambda: stages.prepare(resources, audit_id))
    if plan["unsure"]:
        plan = await _prepare_asking(ctx, payload, plan["unsure"], priority)
    first, rest = plan["positions"][:1], plan["positions"][1:]
    # The first step alone puts the shared prefix into the provider's cache; the others then read it from there.
    await ctx.children([_step_child(payload, position, priority) for position in first])
    await ctx.children([_step_child(payload, position, priority) for position in rest])
    return await ctx.step("finish", lambda: endings.finish(resources, audit_id))


async def _prepare_asking(
    ctx: JobContext, payload: RunAuditJob, unsure: list[int], priority: Priority
) -> dict[str, Any]:
    """Asks the model who speaks where rules do not tell; an outage leaves it untold, and the audit goes on."""
    audit_id, resources = payload.audit_id, ctx.resources
    asked = [
        Child(
            resolve_speakers,
            ResolveSpeakersJob(audit_id=audit_id, recording_id=recording_id),
            id=f"{payload.job_id}-speakers-{recording_id}",
            key=str(recording_id),
            priority=priority,
            within=ATTEMPTS_TO_NAME_SPEAKERS * resources.settings.llm_timeout_seconds,
        )
        for recording_id in unsure
    ]
    for outcome in await ctx.children(asked):
        if not outcome.ok:
            log.warning("speakers not resolved", audit_id=audit_id, job_id=outcome.id, code=outcome.code)
    return await ctx.step("freeze", lambda: stages.prepare(resources, audit_id, ask_who_speaks=False))


async def _gather(ctx: JobContext, payload: RunAuditJob, started: dict[str, Any], priority: Priority) -> None:
    """The fiche as the CRM has it now, and the words of its calls."""
    fiche_id = str(started["fiche_id"])
    fetch = Child(
        fetch_fiche,
        FetchFiche(fiche_id=fiche_id, force_refresh=True, schedule_id=started.get("schedule_id")),
        id=f"{payload.job_id}-fetch",
        key=fiche_id,
        priority=priority,
    )
    [fetched] = await ctx.children([fetch])
    _require_fiche(fiche_id, fetched)
    todo = await ctx.step("link", lambda: stages.link(ctx.resources, payload.audit_id, fetched.value))
    if todo["needs_transcription"] and payload.transcribe:
        run_id = f"{payload.job_id}-speech"
        speech = transcribe_child(fiche_id, run_id=run_id, priority=priority, audit_id=payload.audit_id)
        [transcribed] = await ctx.children([speech])
        if not transcribed.ok:
            raise AuditFailed(
                transcribed.error or "Transcription failed", phase="transcription", code=transcribed.code
            )


def _require_fiche(fiche_id: str, fetched: Outcome) -> None:
    if not fetched.ok:
        raise AuditFailed(
            fetched.error or "Fiche could not be fetched", phase="fiche_fetch", code=fetched.code
        )
    if fetched.value["not_found"]:
        raise AuditFailed(f"Fiche {fiche_id} not found (404)", phase="fiche_not_found", code="NOT_FOUND")


def _step_child(payload: RunAuditJob, position: int, priority: Priority) -> Child:
    return Child(
        analyse_step,
        AnalyseStepJob(audit_id=payload.audit_id, step_position=position),
        id=f"{payload.job_id}-step-{position}",
        priority=priority,
    )


@job("audit/speakers.resolve", lane=SPEAKERS, deadline=_deadline)
async def resolve_speakers(ctx: JobContext, payload: ResolveSpeakersJob) -> dict[str, Any]:
    """Who speaks in one recording, unless another audit has asked meanwhile."""
    return await ctx.step(
        "ask",
        lambda: casting.ask(ctx.resources, payload.audit_id, payload.recording_id),
        retry=model_retry(ctx.resources.settings, at_most=ATTEMPTS_TO_NAME_SPEAKERS),
    )


def model_retry(settings: Settings, *, at_most: int | None = None) -> Retry:
    attempts = settings.llm_max_attempts
    return Retry(
        attempts=attempts if at_most is None else min(at_most, attempts),
        base_seconds=settings.llm_backoff_base_seconds,
        cap_seconds=settings.llm_backoff_max_seconds,
        when=lambda error: isinstance(error, ModelUnavailable | AnswerIncomplete),
    )


@job("audit/step.analyze", lane=ANALYSIS, deadline=_deadline)
async def analyse_step(ctx: JobContext, payload: AnalyseStepJob) -> dict[str, Any]:
    """Analyses one step and stores what comes of it; an outage is stored as an outage, never as a verdict."""
    resources = ctx.resources
    try:
        analysed = await ctx.step(
            "analyse",
            lambda: stages.analyse(resources, payload.audit_id, payload.step_position),
            retry=model_retry(resources.settings),
        )
    except ConformeError as error:
        reason = error.message
    else:
        if resources.settings.audit_confirm_critical:
            await _confirm(ctx, payload)
        return analysed
    return await ctx.step(
        "give-up",
        lambda: stages.give_up(resources, payload.audit_id, payload.step_position, reason, job_id=ctx.id),
    )


async def _confirm(ctx: JobContext, payload: AnalyseStepJob) -> None:
    """A second opinion that cannot be had is none: the first one stands."""
    resources, reference = ctx.resources, f"{ctx.id}-confirmation"
    try:
        await ctx.step(
            "confirm",
            lambda: confirmation.confirm(resources, payload.audit_id, payload.step_position, reference),
            retry=model_retry(resources.settings),
        )
    except ConformeError as error:
        log.warning("no second opinion", audit_id=payload.audit_id, code=error.code)


@schedule("audit/reap", "* * * * *")
async def reap(ctx: JobContext, _at: datetime) -> dict[str, Any]:
    """Ends open audits whose job is gone: a deadline, a cancellation or a lost job never leaves one running."""
    audits = await ctx.step("reap", lambda: endings.reap(ctx.resources))
    again = await ctx.step("reap reruns", lambda: reruns.reap(ctx.resources))
    return audits | {"reruns": again["reaped"]}
