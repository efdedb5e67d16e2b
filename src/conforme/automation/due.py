"""When a schedule is due (spec/automation §1.3, §3). Pure: instants in UTC, from a schedule's timing and a moment.

Times are those of the clock on the wall of the schedule's zone. Where clocks are set forward, a time that does not
exist is due once, at the first moment after the gap; where they are set back, a time that occurs twice is due the
first time. Only what recurs through the day (an hour field that begins with `*`) keeps its interval instead, as
Debian's cron does: it neither pauses for the repeated hour nor is made up for in the skipped one.
"""

import calendar
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import islice, product
from typing import Final
from zoneinfo import ZoneInfo

from conforme.automation.cron import Cron
from conforme.automation.rules import Timing, time_of
from conforme.automation.zones import zone_of

_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_RAREST: Final = timedelta(days=9 * 366)
"""29 February is eight years away around the end of a century; what is not due by then never is."""


@dataclass(frozen=True, slots=True)
class _Plan:
    falls_on: Callable[[date], bool]
    times: tuple[time, ...]
    zone: ZoneInfo
    by_interval: bool = False


@dataclass(frozen=True, slots=True)
class Backlog:
    """The due times up to now that nothing has dealt with."""

    first: datetime
    before_last: datetime
    """The last but one; `first` where there is only one."""
    last: datetime
    count: int


def cron_of(timing: Timing) -> str | None:
    """The expression that stands for a timing on the wire; None when it has none, or misses what it needs."""
    if timing.schedule_type == "CRON":
        return timing.cron_expression
    if timing.schedule_type == "MANUAL" or timing.missing or timing.time_of_day is None:
        return None
    at = time_of(timing.time_of_day)
    days = {"DAILY": "* * *", "WEEKLY": f"* * {timing.day_of_week}", "MONTHLY": f"{timing.day_of_month} * *"}
    return f"{at.minute} {at.hour} {days[timing.schedule_type]}"


def due_times(timing: Timing, after: datetime) -> Iterator[datetime]:
    """The due times behind a moment, in order, without end; none for what is only run by hand."""
    plan = _plan(timing)
    if plan is None:
        return
    day, last = after.astimezone(plan.zone).date() - _DAY, after.astimezone(UTC)
    while day <= (last + _RAREST).date():
        if plan.falls_on(day):
            for instant in _instants(plan, day):
                if instant > last:
                    last = instant
                    yield instant
        day += _DAY


def next_due(timing: Timing, after: datetime) -> datetime | None:
    return next(due_times(timing, after), None)


def upcoming(timing: Timing, after: datetime, count: int) -> list[datetime]:
    return list(islice(due_times(timing, after), count))


def backlog(timing: Timing, first: datetime, until: datetime) -> Backlog:
    """What is due from `first`, itself a due time, up to and with `until`."""
    before_last, last, count = first, first, 1
    for instant in due_times(timing, first):
        if instant > until:
            break
        before_last, last, count = last, instant, count + 1
    return Backlog(first, before_last, last, count)


def _plan(timing: Timing) -> _Plan | None:
    expression = cron_of(timing)
    if expression is None:
        return None
    return _planned(expression, timing.timezone, monthly=timing.schedule_type == "MONTHLY")


@lru_cache(maxsize=1024)
def _planned(expression: str, zone: str, *, monthly: bool) -> _Plan:
    cron = Cron.parse(expression)
    times = tuple(time(hour, minute) for hour, minute in product(cron.hours, cron.minutes))
    falls_on = _monthly(min(cron.days)) if monthly else cron.falls_on
    return _Plan(falls_on, times, zone_of(zone), cron.by_interval)


def _monthly(wanted: int) -> Callable[[date], bool]:
    """The last day of a month stands for those that it has not."""

    def falls_on(day: date) -> bool:
        return day.day == wanted or (
            day.day < wanted and day.day == calendar.monthrange(day.year, day.month)[1]
        )

    return falls_on


def _instants(plan: _Plan, day: date) -> list[datetime]:
    """The due times of one day of the calendar, in order; of a day of 24 hours they are plain sums."""
    midnight = datetime.combine(day, time())
    start = midnight.replace(tzinfo=plan.zone).astimezone(UTC)
    end = (midnight + _DAY).replace(tzinfo=plan.zone).astimezone(UTC)
    if end - start == _DAY and start.astimezone(plan.zone).replace(tzinfo=None) == midnight:
        return [start + timedelta(hours=at.hour, minutes=at.minute) for at in plan.times]
    walls = [datetime.combine(day, at) for at in plan.times]
    if plan.by_interval:
        return sorted(instant for wall in walls for instant in _all_readings(wall, plan.zone))
    return [_first_reading(wall, plan.zone) for wall in walls]


def _all_readings(wall: datetime, zone: ZoneInfo) -> set[datetime]:
    """The moments at which the clock on the wall shows this: none, one or two."""
    readings = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return {instant for instant in readings if instant.astimezone(zone).replace(tzinfo=None) == wall}


def _first_reading(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first moment at which the clock on the wall shows this, or the first after the gap that it lies in."""
    readings = _all_readings(wall, zone)
    return min(readings) if readings else _end_of_gap(wall, zone)


def _end_of_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """By bisection: read with the offset from after the gap, the wall lies before it, and the other way round."""
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    behind = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    offset = behind.astimezone(zone).utcoffset()
    while behind - before > _SECOND:
        middle = before + (behind - before) // 2
        middle = middle.replace(microsecond=0)
        if middle == before:
            break
        if middle.astimezone(zone).utcoffset() == offset:
            behind = middle
        else:
            before = middle
    return behind
