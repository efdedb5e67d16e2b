"""What a look at the clock makes of a schedule: which due time runs now, which were missed, when to look again. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from conforme.automation.due import backlog, next_due
from conforme.automation.rules import CatchUp, Timing


@dataclass(frozen=True, slots=True)
class Missed:
    """Due times that will not run."""

    first: datetime
    last: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Firing:
    """What is to be done about a schedule now."""

    due: datetime | None
    """The due time that runs."""
    late: bool
    """It runs because missed ones are caught up on."""
    missed: Missed | None
    next_due: datetime | None


def decide(timing: Timing, catch_up: CatchUp, first: datetime, now: datetime, window: timedelta) -> Firing:
    """Decides on a schedule whose due time `first` has come and has not been dealt with.

    Only the last due time up to now can run: a report on the days before is none the better for running three times.
    What is no later than `window` is not missed; beyond that the policy says whether it still runs.
    """
    due = backlog(timing, first, now)
    late = now - due.last > window
    following = next_due(timing, now)
    if late and catch_up == "none":
        return Firing(None, late, Missed(due.first, due.last, due.count), following)
    missed = Missed(due.first, due.before_last, due.count - 1) if due.count > 1 else None
    return Firing(due.last, late, missed, following)
