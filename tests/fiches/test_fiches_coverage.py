"""Which days are known, judged from what the ledger says of them: pure."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.fiches.coverage import (
    DayFacts,
    DayState,
    Span,
    days_between,
    due_days,
    end_of,
    judged,
    known_days,
    state_of,
)

DAY = date(2026, 1, 5)
BEFORE_ITS_END = datetime(2026, 1, 5, 23, 59, 59, tzinfo=UTC)
AT_ITS_END = datetime(2026, 1, 6, tzinfo=UTC)
WEEK = Span(date(2026, 1, 5), date(2026, 1, 11))
ALONE = Span(DAY, DAY)
WHY = "Failed to fetch sales with calls for 2026-01-05..2026-01-05: status=503"


@pytest.mark.parametrize(
    ("facts", "asked", "state"),
    [
        (DayFacts(DAY), ALONE, DayState.MISSING),
        (DayFacts(DAY, AT_ITS_END, AT_ITS_END), ALONE, DayState.COVERED),
        (DayFacts(DAY, AT_ITS_END, AT_ITS_END, expected=0), WEEK, DayState.COVERED),
        (DayFacts(DAY, BEFORE_ITS_END, BEFORE_ITS_END), ALONE, DayState.RUNNING),
        (DayFacts(DAY, AT_ITS_END, AT_ITS_END, WEEK), WEEK, DayState.COVERED),
        (DayFacts(DAY, AT_ITS_END, AT_ITS_END, WEEK), ALONE, DayState.WIDER),
        (DayFacts(DAY, None, AT_ITS_END, error=WHY), WEEK, DayState.FAILED),
        (DayFacts(DAY, BEFORE_ITS_END, AT_ITS_END, error=WHY), WEEK, DayState.FAILED),
        (DayFacts(DAY, AT_ITS_END, AT_ITS_END, error=WHY), WEEK, DayState.COVERED),
    ],
)
def test_a_day_is_covered_by_a_search_after_its_end_within_what_is_asked(
    facts: DayFacts, asked: Span, state: DayState
) -> None:
    assert state_of(facts, asked) is state


moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 2, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- zoned by `timezones`
days = st.dates(date(2026, 1, 1), date(2026, 1, 31))
spans = st.tuples(days, days).map(lambda pair: Span(min(pair), max(pair)))
facts = st.builds(
    DayFacts,
    days,
    fetched_at=st.none() | moments,
    attempted_at=moments,
    searched=st.none() | spans,
    error=st.none() | st.just(WHY),
)


@given(facts, spans)
def test_nothing_is_covered_that_was_not_searched_well_after_its_end(known: DayFacts, asked: Span) -> None:
    if state_of(known, asked) is DayState.COVERED:
        assert known.fetched_at is not None
        assert known.fetched_at >= end_of(known.day)
        assert known.searched is None or known.searched.within(asked)


@given(facts, spans, spans)
def test_what_covers_a_range_covers_every_longer_one(known: DayFacts, asked: Span, more: Span) -> None:
    longer = Span(min(asked.start, more.start), max(asked.end, more.end))
    if state_of(known, asked) is DayState.COVERED:
        assert state_of(known, longer) is DayState.COVERED


@given(st.lists(facts, max_size=9, unique_by=lambda each: each.day), spans, moments, st.integers(0, 86_400))
def test_every_day_is_known_or_due_or_has_just_failed(
    known: list[DayFacts], asked: Span, at: datetime, seconds: int
) -> None:
    holds = timedelta(seconds=seconds)
    coverage = judged(known, asked)
    settled = set(known_days(coverage, at, running_holds=holds))
    due = set(due_days(coverage, at, running_holds=holds))
    left = {each.day for each in known} - settled - due
    assert settled.isdisjoint(due)
    assert set(coverage.covered) <= settled <= {*coverage.covered, *coverage.running}
    assert left <= set(coverage.failed)


def test_the_days_of_a_range_are_all_of_it() -> None:
    assert days_between(date(2026, 2, 27), date(2026, 3, 2)) == (
        date(2026, 2, 27),
        date(2026, 2, 28),
        date(2026, 3, 1),
        date(2026, 3, 2),
    )
    assert days_between(DAY, DAY - timedelta(days=1)) == ()
