"""What an audit comes to, out of the rows that say what holds: after a run, a rerun and a review alike."""

from decimal import Decimal
from typing import Any

from conforme.audit_configs.revisions import revision
from conforme.audit_configs.rules import Rules, StepRule
from conforme.audits import history, queries, telling, timing
from conforme.audits.models import AuditRow, StepResultRow
from conforme.audits.scoring import AuditScore, StepOutcome, score_audit
from conforme.audits.verdicts import Niveau
from conforme.foundation import events, ledger
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.ledger import LedgerSummary

CITATION_COUNTS = ("located", "relocated", "aligned", "dropped")


async def score_of(session: ReadSession | WriteSession, audit_id: int, rules: Rules) -> AuditScore:
    """The score as the stored statuses, and what people concluded, make it."""
    statuts = await queries.statuts_by_step(session, audit_id)
    decided = await queries.decided_by_step(session, audit_id)
    outcomes = [_outcome(step, statuts.get(step.position), decided) for step in rules.steps]
    return score_audit(outcomes, Niveau(rules.compliant_from))


def _outcome(
    step: StepRule, statuts: list[tuple[int, str]] | None, decided: dict[int, dict[str, Any]]
) -> StepOutcome:
    said = decided.get(step.position)
    analysed = statuts is not None if said is None else bool(said["traite"])
    return history.outcome_of(step, statuts, said, analysed=analysed)


async def restate(session: WriteSession, audit: AuditRow) -> None:
    """Brings everything that sums an audit up to what holds now, and tells of it; its status stays.

    The caller holds the audit and has written the rows of the steps. An audit that failed has no verdict: its steps
    are counted, and its score is made when it is resumed.
    """
    steps = await queries.steps_of(session, audit.id)
    spent = await ledger.summary(session, audit.id)
    if audit.status != "completed":
        _count(audit, steps, spent)
        await session.flush()
        return
    pinned = await revision(session, audit.config_revision_id)
    await timing.apply(session, audit, pinned.rules)
    score = await score_of(session, audit.id, pinned.rules)
    set_columns(audit, steps, score, spent)
    audit.result_data = _restated(audit, steps, score)
    await session.flush()
    await events.record_all(session, [telling.compliance(audit, score)])


def set_columns(audit: AuditRow, steps: list[StepResultRow], score: AuditScore, spent: LedgerSummary) -> None:
    audit.overall_score = audit.score_percentage = score.percentage
    audit.earned_weight, audit.total_weight = Decimal(score.earned), Decimal(score.total)
    audit.niveau = score.niveau.value
    audit.is_compliant = score.is_compliant
    audit.critical_passed, audit.critical_total = score.critical_passed, score.critical_total
    _count(audit, steps, spent)


def _count(audit: AuditRow, steps: list[StepResultRow], spent: LedgerSummary) -> None:
    audit.successful_steps = sum(step.traite for step in steps)
    audit.failed_steps = sum(not step.traite for step in steps)
    audit.total_tokens = spent.prompt_tokens + spent.output_tokens


def compliance(score: AuditScore) -> dict[str, Any]:
    return {
        "score": float(score.percentage),
        "niveau": score.niveau.value,
        "points_critiques": f"{score.critical_passed}/{score.critical_total}",
        "poids_obtenu": score.earned,
        "poids_total": score.total,
    }


def coverage(audit: AuditRow) -> dict[str, Any]:
    return audit.result_data.get("coverage", {"complete": True, "not_transcribed": []})


def statistics(audit: AuditRow, steps: list[StepResultRow]) -> dict[str, Any]:
    evidence = [step.raw_result.get("evidence", {}) for step in steps]
    return {
        "recordings_count": audit.recordings_count,
        "transcriptions_count": (audit.recordings_count or 0) - len(coverage(audit)["not_transcribed"]),
        "timeline_chunks": audit.timeline_chunks,
        "successful_steps": audit.successful_steps,
        "failed_steps": audit.failed_steps,
        "total_time_seconds": (audit.duration_ms or 0) / 1000,
        "total_tokens": audit.total_tokens,
        **{f"citations_{name}": sum(each.get(name, 0) for each in evidence) for name in CITATION_COUNTS},
    }


def _restated(audit: AuditRow, steps: list[StepResultRow], score: AuditScore) -> dict[str, Any]:
    """The stored snapshot with its sums brought up to date."""
    stored = audit.result_data
    if "audit" not in stored:
        return stored
    summed = compliance(score)
    results = stored["audit"].get("results", {}) | {"compliance": summed}
    judged = stored["audit"] | {"results": results, "compliance": summed}
    return stored | {"audit": judged, "statistics": statistics(audit, steps)}
