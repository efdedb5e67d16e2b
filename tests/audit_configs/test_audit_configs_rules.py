from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from conforme.audit_configs.rules import ControlPoint, Rules
from rubrics import any_rules, points, rules, step


def test_a_plain_string_is_a_control_point_heard_in_the_call() -> None:
    assert step(control_points=["Le prix est dit."]).control_points == (
        ControlPoint(text="Le prix est dit."),
    )
    assert ControlPoint(text="Le prix est dit.").audible


def test_a_point_proven_elsewhere_is_not_audible() -> None:
    assert not ControlPoint(text="Consentement daté", proof=("crm", "document")).audible


def test_complete_rules_have_no_problems() -> None:
    assert rules(count=3).problems() == []


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (rules(count=0), "steps: at least one step is needed"),
        (rules(name="  "), "name: must not be blank"),
        (rules(steps=[step(0), step(1)]), "steps: positions must be exactly 1 to 2, each once"),
        (rules(steps=[step(1), step(1)]), "steps: positions must be exactly 1 to 2, each once"),
        (rules(steps=[step(1), step(3)]), "steps: positions must be exactly 1 to 2, each once"),
        (rules(steps=[step(1), step(2, name="\t")]), "steps.1.name: must not be blank"),
        (rules(steps=[step(1, prompt="")]), "steps.0.prompt: must not be blank"),
        (rules(steps=[step(1, weight=0)]), "steps.0.weight: must be between 1 and 10"),
        (rules(steps=[step(1, weight=25)]), "steps.0.weight: must be between 1 and 10"),
        (
            rules(steps=[step(1, control_points=[])]),
            "steps.0.control_points: at least one control point is needed",
        ),
        (
            rules(steps=[step(1, control_points=["a", " "])]),
            "steps.0.control_points.1.text: must not be blank",
        ),
        (
            rules(steps=[step(1, control_points=[{"text": "a", "weight": 0}])]),
            "steps.0.control_points.0.weight: must be between 1 and 10",
        ),
        (rules(valid_from="2026-02-01", valid_to="2026-01-31"), "valid_to: must not be before valid_from"),
        (
            rules(
                steps=[
                    step(
                        1,
                        control_points=[{"text": "a", "valid_from": "2026-02-01", "valid_to": "2026-01-01"}],
                    )
                ]
            ),
            "steps.0.control_points.0.valid_to: must not be before valid_from",
        ),
    ],
)
def test_each_obstacle_to_a_run_names_its_field(broken: Rules, problem: str) -> None:
    assert broken.problems() == [problem]


@pytest.mark.parametrize("text", ["a\0b", "a\x1bb", "x" * 2001])
def test_hostile_texts_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ControlPoint(text=text)


def test_a_point_needs_some_proof() -> None:
    with pytest.raises(ValidationError):
        ControlPoint(text="a", proof=())


@given(points())
def test_text_and_details_make_the_point_again(point: ControlPoint) -> None:
    assert ControlPoint.model_validate({"text": point.text, **point.details()}) == point
    assert point.plain == (point.details() == {})


@given(any_rules())
def test_rules_survive_their_canonical_text(some: Rules) -> None:
    again = Rules.model_validate_json(some.canonical())
    assert again == some
    assert again.sha256() == some.sha256()


@given(any_rules(), any_rules())
def test_the_digest_tells_different_rules_apart(one: Rules, other: Rules) -> None:
    assert (one == other) == (one.sha256() == other.sha256())


@given(st.dates(), st.integers(0, 400), st.integers(-500, 500))
def test_a_rule_applies_from_its_first_day_to_its_last(first: date, length: int, offset: int) -> None:
    start = first.replace(year=min(max(first.year, 10), 9990), day=min(first.day, 28))
    rule = ControlPoint(text="a", valid_from=start, valid_to=start + timedelta(days=length))
    assert rule.applies(start + timedelta(days=offset)) == (0 <= offset <= length)


def test_an_unknown_day_or_origin_leaves_the_rule_standing() -> None:
    rule = ControlPoint(text="a", valid_to=date(2026, 8, 10), call_origin="unsolicited")
    assert rule.applies(None)
    assert rule.applies(date(2026, 8, 10), frozenset(["unsolicited"]))
    assert not rule.applies(date(2026, 8, 10), frozenset(["client"]))
    assert not rule.applies(date(2026, 8, 11))
