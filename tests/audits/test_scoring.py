"""Statuses make points, points make steps, steps make the audit; nothing else does."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.audits.scoring import (
    NIVEAUX,
    VALUES,
    AuditScore,
    PointMark,
    StepOutcome,
    fraction_text,
    percent_text,
    percentage,
    score_audit,
    score_step,
    score_text,
)
from conforme.audits.verdicts import Conforme, Niveau, Statut

PRESENT, PARTIEL, ABSENT, NA = Statut.PRESENT, Statut.PARTIEL, Statut.ABSENT, Statut.NON_APPLICABLE


def marks(*statuts: Statut) -> tuple[PointMark, ...]:
    return tuple(PointMark(statut) for statut in statuts)


def outcome(position: int, *statuts: Statut, weight: int = 5, critical: bool = False) -> StepOutcome:
    return StepOutcome(position, weight, critical, marks(*statuts))


def unanalysed(position: int, *, critical: bool = False) -> StepOutcome:
    return StepOutcome(position, 5, critical, None)


@pytest.mark.parametrize(
    ("statuts", "weight", "score", "conforme", "niveau"),
    [
        ((PRESENT, PRESENT), 5, 5, Conforme.CONFORME, Niveau.EXCELLENT),
        ((PRESENT, PARTIEL), 5, 4, Conforme.PARTIEL, Niveau.ACCEPTABLE),
        ((PRESENT,) * 17 + (ABSENT,) * 3, 10, 9, Conforme.CONFORME, Niveau.BON),
        ((PRESENT,) * 19 + (ABSENT,), 10, 10, Conforme.CONFORME, Niveau.EXCELLENT),
        ((PRESENT, PRESENT, ABSENT, ABSENT, ABSENT), 5, 2, Conforme.PARTIEL, Niveau.ACCEPTABLE),
        ((PRESENT, ABSENT, ABSENT), 5, 2, Conforme.NON_CONFORME, Niveau.INSUFFISANT),
        ((PRESENT, ABSENT), 5, 3, Conforme.PARTIEL, Niveau.ACCEPTABLE),
        ((PRESENT, NA, NA), 5, 5, Conforme.CONFORME, Niveau.EXCELLENT),
        ((ABSENT,), 5, 0, Conforme.NON_CONFORME, Niveau.INSUFFISANT),
        ((NA, NA), 5, None, Conforme.CONFORME, Niveau.EXCELLENT),
        ((), 5, None, Conforme.CONFORME, Niveau.EXCELLENT),
    ],
)
def test_a_step_is_scored_from_its_statuses(
    statuts: tuple[Statut, ...], weight: int, score: int | None, conforme: Conforme, niveau: Niveau
) -> None:
    result = score_step(marks(*statuts), weight)
    assert (result.score, result.conforme, result.niveau) == (score, conforme, niveau)


def test_a_half_is_rounded_up_never_to_even() -> None:
    assert [score_step(marks(PRESENT, ABSENT), weight).score for weight in (1, 3, 5, 7, 9)] == [1, 2, 3, 4, 5]


def test_a_point_counts_by_its_weight() -> None:
    result = score_step(
        [PointMark(PRESENT, weight=3), PointMark(ABSENT, weight=1), PointMark(NA, weight=9)], 4
    )
    assert (result.score, result.earned, result.applicable) == (3, Decimal(3), Decimal(4))


def test_a_critical_point_that_is_absent_fails_the_step_whatever_else_is_met() -> None:
    met = [PointMark(PRESENT)] * 30
    result = score_step([*met, PointMark(ABSENT, critical=True)], 10)
    assert (result.score, result.conforme, result.niveau) == (10, Conforme.NON_CONFORME, Niveau.REJET)
    assert score_step([*met, PointMark(PARTIEL, critical=True)], 10).conforme is Conforme.CONFORME


def test_an_audit_adds_its_steps() -> None:
    score = score_audit(
        [outcome(1, PRESENT, weight=10), outcome(2, PRESENT, ABSENT, weight=5), outcome(3, PARTIEL)]
    )
    assert score == AuditScore(16, 20, Decimal("80.00"), Niveau.BON, True, 0, 0, ())
    assert score.complete


def test_a_step_where_nothing_applies_leaves_the_denominator() -> None:
    score = score_audit([outcome(1, PRESENT), outcome(2, NA, weight=10, critical=True)])
    assert (score.earned, score.total, score.niveau) == (5, 5, Niveau.EXCELLENT)
    assert (score.critical_passed, score.critical_total) == (0, 0)


@pytest.mark.parametrize("statuts", [(ABSENT,), (PARTIEL,), (PRESENT, PARTIEL)])
def test_a_critical_step_that_is_not_conforme_rejects_the_audit(statuts: tuple[Statut, ...]) -> None:
    score = score_audit(
        [*(outcome(n, PRESENT, weight=10) for n in range(1, 10)), outcome(10, *statuts, critical=True)]
    )
    assert (score.niveau, score.is_compliant) == (Niveau.REJET, False)
    assert (score.critical_passed, score.critical_total) == (0, 1)
    assert score.percentage > 90


def test_a_critical_point_rejects_the_audit_from_within_an_ordinary_step() -> None:
    step = StepOutcome(1, 5, is_critical=False, marks=(PointMark(PRESENT), PointMark(ABSENT, critical=True)))
    score = score_audit([step, outcome(2, PRESENT, weight=10)])
    assert (score.niveau, score.critical_passed, score.critical_total) == (Niveau.REJET, 0, 1)


@pytest.mark.parametrize("critical", [True, False])
def test_what_was_not_analysed_is_no_verdict(critical: bool) -> None:
    score = score_audit([outcome(1, PRESENT), unanalysed(7, critical=critical), unanalysed(3)])
    assert (score.niveau, score.is_compliant, score.complete) == (Niveau.PENDING, False, False)
    assert score.not_analysed == (3, 7)
    assert (score.earned, score.total) == (5, 5)


def test_an_audit_where_nothing_applies_is_not_judged() -> None:
    score = score_audit([outcome(1, NA), outcome(2)])
    assert (score.niveau, score.percentage, score.is_compliant) == (Niveau.PENDING, Decimal(0), False)


@pytest.mark.parametrize(
    ("earned", "niveau"),
    [
        (1000, Niveau.EXCELLENT),
        (900, Niveau.EXCELLENT),
        (899, Niveau.BON),
        (750, Niveau.BON),
        (749, Niveau.ACCEPTABLE),
        (600, Niveau.ACCEPTABLE),
        (599, Niveau.INSUFFISANT),
        (0, Niveau.INSUFFISANT),
    ],
)
def test_niveaux_begin_at_their_thresholds(earned: int, niveau: Niveau) -> None:
    met, unmet = outcome(1, PRESENT, weight=earned), outcome(2, ABSENT, weight=1000 - earned)
    assert score_audit([met, unmet]).niveau is niveau


def test_the_percentage_is_judged_before_it_is_rounded() -> None:
    met, unmet = outcome(1, PRESENT, weight=89_999), outcome(2, ABSENT, weight=10_001)
    score = score_audit([met, unmet])
    assert (score.percentage, score.niveau) == (Decimal("90.00"), Niveau.BON)


@pytest.mark.parametrize("compliant_from", [niveau for niveau in NIVEAUX if niveau is not Niveau.REJET])
@pytest.mark.parametrize(
    ("earned", "niveau"), [(95, "EXCELLENT"), (80, "BON"), (65, "ACCEPTABLE"), (10, "INSUFFISANT")]
)
def test_what_is_compliant_is_a_choice(compliant_from: Niveau, earned: int, niveau: str) -> None:
    met, unmet = outcome(1, PRESENT, weight=earned), outcome(2, ABSENT, weight=100 - earned)
    expected = NIVEAUX.index(Niveau(niveau)) <= NIVEAUX.index(compliant_from)
    assert score_audit([met, unmet], compliant_from).is_compliant is expected


def test_a_rejected_audit_is_never_compliant() -> None:
    assert not score_audit([outcome(1, ABSENT, critical=True)], Niveau.INSUFFISANT).is_compliant


# For any statuses

statuts = st.sampled_from(list(Statut))
point_marks = st.builds(PointMark, statuts, st.integers(1, 10), st.booleans())
steps = st.lists(
    st.builds(
        StepOutcome,
        position=st.integers(1, 100),
        weight=st.integers(1, 25),
        is_critical=st.booleans(),
        marks=st.none() | st.lists(point_marks, max_size=8).map(tuple),
    ),
    max_size=12,
    unique_by=lambda step: step.position,
)


@given(st.lists(point_marks, max_size=12), st.integers(1, 25))
def test_a_step_score_is_the_exact_share_rounded_half_up(points: list[PointMark], weight: int) -> None:
    applied = [point for point in points if point.statut in VALUES]
    result = score_step(points, weight)
    if result.score is None:
        assert not applied
        return
    share = Fraction(
        sum(Fraction(VALUES[p.statut]) * p.weight for p in applied), sum(p.weight for p in applied)
    )
    assert result.score == (2 * share * weight + 1) // 2
    assert 0 <= result.score <= weight


@given(steps)
def test_the_order_of_the_steps_does_not_matter(outcomes: list[StepOutcome]) -> None:
    assert score_audit(outcomes) == score_audit(outcomes[::-1])


@given(steps)
def test_an_audit_is_consistent_with_itself(outcomes: list[StepOutcome]) -> None:
    score = score_audit(outcomes)
    assert 0 <= score.earned <= score.total
    assert score.percentage == percentage(score.earned, score.total) <= 100
    assert 0 <= score.critical_passed <= score.critical_total <= len(outcomes)
    judged = score.complete and score.total > 0
    assert (score.niveau is Niveau.PENDING) is not judged
    assert (score.niveau is Niveau.REJET) is (judged and score.critical_passed < score.critical_total)


@given(steps, st.data())
def test_a_better_status_never_lowers_the_score(outcomes: list[StepOutcome], data: st.DataObject) -> None:
    marked = [step for step in outcomes if step.marks]
    if not marked:
        return
    step = data.draw(st.sampled_from(marked))
    assert step.marks is not None
    at = data.draw(st.integers(0, len(step.marks) - 1))
    if step.marks[at].statut is NA:
        return
    mark = step.marks[at]
    better = (*step.marks[:at], PointMark(PRESENT, mark.weight, mark.critical), *step.marks[at + 1 :])
    improved = [
        StepOutcome(s.position, s.weight, s.is_critical, better) if s is step else s for s in outcomes
    ]
    before, after = score_audit(outcomes), score_audit(improved)
    assert after.percentage >= before.percentage
    if before.niveau is not Niveau.PENDING:
        assert NIVEAUX.index(after.niveau) <= NIVEAUX.index(before.niveau)


# On the wire


@pytest.mark.parametrize(
    ("score", "text", "percent"),
    [
        (Decimal("85.50"), "85.5", "85.50%"),
        (Decimal(100), "100", "100.00%"),
        (Decimal("0.00"), "0", "0.00%"),
        (Decimal("66.665"), "66.67", "66.67%"),
        (Decimal("1E+1"), "10", "10.00%"),
    ],
)
def test_scores_are_written_as_the_wire_wants_them(score: Decimal, text: str, percent: str) -> None:
    assert (score_text(score), percent_text(score)) == (text, percent)


def test_fractions_are_written_as_the_wire_wants_them() -> None:
    assert fraction_text(17, 20) == "17/20"


def test_percentages_round_half_up() -> None:
    assert percentage(1, 3) == Decimal("33.33")
    assert percentage(2, 3) == Decimal("66.67")
    assert percentage(1, 800) == Decimal("0.13")
    assert percentage(0, 0) == Decimal(0)
