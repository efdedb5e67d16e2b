"""`/api/audits`: lists as files, and one audit as a dossier."""

import asyncio
from collections.abc import Callable
from typing import IO, Annotated

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from conforme.accounts.actor import Actor, Caller
from conforme.accounts.auth import CurrentCaller, may
from conforme.audits import exports
from conforme.audits.dossier import Dossier, dossier_of
from conforme.audits.dossier_page import page_of
from conforme.audits.filters import parse_filters
from conforme.audits.list_routes import seeing
from conforme.foundation.database import now
from conforme.foundation.resources import Resources
from conforme.foundation.web import ERRORS, ResourcesDep, path_id

router = APIRouter(prefix="/api/audits", tags=["audits"], responses=ERRORS)

Reader = Annotated[Actor, may("audits.read")]
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
# What holds names of people stays with who asked for it.
PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@router.get("/export.csv", response_class=StreamingResponse)
async def export_csv(
    request: Request, resources: ResourcesDep, caller: CurrentCaller, actor: Reader
) -> StreamingResponse:
    """Every audit of the list as CSV: the filters and the order of the list, without its pages."""
    file = await _written(request, resources, caller, actor, exports.CsvBook)
    return _sent(file, "text/csv; charset=utf-8", "csv")


@router.get("/export.xlsx", response_class=StreamingResponse)
async def export_xlsx(
    request: Request, resources: ResourcesDep, caller: CurrentCaller, actor: Reader
) -> StreamingResponse:
    """The same as a spreadsheet."""
    file = await _written(request, resources, caller, actor, exports.XlsxBook)
    return _sent(file, XLSX, "xlsx")


async def _written(
    request: Request,
    resources: Resources,
    caller: Caller,
    actor: Actor,
    book: Callable[[IO[bytes]], exports.Book],
) -> IO[bytes]:
    filters = parse_filters(request.query_params)
    return await exports.written(resources.database, seeing(caller, actor, filters), filters, book)


def _sent(file: IO[bytes], kind: str, ending: str) -> StreamingResponse:
    name = f"audits-{now().date().isoformat()}.{ending}"
    headers = {
        **PRIVATE,
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Length": str(file.seek(0, 2)),
    }
    return StreamingResponse(exports.chunks(file), media_type=kind, headers=headers)


@router.get("/{audit_id}/dossier.html", response_class=HTMLResponse)
async def dossier_html(resources: ResourcesDep, actor: Reader, audit_id: str) -> HTMLResponse:
    """One audit as a page of its own: verdicts, quotes with their times, and what they rest on."""
    dossier = await _dossier(resources, actor, audit_id)
    return HTMLResponse(page_of(dossier), headers=PRIVATE)


@router.get("/{audit_id}/dossier.pdf", response_class=Response)
async def dossier_pdf(resources: ResourcesDep, actor: Reader, audit_id: str) -> Response:
    """The same as PDF."""
    from conforme.audits.dossier_pdf import pdf_of

    dossier = await _dossier(resources, actor, audit_id)
    content = await asyncio.to_thread(pdf_of, dossier)
    named = {"Content-Disposition": f'attachment; filename="audit-{audit_id}.pdf"'}
    return Response(content, media_type="application/pdf", headers=PRIVATE | named)


async def _dossier(resources: Resources, actor: Actor, audit_id: str) -> Dossier:
    number = path_id(audit_id, "audit_id")
    async with resources.database.read() as session:
        return await dossier_of(session, actor, number)
