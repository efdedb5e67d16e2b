"""`/api/audits`: lists, groups, what is written on an audit, and the lines of its run (spec/audits §10)."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from pydantic import ValidationError

from conforme.accounts.actor import Actor, Caller
from conforme.accounts.auth import CurrentCaller, may
from conforme.audits import fiche_groups, grouping, list_queries, list_views, queries
from conforme.audits.details import detail_of, verdicts_of
from conforme.audits.filters import LIMIT_OF_FICHE, Filters, page_of, parse_filters
from conforme.audits.links import links_of
from conforme.audits.list_schemas import (
    AuditList,
    FicheAudits,
    FichesOfAudits,
    GroupMeta,
    Groups,
    UpdateAudit,
)
from conforme.audits.metadata import change_audit
from conforme.audits.schemas import AuditAnswer
from conforme.foundation import workflow_logs
from conforme.foundation.errors import Invalid, NotFound
from conforme.foundation.query import flag
from conforme.foundation.web import ERRORS, ResourcesDep, json_answer, ok, path_id
from conforme.foundation.workflow_logs import LogLines

router = APIRouter(prefix="/api/audits", tags=["audits"], responses=ERRORS)

Reader = Annotated[Actor, may("audits.read")]
Writer = Annotated[Actor, may("audits.write")]


def seeing(caller: Caller, actor: Actor, filters: Filters) -> Actor:
    """Deleted audits are for who may delete them, as far as that reaches."""
    return caller.acting(["audits.read", "audits.write"]) if filters.include_deleted else actor


@router.get("", response_model=AuditList)
async def listing(
    request: Request, resources: ResourcesDep, caller: CurrentCaller, actor: Reader
) -> Response:
    """Audits in scope, filtered, sorted and paged; with what each stored when `include_result_data` is `true`."""
    filters = parse_filters(request.query_params)
    results = flag(request.query_params, "include_result_data") is True
    async with resources.database.read() as session:
        page = await list_queries.listed(session, seeing(caller, actor, filters), filters, results=results)
        named = await links_of(session, page.found)
    shown = [list_views.listed(each, named, results=results) for each in page.found]
    return json_answer(ok(shown, pagination=list_views.pagination(page, filters)))


@router.get("/grouped", response_model_exclude_unset=True)
async def grouped(request: Request, resources: ResourcesDep, caller: CurrentCaller, actor: Reader) -> Groups:
    """Audits counted by what they have in common, the largest group first."""
    how, filters = grouping.grouping_of(request.query_params), parse_filters(request.query_params)
    async with resources.database.read() as session:
        rows, total = await grouping.grouped(session, seeing(caller, actor, filters), filters, how)
        names = await grouping.named(session, how, rows)
    return Groups(
        success=True,
        data=[list_views.group(row, how, names) for row in rows],
        pagination=filters.page.describe(total),
        meta=GroupMeta(group_by=how.by, bucket_size=how.bucket_size, truncated=False),
    )


@router.get("/grouped-by-fiches", response_model=FichesOfAudits)
async def grouped_by_fiches(
    request: Request, resources: ResourcesDep, caller: CurrentCaller, actor: Reader
) -> Response:
    """Fiches with their newest audits, that with the latest audit first."""
    filters = parse_filters(request.query_params)
    results = flag(request.query_params, "include_result_data") is True
    async with resources.database.read() as session:
        found, total = await fiche_groups.by_fiche(
            session, seeing(caller, actor, filters), filters, results=results
        )
        named = await links_of(session, (each for group in found for each in group.audits))
    shown = [list_views.fiche_group(each, named, results=results) for each in found]
    return json_answer(ok(shown, pagination=filters.page.describe(total)))


@router.get("/by-fiche/{fiche_id}", response_model=FicheAudits)
async def by_fiche(request: Request, resources: ResourcesDep, actor: Reader, fiche_id: str) -> Response:
    """The latest audit of each configuration on a fiche, newest first, each with its steps."""
    if not fiche_id.isascii() or not fiche_id.isdigit() or len(fiche_id) > 20:
        raise Invalid("Invalid fiche_id", field="fiche_id")
    asked = page_of(request.query_params, LIMIT_OF_FICHE)
    async with resources.database.read() as session:
        page = await list_queries.of_fiche(session, actor, fiche_id, asked)
        verdicts = await verdicts_of(session, [each.id for each in page.found])
        named = await links_of(session, page.found)
    shown = [list_views.listed(each, named, results=True, verdicts=verdicts[each.id]) for each in page.found]
    return json_answer(ok(shown, count=len(shown), pagination=asked.describe(page.total or 0)))


@router.get("/{audit_id}/logs", response_model_exclude_unset=True)
async def logs(request: Request, resources: ResourcesDep, actor: Reader, audit_id: str) -> LogLines:
    """The lines of an audit's runs, oldest first; kept where `WORKFLOW_LOG_DB_ENABLED` says so."""
    number, wanted = path_id(audit_id, "audit_id"), workflow_logs.wanted_of(request.query_params)
    async with resources.database.read() as session:
        if not await queries.visible_audit_ids(session, actor, [str(number)]):
            raise NotFound("Audit not found")
        rows = await workflow_logs.lines_of(session, "audit", ("audit", str(number)), wanted)
    return workflow_logs.page_of(rows, wanted)


@router.patch("/{audit_id}")
async def update(
    resources: ResourcesDep, actor: Writer, audit_id: str, body: Annotated[Any, Body()] = None
) -> AuditAnswer:
    """Changes notes and links; `deleted` deletes or restores."""
    number, changes = path_id(audit_id, "audit_id"), _changes(body)
    async with resources.database.write() as session:
        await change_audit(session, actor, number, changes)
        detail = await detail_of(session, actor, number)
    return AuditAnswer(data=detail)


@router.delete("/{audit_id}")
async def delete(resources: ResourcesDep, actor: Writer, audit_id: str) -> AuditAnswer:
    """Deletes an audit: it is kept, leaves the lists, and `PATCH` with `deleted: false` restores it."""
    number = path_id(audit_id, "audit_id")
    async with resources.database.write() as session:
        await change_audit(session, actor, number, {"deleted": True})
        detail = await detail_of(session, actor, number)
    return AuditAnswer(data=detail)


def _changes(body: Any) -> dict[str, Any]:
    try:
        return UpdateAudit.model_validate({} if body is None else body).changes()
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        raise Invalid("Invalid update audit input", field=field or None) from None
