"""`/api/fiches` (spec/fiches §2.5)."""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from conforme.accounts.actor import Actor, Scope
from conforme.accounts.auth import CurrentCaller, may
from conforme.fiches import queries
from conforme.fiches.ports import Session, connected
from conforme.fiches.queries import Cached
from conforme.fiches.reading import Readers, Reading
from conforme.fiches.schemas import CachedFicheAnswer, FicheStatus, FicheStatusAnswer
from conforme.foundation.errors import Forbidden, NotFound
from conforme.foundation.web import ERRORS, ResourcesDep, failure, route_not_found

router = APIRouter(prefix="/api/fiches", tags=["fiches"], responses=ERRORS)

_NOT_IN_DATABASE: Final = "Fiche not found in database"
HEARING: Final = "recordings.read"
FICHE_ID: Final = re.compile(r"[0-9]{1,40}", re.ASCII)


def _fiche_id(request: Request, fiche_id: str) -> str:
    """The digits of a fiche id; any other path is no route."""
    if not FICHE_ID.fullmatch(fiche_id):
        raise route_not_found(request)
    return fiche_id


FicheIdPath = Annotated[str, Depends(_fiche_id)]
Reader = Annotated[Actor, may("fiches.read")]


@router.get("/{fiche_id}")
async def read_fiche(
    caller: CurrentCaller,
    _reader: Reader,
    fiche_id: FicheIdPath,
    resources: ResourcesDep,
    refresh: bool = False,
    include_mail_devis: bool = False,
) -> JSONResponse:
    """The fiche as the CRM tells it: from the cache while it holds, always anew with `refresh`."""
    actor = caller.acting(["fiches.read", "fiches.fetch"] if refresh else ["fiches.read"])
    hearer = caller.acting([HEARING]) if caller.grants.reach(HEARING) else None
    reading = Reading(
        resources, Readers(actor, hearer), fiche_id, refresh=refresh, mail_devis=include_mail_devis
    )
    return JSONResponse(await reading.document())


@router.get("/{fiche_id}/cache")
async def read_cache_entry(
    actor: Reader, fiche_id: FicheIdPath, resources: ResourcesDep
) -> CachedFicheAnswer:
    """What the cache holds of a fiche, and until when; the CRM is not asked."""
    async with resources.database.read() as session:
        known = await _told_of(session, actor, fiche_id)
    if known is None and actor.scope is Scope.ALL:
        raise NotFound("Fiche not cached")
    if known is None or not known.in_scope:
        raise Forbidden
    return CachedFicheAnswer.of(known.row)


@router.get("/{fiche_id}/status", response_model=FicheStatusAnswer)
async def read_status(actor: Reader, fiche_id: FicheIdPath, resources: ResourcesDep) -> Any:
    """How far the transcription and the audits of a fiche are."""
    ports = connected()
    async with resources.database.read() as session:
        known = await _told_of(session, actor, fiche_id)
        if known is None or not known.in_scope:
            # The same for a fiche that is not the caller's and for one that nobody has fetched yet.
            hint = "Open the fiche first: its details are fetched from the CRM when it is read"
            return JSONResponse(failure(_NOT_IN_DATABASE, NotFound.code, message=hint), NotFound.status)
        transcription = await ports.transcription_status(session, actor, known.row.id)
        audit = await ports.audit_status(session, actor, fiche_id)
    return FicheStatusAnswer(data=FicheStatus(fiche_id=fiche_id, transcription=transcription, audit=audit))


async def _told_of(session: Session, actor: Actor, fiche_id: str) -> Cached | None:
    """The cached fiche, unless all that is cached is the CRM's word that it does not exist."""
    known = await queries.cached(session, actor, connected().recordings, fiche_id)
    return known if known and known.is_listed_or_detailed else None
