"""The account of `python -m bench month` finds what it looks for."""

from typing import Any

from bench.account import repeats
from bench.month import summary

DEATH = 100.0


def entry(subject: str, arrived: float, outcome: str = "answered") -> dict[str, Any]:
    return {"subject": subject, "arrived": arrived, "ended": arrived + 1, "outcome": outcome}


def test_what_is_asked_again_is_explained_by_a_death_beside_its_answer_alone() -> None:
    lost = [entry("a", DEATH - 1), entry("a", DEATH + 8)]
    assert repeats(lost, [DEATH]) == (1, 0)
    paid_again = [entry("b", DEATH - 60), entry("b", DEATH + 8)]
    assert repeats(paid_again, [DEATH]) == (1, 1)
    assert repeats(lost + paid_again, [20.0, DEATH, 180.0]) == (2, 1)


def test_what_was_refused_or_cut_off_may_be_asked_again() -> None:
    refused = [entry("a", 0, "rate_limited"), entry("a", 2, "abandoned"), entry("a", 4)]
    assert repeats(refused, []) == (0, 0)
    assert repeats([*refused, entry("a", 6)], []) == (1, 1)


def test_the_worst_and_nearly_the_worst_are_told() -> None:
    assert summary([]) == {"count": 0, "median": 0, "p95": 0, "max": 0}
    waits = [number / 100 for number in range(100)]
    assert summary(waits) == {"count": 100, "median": 0.49, "p95": 0.95, "max": 0.99}
