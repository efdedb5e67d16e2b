"""Starting runs: the row and its durable job are written in one transaction, each due time once.

The schedule is held meanwhile, so that whether one of its runs is under way cannot change. Runs that may not overlap
and may wait stand in line: whoever ends a run calls `release` in the transaction that ends it.
"""

from datetime import datetime
from typing import Final

from conforme.accounts.actor import Actor
from conforme.automation import queries
from conforme.automation.errors import RunUnderWay, ScheduleInactive, TooManyWaiting
from conforme.automation.models import (
    PENDING,
    RUNNING,
    AutomationRun,
    AutomationSchedule,
)
from conforme.automation.rules import Selection
from conforme.automation.snapshots import snapshot_of
from conforme.foundation.database import WriteSession, now
from conforme.foundation.errors import NotFound
from conforme.foundation.resources import Resources

RESOURCE: Final = "Automation schedule"
MAX_WAITING: Final = 10
DEACTIVATED: Final = "The schedule was deactivated before the run's turn came"


async def launch(  # noqa: PLR0913 -- all that tells one run from another
    session: WriteSession,
    resources: Resources,
    schedule: AutomationSchedule,
    *,
    due: datetime | None,
    trigger: str,
    actor: Actor,
    overrides: Selection | None = None,
) -> AutomationRun:
    """Writes a run of the schedule and queues its job, both when, and only if, the session commits.

    A due time that has its run already answers that run, and starts nothing. `overrides` replaces the schedule's
    selection for this run.

    Raises:
        NotFound: the schedule was deleted meanwhile.
        ScheduleInactive: it is not to run.
        RunUnderWay: a run of it has not ended, and the schedule does not let another one wait.
        TooManyWaiting: `MAX_WAITING` runs wait already.
    """
    held = await queries.held(session, schedule.id)
    if held is None:
        raise NotFound.of(RESOURCE, schedule.id)
    if not held.is_active:
        raise ScheduleInactive
    if due is not None and (known := await queries.run_for(session, held.id, due)):
        return known
    waits = await _must_wait(session, held)
    run_id = await queries.next_run_id(session)
    run = AutomationRun(
        id=run_id,
        schedule_id=held.id,
        job_id=_job_id(held.id, run_id, due),
        trigger=trigger,
        due_at=due,
        requested_by=actor.name,
        user_id=actor.user_id,
        status=PENDING,
        waiting=waits,
        config_snapshot=snapshot_of(held, overrides=overrides, due=due),
    )
    session.add(run)
    await session.flush()
    if not waits:
        await _dispatch(session, resources, held, run)
    return run


async def release(session: WriteSession, resources: Resources, schedule_id: int) -> AutomationRun | None:
    """Gives its turn to the run that has waited longest; None when none waits, or one is under way.

    Those that wait for a schedule that was deactivated meanwhile end as cancelled.
    """
    held = await queries.held(session, schedule_id)
    if held is None:
        return None
    opened = await queries.open_runs(session, schedule_id)
    waiting = [run for run in opened if run.waiting]
    if not waiting or len(waiting) < len(opened):
        return None
    if not held.is_active:
        from conforme.automation.outcomes import finish  # what ends a run lets the next one begin, here

        for run in waiting:
            run.cancel_requested_at, run.waiting, run.error_message = now(), False, DEACTIVATED
            await finish(session, resources.durable, run)
        return None
    waiting[0].waiting = False
    await session.flush()
    await _dispatch(session, resources, held, waiting[0])
    return waiting[0]


async def _must_wait(session: WriteSession, schedule: AutomationSchedule) -> bool:
    opened = await queries.open_runs(session, schedule.id)
    if not opened:
        return False
    if schedule.overlap == "refuse":
        raise RunUnderWay(opened[0].id)
    if sum(run.waiting for run in opened) >= MAX_WAITING:
        raise TooManyWaiting(opened[0].id)
    return True


def _job_id(schedule_id: int, run_id: int, due: datetime | None) -> str:
    """The contract's id for a due time; the run's own where somebody asked for it."""
    if due is None:
        return f"automation-run-{run_id}"
    return f"automation-schedule-{schedule_id}-{int(due.timestamp() * 1000)}"


async def _dispatch(
    session: WriteSession, resources: Resources, schedule: AutomationSchedule, run: AutomationRun
) -> None:
    from conforme.automation.run_workflows import dispatch_run  # its jobs end runs, which releases others

    schedule.last_run_at = run.due_at or now()
    schedule.last_run_status = RUNNING
    await dispatch_run(session, resources.durable, run)
