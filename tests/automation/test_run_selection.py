"""Which fiches a run takes: a matter of what is known, the same whoever asks and in whatever order."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.automation.rules import Sample, Selection
from conforme.automation.selection import (
    AUDITED,
    NO_RECORDINGS,
    NOT_FOUND,
    OTHER_GROUP,
    OUT_OF_SCOPE,
    Candidate,
    Details,
    a_month_before,
    choose,
    days_of,
    late_reason,
    most_recordings,
    shares,
)

GROUPES = (None, "NORD", "SUD", "EST")
candidates = st.lists(
    st.builds(
        Candidate,
        fiche_id=st.integers(1, 60).map(str),
        groupe=st.sampled_from(GROUPES),
        advisor=st.sampled_from((None, "7", "8")),
        audited=st.booleans(),
    ),
    max_size=60,
    unique_by=lambda each: each.fiche_id,
)
samples = st.none() | st.builds(
    Sample,
    percentage=st.decimals(Decimal("0.001"), Decimal(100), places=3),
    stratify_by=st.sampled_from((None, "groupe", "advisor")),
)
counted = st.builds(
    Sample, count=st.integers(1, 80), stratify_by=st.sampled_from((None, "groupe", "advisor"))
)
selections = st.builds(
    Selection,
    mode=st.just("date_range"),
    groupes=st.lists(st.sampled_from(GROUPES[1:]), max_size=2).map(tuple),
    only_unaudited=st.booleans(),
    max_fiches=st.none() | st.integers(1, 70),
    sample=samples | counted,
)
days = st.dates(date(2000, 1, 1), date(2100, 1, 1))


def selection(**fields: Any) -> Selection:
    return Selection(mode="date_range", **fields)


@given(candidates, selections, st.integers(0, 2**32))
def test_each_candidate_is_taken_ignored_with_a_reason_or_left(
    found: list[Candidate], wanted: Selection, seed: int
) -> None:
    choice = choose(found, wanted, seed=seed)
    assert len(set(choice.taken)) == len(choice.taken)
    assert set(choice.taken).isdisjoint(choice.ignored)
    assert len(choice.taken) + len(choice.ignored) + choice.left == len(found)
    assert len(choice.taken) <= (wanted.max_fiches or len(found))
    assert set(choice.ignored.values()) <= {AUDITED, OTHER_GROUP}
    known = {each.fiche_id: each for each in found}
    assert [each.fiche_id for each in found if each.fiche_id in set(choice.taken)] == list(choice.taken)
    for fiche_id in choice.taken:
        each = known[fiche_id]
        assert not wanted.groupes or each.groupe is None or each.groupe in wanted.groupes
        assert not (wanted.only_unaudited and each.audited)


@given(candidates, samples | counted, st.integers(0, 2**32), st.randoms())
def test_the_same_seed_draws_the_same_fiches_in_whatever_order_they_come(
    found: list[Candidate], sample: Sample | None, seed: int, chance: Any
) -> None:
    wanted = selection(sample=sample)
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert set(choose(found, wanted, seed=seed).taken) == set(choose(shuffled, wanted, seed=seed).taken)


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 500), max_size=8), counted | samples)
def test_every_stratum_gives_its_share(sizes: dict[str, int], sample: Sample | None) -> None:
    if sample is None:
        return
    drawn = shares(sizes, sample)
    assert all(0 <= drawn[name] <= size for name, size in sizes.items())
    if sample.percentage is not None:
        assert all(drawn[name] >= 1 for name in sizes), "rounded up: none is left out"
    else:
        assert sum(drawn.values()) == min(sample.count or 0, sum(sizes.values()))
        exact = {name: sum(drawn.values()) * size / sum(sizes.values()) for name, size in sizes.items()}
        assert all(abs(drawn[name] - exact[name]) < 1 for name in sizes)


def test_another_seed_draws_other_fiches() -> None:
    found = [Candidate(str(number)) for number in range(1, 1001)]
    wanted = selection(sample=Sample(count=20))
    assert choose(found, wanted, seed=1) != choose(found, wanted, seed=2)
    assert len(choose(found, wanted, seed=1).taken) == 20


@given(days, st.sampled_from(("last_24h", "yesterday", "last_week", "last_month")))
def test_days_follow_one_another_and_none_is_to_come(today: date, name: Any) -> None:
    found = days_of(selection(date_range=name), today)
    assert found == tuple(found[0] + timedelta(days=rank) for rank in range(len(found)))
    assert found[-1] == today - timedelta(days=name == "yesterday")
    lengths = {"last_24h": {2}, "yesterday": {1}, "last_week": {8}, "last_month": set(range(29, 33))}
    assert len(found) in lengths[name]


@pytest.mark.parametrize(
    ("today", "before"),
    [
        (date(2026, 3, 31), date(2026, 2, 28)),
        (date(2024, 3, 30), date(2024, 2, 29)),
        (date(2026, 1, 15), date(2025, 12, 15)),
        (date(2026, 5, 31), date(2026, 4, 30)),
    ],
)
def test_a_month_before_is_in_the_month_before(today: date, before: date) -> None:
    assert a_month_before(today) == before


@pytest.mark.parametrize(
    ("start", "end", "count"),
    [
        ("05/01/2026", "07/01/2026", 3),
        ("2026-01-05", "2026-01-07", 3),
        ("2026-01-05", "07/01/2026", 3),
        ("05/01/2026", None, 1),
        ("05/01/2026", "31/12/2030", 6),
        ("11/01/2026", None, 0),
    ],
)
def test_custom_days_are_read_in_both_forms_and_end_today(
    start: str | None, end: str | None, count: int
) -> None:
    wanted = selection(date_range="custom", custom_start_date=start, custom_end_date=end)
    assert len(days_of(wanted, date(2026, 1, 10))) == count


def test_without_a_range_there_are_no_days() -> None:
    assert days_of(selection(), date(2026, 1, 10)) == ()


def test_once_details_are_known_they_decide() -> None:
    wanted = selection(groupes=("NORD",), only_with_recordings=True)
    reasons = [
        late_reason(details, wanted, most_recordings=3)
        for details in (
            Details(found=False),
            Details(found=True, groupe=None, recordings=1),
            Details(found=True, groupe="SUD", recordings=1),
            Details(found=True, groupe="NORD", recordings=4),
            Details(found=True, groupe="NORD", recordings=0),
            Details(found=True, groupe="NORD", recordings=3),
        )
    ]
    assert reasons == [
        NOT_FOUND,
        OTHER_GROUP,
        OTHER_GROUP,
        "Too many recordings (4>3)",
        NO_RECORDINGS,
        None,
    ]
    assert late_reason(Details(found=True), selection(), most_recordings=3) is None


@given(st.none() | st.integers(1, 200), st.integers(0, 200))
def test_no_fiche_has_more_recordings_than_can_be_audited(asked: int | None, configured: int) -> None:
    most = most_recordings(selection(max_recordings_per_fiche=asked), configured, 50)
    assert most == min(50, asked or configured or 50)


@given(candidates, st.lists(st.integers(1, 99).map(str), max_size=20))
def test_each_fiche_that_is_named_has_its_place_whoever_sees_it(
    found: list[Candidate], more: list[str]
) -> None:
    names = tuple(each.fiche_id for each in found) + tuple(more)
    choice = choose(found, Selection(mode="manual", fiche_ids=names))
    assert {*choice.taken, *choice.ignored} == set(names)
    known = {each.fiche_id for each in found}
    assert {each for each, why in choice.ignored.items() if why == OUT_OF_SCOPE} == set(names) - known
