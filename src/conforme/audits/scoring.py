"""Statuses → points → step → audit: the one place where a score is made (spec/audits §8). Pure, exact, half-up.

Run, rerun and human review all come here with the statuses that are stored; what the model thought of its own
score plays no part. Two things differ from a plain average: what does not apply leaves the denominator, and what
was not analysed is no failure: it leaves the audit without a niveau.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from conforme.audits.verdicts import Conforme, Niveau, Statut

VALUES: Final = {Statut.PRESENT: Decimal(1), Statut.PARTIEL: Decimal("0.5"), Statut.ABSENT: Decimal(0)}
"""Worth of a status; NON_APPLICABLE has none."""

NIVEAUX: Final = (Niveau.EXCELLENT, Niveau.BON, Niveau.ACCEPTABLE, Niveau.INSUFFISANT, Niveau.REJET)
"""Best first."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which share of the points on each conclusion is earned; shares of 1, bounds included."""

    step_conforme: Decimal = Decimal("0.85")
    step_partiel: Decimal = Decimal("0.4")
    step_excellent: Decimal = Decimal("0.95")
    audit_excellent: Decimal = Decimal("0.90")
    audit_bon: Decimal = Decimal("0.75")
    audit_acceptable: Decimal = Decimal("0.60")


THRESHOLDS: Final = Thresholds()


@dataclass(frozen=True, slots=True)
class PointMark:
    """The status held for one control point, with what the configuration says of it."""

    statut: Statut
    weight: int = 1
    critical: bool = False

    @property
    def failed_critical(self) -> bool:
        return self.critical and self.statut is Statut.ABSENT


@dataclass(frozen=True, slots=True)
class StepScore:
    """`score` is a whole number from 0 to the weight of the step, or `None` when nothing in it applies."""

    score: int | None
    earned: Decimal
    """Weighted points earned by the control points that apply, of `applicable`."""
    applicable: Decimal
    conforme: Conforme
    niveau: Niveau


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person concluded on a step as a whole; it stands in the place of what the statuses come to."""

    conforme: Conforme
    niveau: Niveau
    score: int
    """From 0 to the weight of the step."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """One step as stored; `marks` is `None` when it was not analysed, or not to the end."""

    position: int
    weight: int
    is_critical: bool
    marks: tuple[PointMark, ...] | None
    decided: Decision | None = None

    @property
    def critical(self) -> bool:
        """Whether the audit stands or falls with it: by itself or by one of its points, unless nothing applies."""
        if self.marks is None:
            return self.is_critical
        applied = [mark for mark in self.marks if mark.statut in VALUES]
        judged = bool(applied) or self.decided is not None
        return judged and (self.is_critical or any(mark.critical for mark in applied))

    @property
    def result(self) -> StepScore | None:
        """What the step comes to; `None` when nobody judged it."""
        if self.decided is not None:
            return _as_decided(self.decided, self.weight)
        return None if self.marks is None else score_step(self.marks, self.weight)


@dataclass(frozen=True, slots=True)
class AuditScore:
    """What an audit comes to.

    `earned` of `total` are step scores and weights of the steps that were analysed and apply; `percentage` is their
    ratio with two decimals. While a step is not analysed, or if nothing applies, `niveau` is PENDING and
    `is_compliant` false: the figures say how far the audit is, they do not judge.
    """

    earned: int
    total: int
    percentage: Decimal
    niveau: Niveau
    is_compliant: bool
    critical_passed: int
    critical_total: int
    not_analysed: tuple[int, ...]
    """Positions of the steps still missing."""

    @property
    def complete(self) -> bool:
        return not self.not_analysed


def score_step(marks: Sequence[PointMark], weight: int) -> StepScore:
    """The score of a step of this weight.

    When nothing applies the step is CONFORME, EXCELLENT (nothing was breached) and has no score. A critical point
    that is ABSENT makes it NON_CONFORME, REJET, whatever the other points earn.
    """
    applied = [mark for mark in marks if mark.statut in VALUES]
    earned = sum((VALUES[mark.statut] * mark.weight for mark in applied), Decimal(0))
    applicable = sum((Decimal(mark.weight) for mark in applied), Decimal(0))
    if any(mark.failed_critical for mark in applied):
        conforme, niveau = Conforme.NON_CONFORME, Niveau.REJET
    else:
        conforme, niveau = _conclusion(earned, applicable)
    score = _half_up(earned * weight, applicable) if applicable else None
    return StepScore(score, earned, applicable, conforme, niveau)


def _as_decided(decided: Decision, weight: int) -> StepScore:
    score = min(max(decided.score, 0), weight)
    return StepScore(score, Decimal(score), Decimal(weight), decided.conforme, decided.niveau)


_SHARES: Final = {
    Conforme.CONFORME: Decimal(1),
    Conforme.PARTIEL: Decimal("0.5"),
    Conforme.NON_CONFORME: Decimal(0),
}
_GRADES: Final = {
    Conforme.CONFORME: Niveau.BON,
    Conforme.PARTIEL: Niveau.ACCEPTABLE,
    Conforme.NON_CONFORME: Niveau.INSUFFISANT,
}


def decide(
    conforme: Conforme,
    weight: int,
    standing: StepScore | None,
    *,
    niveau: Niveau | None = None,
    score: int | None = None,
) -> Decision:
    """A person's conclusion, completed: what they do not say stays as it stands where that fits what they conclude.

    Args:
        conforme: what they conclude.
        weight: of the step; no score exceeds it.
        standing: what the step comes to without them; `None` when it was not analysed.
        niveau: the grade they give; else that of the step, if it has come to the same conclusion.
        score: the score they give; else that of the step, if it has one.
    """
    known = standing.score if standing is not None else None
    fallback = _half_up(_SHARES[conforme] * weight, Decimal(1)) if known is None else known
    same = standing is not None and standing.conforme is conforme
    grade = standing.niveau if standing is not None and same else _GRADES[conforme]
    return Decision(conforme, niveau or grade, min(fallback if score is None else score, weight))


def _conclusion(earned: Decimal, applicable: Decimal) -> tuple[Conforme, Niveau]:
    if earned >= THRESHOLDS.step_excellent * applicable:
        return Conforme.CONFORME, Niveau.EXCELLENT
    if earned >= THRESHOLDS.step_conforme * applicable:
        return Conforme.CONFORME, Niveau.BON
    if earned >= THRESHOLDS.step_partiel * applicable:
        return Conforme.PARTIEL, Niveau.ACCEPTABLE
    return Conforme.NON_CONFORME, Niveau.INSUFFISANT


def _half_up(numerator: Decimal, denominator: Decimal) -> int:
    """The quotient of two non-negative decimals as a whole number; exact, no quotient is rounded twice."""
    return int((2 * numerator + denominator) // (2 * denominator))


def score_audit(steps: Iterable[StepOutcome], compliant_from: Niveau = Niveau.ACCEPTABLE) -> AuditScore:
    """The score of an audit out of the statuses of its steps.

    Args:
        steps: every step of the configuration, each position once.
        compliant_from: the lowest niveau that counts as compliant; REJET never does.
    """
    ordered = sorted(steps, key=lambda step: step.position)
    results = [(step, step.result) for step in ordered]
    scored = [(step, result) for step, result in results if result is not None]
    earned = sum(result.score or 0 for _, result in scored)
    total = sum(step.weight for step, result in scored if result.score is not None)
    missing = tuple(step.position for step, result in results if result is None)
    critical_total = sum(step.critical for step in ordered)
    critical_passed = sum(step.critical and _passes(step, result) for step, result in scored)
    judged = not missing and total > 0
    niveau = _niveau(earned, total, rejected=critical_passed < critical_total) if judged else Niveau.PENDING
    return AuditScore(
        earned=earned,
        total=total,
        percentage=percentage(earned, total),
        niveau=niveau,
        is_compliant=_compliant(niveau, compliant_from),
        critical_passed=critical_passed,
        critical_total=critical_total,
        not_analysed=missing,
    )


def _passes(step: StepOutcome, result: StepScore) -> bool:
    """A critical step must be CONFORME; any other only may not fail one of its critical points."""
    return result.conforme is Conforme.CONFORME if step.is_critical else result.niveau is not Niveau.REJET


def _niveau(earned: int, total: int, *, rejected: bool) -> Niveau:
    """Compared as products: the percentage is not rounded before it is judged."""
    if rejected:
        return Niveau.REJET
    if earned >= THRESHOLDS.audit_excellent * total:
        return Niveau.EXCELLENT
    if earned >= THRESHOLDS.audit_bon * total:
        return Niveau.BON
    return Niveau.ACCEPTABLE if earned >= THRESHOLDS.audit_acceptable * total else Niveau.INSUFFISANT


def _compliant(niveau: Niveau, compliant_from: Niveau) -> bool:
    if niveau in {Niveau.PENDING, Niveau.REJET}:
        return False
    return NIVEAUX.index(niveau) <= NIVEAUX.index(compliant_from)


def percentage(earned: int, total: int) -> Decimal:
    """`earned` of `total` in percent with two decimals, half-up; 0 when the total is 0."""
    hundredths = _half_up(Decimal(earned) * 10_000, Decimal(total)) if total else 0
    return Decimal(hundredths).scaleb(-2)


def score_text(score: Decimal) -> str:
    """A score as the wire writes it, without trailing zeros: "85.5", "100", "0" (spec/audits, wire rules)."""
    rounded = score.quantize(Decimal("0.01"), ROUND_HALF_UP)
    return f"{rounded:f}".rstrip("0").rstrip(".")


def percent_text(score: Decimal) -> str:
    """A percentage as events write it: "85.50%" (spec/audits §3.7)."""
    return f"{score.quantize(Decimal('0.01'), ROUND_HALF_UP):f}%"


def fraction_text(part: int, whole: int) -> str:
    """Earned of total, or critical steps passed of all, as events write them: "17/20" (spec/audits §3.7)."""
    return f"{part}/{whole}"
