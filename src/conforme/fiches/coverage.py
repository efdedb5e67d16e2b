"""Which days of sales are known, and which are to be searched: the ledger of days, judged."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import select

from conforme.fiches.models import FicheDay
from conforme.foundation.database import ReadSession, WriteSession, now

FAILED_REST: Final = timedelta(seconds=60)
"""A day that could not be searched is not asked for again within this time, unless somebody insists (`refresh`)."""


class DayState(StrEnum):
    """How far a day is known."""

    COVERED = "covered"
    """It was searched after its end: nothing is missing, whether it had sales or not."""
    RUNNING = "running"
    """It was searched before its end: what is known may be a part."""
    FAILED = "failed"
    """The last search of it failed, and no earlier one covers it."""
    MISSING = "missing"
    """It was never searched."""


@dataclass(frozen=True, slots=True)
class DayCoverage:
    """What the ledger says of one day; counts are of fiches, as of the last search that went well."""

    day: date
    fetched_at: datetime | None = None
    attempted_at: datetime | None = None
    expected: int = 0
    stored: int = 0
    quarantined: int = 0
    error: str | None = None

    @property
    def state(self) -> DayState:
        if self.fetched_at is not None and self.fetched_at >= end_of(self.day):
            return DayState.COVERED
        if self.error is not None:
            return DayState.FAILED
        return DayState.MISSING if self.fetched_at is None else DayState.RUNNING


@dataclass(frozen=True, slots=True)
class Coverage:
    """Every day of a range, in order."""

    days: tuple[DayCoverage, ...] = field(default=())

    def among(self, *states: DayState) -> tuple[date, ...]:
        return tuple(each.day for each in self.days if each.state in states)

    @property
    def covered(self) -> tuple[date, ...]:
        return self.among(DayState.COVERED)

    @property
    def running(self) -> tuple[date, ...]:
        """Searched while they were not over."""
        return self.among(DayState.RUNNING)

    @property
    def missing(self) -> tuple[date, ...]:
        """Never searched."""
        return self.among(DayState.MISSING)

    @property
    def failed(self) -> dict[date, str]:
        """Days whose last search failed, with the reason."""
        return {each.day: each.error or "" for each in self.days if each.state is DayState.FAILED}

    @property
    def complete(self) -> bool:
        return len(self.covered) == len(self.days)


def end_of(day: date) -> datetime:
    """When a day is over: at midnight UTC, later than in the zones of the CRM's users (spec/automation §6)."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def known_days(coverage: Coverage, at: datetime, *, running_holds: timedelta) -> tuple[date, ...]:
    """Days that need no search: covered, or running and searched no longer than `running_holds` ago. Pure."""
    return tuple(each.day for each in coverage.days if _is_known(each, at, running_holds))


def due_days(coverage: Coverage, at: datetime, *, running_holds: timedelta) -> tuple[date, ...]:
    """Days to search now: all that are not known, but those whose search failed a moment ago. Pure."""
    return tuple(
        each.day
        for each in coverage.days
        if not _is_known(each, at, running_holds) and not _has_just_failed(each, at)
    )


def _is_known(each: DayCoverage, at: datetime, running_holds: timedelta) -> bool:
    if each.state is DayState.RUNNING and each.fetched_at is not None:
        return at - each.fetched_at < running_holds
    return each.state is DayState.COVERED


def _has_just_failed(each: DayCoverage, at: datetime) -> bool:
    return (
        each.state is DayState.FAILED
        and each.attempted_at is not None
        and at - each.attempted_at < FAILED_REST
    )


def days_between(start: date, end: date) -> tuple[date, ...]:
    """All days from `start` to `end`, both included; none when `end` is earlier."""
    return tuple(start + timedelta(days=rank) for rank in range((end - start).days + 1))


async def coverage(session: ReadSession | WriteSession, start: date, end: date) -> Coverage:
    """How far each day from `start` to `end` is known; one statement. Days to come are missing: callers leave them out."""
    return await coverage_of(session, days_between(start, end))


async def coverage_of(session: ReadSession | WriteSession, days: Sequence[date]) -> Coverage:
    """The same for some days, in the order given."""
    rows = await session.scalars(select(FicheDay).where(FicheDay.day.in_(days)))
    return judged(days, {row.day: row for row in rows})


def judged(days: Iterable[date], ledger: Mapping[date, FicheDay]) -> Coverage:
    """The days with what the ledger says of them."""
    return Coverage(tuple(_judged(day, ledger.get(day)) for day in days))


def _judged(day: date, row: FicheDay | None) -> DayCoverage:
    if row is None:
        return DayCoverage(day)
    return DayCoverage(
        day, row.fetched_at, row.attempted_at, row.expected, row.stored, row.quarantined, row.error
    )


def today() -> date:
    """The day that is running, in UTC."""
    return now().date()
