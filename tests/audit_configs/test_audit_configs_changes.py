"""What changed between two states of a configuration: all of it, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from conforme.audit_configs.changes import Change, changes
from conforme.audit_configs.rules import ControlPoint, Rules, StepRule
from rubrics import any_rules, rules, step


@given(any_rules(), any_rules())
def test_only_equal_states_show_no_change(one: Rules, other: Rules) -> None:
    assert changes(one, one) == []
    assert (changes(one, other) == []) == (_in_order(one) == _in_order(other))


@given(any_rules(), any_rules())
def test_looked_at_backwards_what_was_added_was_removed(one: Rules, other: Rules) -> None:
    forth, back = changes(one, other), changes(other, one)
    assert _count(forth, "added") == _count(back, "removed")
    assert _count(forth, "removed") == _count(back, "added")


@given(st.permutations(range(1, 5)))
def test_steps_that_only_changed_places_show_their_positions_and_nothing_else(order: list[int]) -> None:
    before = rules(count=4)
    moved = [
        each.model_copy(update={"position": place}) for each, place in zip(before.steps, order, strict=True)
    ]
    after = before.model_copy(update={"steps": tuple(moved)})
    assert {change.path for change in changes(before, after)} == {
        f"steps[{place}].position"
        for each, place in zip(before.steps, order, strict=True)
        if each.position != place
    }


def test_a_renamed_step_is_the_one_at_its_position() -> None:
    before, after = _with(step(1, name="Accueil")), _with(step(1, name="Présentation"))
    assert changes(before, after) == [Change("changed", "steps[1].name", "Accueil", "Présentation")]


def test_a_point_keeps_its_identity_by_its_ref_when_its_text_and_place_change() -> None:
    orias, price = ControlPoint(text="ORIAS", ref="O3"), ControlPoint(text="Le prix est annoncé")
    before = _with(step(1, control_points=(orias, price)))
    after = _with(step(1, control_points=(price, orias.model_copy(update={"text": "Numéro ORIAS"}))))
    assert changes(before, after) == [
        Change("changed", "steps[1].control_points[1].position", 2, 1),
        Change("changed", "steps[1].control_points[2].position", 1, 2),
        Change("changed", "steps[1].control_points[2].text", "ORIAS", "Numéro ORIAS"),
    ]


def test_a_step_that_left_is_shown_whole_where_it_stood() -> None:
    gone = step(2, name="Relance")
    [change] = changes(_with(step(1), gone), _with(step(1)))
    assert (change.kind, change.path, change.after) == ("removed", "steps[2]", None)
    assert StepRule.model_validate(change.before) == gone


def _with(*steps: StepRule) -> Rules:
    return rules().model_copy(update={"steps": steps})


def _in_order(some: Rules) -> Rules:
    """The order in which steps are written down says nothing: their positions do."""
    return some.model_copy(update={"steps": tuple(sorted(some.steps, key=StepRule.model_dump_json))})


def _count(found: list[Change], kind: str) -> int:
    return sum(change.kind == kind for change in found)
