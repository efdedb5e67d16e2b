"""Lists of fiches: `/api/fiches/search` and `/api/fiches/status/…` (spec/fiches §2.5)."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from conforme.accounts.actor import Actor
from conforme.accounts.auth import CurrentCaller, may
from conforme.fiches import list_queries
from conforme.fiches.list_dates import Days, day_or_none, given_day, missing
from conforme.fiches.list_queries import PageOfRows, Window
from conforme.fiches.list_schemas import (
    MAX_FICHES_PER_BATCH,
    MAX_FICHES_PER_PAGE,
    FichesFound,
    FichesOfDay,
    FichesOfDayAnswer,
    PageOfFiches,
    StatesAnswer,
)
from conforme.fiches.search import Searcher, search
from conforme.foundation.errors import Invalid
from conforme.foundation.web import ERRORS, Page, ResourcesDep, Text, WireId

router = APIRouter(prefix="/api/fiches", tags=["fiches"], responses=ERRORS)

HEARING = "recordings.read"
MAX_FICHE_ID = 40

Reader = Annotated[Actor, may("fiches.read")]
DayText = Annotated[Text | None, Query(max_length=40, description="YYYY-MM-DD")]
Limit = Annotated[int, Query(ge=1, le=MAX_FICHES_PER_PAGE)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
After = Annotated[WireId | None, Query(description="`pagination.next_after` of the page before")]


@router.get("/search")
async def search_day(
    caller: CurrentCaller,
    reader: Reader,
    resources: ResourcesDep,
    date: DayText = None,
    include_status: Annotated[bool, Query(alias="includeStatus")] = True,
) -> FichesFound:
    """The sales of a day as the CRM lists them now; it is waited for."""
    day = day_or_none(date)
    if day is None:
        raise missing("date")
    hearer = caller.acting([HEARING]) if caller.grants.reach(HEARING) else None
    fiches = await search(resources, Searcher(reader, hearer), day, with_status=include_status)
    return FichesFound(fiches=fiches, total=len(fiches))


@router.post("/status/batch")
async def status_of_many(
    actor: Reader, resources: ResourcesDep, body: Annotated[Any, Body()] = None
) -> StatesAnswer:
    """How far the transcription and the audits of many fiches are; the CRM is not asked."""
    async with resources.database.read() as session:
        return StatesAnswer(data=await list_queries.states(session, actor, _fiche_ids(body)))


@router.get("/status/by-date")
async def status_by_date(
    actor: Reader,
    resources: ResourcesDep,
    date: DayText = None,
    limit: Limit = MAX_FICHES_PER_PAGE,
    offset: Offset = 0,
    after: After = None,
) -> FichesOfDayAnswer:
    """The cached fiches sold on a day, newest row first; the CRM is not asked."""
    day = given_day(date, "date")
    window = Window(limit, offset, after)
    async with resources.database.read() as session:
        page = await list_queries.sold(session, actor, Days(day, day), window)
        fiches = await list_queries.described(session, actor, page.rows)
    data = FichesOfDay(date=day.isoformat(), total=page.total, fiches=fiches)
    return FichesOfDayAnswer(data=data, pagination=_pagination(page, window))


def _fiche_ids(body: Any) -> list[str]:
    """The distinct ids of `{ficheIds: […]}`, numbers as digits. Raises `Invalid`, naming what is wrong."""
    given = body.get("ficheIds") if isinstance(body, dict) else None
    if not isinstance(given, list):
        raise Invalid("ficheIds must be an array", field="ficheIds")
    if len(given) > MAX_FICHES_PER_BATCH:
        raise Invalid(f"ficheIds must hold at most {MAX_FICHES_PER_BATCH} ids", field="ficheIds")
    return list(dict.fromkeys(_fiche_id(each, f"ficheIds.{place}") for place, each in enumerate(given)))


def _fiche_id(given: Any, field: str) -> str:
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if (
        not isinstance(text, str)
        or not 0 < len(text) <= MAX_FICHE_ID
        or not (text.isascii() and text.isdigit())
    ):
        raise Invalid("A fiche id is a string of up to 40 digits", field=field)
    return text


def _pagination(page: PageOfRows, window: Window) -> PageOfFiches:
    told = Page(limit=window.limit, offset=window.offset).describe(page.total)
    told["has_next_page"], told["has_prev_page"] = page.more, window.offset > 0 or window.after is not None
    return PageOfFiches.model_validate(told | {"next_after": str(page.rows[-1].id) if page.more else None})
