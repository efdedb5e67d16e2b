"""Asking for an audit: the row and its durable job are written in the caller's transaction (spec/audits §3.1)."""

from dataclasses import asdict, dataclass, replace
from datetime import timedelta

from sqlalchemy import update

from conforme.accounts.actor import Actor, Scope
from conforme.audit_configs.revisions import Revision, revision_for_run
from conforme.audits import queries, stages
from conforme.audits.errors import AuditAlreadyComplete, AuditStillRunning
from conforme.audits.idempotency import claim, keep
from conforme.audits.models import OPEN, AuditRow
from conforme.audits.telling import PROMPT_APPROACH, TOOLS_APPROACH
from conforme.audits.validity import refuse_outside
from conforme.audits.versions import hold_versions
from conforme.audits.workflows import RunAuditJob, run_audit, run_bulk_audit
from conforme.fiches.scope import visible_fiche_exists
from conforme.foundation.database import WriteSession, now
from conforme.foundation.durable import Durable, Priority
from conforme.foundation.errors import Forbidden, NotFound
from conforme.settings import Settings


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
    settings: Settings


async def request_audit(
    session: WriteSession, desk: Desk, actor: Actor, wish: AuditWish, *, key: str | None = None
) -> QueuedAudit:
    """Queues one audit; the same wish within a few seconds, or under the same key, is the same audit.

    Raises:
        NotFound: unknown configuration.
        Invalid: the configuration is inactive or cannot run; refused before anything is paid.
        Forbidden: the fiche is outside the actor's scope.
        IdempotencyKeyReused: the key stands for another wish.
        ConfigurationNotInForce: the calls are known, and the configuration is not for their day or origin.
    """
    if actor.scope is not Scope.ALL and not await visible_fiche_exists(session, actor, wish.fiche_id):
        raise Forbidden
    if known := await claim(session, actor, key, asdict(wish)):
        return QueuedAudit(**known)
    queued = await _queue(session, desk, actor, wish)
    await keep(session, actor, key, asdict(queued))
    return queued


async def _queue(session: WriteSession, desk: Desk, actor: Actor, wish: AuditWish) -> QueuedAudit:
    revision = await revision_for_run(session, wish.audit_config_id, created_by=actor.name)
    await hold_versions(session, wish.fiche_id, wish.audit_config_id)
    since = now() - timedelta(seconds=desk.settings.audit_same_request_seconds)
    same = await queries.recent_same(
        session, actor, wish.fiche_id, wish.audit_config_id, since=since, use_rlm=wish.use_rlm
    )
    if same is None and revision.rules.restricted:
        origins = await stages.known_origins(session, wish.fiche_id, desk.settings)
        refuse_outside(revision.rules, await queries.call_times(session, wish.fiche_id), origins)
    asked = replace(wish, user_id=in_whose_name(actor, wish.user_id))
    audit = same or await create_audit(session, desk.durable, asked, revision, requested_by=actor.name)
    return QueuedAudit(audit.id, audit.tracking_id, audit.job_id, revision.rules.name)


def in_whose_name(actor: Actor, user_id: str | None) -> str | None:
    """A person asks in their own name; machines say for whom they do."""
    return user_id if actor.user_id is None else str(actor.user_id)


async def create_audit(  # noqa: PLR0913 -- all that tells one audit from another
    session: WriteSession,
    durable: Durable,
    wish: AuditWish,
    revision: Revision,
    *,
    requested_by: str,
    tracking_id: str | None = None,
    transcribe: bool = True,
    within: float | None = None,
) -> AuditRow:
    """The row and its durable job; what was the latest audit of this fiche by this configuration is so no more.

    With `transcribe=False` it hears what is transcribed already, and has no more transcribed. `within` seconds of work
    it must have ended, where that is sooner than its own deadline.
    """
    tracking_id = tracking_id or await _tracking_id(session, wish)
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
        trigger_user_id=wish.user_id,
        requested_by=requested_by,
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
    await _dispatch(session, durable, audit, transcribe=transcribe, within=within)
    return audit


async def _dispatch(
    session: WriteSession, durable: Durable, audit: AuditRow, *, transcribe: bool, within: float | None
) -> None:
    priority = stages.priority_of(audit)
    job = run_bulk_audit if priority is Priority.BULK else run_audit
    payload = RunAuditJob(audit_id=audit.id, job_id=audit.job_id, transcribe=transcribe)
    await durable.dispatch(
        session, job, payload, id=audit.job_id, key=audit.fiche_id, priority=priority, within=within
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
    await queue_again(session, durable, audit)
    return QueuedAudit(audit.id, audit.tracking_id, audit.job_id, found.config.name)


async def queue_again(
    session: WriteSession,
    durable: Durable,
    audit: AuditRow,
    *,
    transcribe: bool = True,
    within: float | None = None,
) -> None:
    """A failed audit, held, goes on with what it lacks; `transcribe` and `within` as in `create_audit`."""
    audit.job_id = _next_job_id(audit)
    audit.status = "pending"
    audit.error_message = audit.error_code = audit.failed_phase = audit.completed_at = None
    await session.flush()
    await _dispatch(session, durable, audit, transcribe=transcribe, within=within)


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
