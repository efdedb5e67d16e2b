"""Which days of sales are known, and which are to be searched: the ledger of days, judged."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import select

from conforme.fiches.models import FicheDay
from conforme.foundation.database import ReadSession, WriteSession, now

FAILED_REST: Final = timedelta(seconds=60)
"""A day that could not be searched is not asked for again within this time, unless somebody insists (`refresh`)."""


class DayState(StrEnum):
    """How far a day is known, for whoever asks about some range."""

    COVERED = "covered"
    """It was searched after its end, within the range asked about: nothing is missing, whether it had sales or not."""
    RUNNING = "running"
    """It was searched before its end: what is known may be a part."""
    WIDER = "wider"
    """It was searched as part of a longer range, and a listing does not say which of its days a sale belongs to."""
    FAILED = "failed"
    """The last search of it failed, and no earlier one covers it."""
    MISSING = "missing"
    """It was never searched."""


@dataclass(frozen=True, slots=True)
class Span:
    """Days from `start` to `end`, both included."""

    start: date
    end: date

    def within(self, other: "Span") -> bool:
        return other.start <= self.start and self.end <= other.end


@dataclass(frozen=True, slots=True)
class DayFacts:
    """What the ledger says of one day; counts are of fiches, as of the last search that went well."""

    day: date
    fetched_at: datetime | None = None
    attempted_at: datetime | None = None
    searched: Span | None = None
    """The range whose search told of the day; None: the day alone."""
    expected: int = 0
    stored: int = 0
    quarantined: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DayCoverage:
    """One day of a range, judged."""

    facts: DayFacts
    state: DayState

    @property
    def day(self) -> date:
        return self.facts.day


@dataclass(frozen=True, slots=True)
class Coverage:
    """Every day of a range, in order."""

    days: tuple[DayCoverage, ...] = ()

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
        """Never searched, or only as part of a range that is longer than this one."""
        return self.among(DayState.MISSING, DayState.WIDER)

    @property
    def failed(self) -> dict[date, str]:
        """Days whose last search failed, with the reason."""
        return {each.day: each.facts.error or "" for each in self.days if each.state is DayState.FAILED}

    @property
    def complete(self) -> bool:
        return len(self.covered) == len(self.days)


def state_of(facts: DayFacts, asked: Span) -> DayState:
    """How far a day is known to whoever asks about `asked`. Pure.

    A sale is surely of the range that was searched; of which of its days is surely known only of a day that was
    searched alone. So what a search told answers questions about the same range or longer ones.
    """
    if facts.fetched_at is None:
        return DayState.MISSING if facts.error is None else DayState.FAILED
    ended = facts.fetched_at >= end_of(facts.day)
    if facts.error is not None and not ended:
        return DayState.FAILED
    if facts.searched is not None and not facts.searched.within(asked):
        return DayState.WIDER
    return DayState.COVERED if ended else DayState.RUNNING


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
    if each.state is DayState.RUNNING and each.facts.fetched_at is not None:
        return at - each.facts.fetched_at < running_holds
    return each.state is DayState.COVERED


def _has_just_failed(each: DayCoverage, at: datetime) -> bool:
    attempted_at = each.facts.attempted_at
    return each.state is DayState.FAILED and attempted_at is not None and at - attempted_at < FAILED_REST


def days_between(start: date, end: date) -> tuple[date, ...]:
    """All days from `start` to `end`, both included; none when `end` is earlier."""
    return tuple(start + timedelta(days=rank) for rank in range((end - start).days + 1))


async def coverage(session: ReadSession | WriteSession, start: date, end: date) -> Coverage:
    """How far each day from `start` to `end` is known; one statement. Days to come are missing: callers leave them out."""
    rows = await session.scalars(select(FicheDay).where(FicheDay.day.between(start, end)))
    known = {row.day: _facts(row) for row in rows}
    return judged((known.get(day, DayFacts(day)) for day in days_between(start, end)), Span(start, end))


def judged(days: Iterable[DayFacts], asked: Span) -> Coverage:
    """The days of a range that somebody asks about. Pure."""
    return Coverage(tuple(DayCoverage(facts, state_of(facts, asked)) for facts in days))


def _facts(row: FicheDay) -> DayFacts:
    searched = Span(row.searched_from, row.searched_to) if row.searched_from and row.searched_to else None
    return DayFacts(
        row.day,
        row.fetched_at,
        row.attempted_at,
        searched,
        row.expected,
        row.stored,
        row.quarantined,
        row.error,
    )


def today() -> date:
    """The day that is running, in UTC."""
    return now().date()
