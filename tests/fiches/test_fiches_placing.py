"""On which day a sale is noted that the search of a range has found: pure."""

from datetime import date, timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from conforme.fiches.coverage import Span, days_between
from conforme.fiches.placing import Place, displaced, halves, place

FIRST, LAST = date(2026, 1, 5), date(2026, 1, 11)
WEEK = Span(FIRST, LAST)
DAYS = days_between(FIRST, LAST)
dates = st.dates(date(2025, 12, 20), date(2026, 1, 31))
spans = st.tuples(dates, dates).map(lambda pair: Span(min(pair), max(pair)))
told = st.lists(
    st.none() | dates.map(lambda day: day.strftime("%d/%m/%Y 09:12")) | st.just("hier"), max_size=2
)


@st.composite
def places(draw: st.DrawFn) -> Place:
    sold = draw(spans)
    return Place(draw(st.dates(sold.start, sold.end)), sold)


def test_the_last_change_says_more_than_the_entry_and_both_only_within_what_was_searched() -> None:
    def on(*said: str | None) -> date | None:
        found = place(said, None, WEEK, DAYS)
        return found and found.day

    assert on("07/01/2026 10:00", "06/01/2026 10:00") == date(2026, 1, 7)
    assert on("07/02/2026 10:00", "06/01/2026 10:00") == date(2026, 1, 6)
    assert on(None, "03/01/2026 10:00") == FIRST
    assert on(None, None) == FIRST


@given(told, st.none() | places(), spans, st.data())
def test_a_sale_is_noted_on_a_day_that_was_searched_for_and_within_what_is_sure(
    said: list[str | None], known: Place | None, searched: Span, data: st.DataObject
) -> None:
    every = days_between(searched.start, searched.end)
    wanted = sorted(data.draw(st.sets(st.sampled_from(every), min_size=1)))
    found = place(said, known, searched, wanted)
    if found is None:
        assert known is not None
        return
    assert found.day in wanted
    assert found.sold.start <= found.day <= found.sold.end
    assert found.sold.within(searched)


@given(told, places(), spans)
def test_what_is_surely_known_is_neither_moved_nor_lost(
    said: list[str | None], known: Place, searched: Span
) -> None:
    sure = Place(known.day, Span(known.day, known.day))
    assume(searched.start <= sure.day <= searched.end)
    assert place(said, sure, searched, days_between(searched.start, searched.end)) == sure
    others = [day for day in days_between(searched.start, searched.end) if day != sure.day]
    if others:
        assert place(said, sure, searched, others) is None


@given(places(), spans)
def test_a_sale_that_is_not_found_again_is_of_a_day_outside_that_it_may_be_of(
    known: Place, searched: Span
) -> None:
    assume(searched.start <= known.day <= searched.end)
    assume(known.sold.start < searched.start or searched.end < known.sold.end)
    found = displaced(known, searched)
    assert not searched.start <= found.day <= searched.end
    assert found.sold.start <= found.day <= found.sold.end
    assert found.sold.within(known.sold)


sales = st.lists(st.tuples(st.sampled_from(DAYS), told), max_size=8)
searches = st.lists(
    st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS)).map(lambda pair: Span(min(pair), max(pair))),
    max_size=6,
)


@given(sales, searches)
def test_whatever_is_searched_each_range_holds_its_sales_and_no_other(
    made: list[tuple[date, list[str | None]]], spans: list[Span]
) -> None:
    """A world of sales, of which only the search knows when they were made."""
    noted: dict[int, Place] = {}
    for span in spans:
        days = days_between(span.start, span.end)
        held = {number for number, (day, _) in enumerate(made) if span.start <= day <= span.end}
        for number in held:
            found = place(made[number][1], noted.get(number), span, days)
            assert found is not None
            noted[number] = found
        for number, known in noted.items():
            if number not in held and span.start <= known.day <= span.end:
                noted[number] = displaced(known, span)
        assert {number for number, each in noted.items() if each.day in days} == held
        for number, each in noted.items():
            assert each.sold.start <= made[number][0] <= each.sold.end


@given(st.integers(2, 100))
def test_halves_are_shorter_and_leave_nothing_out(count: int) -> None:
    days = [FIRST + timedelta(days=rank) for rank in range(count)]
    first, second = halves(days)
    assert [*first, *second] == days
    assert max(len(first), len(second)) < count
