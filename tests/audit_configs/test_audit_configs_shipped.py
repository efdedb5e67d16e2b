import re

import pytest

from conforme.audit_configs import files
from conforme.audit_configs.rules import ControlPoint, StepRule
from conforme.audit_configs.shipped import COMPLETE, SHIPPED, SHORT, Shipped, shipped

COUNTS = {"O": 6, "N": 5, "A": 6, "D": 2, "S": 4, "X": 1, "Q": 1}
TOPICS = {f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)}


def shipped_points(name: Shipped) -> list[tuple[StepRule, ControlPoint]]:
    return [(step, point) for step in shipped(name).steps for point in step.control_points]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_configuration_can_run(name: Shipped) -> None:
    assert shipped(name).problems() == []


def test_the_complete_one_covers_every_topic_in_at_least_eighteen_steps() -> None:
    assert len(shipped(COMPLETE).steps) >= 18
    assert {point.ref for _, point in shipped_points(COMPLETE)} == TOPICS


def test_the_short_one_has_five_steps() -> None:
    assert len(shipped(SHORT).steps) == 5


@pytest.mark.parametrize("name", SHIPPED)
def test_every_point_says_its_topic_its_proof_and_its_source(name: Shipped) -> None:
    for step, point in shipped_points(name):
        assert point.ref in TOPICS, (step.name, point.text)
        assert "proof" in point.model_fields_set, (step.name, point.text)
        assert point.source, (step.name, point.text)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_step_tells_what_is_acceptable_and_gives_keywords(name: Shipped) -> None:
    for step in shipped(name).steps:
        assert re.search("acceptable", step.prompt, re.IGNORECASE), step.name
        assert step.description
        assert step.keywords
        assert 3 <= len(step.control_points) <= 7, step.name


@pytest.mark.parametrize("name", SHIPPED)
def test_a_fault_is_worded_as_one_and_must_be_heard(name: Shipped) -> None:
    for step, point in shipped_points(name):
        assert point.forbidden == point.text.startswith("Faute : "), (step.name, point.text)
        assert point.audible or not point.forbidden


@pytest.mark.parametrize("name", SHIPPED)
def test_a_critical_step_survives_one_minor_miss(name: Shipped) -> None:
    """A critical step must keep 85 % of its points: what is not critical in it weighs less than the rest."""
    for step in shipped(name).steps:
        heard = [point for point in step.control_points if point.audible and not point.forbidden]
        total = sum(point.weight for point in heard)
        minor = [point.weight for point in heard if not point.critical]
        if step.is_critical and minor:
            assert (total - max(minor)) / total >= 0.85, step.name


def test_the_rules_of_the_old_regime_do_not_reach_calls_after_it() -> None:
    for _, point in shipped_points(COMPLETE):
        if point.ref == "D2" and point.critical:
            assert str(point.valid_to) == "2026-08-10"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_configuration_survives_export(name: Shipped) -> None:
    assert files.load(files.dump(shipped(name), "yaml").encode(), "yaml") == shipped(name)
