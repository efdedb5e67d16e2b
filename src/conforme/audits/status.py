"""How the audits of a fiche stand, for the fiche's status (spec/fiches §2.5)."""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from typing import Final

from conforme.accounts.actor import Actor
from conforme.audits import queries
from conforme.audits.queries import LatestRow
from conforme.fiches.list_schemas import AuditsOfFiche
from conforme.fiches.schemas import AuditConfigBrief, AuditStatus, LatestAudit
from conforme.foundation.database import ReadSession, WriteSession

_HUNDREDTH: Final = Decimal("0.01")


async def audit_status(session: ReadSession | WriteSession, actor: Actor, fiche_id: str) -> AuditStatus:
    """Counts over the latest audit of each configuration on the fiche."""
    return (await audits_of_fiches(session, actor, [fiche_id])).get(fiche_id) or AuditStatus()


async def audits_of_fiches(
    session: ReadSession | WriteSession, actor: Actor, fiche_ids: Sequence[str]
) -> dict[str, AuditsOfFiche]:
    """The same for many fiches, with the audits; nothing of those without any."""
    rows = await queries.latest_of_fiches(session, actor, fiche_ids)
    return {
        fiche_id: status_of([_shown(row) for row in of_fiche])
        for fiche_id, of_fiche in groupby(rows, key=lambda row: row.fiche_id)
    }


def status_of(audits: list[LatestAudit]) -> AuditsOfFiche:
    """`audits` are the latest ones of one fiche, newest first."""
    completed = [audit for audit in audits if audit.status == "completed"]
    compliant = sum(audit.is_compliant is True for audit in completed)
    return AuditsOfFiche(
        total=len(audits),
        completed=len(completed),
        pending=sum(audit.status == "pending" for audit in audits),
        running=sum(audit.status == "running" for audit in audits),
        compliant=compliant,
        non_compliant=len(completed) - compliant,
        average_score=_mean([audit.score_percentage or Decimal(0) for audit in completed]),
        latest_audit=audits[0] if audits else None,
        audits=audits,
    )


def _mean(scores: Sequence[Decimal]) -> Decimal | None:
    if not scores:
        return None
    return (sum(scores, Decimal(0)) / len(scores)).quantize(_HUNDREDTH, ROUND_HALF_UP)


def _shown(row: LatestRow) -> LatestAudit:
    return LatestAudit(
        id=row.id,
        status=row.status,
        overall_score=row.overall_score,
        score_percentage=row.score_percentage,
        niveau=row.niveau,
        is_compliant=row.is_compliant,
        completed_at=row.completed_at,
        audit_config=AuditConfigBrief(id=row.config_id, name=row.config_name),
    )
