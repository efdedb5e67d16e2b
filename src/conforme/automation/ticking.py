"""The look at the clock: every due time that has come is fired or told of as missed, once.

A schedule remembers the first due time that was not dealt with. Whoever deals with it holds the schedule, and moves
that on in the transaction that fires: two looks at once, an outage or a crash between two schedules change nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import text

from conforme.accounts.actor import Actor
from conforme.automation import queries
from conforme.automation.columns import timing_of
from conforme.automation.errors import RunInTheWay, TooManyWaiting
from conforme.automation.firing import Firing, Missed, decide
from conforme.automation.launch import launch, release
from conforme.automation.missed import OUTAGE, OVERLAP, QUEUE_FULL, MissedRuns, listed
from conforme.automation.missed_workflows import dispatch_missed
from conforme.automation.models import BY_SCHEDULE, CAUGHT_UP, AutomationSchedule
from conforme.automation.rules import CatchUp
from conforme.foundation import events
from conforme.foundation.database import WriteSession, now
from conforme.foundation.events import GLOBAL_CHANNEL, job_channel
from conforme.foundation.job_context import without_values
from conforme.foundation.resources import Resources
from conforme.foundation.web import iso

log = structlog.get_logger(__name__)

AT_ONCE: Final = 1000
"""Schedules looked at in one minute; the longest overdue come first, the others in the next one."""
CLOCK: Final = Actor.system("automation-clock")
MIN_WINDOW: Final = 5
"""Minutes (spec/automation §3)."""
_TICKED: Final = text(
    "insert into automation_ticks (id, at, fired, missed) values (1, :at, :fired, :missed)"
    " on conflict (id) do update set at = excluded.at, fired = excluded.fired, missed = excluded.missed"
)


@dataclass(frozen=True, slots=True)
class Look:
    """A look at the clock."""

    at: datetime
    silent_since: datetime | None
    """The look before it, where that was long ago."""


async def tick(resources: Resources, clock: Callable[[], datetime] = now) -> dict[str, int]:
    """Deals with every schedule that is due; how many runs were fired, due times missed and schedules failed on."""
    moment = clock()
    async with resources.database.read() as session:
        last = await queries.last_tick(session)
        due = await queries.due_ids(session, moment, AT_ONCE)
        stranded = await queries.stranded_ids(session, AT_ONCE)
    silent_since = last.at if last and moment - last.at > _window(resources) else None
    if silent_since is not None:
        log.warning("nobody looked at the clock", since=iso(silent_since))
    counts = {"fired": 0, "missed": 0, "failed": 0}
    for schedule_id in due:
        try:
            fired, missed = await _look_at(resources, schedule_id, Look(moment, silent_since))
        except Exception as error:  # one schedule must not keep the others from running
            log.exception("schedule failed", schedule_id=schedule_id, exc_info=without_values(error))
            counts["failed"] += 1
        else:
            counts["fired"] += fired
            counts["missed"] += missed
    for schedule_id in stranded:
        try:
            async with resources.database.write() as session:
                await release(session, resources, schedule_id)
        except Exception as error:
            log.exception("waiting run not released", schedule_id=schedule_id, exc_info=without_values(error))
            counts["failed"] += 1
    async with resources.database.write() as session:
        await session.execute(_TICKED, {"at": moment, "fired": counts["fired"], "missed": counts["missed"]})
    return counts


def _window(resources: Resources) -> timedelta:
    """How late a due time may be fired and is not missed."""
    return timedelta(minutes=max(MIN_WINDOW, resources.settings.automation_scheduler_window_minutes))


async def _look_at(resources: Resources, schedule_id: int, look: Look) -> tuple[int, int]:
    moment = look.at
    async with resources.database.write() as session:
        schedule = await queries.held(session, schedule_id)
        first = schedule and schedule.next_due_at
        if schedule is None or not schedule.is_active or first is None or first > moment:
            return 0, 0  # changed, or dealt with, since it was listed
        timing = timing_of(schedule)
        firing = decide(timing, _policy(schedule), first, moment, _window(resources))
        schedule.next_due_at = firing.next_due
        await session.flush()
        missed = [(firing.missed, OUTAGE)] if firing.missed else []
        refused = await _fire(session, resources, schedule, firing)
        if refused and firing.due:
            reason = await _tell_refused(session, resources, schedule, firing.due, refused)
            missed.append((Missed(firing.due, firing.due, 1), reason))
        for which, reason in missed:
            await _tell_missed(session, schedule, which, reason)
        happened = replace(firing, due=None) if refused else firing
        await _tell_outage(session, resources, schedule, happened, look)
        return int(firing.due is not None and not refused), sum(which.count for which, _ in missed)


async def _fire(
    session: WriteSession, resources: Resources, schedule: AutomationSchedule, firing: Firing
) -> RunInTheWay | None:
    """Launches what is due; why not, where it may not."""
    if firing.due is None:
        return None
    trigger = CAUGHT_UP if firing.late else BY_SCHEDULE
    try:
        await launch(session, resources, schedule, due=firing.due, trigger=trigger, actor=CLOCK)
    except RunInTheWay as refused:
        return refused
    return None


async def _tell_missed(
    session: WriteSession, schedule: AutomationSchedule, missed: Missed, reason: str
) -> None:
    """One event for all of them: nothing ran that should have."""
    identifier = f"automation-schedule-{schedule.id}"
    payload = {
        "job_id": identifier,
        "schedule_id": str(schedule.id),
        "reason": reason,
        "missed": missed.count,
        "first_due_at": iso(missed.first),
        "last_due_at": iso(missed.last),
        "next_due_at": iso(schedule.next_due_at),
    }
    channels = [job_channel(identifier), GLOBAL_CHANNEL]
    await events.record(session, "automation.schedule.missed", payload, channels)
    log.warning("due times were missed", schedule_id=schedule.id, reason=reason, missed=missed.count)


async def _tell_outage(
    session: WriteSession, resources: Resources, schedule: AutomationSchedule, firing: Firing, look: Look
) -> None:
    """One telling for all of an outage; what lasted no longer than a due time may be late is none."""
    gone, late = firing.missed, firing.due if firing.late else None
    first = gone.first if gone else late
    if first is None or look.at - first <= _window(resources):
        return
    told = MissedRuns(
        schedule_id=schedule.id,
        reason=OUTAGE,
        count=gone.count if gone else 0,
        due_times=listed(timing_of(schedule), gone.first, gone.last) if gone else [],
        runs_late=late,
        next_due_at=firing.next_due,
        nobody_looked_since=look.silent_since,
    )
    await dispatch_missed(session, resources.durable, told, f"{OUTAGE}-{int(first.timestamp())}")


async def _tell_refused(
    session: WriteSession,
    resources: Resources,
    schedule: AutomationSchedule,
    due: datetime,
    refused: RunInTheWay,
) -> str:
    """One telling for all that is refused for the same run's sake; the reason."""
    reason = QUEUE_FULL if isinstance(refused, TooManyWaiting) else OVERLAP
    told = MissedRuns(
        schedule_id=schedule.id,
        reason=reason,
        count=1,
        due_times=[due],
        next_due_at=schedule.next_due_at,
    )
    await dispatch_missed(session, resources.durable, told, f"{reason}-{refused.run_id}")
    return reason


def _policy(schedule: AutomationSchedule) -> CatchUp:
    return "none" if schedule.catch_up == "none" else "last"
