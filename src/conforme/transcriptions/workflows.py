"""A transcription run: one job per fiche, one child per recording (spec/fiches §4).

Which recordings, which events and what is stored is the matter of `service`; here is only order, retry and limits.
"""

import hashlib
import time
from datetime import datetime, timedelta
from typing import Any, Final

from conforme.fiches.schemas import FetchFiche
from conforme.fiches.workflows import fetch_fiche
from conforme.foundation.database import now
from conforme.foundation.durable import (
    Child,
    JobContext,
    Lane,
    LaneLimits,
    Outcome,
    Priority,
    Rate,
    Retry,
    job,
    schedule,
)
from conforme.foundation.errors import ConformeError, External, NotFound
from conforme.foundation.ledger import PriceTable
from conforme.foundation.resources import Resources
from conforme.recordings import queries as recordings
from conforme.recordings import store
from conforme.settings import Settings
from conforme.transcriptions import announcements, service
from conforme.transcriptions.audio import audio_at
from conforme.transcriptions.elevenlabs import ElevenLabs
from conforme.transcriptions.runs import FicheRun, PriorityName, RecordingRun

PRIORITIES: Final[dict[PriorityName, Priority]] = {
    "high": Priority.INTERACTIVE,
    "normal": Priority.NORMAL,
    "low": Priority.BULK,
}
PRIORITY_NAMES: Final[dict[Priority, PriorityName]] = {
    priority: name for name, priority in PRIORITIES.items()
}
FICHE_NOT_FOUND: Final = "Fiche not found (404)"
RUN_DEADLINE: Final = timedelta(hours=12)
"""A run waits for its recordings, and those for their turn at the provider: a day of sales may take hours."""
UNKNOWN_FICHE: Final[dict[str, Any]] = {"not_found": True}
LONGEST_CALL_ID: Final = 80
ABANDONED_AFTER: Final = timedelta(minutes=1)


class FicheNotFetched(External):
    """The fiche could not be fetched from the CRM."""


class NotTranscribable(NotFound):
    """The recording cannot be transcribed as it is."""


def _speech_limits(settings: Settings) -> LaneLimits:
    return LaneLimits(
        at_once=settings.transcription_recording_concurrency,
        rate=Rate(settings.transcription_elevenlabs_rate_limit_per_minute, 60),
    )


def _one_run_per_fiche(_: Settings) -> LaneLimits:
    return LaneLimits(per_key=1)


TRANSCRIPTIONS = Lane("transcriptions", _one_run_per_fiche)
SPEECH = Lane("speech", _speech_limits)


def _recording_deadline(settings: Settings) -> timedelta:
    attempt = settings.transcription_timeout_seconds + settings.transcription_elevenlabs_backoff_max_seconds
    return timedelta(seconds=settings.transcription_elevenlabs_max_attempts * attempt + 60)


def _retry(settings: Settings) -> Retry:
    return Retry(
        attempts=settings.transcription_elevenlabs_max_attempts,
        base_seconds=settings.transcription_elevenlabs_backoff_base_seconds,
        cap_seconds=settings.transcription_elevenlabs_backoff_max_seconds,
        when=lambda error: isinstance(error, External) and error.retryable,
    )


@job("transcription/recording.transcribe", lane=SPEECH, deadline=_recording_deadline)
async def transcribe_recording(ctx: JobContext, run: RecordingRun) -> dict[str, Any]:
    """Transcribes one recording; a failure is stored with its reason and is this job's answer, not its end."""
    resources, settings = ctx.resources, ctx.resources.settings
    try:
        await ctx.step("begin", lambda: _begin(resources, run))
        return await ctx.step(
            "transcribe",
            lambda: transcribe_once(resources, run),
            retry=_retry(settings),
            timeout=settings.transcription_timeout_seconds,
        )
    except ConformeError as error:
        reason = error.message
    return await ctx.step("fail", lambda: _fail(resources, run, reason))


@job("fiche/transcribe", lane=TRANSCRIPTIONS, deadline=RUN_DEADLINE)
async def transcribe_fiche(ctx: JobContext, run: FicheRun) -> dict[str, Any]:
    """Transcribes what a fiche lacks.

    Answers `{fiche_id, total, transcribed, failed, cached}`, with `not_found` or `skipped` and `reason` where that is
    why nothing was done. Raises `FicheNotFetched` when the CRM did not answer.
    """
    resources = ctx.resources
    known = True
    if run.refresh:
        [fetched] = await ctx.children([_fetch(run)])
        if not fetched.ok:
            error = fetched.error or FicheNotFetched().message
            await ctx.step("give-up", lambda: _give_up(resources, run, error))
            raise FicheNotFetched(error)
        known = not fetched.value["not_found"]
    plan = await ctx.step("plan", lambda: _plan(resources, run)) if known else UNKNOWN_FICHE
    if plan["not_found"]:
        return await ctx.step("give-up", lambda: _give_up(resources, run, FICHE_NOT_FOUND))
    todo = [RecordingRun.model_validate(each) for each in plan["todo"]]
    outcomes = await ctx.children([_child(run, each) for each in todo]) if todo else []
    lost = [(each, _why(outcome)) for each, outcome in zip(todo, outcomes, strict=True) if not outcome.ok]
    return await ctx.step("finish", lambda: _finish(resources, run, plan, lost))


@schedule("transcription/release", "*/5 * * * *")
async def release_abandoned(ctx: JobContext, _: datetime) -> dict[str, int]:
    """Puts recordings back to pending whose job was cancelled, or ended otherwise, without a word."""
    return await ctx.step("release", lambda: release(ctx.resources))


async def release(resources: Resources, *, after: timedelta = ABANDONED_AFTER) -> dict[str, int]:
    """Looks at recordings that have been running for at least `after`, and frees those nobody works on."""
    async with resources.database.read() as session:
        rows = await recordings.running(session, service.ACTOR, since=now() - after)
    freed = 0
    for row in rows:
        run_id = row.transcription_run or ""
        if await resources.durable.state(recording_job_id(run_id, row.call_id)) not in {"queued", "running"}:
            async with resources.database.write() as session:
                freed += await store.release(session, row.id, run_id)
    return {"running": len(rows), "released": freed}


def transcribe_child(
    fiche_id: str, *, run_id: str, priority: Priority = Priority.NORMAL, audit_id: int | None = None
) -> Child:
    """The child a workflow starts to have a fiche transcribed; `run_id` is unique and becomes the job's id.

    The caller has just fetched the fiche. What speech costs is written on the account of `audit_id`.
    """
    run = FicheRun(fiche_id=fiche_id, run_id=run_id, priority=PRIORITY_NAMES[priority], audit_id=audit_id)
    return Child(transcribe_fiche, run, id=run_id, key=fiche_id, priority=priority)


def _fetch(run: FicheRun) -> Child:
    payload = FetchFiche(fiche_id=run.fiche_id, force_refresh=True)
    return Child(
        fetch_fiche, payload, id=f"{run.run_id}-fetch", key=run.fiche_id, priority=PRIORITIES[run.priority]
    )


def _child(run: FicheRun, recording: RecordingRun) -> Child:
    identifier = recording_job_id(run.run_id, recording.call_id)
    return Child(transcribe_recording, recording, id=identifier, priority=PRIORITIES[run.priority])


def recording_job_id(run_id: str, call_id: str) -> str:
    """`transcription-recording-{run}-{call}` (spec/fiches §4); a call id of unreasonable length is digested."""
    call = call_id if len(call_id) <= LONGEST_CALL_ID else hashlib.sha256(call_id.encode()).hexdigest()
    return f"transcription-recording-{run_id}-{call}"


def _why(outcome: Outcome) -> str:
    return "Cancelled" if outcome.cancelled else outcome.error or "The transcription did not end"


async def _begin(resources: Resources, run: RecordingRun) -> None:
    async with resources.database.write() as session:
        await service.begin(session, run)


async def transcribe_once(resources: Resources, run: RecordingRun) -> dict[str, Any]:
    """Has the provider transcribe the recording, unless it has, and stores the answer; the engine keeps ids alone."""
    settings = resources.settings
    async with resources.database.read() as session:
        row = await recordings.one(session, service.ACTOR, run.fiche_cache_id, run.call_id)
    if row is None:
        raise NotTranscribable("Recording not found in database")
    if row.has_transcription:
        return {"ok": True, "cached": True, "transcription_id": row.transcription_id}
    if not row.recording_url:
        raise NotTranscribable("No recording URL available")
    speech, began = ElevenLabs(settings, resources.outbound), time.perf_counter()
    async with audio_at(row.recording_url, resources.outbound, settings) as audio:
        transcript = await speech.transcribe(audio, language=settings.elevenlabs_language)
    paid = service.Paid(
        provider=speech.provider,
        model=speech.model,
        audio_seconds=transcript.audio_seconds or row.duration_seconds,
        milliseconds=round((time.perf_counter() - began) * 1000),
    )
    async with resources.database.write() as session:
        await service.keep(
            session,
            run,
            transcript,
            paid,
            every=settings.transcription_progress_webhook_frequency,
            prices=PriceTable.load(settings.price_table),
        )
    return {"ok": True, "cached": False, "transcription_id": transcript.transcription_id}


async def _fail(resources: Resources, run: RecordingRun, reason: str) -> dict[str, Any]:
    every = resources.settings.transcription_progress_webhook_frequency
    async with resources.database.write() as session:
        await service.fail(session, run, reason, every=every)
    return {"ok": False, "cached": False, "error": reason}


async def _plan(resources: Resources, run: FicheRun) -> dict[str, Any]:
    at = now()
    async with resources.database.write() as session:
        try:
            cache_id = await recordings.cached_fiche(session, service.ACTOR, run.fiche_id)
        except NotFound:
            return UNKNOWN_FICHE
        plan = await service.plan(session, run, cache_id, at=at)
    return {
        "not_found": False,
        "fiche_cache_id": cache_id,
        "started_at": at.isoformat(),
        "total": plan.total,
        "todo": [each.model_dump() for each in plan.todo],
        "skipped": plan.skipped,
    }


async def _finish(
    resources: Resources, run: FicheRun, plan: dict[str, Any], lost: list[tuple[RecordingRun, str]]
) -> dict[str, Any]:
    every = resources.settings.transcription_progress_webhook_frequency
    async with resources.database.write() as session:
        for recording, reason in lost:
            await service.fail(session, recording, reason, every=every)
        counts = await service.finish(
            session,
            run,
            plan["fiche_cache_id"],
            started_at=datetime.fromisoformat(plan["started_at"]),
            at=now(),
        )
    done_before = plan["total"] - len(plan["todo"])
    skipped = {"skipped": True, "reason": plan["skipped"]} if plan["skipped"] else {}
    return {
        "fiche_id": run.fiche_id,
        "total": counts.total,
        "transcribed": counts.transcribed,
        "failed": counts.failed,
        "cached": done_before if not plan["skipped"] else counts.transcribed,
        **skipped,
    }


async def _give_up(resources: Resources, run: FicheRun, error: str) -> dict[str, Any]:
    async with resources.database.write() as session:
        await announcements.failed(session, run, error, at=now())
    return {
        "fiche_id": run.fiche_id,
        "total": 0,
        "transcribed": 0,
        "failed": 0,
        "cached": 0,
        "not_found": True,
    }
