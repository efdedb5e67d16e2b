"""Which audit of a fiche under a configuration is the latest: superseded ones count in no list unless asked for."""

from sqlalchemy import select, update

from conforme.audits.idempotency import one_at_a_time
from conforme.audits.models import AuditRow
from conforme.foundation.database import WriteSession


async def hold_versions(session: WriteSession, fiche_id: str, config_id: int) -> None:
    """Until the transaction ends, nobody else adds, deletes or restores an audit of this fiche and configuration."""
    await one_at_a_time(session, f"audit:{fiche_id}:{config_id}")


async def settle_latest(session: WriteSession, fiche_id: str, config_id: int) -> None:
    """Marks the newest audit that is not deleted, and no other; where all are deleted, the newest of them."""
    same = (AuditRow.fiche_id == fiche_id, AuditRow.audit_config_id == config_id)
    newest = (
        select(AuditRow.id)
        .where(*same)
        .order_by(AuditRow.deleted_at.is_not(None), AuditRow.version.desc(), AuditRow.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    is_newest = AuditRow.id == newest
    wrong = update(AuditRow).where(*same, AuditRow.is_latest != is_newest).values(is_latest=is_newest)
    await session.execute(wrong.execution_options(synchronize_session=False))
