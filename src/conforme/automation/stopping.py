"""Stopping runs, taking them up again, and ending what was lost (spec/automation §12.11, §12.12)."""

from datetime import timedelta
from typing import Any, Final

import structlog
from sqlalchemy import exists, select

from conforme.accounts.actor import Actor
from conforme.audits import endings
from conforme.automation import fiche_work, launch, outcomes, run_logs, run_queries, run_reads, run_work
from conforme.automation.fiche_work import NOT_FETCHED, NOT_TRANSCRIBED, Work
from conforme.automation.models import (
    FAILED,
    IGNORED,
    OPEN,
    PENDING,
    RUNNING,
    AutomationRun,
    AutomationRunFiche,
    AutomationSchedule,
)
from conforme.automation.outcomes import AFTER_ERROR, AUDITS, DETAILS, RUN_CANCELLED, End
from conforme.automation.run_queries import Silent
from conforme.foundation.database import WriteSession, now
from conforme.foundation.durable import Durable
from conforme.foundation.errors import Conflict, ConformeError
from conforme.foundation.job_context import without_values
from conforme.foundation.resources import Resources

log = structlog.get_logger(__name__)

LOST_AFTER: Final = timedelta(minutes=2)
LOOKED_AT: Final = 200
WORKING: Final = frozenset({"queued", "running"})
TAKEN_UP: Final = (RUN_CANCELLED, AFTER_ERROR)
"""Reasons of ignored fiches that are undone by taking the run up again."""


class RunOver(Conflict):
    """The run has ended"""

    code = "RUN_OVER"


class RunStillGoing(Conflict):
    """The run, or another one of its schedule, is under way"""

    code = "RUN_RUNNING"


class NothingToRetry(Conflict):
    """Every fiche of the run has been dealt with"""

    code = "NOTHING_TO_RETRY"


async def cancel(session: WriteSession, durable: Durable, actor: Actor, run_id: int) -> AutomationRun:
    """Nothing of the run is begun any more, and what is in work is ended by a job; both with this transaction.

    Raises:
        NotFound: no such run.
        NotOwnSchedule: it is somebody else's, and the actor does not see everything.
        RunOver: it has ended.
    """
    from conforme.automation.run_workflows import dispatch_cancel  # its jobs stop runs

    seen = await run_reads.require_own(session, actor, run_id)
    if seen.waiting:  # whoever calls it holds the schedule first
        await session.get_one(AutomationSchedule, seen.schedule_id, with_for_update=True)
    await run_queries.exclude(session, run_id)
    run = await run_queries.held(session, run_id)
    if run is None or run.status not in OPEN:
        raise RunOver
    if run.cancel_requested_at is not None:
        return run
    run.cancel_requested_at, run.waiting = now(), False
    await session.flush()
    await run_logs.write(
        session, run_id, "warning", "Automation cancelled", key=f"cancel-{run.attempt}", by=actor.name
    )
    if run.started_at is None:
        await outcomes.finish(session, durable, run)
    else:
        await dispatch_cancel(session, durable, run)
        await outcomes.go_on(session, durable, run)
    return run


async def stop(resources: Resources, run_id: int) -> dict[str, Any]:
    """Ends what a cancelled run has in work: provider calls are cut off, each fiche gets its outcome."""
    async with resources.database.read() as session:
        run = await session.get(AutomationRun, run_id)
        items = await run_queries.working(session, run_id)
        audits = await run_queries.audits_of(session, [each for item in items for each in item.audit_ids])
    if run is None or run.cancel_requested_at is None:
        return {"stopped": 0}
    if run.selected_at is None:
        await resources.durable.cancel(run.job_id)
    before_audits = [each for each in items if each.stage != AUDITS]
    begun = [(each.id, each.job_id) for each in audits if run_queries.is_open(each)]
    await resources.durable.cancel(*(each.job_id for each in before_audits if each.job_id))
    await endings.stop(resources, begun)
    for item in before_audits:
        await fiche_work.end(resources, _work(item), End(IGNORED, RUN_CANCELLED))
    async with resources.database.write() as session:
        held = await run_queries.held(session, run_id)
        if held is not None and held.status in OPEN and held.selected_at is None:
            await outcomes.finish(session, resources.durable, held)
    return {"stopped": len(begun) + len(items)}


def _work(item: AutomationRunFiche) -> Work:
    return Work(item.run_id, item.fiche_id, item.begun)


async def retry_failed(session: WriteSession, durable: Durable, actor: Actor, run_id: int) -> AutomationRun:
    """Takes up what failed and what a cancellation or an error left undone; what succeeded stays as it is.

    Raises:
        NotFound: no such run.
        NotOwnSchedule: it is somebody else's, and the actor does not see everything.
        RunStillGoing: it has not ended, or another run of its schedule is under way.
        NothingToRetry: no fiche failed, and it was not for want of days that there was none.
    """
    from conforme.automation.run_workflows import dispatch_run  # as above

    seen = await run_reads.require_own(session, actor, run_id)
    if (
        "imported" in seen.config_snapshot
    ):  # of another system: what it went by there is not known well enough
        raise NothingToRetry
    if seen.status in OPEN:  # whoever ends it holds it, and then its schedule
        raise RunStillGoing
    await session.get_one(AutomationSchedule, seen.schedule_id, with_for_update=True)
    run = await run_queries.held(session, run_id)
    if run is None or run.status in OPEN or await _another_open(session, run):
        raise RunStillGoing
    if (
        run.days_failed and not run.total_fiches + run.ignored_fiches
    ):  # it found none, and lists its days anew
        run.selected_at = None
    undone = await run_queries.reopen(session, run, TAKEN_UP)
    if run.selected_at is not None and not any(undone):
        raise NothingToRetry
    _reopen(run, *undone)
    await session.flush()
    key = f"retry-{run.attempt}"
    await run_logs.write(session, run_id, "info", "Automation taken up again", key=key, by=actor.name)
    if run.selected_at is None:
        run.job_id = f"automation-run-{run_id}-{run.attempt}"
        await session.flush()
        await dispatch_run(session, durable, run)
    else:
        await outcomes.go_on(session, durable, run)
    return run


async def release_next(resources: Resources, schedule_id: int) -> int | None:
    """Lets the run begin that waited for the end of this one; its id."""
    async with resources.database.write() as session:
        run = await launch.release(session, resources, schedule_id)
        return None if run is None else run.id


async def _another_open(session: WriteSession, run: AutomationRun) -> bool:
    others = exists().where(
        AutomationRun.schedule_id == run.schedule_id,
        AutomationRun.id != run.id,
        AutomationRun.status.in_(OPEN),
    )
    return bool(await session.scalar(select(others)))


def _reopen(run: AutomationRun, failed: int, ignored: int) -> None:
    run.status = PENDING if run.selected_at is None else RUNNING
    run.attempt += 1
    run.failed_fiches -= failed
    run.ignored_fiches -= ignored
    run.total_fiches += ignored
    run.completed_at = run.cancel_requested_at = run.exhausted = None
    run.error_message = run.error_code = run.error_details = None
    if run.selected_at is None:  # it begins anew
        run.started_at = None
        run.days_done = run.days_failed = 0


async def reap(resources: Resources) -> dict[str, Any]:
    """Ends work whose job has ended, or was lost, without a word."""
    async with resources.database.read() as session:
        found = await run_queries.silent(session, LOST_AFTER, LOOKED_AT)
    reaped = 0
    for each in found:
        try:
            reaped += await _reap(resources, each)
        except Exception as error:  # one must not keep the others from their outcome
            log.exception("not reaped", run_id=each.run_id, exc_info=without_values(error))
    return {"silent": len(found), "reaped": reaped}


async def _reap(resources: Resources, silent: Silent) -> bool:
    if silent.fiche_id is None:
        if await resources.durable.state(silent.job_id) in WORKING:
            return False
        lost = ConformeError("The run did not end in time")
        await run_work.fail(resources, silent.run_id, lost)
        return True
    if silent.stage == AUDITS:
        return await _settled(resources, silent.run_id, silent.fiche_id)
    if await resources.durable.state(silent.job_id) in WORKING:
        return False
    reason = NOT_FETCHED if silent.stage == DETAILS else NOT_TRANSCRIBED
    log.warning("fiche of a run reaped", run_id=silent.run_id, stage=silent.stage)
    work = Work(silent.run_id, silent.fiche_id, silent.begun)
    await fiche_work.end(resources, work, End(FAILED, reason, fiche_work.STALLED))
    return True


async def _settled(resources: Resources, run_id: int, fiche_id: str) -> bool:
    """Ends a fiche whose audits have ended, or were deleted, without its being told."""
    async with resources.database.write() as session:
        run = await run_queries.held(session, run_id)
        item = run and await run_queries.item(session, run_id, fiche_id)
        if run is None or item is None or item.outcome is not None or item.stage != AUDITS:
            return False
        return await outcomes.end_with_audits(session, resources.durable, run, item)
