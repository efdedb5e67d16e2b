"""The days that lists are asked for: read as dates of the calendar, or refused by name."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.fiches.coverage import Span
from conforme.fiches.list_dates import day_or_none, given_day, given_days
from conforme.foundation.errors import Invalid

IMPOSSIBLE = ("2025-13-40", "2025-02-29", "2025-00-10", "0000-01-01", "2025-04-31")
NOT_SO_WRITTEN = (
    "05/10/2025",
    "2025-1-5",
    "20250105",
    "2025-01-05T00:00:00Z",
    " 2025-01-05",
    "٢٠٢٥-٠١-٠٥",
    "x",
)


@given(st.dates())
def test_every_day_of_the_calendar_is_read_as_itself(day: date) -> None:
    assert given_day(day.isoformat(), "date") == day


@given(st.text(max_size=12))
def test_whatever_else_is_written_is_refused_and_never_guessed(text: str) -> None:
    day = day_or_none(text)
    assert day is None or day.isoformat() == text


@pytest.mark.parametrize("text", [*IMPOSSIBLE, *NOT_SO_WRITTEN])
def test_what_is_no_day_names_the_parameter(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        given_days("2025-01-01", text)
    assert (refused.value.message, refused.value.field) == (
        "Invalid date format. Use YYYY-MM-DD",
        "endDate",
    )


@pytest.mark.parametrize("blank", [None, ""])
def test_what_is_missing_is_named_before_what_is_wrong(blank: str | None) -> None:
    with pytest.raises(Invalid) as refused:
        given_days("2025-13-40", blank)
    assert refused.value.message == "Missing or invalid endDate parameter (YYYY-MM-DD required)"
    assert refused.value.field == "endDate"


@given(st.dates(), st.dates())
def test_a_range_is_in_order_or_refused(one: date, other: date) -> None:
    if one <= other:
        assert given_days(one.isoformat(), other.isoformat()) == Span(one, other)
    else:
        with pytest.raises(Invalid, match="startDate must be before or equal to endDate"):
            given_days(one.isoformat(), other.isoformat())
