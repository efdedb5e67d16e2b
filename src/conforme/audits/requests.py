"""Asking for an audit: the row and its durable job are written in the caller's transaction (spec/audits §3.1)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, mapped_column

from conforme.accounts.actor import Actor, Scope
from conforme.audit_configs.revisions import Revision, revision_for_run
from conforme.audits import queries
from conforme.audits.errors import AuditAlreadyComplete, AuditStillRunning, IdempotencyKeyReused
from conforme.audits.models import OPEN, AuditRow
from conforme.audits.telling import PROMPT_APPROACH, TOOLS_APPROACH
from conforme.audits.validity import refuse_outside
from conforme.audits.workflows import RunAuditJob, run_audit
from conforme.fiches.scope import visible_fiche_exists
from conforme.foundation.database import Base, WriteSession, now
from conforme.foundation.durable import Durable, Priority
from conforme.foundation.errors import Forbidden, Invalid, NotFound

MAX_KEY = 200


class IdempotencyKey(Base):
    """What a client's key has already led to."""

    __tablename__ = "idempotency_keys"

    actor: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text)
    response: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


@dataclass(frozen=True)
class AuditWish:
    """One audit that somebody asks for."""

    fiche_id: str
    audit_config_id: int
    trigger_source: str = "api"
    user_id: str | None = None
    use_rlm: bool = False
    automation_schedule_id: int | None = None
    automation_run_id: int | None = None


@dataclass(frozen=True)
class QueuedAudit:
    audit_id: int
    tracking_id: str
    job_id: str
    config_name: str


@dataclass(frozen=True)
class Desk:
    """What asking needs besides the session."""

    durable: Durable
    same_request_seconds: float


async def request_audit(
    session: WriteSession, desk: Desk, actor: Actor, wish: AuditWish, *, key: str | None = None
) -> QueuedAudit:
    """Queues one audit; the same wish within a few seconds, or under the same key, is the same audit.

    Raises:
        NotFound: unknown configuration.
        Invalid: the configuration is inactive or cannot run; refused before anything is paid.
        Forbidden: the fiche is outside the actor's scope.
        IdempotencyKeyReused: the key stands for another wish.
        ConfigurationNotInForce: the calls are known, and are of a day the configuration is not for.
    """
    if actor.scope is not Scope.ALL and not await visible_fiche_exists(session, actor, wish.fiche_id):
        raise Forbidden
    known = await _claim_key(session, actor, key, asdict(wish)) if key is not None else None
    if known:
        return QueuedAudit(**known)
    queued = await _queue(session, desk, actor, wish)
    if key is not None:
        await session.execute(
            update(IdempotencyKey)
            .where(IdempotencyKey.actor == actor.name, IdempotencyKey.key == key)
            .values(response=asdict(queued))
        )
    return queued


async def _queue(session: WriteSession, desk: Desk, actor: Actor, wish: AuditWish) -> QueuedAudit:
    revision = await revision_for_run(session, wish.audit_config_id, created_by=actor.name)
    await _one_at_a_time(session, f"audit:{wish.fiche_id}:{wish.audit_config_id}")
    since = now() - timedelta(seconds=desk.same_request_seconds)
    same = await queries.recent_same(
        session, actor, wish.fiche_id, wish.audit_config_id, since=since, use_rlm=wish.use_rlm
    )
    if same is None:
        known = await queries.call_times(session, wish.fiche_id)
        refuse_outside(revision.rules, known)
    audit = same or await _create(session, desk, actor, wish, revision)
    return QueuedAudit(audit.id, audit.tracking_id, audit.job_id, revision.rules.name)


async def _create(
    session: WriteSession, desk: Desk, actor: Actor, wish: AuditWish, revision: Revision
) -> AuditRow:
    tracking_id = await _tracking_id(session, wish)
    version = await queries.last_version(session, wish.fiche_id, wish.audit_config_id) + 1
    await session.execute(
        update(AuditRow)
        .where(
            AuditRow.fiche_id == wish.fiche_id,
            AuditRow.audit_config_id == wish.audit_config_id,
            AuditRow.is_latest,
        )
        .values(is_latest=False)
    )
    audit = AuditRow(
        tracking_id=tracking_id,
        job_id=tracking_id,
        fiche_id=wish.fiche_id,
        fiche_cache_id=queries.known_fiche(wish.fiche_id),
        audit_config_id=wish.audit_config_id,
        config_revision_id=revision.id,
        automation_schedule_id=wish.automation_schedule_id,
        automation_run_id=wish.automation_run_id,
        trigger_source=wish.trigger_source,
        # A person asks in their own name; machines say for whom they do.
        trigger_user_id=wish.user_id if actor.user_id is None else str(actor.user_id),
        requested_by=actor.name,
        use_rlm=wish.use_rlm,
        critical_total=sum(step.is_critical for step in revision.rules.steps),
        version=version,
        result_data={
            "audit_id": tracking_id,
            "status": "pending",
            "approach": TOOLS_APPROACH if wish.use_rlm else PROMPT_APPROACH,
        },
    )
    session.add(audit)
    await session.flush()
    await _dispatch(session, desk.durable, audit)
    return audit


async def _dispatch(session: WriteSession, durable: Durable, audit: AuditRow) -> None:
    priority = Priority.BULK if audit.automation_run_id else Priority.INTERACTIVE
    payload = RunAuditJob(audit_id=audit.id, job_id=audit.job_id)
    await durable.dispatch(
        session, run_audit, payload, id=audit.job_id, key=audit.fiche_id, priority=priority
    )


async def resume_audit(session: WriteSession, durable: Durable, actor: Actor, audit_id: int) -> QueuedAudit:
    """Queues what a failed audit lacks; what it has is kept.

    Raises:
        NotFound: no such audit in the actor's scope.
        AuditStillRunning, AuditAlreadyComplete: there is nothing to resume.
    """
    found = await queries.one(session, actor, audit_id)
    audit = await queries.locked(session, audit_id) if found else None
    if found is None or audit is None or audit.deleted_at is not None:
        raise NotFound("Audit not found")
    if audit.status in OPEN:
        raise AuditStillRunning
    if audit.status == "completed":
        raise AuditAlreadyComplete
    audit.job_id = _next_job_id(audit)
    audit.status = "pending"
    audit.error_message = audit.error_code = audit.failed_phase = audit.completed_at = None
    await session.flush()
    await _dispatch(session, durable, audit)
    return QueuedAudit(audit.id, audit.tracking_id, audit.job_id, found.config.name)


def _next_job_id(audit: AuditRow) -> str:
    last = audit.job_id.removeprefix(audit.tracking_id).removeprefix("-resume-")
    return f"{audit.tracking_id}-resume-{int(last or 0) + 1}"


async def _tracking_id(session: WriteSession, wish: AuditWish) -> str:
    milliseconds = int(now().timestamp() * 1000)
    while await queries.tracking_id_taken(
        session, tracking_id := f"audit-{wish.fiche_id}-{wish.audit_config_id}-{milliseconds}"
    ):
        milliseconds += 1
    return tracking_id


async def _one_at_a_time(session: WriteSession, what: str) -> None:
    """Callers with the same wish queue here until the first one has committed."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0))))


async def _claim_key(
    session: WriteSession, actor: Actor, key: str, wish: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The answer given under this key before, or None when it is ours now."""
    if not key.strip() or len(key) > MAX_KEY:
        raise Invalid(f"Idempotency-Key must have 1 to {MAX_KEY} characters", field="Idempotency-Key")
    fingerprint = hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()
    mine = await session.scalar(
        insert(IdempotencyKey)
        .values(actor=actor.name, key=key, fingerprint=fingerprint)
        .on_conflict_do_nothing()
        .returning(text("1"))
    )
    if mine is not None:
        return None
    stored = (
        await session.scalars(
            select(IdempotencyKey).where(IdempotencyKey.actor == actor.name, IdempotencyKey.key == key)
        )
    ).one()
    if stored.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return stored.response
