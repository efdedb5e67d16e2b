"""How configurations were used (spec/audits §2.3)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select

from conforme.accounts.actor import Actor
from conforme.audit_configs.ports import Usage
from conforme.audits.filters import Filters
from conforme.audits.list_queries import conditions
from conforme.audits.models import AuditRow
from conforme.foundation.database import ReadSession

EVERY = Filters(latest_only=False, include_deleted=True)


async def config_usage(session: ReadSession, actor: Actor, config_ids: Sequence[int]) -> dict[int, Usage]:
    """Over all audits in the actor's scope; averages are of completed ones."""
    done = AuditRow.status == "completed"
    query = (
        select(
            AuditRow.audit_config_id,
            func.count(),
            func.count().filter(done),
            func.count().filter(AuditRow.status == "failed"),
            func.count().filter(done, AuditRow.is_compliant),
            func.avg(AuditRow.score_percentage).filter(done),
            func.avg(AuditRow.duration_ms).filter(done),
            func.max(AuditRow.created_at),
        )
        .where(*conditions(actor, EVERY))
        .group_by(AuditRow.audit_config_id)
    )
    if config_ids:
        query = query.where(AuditRow.audit_config_id.in_(config_ids))
    rows: Sequence[Any] = (await session.execute(query)).all()
    return {row[0]: Usage(*row[1:]) for row in rows}
