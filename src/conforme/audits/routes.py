"""`/api/audits`: run, resume and read (spec/audits §3.1, §10)."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Header, Query, Request
from pydantic import BaseModel, ValidationError

from conforme.accounts.actor import Actor
from conforme.accounts.auth import CurrentCaller, may
from conforme.audit_configs.drafts import latest_active
from conforme.audits import queries, views
from conforme.audits.queries import Filters
from conforme.audits.requests import AuditWish, Desk, QueuedAudit, request_audit, resume_audit
from conforme.audits.schemas import (
    AuditAnswer,
    AuditList,
    CreateAudit,
    FicheAudits,
    Queued,
    QueuedMetadata,
    RunAudit,
    RunLatest,
)
from conforme.foundation import ledger
from conforme.foundation.database import now
from conforme.foundation.errors import Invalid, NotFound
from conforme.foundation.resources import Resources
from conforme.foundation.web import ERRORS, INT64_MAX, Page, ResourcesDep, path_id

router = APIRouter(prefix="/api/audits", tags=["audits"], responses=ERRORS)

M = TypeVar("M", bound=BaseModel)
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
Json = Annotated[Any, Body()]
Reader = Annotated[Actor, may("audits.read")]
Runner = Annotated[Actor, may("audits.run")]
STATUTS = ("PRESENT", "ABSENT", "PARTIEL", "NON_APPLICABLE")
MAX_AUDITS_OF_FICHE = 200
TRUE_WORDS = frozenset({"true", "1"})


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
    desk = Desk(resources.durable, resources.settings.audit_same_request_seconds)
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


@router.get("")
async def listing(
    request: Request, resources: ResourcesDep, caller: CurrentCaller, actor: Reader
) -> AuditList:
    """Audits in scope, filtered, sorted and paged; deleted ones for who may delete them."""
    filters = parse_filters(request.query_params)
    if filters.include_deleted:
        actor = caller.acting(["audits.read", "audits.write"])
    async with resources.database.read() as session:
        found, total = await queries.listed(session, actor, filters)
    return AuditList(data=[views.item(each) for each in found], pagination=filters.page.describe(total))


@router.get("/by-fiche/{fiche_id}")
async def by_fiche(
    resources: ResourcesDep,
    actor: Reader,
    fiche_id: str,
    limit: Annotated[int, Query(ge=1, le=MAX_AUDITS_OF_FICHE)] = MAX_AUDITS_OF_FICHE,
) -> FicheAudits:
    """The latest audit of each configuration on a fiche, newest first."""
    if not fiche_id.isascii() or not fiche_id.isdigit() or len(fiche_id) > 20:
        raise Invalid("Invalid fiche_id", field="fiche_id")
    async with resources.database.read() as session:
        found = await queries.of_fiche(session, actor, fiche_id, limit=limit)
    return FicheAudits(data=[views.item(each) for each in found], count=len(found))


@router.get("/{audit_id}")
async def one(resources: ResourcesDep, actor: Reader, audit_id: str) -> AuditAnswer:
    """One audit with every verdict, quote and cost."""
    number = path_id(audit_id, "audit_id")
    async with resources.database.read() as session:
        found = await queries.one(session, actor, number)
        if found is None:
            raise NotFound("Audit not found")
        verdicts = await queries.verdicts(session, number)
        spent = await ledger.summary(session, number)
        revision_number = await queries.revision_number(session, found.audit.config_revision_id)
        sha256 = await queries.snapshot_sha256(session, found.audit.transcript_snapshot_id)
    return AuditAnswer(
        data=views.detail(found, verdicts, spent, revision_number=revision_number, transcript_sha256=sha256)
    )


def parse_filters(query: Any) -> Filters:
    """The list's query (spec/audits §10.1): members that cannot be are dropped, bad dates and pages are refused."""
    return Filters(
        fiche_ids=_csv(query, "fiche_ids", str),
        status=_csv(query, "status", str),
        audit_config_ids=_csv(query, "audit_config_ids", _id_or_none),
        niveau=_csv(query, "niveau", str),
        trigger_source=_csv(query, "trigger_source", str),
        is_compliant=_flag(query, "is_compliant"),
        date_from=_moment(query, "date_from"),
        date_to=_moment(query, "date_to"),
        latest_only=_flag(query, "latest_only") is not False,
        include_deleted=_flag(query, "include_deleted") is True,
        sort_by=query.get("sort_by") if query.get("sort_by") in queries.SORTS else "created_at",
        descending=query.get("sort_order") != "asc",
        page=Page(
            limit=_number(query, "limit", 100, 1, 500), offset=_number(query, "offset", 0, 0, INT64_MAX)
        ),
    )


T = TypeVar("T")


def _csv(query: Any, name: str, read: Callable[[str], T | None]) -> tuple[T, ...]:
    parts = [part.strip() for part in query.get(name, "").split(",")][:500]
    read_parts = (read(part) for part in parts if part)
    return tuple(part for part in read_parts if part is not None)


def _id_or_none(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) <= INT64_MAX else None


def _flag(query: Any, name: str) -> bool | None:
    return query[name].strip().lower() in TRUE_WORDS if query.get(name) else None


def _moment(query: Any, name: str) -> datetime | None:
    text = query.get(name)
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"Invalid {name} (expected ISO 8601 date-time)", field=name) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=now().tzinfo)


def _number(query: Any, name: str, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if text is None or not text.strip():
        return default
    try:
        return min(max(int(text), low), high)
    except ValueError:
        raise Invalid("Invalid query parameters", field=name) from None
