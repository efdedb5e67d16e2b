"""How an audit ends: scored from its stored statuses, or failed with its reason; never left running."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import select

from conforme.audit_configs.revisions import Revision, revision
from conforme.audits import queries, settling, telling, timing, totals
from conforme.audits.batch_models import CANCELLED, FAILED, SUCCEEDED
from conforme.audits.errors import AuditFailed
from conforme.audits.models import OPEN, AuditRow, StepResultRow
from conforme.audits.scoring import AuditScore
from conforme.audits.stages import require_open
from conforme.audits.totals import score_of
from conforme.fiches.models import FicheCache
from conforme.foundation import events, ledger
from conforme.foundation.database import WriteSession, now
from conforme.foundation.durable import Durable
from conforme.foundation.job_context import without_values
from conforme.foundation.resources import Resources
from conforme.foundation.web import iso

log = structlog.get_logger(__name__)

REAP_AFTER = timedelta(minutes=2)
REAP_PAGE = 500
"""Silent audits that are looked at together."""
STOPPED = "CANCELLED"
"""Code of an audit that somebody stopped."""
WORKING = frozenset({"queued", "running"})


async def finish(resources: Resources, audit_id: int) -> dict[str, Any]:
    """Scores the audit from its stored statuses; one with a step missing fails, and says which."""
    async with resources.database.write() as session:
        known = await queries.locked(session, audit_id)
        if known is not None and known.status == "completed":  # by this very stage, before a crash
            return {"status": "completed", "niveau": known.niveau}
        audit = require_open(known)
        pinned = await revision(session, audit.config_revision_id)
        await timing.apply(session, audit, pinned.rules)
        steps = await queries.steps_of(session, audit_id)
        score = await score_of(session, audit_id, pinned.rules)
        if not score.complete:
            raise AuditFailed(_what_is_missing(steps, score), phase="analysis", code="STEPS_NOT_ANALYSED")
        await _complete(session, audit, pinned, steps, score)
        await settling.audit_ended(session, resources.durable, audit, SUCCEEDED)
    return {"status": "completed", "niveau": score.niveau.value}


def _what_is_missing(steps: list[StepResultRow], score: AuditScore) -> str:
    reasons = {step.error for step in steps if step.error}
    missing = ", ".join(str(position) for position in score.not_analysed)
    why = f" ({'; '.join(sorted(reasons))})" if reasons else ""
    return f"Steps not analysed: {missing}{why}"[:2000]


async def _complete(
    session: WriteSession, audit: AuditRow, pinned: Revision, steps: list[StepResultRow], score: AuditScore
) -> None:
    fiche = await session.scalar(select(FicheCache).where(FicheCache.id == audit.fiche_cache_id))
    spent = await ledger.summary(session, audit.id)
    ended = now()
    audit.status = "completed"
    audit.completed_at = ended
    audit.duration_ms = int((ended - (audit.started_at or ended)).total_seconds() * 1000)
    totals.set_columns(audit, steps, score, spent)
    audit.result_data = _result(audit, pinned, steps, score, fiche)
    await session.flush()
    await events.record_all(session, telling.completed(audit, score))


def _result(
    audit: AuditRow, pinned: Revision, steps: list[StepResultRow], score: AuditScore, fiche: FicheCache | None
) -> dict[str, Any]:
    """The snapshot of spec/audits §3.5, its steps left to their rows."""
    approach = telling.approach(audit)
    compliance = totals.compliance(score)
    names = [fiche.prospect_prenom, fiche.prospect_nom] if fiche else []
    return {
        "audit_db_id": str(audit.id),
        "audit_tracking_id": audit.tracking_id,
        "coverage": totals.coverage(audit),
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
        "statistics": totals.statistics(audit, steps),
        "metadata": {
            "started_at": iso(audit.started_at),
            "completed_at": iso(audit.completed_at),
            "duration_ms": audit.duration_ms,
            "approach": approach,
        },
    }


async def fail(resources: Resources, audit_id: int, reason: AuditFailed) -> dict[str, Any]:
    """Ends the audit as failed; what was analysed stays."""
    async with resources.database.write() as session:
        await end_as_failed(session, resources.durable, audit_id, reason)
    return {"status": "failed", "error": reason.message}


async def end_as_failed(
    session: WriteSession,
    durable: Durable,
    audit_id: int,
    reason: AuditFailed,
    *,
    job_id: str | None = None,
) -> bool:
    """Ends an open audit, with `job_id` only while that job is the one that works on it; whether it was to be ended."""
    audit = await queries.locked(session, audit_id)
    if audit is None or audit.status not in OPEN or (job_id and audit.job_id != job_id):
        return False
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
    stopped = reason.reason_code == STOPPED
    outcome = CANCELLED if stopped else FAILED
    await settling.audit_ended(session, durable, audit, outcome, reason.message)
    return True


async def reap(resources: Resources) -> dict[str, Any]:
    """Ends open audits whose job has ended or was lost without saying so, however many others wait for their turn."""
    reaped = after = 0
    while silent := await _silent(resources, after):
        after = silent[-1][0]
        states = await resources.durable.states([job_id for _, job_id in silent])
        for audit_id, job_id in silent:
            if (state := states.get(job_id)) not in WORKING:
                reaped += await _reap(resources, audit_id, job_id, state)
    return {"reaped": reaped}


async def _silent(resources: Resources, after: int) -> list[tuple[int, str]]:
    async with resources.database.read() as session:
        return await queries.silent_since(session, REAP_AFTER, after=after, limit=REAP_PAGE)


async def _reap(resources: Resources, audit_id: int, job_id: str, state: str | None) -> bool:
    reason = AuditFailed("The audit did not end in time", phase="deadline", code="AUDIT_TIMEOUT")
    try:
        async with resources.database.write() as session:
            ended = await end_as_failed(session, resources.durable, audit_id, reason, job_id=job_id)
    except Exception as error:  # one must not keep the others from their end
        log.exception("not reaped", audit_id=audit_id, exc_info=without_values(error))
        return False
    if ended:
        log.warning("audit reaped", audit_id=audit_id, job_state=state)
    return ended


async def stop(resources: Resources, audits: Sequence[tuple[int, str]]) -> dict[str, Any]:
    """Cancels the jobs of these audits, calls in flight included, and ends those that have not ended."""
    reason = AuditFailed("The audit was cancelled", phase="cancelled", code=STOPPED)
    await resources.durable.cancel(*(job_id for _, job_id in audits))
    for audit_id, job_id in audits:
        async with resources.database.write() as session:
            await end_as_failed(session, resources.durable, audit_id, reason, job_id=job_id)
    return {"stopped": len(audits)}
