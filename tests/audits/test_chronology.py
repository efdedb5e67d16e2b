"""Steps that must come before others: what is late, and what never is."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from conforme.audit_configs.rules import Rules
from conforme.audits.chronology import TAKEN_UP, Heard, Moment, PointKey, late_points
from conforme.audits.verdicts import Statut
from rubrics import step

OPENING, LATER = range(1, 4), range(4, 9)


def rules() -> Rules:
    steps = [
        step(at, chronological_important=at in OPENING, control_points=["Il le dit."])
        for at in (*OPENING, *LATER)
    ]
    return Rules.model_validate({"name": "Grille", "steps": steps})


def heard(seconds: Mapping[int, float | None], statut: Statut = Statut.PRESENT) -> dict[PointKey, Heard]:
    return {
        PointKey(at, 1): Heard(statut, (None if second is None else Moment(0, second),))
        for at, second in seconds.items()
    }


IN_ORDER = {at: 10.0 * at for at in (*OPENING, *LATER)}


def late(said: dict[PointKey, Heard]) -> list[int]:
    return [each.key.position for each in late_points(rules(), said)]


def test_a_call_in_order_has_nothing_late() -> None:
    assert late(heard(IN_ORDER)) == []


def test_what_is_said_after_the_subject_was_taken_up_is_late() -> None:
    assert late(heard(IN_ORDER | {2: 65.0})) == [2]
    [found] = late_points(rules(), heard(IN_ORDER | {2: 65.0}))
    assert (found.said, found.taken_up) == (Moment(0, 65.0), Moment(0, 60.0))


def test_one_later_subject_touched_early_makes_nothing_late() -> None:
    assert late(heard(IN_ORDER | {4: 1.0})) == []
    assert late(heard(IN_ORDER | dict.fromkeys([4, 5, 6][:TAKEN_UP], 1.0))) == [1, 2, 3]


def test_steps_of_the_opening_are_not_held_against_each_other() -> None:
    assert late(heard(IN_ORDER | {1: 30.0, 3: 10.0})) == []


def test_a_call_of_another_day_comes_after_whatever_its_minutes() -> None:
    said = heard(IN_ORDER)
    said[PointKey(1, 1)] = Heard(Statut.PRESENT, (Moment(1, 2.0),))
    assert late(said) == [1]


def test_what_was_said_again_later_was_still_said_in_time() -> None:
    said = heard(IN_ORDER)
    said[PointKey(1, 1)] = Heard(Statut.PRESENT, (Moment(0, 75.0), Moment(0, 10.0)))
    assert late(said) == []


SECONDS = st.dictionaries(st.integers(1, 8), st.none() | st.floats(0, 3_000), min_size=1, max_size=8)


@given(SECONDS, st.integers(1, 8))
def test_an_unknown_time_convicts_nobody(seconds: dict[int, float | None], position: int) -> None:
    blind = late(heard(seconds | {position: None}))
    assert position not in blind
    known = heard({at: second for at, second in seconds.items() if second is not None and at != position})
    assert blind == late(known)


@given(SECONDS)
def test_only_flagged_steps_that_are_met_can_be_late(seconds: dict[int, float | None]) -> None:
    assert set(late(heard(seconds))) <= set(OPENING)
    assert late(heard(seconds, Statut.ABSENT)) == []
    assert late(heard(seconds, Statut.NON_APPLICABLE)) == []


@given(SECONDS, st.floats(0, 1_000))
def test_the_same_call_a_while_later_is_judged_alike(seconds: dict[int, float | None], by: float) -> None:
    rounded = {at: None if each is None else float(round(each)) for at, each in seconds.items()}
    moved = {at: None if each is None else each + round(by) for at, each in rounded.items()}
    assert late(heard(rounded)) == late(heard(moved))


@given(SECONDS, st.integers(1, 3), st.floats(0, 100))
def test_saying_it_earlier_never_makes_it_late(
    seconds: dict[int, float | None], position: int, by: float
) -> None:
    said = seconds.get(position)
    if said is None or position in late(heard(seconds)):
        return
    assert position not in late(heard(seconds | {position: max(0.0, said - by)}))
