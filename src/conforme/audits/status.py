"""How the audits of a fiche stand, for the fiche's status (spec/fiches §2.5)."""

from decimal import Decimal

from conforme.accounts.actor import Actor
from conforme.audits import queries
from conforme.audits.queries import Found
from conforme.fiches.schemas import AuditConfigBrief, AuditStatus, LatestAudit
from conforme.foundation.database import ReadSession, WriteSession


async def audit_status(session: ReadSession | WriteSession, actor: Actor, fiche_id: str) -> AuditStatus:
    """Counts over the latest audit of each configuration on the fiche."""
    return status_of(await queries.latest_of_fiches(session, actor, [fiche_id]))


def status_of(found: list[Found]) -> AuditStatus:
    """`found` are the latest audits of one fiche, newest first."""
    audits = [each.audit for each in found]
    completed = [audit for audit in audits if audit.status == "completed"]
    compliant = sum(audit.is_compliant for audit in completed)
    total = sum((audit.score_percentage for audit in completed), Decimal(0))
    return AuditStatus(
        total=len(audits),
        completed=len(completed),
        pending=sum(audit.status == "pending" for audit in audits),
        running=sum(audit.status == "running" for audit in audits),
        compliant=compliant,
        non_compliant=len(completed) - compliant,
        average_score=round(total / len(completed), 2) if completed else None,
        latest_audit=_latest(found[0]) if found else None,
    )


def _latest(found: Found) -> LatestAudit:
    audit = found.audit
    return LatestAudit(
        id=audit.id,
        status=audit.status,
        overall_score=audit.overall_score,
        score_percentage=audit.score_percentage,
        niveau=audit.niveau,
        is_compliant=audit.is_compliant,
        completed_at=audit.completed_at,
        audit_config=AuditConfigBrief(id=found.config.id, name=found.config.name),
    )
