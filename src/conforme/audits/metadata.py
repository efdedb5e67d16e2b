"""What is written on an audit beside its verdicts: notes, whom it belongs to, and whether it is deleted."""

from collections.abc import Mapping
from typing import Any

from conforme.accounts import audit_log
from conforme.accounts.actor import Actor
from conforme.audits import queries
from conforme.audits.models import AuditRow
from conforme.audits.versions import hold_versions, settle_latest
from conforme.foundation.database import WriteSession, now
from conforme.foundation.errors import NotFound


async def change_audit(
    session: WriteSession, actor: Actor, audit_id: int, changes: Mapping[str, Any]
) -> None:
    """Sets what `changes` names (columns, and `deleted`); a deleted audit is kept and can be restored.

    Raises:
        NotFound: no such audit in the actor's scope.
    """
    found = await queries.one(session, actor, audit_id)
    if found is None:
        raise NotFound("Audit not found")
    await hold_versions(session, found.audit.fiche_id, found.audit.audit_config_id)
    audit = await queries.locked(session, audit_id)
    assert audit is not None  # noqa: S101 -- rows of audits are never removed
    for name, value in changes.items():
        if name != "deleted":
            setattr(audit, name, value)
    deleted = changes.get("deleted", audit.deleted_at is not None)
    if deleted != (audit.deleted_at is not None):
        await _delete(session, actor, audit, deleted=deleted)
    await session.flush()


async def _delete(session: WriteSession, actor: Actor, audit: AuditRow, *, deleted: bool) -> None:
    audit.deleted_at = now() if deleted else None
    await session.flush()
    await settle_latest(session, audit.fiche_id, audit.audit_config_id)
    action = "audit.deleted" if deleted else "audit.restored"
    await audit_log.record(session, actor.name, action, f"audit:{audit.id}", fiche_id=audit.fiche_id)
    await session.refresh(audit, ["is_latest", "updated_at"])
