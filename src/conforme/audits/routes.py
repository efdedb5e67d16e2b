"""`/api/audits`: run, resume and read (spec/audits §3.1, §10)."""

from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Header
from pydantic import BaseModel, ValidationError

from conforme.accounts.actor import Actor
from conforme.accounts.auth import CurrentCaller, may
from conforme.audit_configs.drafts import latest_active
from conforme.audits import queries
from conforme.audits.details import detail_of
from conforme.audits.requests import AuditWish, Desk, QueuedAudit, request_audit, resume_audit
from conforme.audits.schemas import (
    AuditAnswer,
    CreateAudit,
    Queued,
    QueuedMetadata,
    RunAudit,
    RunLatest,
)
from conforme.foundation.database import now
from conforme.foundation.errors import Invalid
from conforme.foundation.resources import Resources
from conforme.foundation.web import ERRORS, ResourcesDep, path_id

router = APIRouter(prefix="/api/audits", tags=["audits"], responses=ERRORS)

M = TypeVar("M", bound=BaseModel)
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
Json = Annotated[Any, Body()]
Reader = Annotated[Actor, may("audits.read")]
Runner = Annotated[Actor, may("audits.run")]
STATUTS = ("PRESENT", "ABSENT", "PARTIEL", "NON_APPLICABLE")


def _require(body: Any, *alternatives: tuple[str, ...]) -> dict[str, Any]:
    """The body as an object that has one of each group of names.

    Raises:
        Invalid: in the words of the contract, naming the first group that is missing.
    """
    given = body if isinstance(body, dict) else {}
    missing = [names[0] for names in alternatives if all(given.get(name) in (None, "") for name in names)]
    if not missing:
        return given
    if len(alternatives) == 1:
        raise Invalid("Missing required parameter", hint="fiche_id is required", field=missing[0])
    both = "Both audit_config_id (or audit_id) and fiche_id are required"
    raise Invalid("Missing required parameters", hint=both, field=missing[0])


def _parsed(model: type[M], body: dict[str, Any]) -> M:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        issue = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in issue["loc"])
        raise Invalid(f"Invalid run audit input: {field}: {issue['msg']}", field=field) from None


def _queued(queued: QueuedAudit, wish: AuditWish, message: str = "Audit queued for processing") -> Queued:
    return Queued(
        message=message,
        event_id=queued.job_id,
        audit_id=queued.tracking_id,
        audit_db_id=str(queued.audit_id),
        fiche_id=wish.fiche_id,
        audit_config_id=wish.audit_config_id,
        metadata=QueuedMetadata(timestamp=now()),
    )


async def _run(resources: Resources, actor: Actor, wish: AuditWish, key: str | None) -> Queued:
    desk = Desk(resources.durable, resources.settings)
    async with resources.database.write() as session:
        queued = await request_audit(session, desk, actor, wish, key=key)
    return _queued(queued, wish)


@router.post("/run", response_model_exclude_none=True)
async def run(
    resources: ResourcesDep, actor: Runner, body: Json = None, idempotency_key: Key = None
) -> Queued:
    """Queues one audit; the row exists before the answer leaves."""
    asked = _parsed(RunAudit, _require(body, ("audit_config_id", "audit_id"), ("fiche_id",)))
    wish = AuditWish(asked.fiche_id, asked.audit_config_id, user_id=asked.user_id, use_rlm=asked.use_rlm)
    return await _run(resources, actor, wish, idempotency_key)


@router.post("", response_model_exclude_none=True)
async def create(
    resources: ResourcesDep, actor: Runner, body: Json = None, idempotency_key: Key = None
) -> Queued:
    """The same as `run`, for callers that also say where the wish comes from."""
    asked = _parsed(CreateAudit, _require(body, ("audit_config_id", "audit_id"), ("fiche_id",)))
    wish = AuditWish(
        asked.fiche_id,
        asked.audit_config_id,
        trigger_source=asked.trigger_source,
        user_id=asked.user_id,
        use_rlm=asked.use_rlm,
        automation_schedule_id=asked.automation_schedule_id,
        automation_run_id=asked.automation_run_id,
    )
    return await _run(resources, actor, wish, idempotency_key)


@router.post("/run-latest", response_model_exclude_none=True)
async def run_latest(
    resources: ResourcesDep, actor: Runner, body: Json = None, idempotency_key: Key = None
) -> Queued:
    """Audits with the newest active configuration."""
    asked = _parsed(RunLatest, _require(body, ("fiche_id",)))
    async with resources.database.read() as session:
        config = await latest_active(session)
    wish = AuditWish(asked.fiche_id, config.id, user_id=asked.user_id, use_rlm=asked.use_rlm)
    queued = await _run(resources, actor, wish, idempotency_key)
    return queued.model_copy(update={"audit_config_name": config.name})


@router.post("/{audit_id}/resume", response_model_exclude_none=True)
async def resume(resources: ResourcesDep, actor: Runner, audit_id: str) -> Queued:
    """Analyses only what a failed audit lacks."""
    number = path_id(audit_id, "audit_id")
    async with resources.database.write() as session:
        queued = await resume_audit(session, resources.durable, actor, number)
        row = await queries.row(session, number)
        wish = AuditWish(row.fiche_id, row.audit_config_id)
    return _queued(queued, wish, "Audit resume queued")


@router.get("/control-points/statuses")
async def statuses(_caller: CurrentCaller) -> dict[str, Any]:
    return {"success": True, "data": {"statuses": list(STATUTS)}}


@router.get("/{audit_id}")
async def one(resources: ResourcesDep, actor: Reader, audit_id: str) -> AuditAnswer:
    """One audit with every verdict, quote and cost."""
    number = path_id(audit_id, "audit_id")
    async with resources.database.read() as session:
        detail = await detail_of(session, actor, number)
    return AuditAnswer(data=detail)
