"""The events of one audit (spec/audits §3.7): names, payloads, channels."""

from typing import Any

from conforme.audit_configs.rules import Rules, StepRule
from conforme.audits.analysis import StepAnalysis
from conforme.audits.errors import AuditFailed
from conforme.audits.models import AuditRow
from conforme.audits.queries import AuditInWork
from conforme.audits.scoring import AuditScore, fraction_text, percent_text
from conforme.audits.verdicts import Conforme
from conforme.foundation.events import Draft, audit_channel, fiche_channel
from conforme.foundation.web import iso

PROMPT_APPROACH = {"use_rlm": False, "transcript_mode": "prompt"}
TOOLS_APPROACH = {"use_rlm": True, "transcript_mode": "tools"}


def approach(audit: AuditRow | AuditInWork) -> dict[str, Any]:
    """How the words reach the model: whole, in the prompt, or asked for through tools."""
    return TOOLS_APPROACH if audit.use_rlm else PROMPT_APPROACH


def told(audit: AuditRow | AuditInWork, name: str, status: str, **fields: Any) -> Draft:
    """One `audit.*` event; `audit_id` is the tracking id, `audit_db_id` the row's."""
    payload = {
        "audit_id": audit.tracking_id,
        "audit_db_id": str(audit.id),
        "fiche_id": audit.fiche_id,
        "event_id": audit.tracking_id,
        "approach": approach(audit),
        **fields,
        "status": status,
    }
    channels = [audit_channel(audit.tracking_id), audit_channel(audit.id), fiche_channel(audit.fiche_id)]
    return Draft(f"audit.{name}", payload, channels)


def started(audit: AuditRow, rules: Rules) -> Draft:
    return told(
        audit,
        "started",
        "started",
        audit_config_id=str(audit.audit_config_id),
        audit_config_name=rules.name,
        total_steps=len(rules.steps),
        started_at=iso(audit.started_at),
    )


def progress(audit: AuditRow | AuditInWork, *, done: int, failed: int, total: int, phase: str) -> Draft:
    return told(
        audit,
        "progress",
        "in_progress",
        completed_steps=done,
        total_steps=total,
        failed_steps=failed,
        current_phase=phase,
        progress_percentage=100 * (done + failed) // total if total else 0,
    )


def score_fields(score: AuditScore) -> dict[str, Any]:
    return {
        "overall_score": fraction_text(score.earned, score.total),
        "score_percentage": percent_text(score.percentage),
        "niveau": score.niveau.value,
        "is_compliant": score.is_compliant,
    }


def step_started(audit: AuditInWork, step: StepRule, total: int) -> Draft:
    return told(
        audit,
        "step_started",
        "processing",
        step_position=step.position,
        step_name=step.name,
        total_steps=total,
        step_weight=step.weight,
        is_critical=step.is_critical,
    )


def step_completed(audit: AuditInWork, analysis: StepAnalysis) -> Draft:
    """Told after the quotes were looked for: what is said is what is stored."""
    usage = analysis.usage
    return told(
        audit,
        "step_completed",
        "completed",
        step_position=analysis.step.position,
        step_name=analysis.step.name,
        score=analysis.score.score,
        max_score=analysis.step.weight,
        conforme=analysis.score.conforme is Conforme.CONFORME,
        total_citations=analysis.total_citations,
        citations_dropped=analysis.finding.statistics.dropped,
        tokens_used=usage.prompt_tokens + usage.output_tokens,
    )


def step_failed(audit: AuditRow, step: StepRule, reason: str) -> Draft:
    return told(
        audit, "step_failed", "failed", step_position=step.position, step_name=step.name, error=reason
    )


def compliance(audit: AuditRow, score: AuditScore) -> Draft:
    critical = fraction_text(score.critical_passed, score.critical_total)
    return told(audit, "compliance_calculated", "calculated", **score_fields(score), critical_issues=critical)


def completed(audit: AuditRow, score: AuditScore) -> list[Draft]:
    common = score_fields(score)
    return [
        compliance(audit, score),
        told(
            audit,
            "completed",
            "completed",
            **common,
            successful_steps=audit.successful_steps,
            failed_steps=audit.failed_steps,
            total_tokens=audit.total_tokens,
            duration_seconds=(audit.duration_ms or 0) / 1000,
            completed_at=iso(audit.completed_at),
        ),
    ]


def failed(audit: AuditRow, reason: AuditFailed, *, done: int, failed: int, total: int) -> Draft:
    return told(
        audit,
        "failed",
        "failed",
        error=reason.message,
        code=reason.reason_code,
        failed_phase=reason.phase,
        failed_at=iso(audit.completed_at),
        partial_results={"completed_steps": done, "total_steps": total, "failed_steps": failed},
    )
