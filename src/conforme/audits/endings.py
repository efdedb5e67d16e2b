"""How an audit ends: scored from its stored statuses, or failed with its reason; never left running."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import select

from conforme.audit_configs.revisions import Revision, revision
from conforme.audit_configs.rules import Rules, StepRule
from conforme.audits import queries, telling
from conforme.audits.errors import AuditFailed
from conforme.audits.models import OPEN, AuditRow, StepResultRow
from conforme.audits.scoring import AuditScore, PointMark, StepOutcome, score_audit
from conforme.audits.stages import require_open
from conforme.audits.verdicts import Niveau, Statut
from conforme.fiches.models import FicheCache
from conforme.foundation import events, ledger
from conforme.foundation.database import ReadSession, WriteSession, now
from conforme.foundation.resources import Resources
from conforme.foundation.web import iso

log = structlog.get_logger(__name__)

REAP_AFTER = timedelta(minutes=2)
REAP_BATCH = 200
WORKING = frozenset({"queued", "running"})
CITATION_COUNTS = ("located", "relocated", "aligned", "dropped")


async def finish(resources: Resources, audit_id: int) -> dict[str, Any]:
    """Scores the audit from its stored statuses; one with a step missing fails, and says which."""
    async with resources.database.write() as session:
        known = await queries.locked(session, audit_id)
        if known is not None and known.status == "completed":  # by this very stage, before a crash
            return {"status": "completed", "niveau": known.niveau}
        audit = require_open(known)
        pinned = await revision(session, audit.config_revision_id)
        steps = await queries.steps_of(session, audit_id)
        score = await score_of(session, audit_id, pinned.rules)
        if not score.complete:
            raise AuditFailed(_what_is_missing(steps, score), phase="analysis", code="STEPS_NOT_ANALYSED")
        await _complete(session, audit, pinned, steps, score)
    return {"status": "completed", "niveau": score.niveau.value}


async def score_of(session: ReadSession | WriteSession, audit_id: int, rules: Rules) -> AuditScore:
    """The score as the stored statuses make it, here and wherever it is recomputed."""
    statuts = await queries.statuts_by_step(session, audit_id)
    outcomes = [_outcome(step, statuts.get(step.position)) for step in rules.steps]
    return score_audit(outcomes, Niveau(rules.compliant_from))


def _outcome(step: StepRule, statuts: list[tuple[int, str]] | None) -> StepOutcome:
    if statuts is None:
        return StepOutcome(step.position, step.weight, step.is_critical, None)
    rules = [(step.control_points[number - 1], Statut(statut)) for number, statut in statuts]
    marks = tuple(PointMark(statut, rule.weight, rule.critical) for rule, statut in rules)
    return StepOutcome(step.position, step.weight, step.is_critical, marks)


def _what_is_missing(steps: list[StepResultRow], score: AuditScore) -> str:
    reasons = {step.error for step in steps if step.error}
    missing = ", ".join(str(position) for position in score.not_analysed)
    why = f" ({'; '.join(sorted(reasons))})" if reasons else ""
    return f"Steps not analysed: {missing}{why}"[:2000]


async def _complete(
    session: WriteSession, audit: AuditRow, pinned: Revision, steps: list[StepResultRow], score: AuditScore
) -> None:
    spent = await ledger.summary(session, audit.id)
    fiche = await session.scalar(select(FicheCache).where(FicheCache.id == audit.fiche_cache_id))
    ended = now()
    audit.status = "completed"
    audit.overall_score = audit.score_percentage = score.percentage
    audit.earned_weight, audit.total_weight = Decimal(score.earned), Decimal(score.total)
    audit.niveau = score.niveau.value
    audit.is_compliant = score.is_compliant
    audit.critical_passed, audit.critical_total = score.critical_passed, score.critical_total
    audit.completed_at = ended
    audit.duration_ms = int((ended - (audit.started_at or ended)).total_seconds() * 1000)
    audit.total_tokens = spent.prompt_tokens + spent.output_tokens
    audit.successful_steps, audit.failed_steps = len(steps), 0
    audit.result_data = _result(audit, pinned, steps, score, fiche)
    await session.flush()
    await events.record_all(session, telling.completed(audit, score))


def _result(
    audit: AuditRow, pinned: Revision, steps: list[StepResultRow], score: AuditScore, fiche: FicheCache | None
) -> dict[str, Any]:
    """The snapshot of spec/audits §3.5, its steps left to their rows."""
    approach = telling.approach(audit)
    compliance = {
        "score": float(score.percentage),
        "niveau": score.niveau.value,
        "points_critiques": f"{score.critical_passed}/{score.critical_total}",
        "poids_obtenu": score.earned,
        "poids_total": score.total,
    }
    names = [fiche.prospect_prenom, fiche.prospect_nom] if fiche else []
    coverage = audit.result_data.get("coverage", {"complete": True, "not_transcribed": []})
    return {
        "audit_db_id": str(audit.id),
        "audit_tracking_id": audit.tracking_id,
        "coverage": coverage,
        "audit": {
            "config": {
                "id": str(pinned.config_id),
                "name": pinned.rules.name,
                "description": pinned.rules.description,
            },
            "fiche": {
                "fiche_id": audit.fiche_id,
                "prospect_name": " ".join(name for name in names if name) or None,
                "groupe": fiche.groupe if fiche else None,
            },
            "results": {"compliance": compliance, "approach": approach},
            "compliance": compliance,
            "approach": approach,
        },
        "statistics": _statistics(audit, steps, coverage),
        "metadata": {
            "started_at": iso(audit.started_at),
            "completed_at": iso(audit.completed_at),
            "duration_ms": audit.duration_ms,
            "approach": approach,
        },
    }


def _statistics(audit: AuditRow, steps: list[StepResultRow], coverage: dict[str, Any]) -> dict[str, Any]:
    evidence = [step.raw_result.get("evidence", {}) for step in steps]
    return {
        "recordings_count": audit.recordings_count,
        "transcriptions_count": (audit.recordings_count or 0) - len(coverage["not_transcribed"]),
        "timeline_chunks": audit.timeline_chunks,
        "successful_steps": len(steps),
        "failed_steps": 0,
        "total_time_seconds": (audit.duration_ms or 0) / 1000,
        "total_tokens": audit.total_tokens,
        **{f"citations_{name}": sum(each.get(name, 0) for each in evidence) for name in CITATION_COUNTS},
    }


async def fail(resources: Resources, audit_id: int, reason: AuditFailed) -> dict[str, Any]:
    """Ends the audit as failed; what was analysed stays."""
    async with resources.database.write() as session:
        await end_as_failed(session, audit_id, reason)
    return {"status": "failed", "error": reason.message}


async def end_as_failed(session: WriteSession, audit_id: int, reason: AuditFailed) -> None:
    audit = await queries.locked(session, audit_id)
    if audit is None or audit.status not in OPEN:
        return
    done, failed = await queries.step_counts(session, audit_id)
    pinned = await revision(session, audit.config_revision_id)
    total = len(pinned.rules.steps)
    spent = await ledger.summary(session, audit_id)
    ended = now()
    audit.status = "failed"
    audit.error_message, audit.error_code, audit.failed_phase = (
        reason.message,
        reason.reason_code,
        reason.phase,
    )
    audit.completed_at = ended
    audit.duration_ms = int((ended - (audit.started_at or ended)).total_seconds() * 1000)
    audit.successful_steps, audit.failed_steps = done, failed
    audit.total_tokens = spent.prompt_tokens + spent.output_tokens
    audit.result_data = audit.result_data | {"status": "failed"}
    await session.flush()
    await events.record_all(session, [telling.failed(audit, reason, done=done, failed=failed, total=total)])


async def reap(resources: Resources) -> dict[str, Any]:
    """Ends open audits whose job has ended or was lost without saying so."""
    async with resources.database.read() as session:
        silent = await queries.silent_since(session, REAP_AFTER, limit=REAP_BATCH)
    reaped = 0
    for audit_id, job_id in silent:
        state = await resources.durable.state(job_id)
        if state in WORKING:
            continue
        reason = AuditFailed("The audit did not end in time", phase="deadline", code="AUDIT_TIMEOUT")
        async with resources.database.write() as session:
            await end_as_failed(session, audit_id, reason)
        reaped += 1
        log.warning("audit reaped", audit_id=audit_id, job_state=state)
    return {"reaped": reaped}
