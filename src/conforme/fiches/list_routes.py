"""Lists of fiches: `/api/fiches/search` and `/api/fiches/status/…` (spec/fiches §2.5)."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Response
from pydantic import SecretStr

from conforme.accounts.actor import Actor
from conforme.accounts.auth import CurrentCaller, may
from conforme.fiches import list_queries
from conforme.fiches.coverage import Span
from conforme.fiches.list_dates import day_or_none, given_day, given_days, missing
from conforme.fiches.list_queries import PageOfRows, Window
from conforme.fiches.list_ranges import nothing, read_range
from conforme.fiches.list_schemas import (
    MAX_FICHES_PER_BATCH,
    DayQuery,
    DayText,
    FichesFound,
    FichesOfDay,
    FichesOfDayAnswer,
    FichesOfRange,
    NothingOfRange,
    PageOfFiches,
    PageQuery,
    RangeQuery,
    StatesAnswer,
    WebhookSecret,
)
from conforme.fiches.range_fetch import RangeAsked
from conforme.fiches.search import Searcher, search
from conforme.foundation.errors import Invalid
from conforme.foundation.web import ERRORS, Page, ResourcesDep

router = APIRouter(prefix="/api/fiches", tags=["fiches"], responses=ERRORS)

HEARING = "recordings.read"
MAX_FICHE_ID = 40

Reader = Annotated[Actor, may("fiches.read")]


@router.get("/search")
async def search_day(
    caller: CurrentCaller,
    reader: Reader,
    resources: ResourcesDep,
    date: Annotated[DayText | None, Query()] = None,
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
    actor: Reader, resources: ResourcesDep, query: Annotated[DayQuery, Query()]
) -> FichesOfDayAnswer:
    """The cached fiches sold on a day, newest row first; the CRM is not asked."""
    day = given_day(query.date, "date")
    window = _window(query)
    async with resources.database.read() as session:
        page = await list_queries.sold(session, actor, Span(day, day), window)
        fiches = await list_queries.described(session, actor, page.rows)
    data = FichesOfDay(date=day.isoformat(), total=page.total, fiches=fiches)
    return FichesOfDayAnswer(data=data, pagination=_pagination(page, window))


@router.get("/status/by-date-range", response_model=FichesOfRange | NothingOfRange)
async def status_by_date_range(
    caller: CurrentCaller,
    _reader: Reader,
    resources: ResourcesDep,
    query: Annotated[RangeQuery, Query()],
    signing: Annotated[WebhookSecret | None, Header(alias="X-Webhook-Secret")] = None,
) -> Response:
    """What is known of a range of days, newest row first; what is not is fetched in the background, unwaited for."""
    actor = caller.acting(["fiches.read", "fiches.fetch"] if query.refresh else ["fiches.read"])
    span = given_days(query.start_date, query.end_date)
    secret = signing or query.webhook_secret
    asked = RangeAsked(
        span.start,
        span.end,
        refresh=query.refresh,
        webhook_url=query.webhook_url or None,
        webhook_secret=SecretStr(secret) if secret else None,
    )
    window = _window(query)
    read = await read_range(resources, actor, asked, window)
    if read is None:
        start, end = span.start.isoformat(), span.end.isoformat()
        return _json(NothingOfRange(start_date=start, end_date=end, meta=nothing()))
    return _json(
        FichesOfRange(
            start_date=read.span.start.isoformat(),
            end_date=read.span.end.isoformat(),
            total=read.page.total,
            fiches=read.fiches,
            meta=read.meta,
            pagination=_pagination(read.page, window),
        )
    )


def _json(answer: FichesOfRange | NothingOfRange) -> Response:
    """Written once: a long list is not checked a second time on its way out."""
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


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


def _window(query: PageQuery) -> Window:
    return Window(query.limit, query.offset, query.after)


def _pagination(page: PageOfRows, window: Window) -> PageOfFiches:
    told = Page(limit=window.limit, offset=window.offset).describe(page.total)
    told["has_next_page"], told["has_prev_page"] = page.more, window.offset > 0 or window.after is not None
    return PageOfFiches.model_validate(told | {"next_after": str(page.rows[-1].id) if page.more else None})
