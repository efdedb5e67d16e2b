"""The durable work of a run: finding its fiches, working on each, stopping, and telling of the end.

A run's own job ends as soon as its fiches are known. Each fiche is a job that ends when its audits are begun; whatever
ends last begins the next fiche in its own transaction (`outcomes`). So nothing waits for hours, and how many fiches are
in work at once is a number, not a number of waiting parents.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from pydantic import BaseModel

from conforme.automation import fiche_work, notices, run_work, stopping
from conforme.automation.fiche_work import OVER, Work
from conforme.automation.models import BY_HAND, FAILED, AutomationRun, AutomationRunFiche
from conforme.automation.outcomes import End
from conforme.automation.run_work import Listed
from conforme.automation.snapshots import plan_of
from conforme.fiches.schemas import FetchFiche, FetchSalesDay
from conforme.fiches.workflows import fetch_fiche, fetch_sales_day
from conforme.foundation.database import WriteSession
from conforme.foundation.durable import (
    Child,
    Durable,
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
from conforme.foundation.faults import DeadlineExceeded
from conforme.foundation.mail import MailFailed
from conforme.settings import Settings
from conforme.transcriptions.workflows import transcribe_child

log = structlog.get_logger(__name__)

SPEECH: Final = {"low": Priority.BULK, "normal": Priority.BULK, "high": Priority.NORMAL}
"""Among nightly work; whoever waits in front of a screen goes ahead of all of it."""


def _fiche_limits(settings: Settings) -> LaneLimits:
    return LaneLimits(
        at_once=settings.automation_fiche_worker_concurrency,
        per_key=settings.automation_fiche_worker_per_schedule_concurrency,
    )


RUNS = Lane("automation-runs")
"""Runs that look for their fiches, mostly waiting for the CRM."""
FICHES = Lane("automation-fiches", _fiche_limits)
CONTROL = Lane("automation-control", lambda _: LaneLimits(at_once=4))
"""What stops runs and tells of them: never behind the work itself."""


class RunOrder(BaseModel):
    """Payload of `automation/run` and `automation/run.cancel`."""

    run_id: int


class FicheJob(BaseModel):
    """Payload of `automation/fiche`."""

    run_id: int
    fiche_id: str
    begun: int
    priority: int = int(Priority.BULK)
    """Of its transcription."""
    schedule_id: int | None = None
    """Whose token the CRM is asked with, where the schedule has one."""


def _run_deadline(settings: Settings) -> timedelta:
    """Longest time a run takes to find its fiches: after that it is stale (spec/automation §3)."""
    return timedelta(milliseconds=settings.automation_stale_threshold_ms)


@job("automation/run", lane=RUNS, deadline=_run_deadline)
async def run_automation(ctx: JobContext, payload: RunOrder) -> dict[str, Any]:
    """Finds the fiches of a run and begins the first of them; whatever goes wrong, the run says so."""
    try:
        return await _find(ctx, payload)
    except ConformeError as error:
        reason = error
    except Exception as error:
        log.exception("run failed unexpectedly", run_id=payload.run_id)
        reason = ConformeError(f"Unexpected error ({type(error).__name__})")
    return await ctx.step("fail", lambda: run_work.fail(ctx.resources, payload.run_id, reason))


async def _find(ctx: JobContext, payload: RunOrder) -> dict[str, Any]:
    resources, run_id = ctx.resources, payload.run_id
    began = await ctx.step("begin", lambda: run_work.begin(resources, run_id))
    if not began["go"]:
        return began
    days, size = began["days"], resources.settings.automation_day_batch_size
    own, failed = began.get("own_token_of"), 0
    for first in range(0, len(days), size):
        some = days[first : first + size]
        listed = await ctx.children([_day_child(ctx.id, day, own) for day in some])
        told = {day: _listed(outcome) for day, outcome in zip(some, listed, strict=True)}
        failed += sum(each.why is not None for each in told.values())
        note = partial(run_work.note_days, resources, run_id, told, done=first + len(some), failed=failed)
        noted = await ctx.step(f"days-{first}", note)
        if not noted["go"]:
            return noted
    return await ctx.step(
        "select", lambda: run_work.select_fiches(resources, run_id, as_listed=own is not None)
    )


def _day_child(parent_id: str, day: str, own_token_of: int | None) -> Child:
    payload = FetchSalesDay.model_validate({"day": day, "schedule_id": own_token_of})
    return Child(fetch_sales_day, payload, id=f"{parent_id}-day-{day}", priority=Priority.BULK)


def _listed(outcome: Outcome) -> Listed:
    if outcome.ok:
        return Listed(outcome.value.get("fiche_ids", ()))
    return Listed(why=outcome.error or "The day could not be listed")


def _fiche_deadline(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.automation_fiche_deadline_seconds)


@job("automation/fiche", lane=FICHES, deadline=_fiche_deadline)
async def work_on_fiche(ctx: JobContext, payload: FicheJob) -> dict[str, Any]:
    """Carries one fiche of a run to its audits; a failure is the fiche's, never the run's."""
    work = Work(payload.run_id, payload.fiche_id, payload.begun)
    try:
        return await _walk(ctx, payload, work)
    except ConformeError as error:
        failure = End(FAILED, error.message, error.code)
    except Exception as error:
        log.exception("fiche of a run failed unexpectedly", run_id=work.run_id)
        failure = End(FAILED, f"Unexpected error ({type(error).__name__})", "INTERNAL_ERROR")
    return await ctx.step("fail", lambda: fiche_work.end(ctx.resources, work, failure))


async def _walk(ctx: JobContext, payload: FicheJob, work: Work) -> dict[str, Any]:
    resources, limits = ctx.resources, ctx.resources.settings
    fetch = _fetch_child(work, payload.schedule_id, limits.automation_fiche_details_max_wait_ms / 1000)
    [fetched] = await ctx.children([fetch])
    judged = await ctx.step("judge", lambda: fiche_work.judge(resources, work, _told(fetched)))
    if not judged["go"]:
        return OVER
    heard = {"failed": 0, "error": None, "code": None}
    if judged["transcribe"]:
        speech = transcribe_child(
            work.fiche_id, run_id=_named(work, "transcribe"), priority=Priority(payload.priority)
        )
        within = limits.automation_transcription_max_wait_ms / 1000
        [transcribed] = await ctx.children([replace(speech, within=within)])
        if _is_late(transcribed):
            stalled = End(FAILED, fiche_work.NOT_TRANSCRIBED, fiche_work.STALLED)
            return await ctx.step("stalled", lambda: fiche_work.end(resources, work, stalled))
        heard = {
            "failed": transcribed.value["failed"] if transcribed.ok else 0,
            "error": None if transcribed.ok else transcribed.error or fiche_work.NOT_TRANSCRIBED,
            "code": transcribed.code,
        }
    return await ctx.step("audit", lambda: fiche_work.begin_audits(resources, work, heard))


def _fetch_child(work: Work, schedule_id: int | None, within: float) -> Child:
    payload = FetchFiche(fiche_id=work.fiche_id, force_refresh=True, schedule_id=schedule_id)
    return Child(
        fetch_fiche,
        payload,
        id=_named(work, "fetch"),
        key=work.fiche_id,
        priority=Priority.BULK,
        within=within,
    )


def _is_late(outcome: Outcome) -> bool:
    """Whether a stage was not through within its time; what it had stored is kept, and no stage goes on without it."""
    return outcome.code == DeadlineExceeded.code


def _told(fetched: Outcome) -> dict[str, Any]:
    if fetched.ok:
        return {"error": None, "code": None, "not_found": fetched.value["not_found"]}
    if _is_late(fetched):
        return {"error": fiche_work.NOT_FETCHED, "code": fiche_work.STALLED, "not_found": False}
    return {"error": fetched.error or fiche_work.NOT_FETCHED, "code": fetched.code, "not_found": False}


def _named(work: Work, what: str) -> str:
    """`automation-{run}-{what}-{fiche}`, and which try it is beyond the first (spec/automation §4.4)."""
    again = f"-retry-{work.begun - 1}" if work.begun > 1 else ""
    return f"automation-{work.run_id}-{what}-{work.fiche_id}{again}"


async def dispatch_run(session: WriteSession, durable: Durable, run: AutomationRun) -> None:
    """Queues the work of a run in the transaction that begins it; what somebody asked for goes ahead of the night's."""
    priority = Priority.NORMAL if run.trigger == BY_HAND else Priority.BULK
    await durable.dispatch(session, run_automation, RunOrder(run_id=run.id), id=run.job_id, priority=priority)


async def dispatch_fiche(
    session: WriteSession, durable: Durable, run: AutomationRun, item: AutomationRunFiche
) -> None:
    """Queues the work on a fiche in the transaction that begins it."""
    work = Work(run.id, item.fiche_id, item.begun)
    job_id = item.job_id = _named(work, "fiche")
    payload = FicheJob(
        run_id=run.id,
        fiche_id=item.fiche_id,
        begun=item.begun,
        priority=int(SPEECH[plan_of(run).rules.transcription_priority]),
        schedule_id=run.schedule_id,
    )
    await durable.dispatch(
        session,
        work_on_fiche,
        payload,
        id=job_id,
        key=str(run.schedule_id),
        priority=Priority.BULK,
    )


@job("automation/run.cancel", lane=CONTROL)
async def cancel_run(ctx: JobContext, payload: RunOrder) -> dict[str, Any]:
    """Ends what a cancelled run has in work, calls in flight included."""
    return await ctx.step("stop", lambda: stopping.stop(ctx.resources, payload.run_id))


async def dispatch_cancel(session: WriteSession, durable: Durable, run: AutomationRun) -> None:
    await durable.dispatch(
        session,
        cancel_run,
        RunOrder(run_id=run.id),
        id=f"automation-{run.id}-cancel-{run.attempt}",
        priority=Priority.INTERACTIVE,
    )


MAIL_RETRY: Final = Retry(
    attempts=5,
    base_seconds=30,
    cap_seconds=600,
    when=lambda error: isinstance(error, MailFailed) and error.retryable,
)


class EndJob(BaseModel):
    """Payload of `automation/end`."""

    run_id: int
    attempt: int
    """Of the run, that has ended: once it is taken up again its next end is told, not this one."""
    schedule_id: int
    tell: bool
    """False where there was nothing to do: nobody is told of that (spec/automation §4.1)."""


@job("automation/end", lane=CONTROL)
async def follow_end(ctx: JobContext, payload: EndJob) -> dict[str, Any]:
    """What follows the end of a run: the next one in line, a webhook through the outbox, and one mail."""
    resources, run_id, attempt = ctx.resources, payload.run_id, payload.attempt
    called = await ctx.step("release", lambda: stopping.release_next(resources, payload.schedule_id))
    if not payload.tell:
        return {"next": called}
    webhook = await ctx.step("webhook", lambda: notices.queue_webhook(resources, run_id, attempt))
    try:
        mail = await ctx.step("mail", lambda: notices.send_mail(resources, run_id, attempt), retry=MAIL_RETRY)
    except ConformeError as error:
        mail = reason = error.message
        await ctx.step("no-mail", lambda: notices.note_no_mail(resources, run_id, attempt, reason))
    return {"next": called, "webhook": webhook, "mail": mail}


async def dispatch_end(session: WriteSession, durable: Durable, run: AutomationRun, *, tell: bool) -> None:
    """Queues what follows an end in the transaction that ends the run."""
    await durable.dispatch(
        session,
        follow_end,
        EndJob(run_id=run.id, attempt=run.attempt, schedule_id=run.schedule_id, tell=tell),
        id=f"automation-{run.id}-end-{run.attempt}",
        priority=Priority.NORMAL,
    )


@schedule("automation/reap", "* * * * *")
async def reap(ctx: JobContext, _at: datetime) -> dict[str, Any]:
    """Ends fiches and runs whose job is gone: none is left without an outcome."""
    return await ctx.step("reap", lambda: stopping.reap(ctx.resources))
