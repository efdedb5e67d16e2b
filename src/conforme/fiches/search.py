"""The sales of a day as the CRM lists them now (spec/fiches §2.5, `search`).

Whoever searches waits for the CRM, in turn with all other searches of all replicas (`FICHE_SALES_SEARCH_CONCURRENCY`).
What is found is noted in the cache and in the ledger of days, which then say what the caller may see of it.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import uuid4

from conforme.accounts.actor import Actor
from conforme.crm.gateway import CALL_SECONDS
from conforme.crm.retry import CRM_RETRY
from conforme.fiches import list_queries, service
from conforme.fiches.patch import Json
from conforme.fiches.schemas import FetchSalesDay
from conforme.fiches.scope import visible_fiche_ids
from conforme.fiches.waiting import SEARCH, Wanted, failure_of, let_go, outcome_of
from conforme.fiches.workflows import DEADLINE, SALES
from conforme.foundation.durable import JobContext, job
from conforme.foundation.resources import Resources


@dataclass(frozen=True, slots=True)
class Searcher:
    """Whoever searches, and as who they hear recordings; None when they do not."""

    fiche: Actor
    recordings: Actor | None


@job("fiches/search-sales-day", lane=SALES, deadline=DEADLINE)
async def search_sales_day(ctx: JobContext, payload: FetchSalesDay) -> list[Json]:
    """Notes the sales of a day and answers their lines: whoever asked has them forgotten.

    Raises:
        GatewayFailed: the CRM did not answer as agreed, however often it was asked.
    """
    return await ctx.step(
        "search", lambda: _lines(ctx.resources, payload.day), retry=CRM_RETRY, timeout=CALL_SECONDS + 10
    )


async def _lines(resources: Resources, day: date) -> list[Json]:
    listing = await service.list_sales_day(resources, day)
    return [fiche.model_dump(mode="json", exclude_unset=True) for fiche in listing.fiches]


async def search(resources: Resources, searcher: Searcher, day: date, *, with_status: bool) -> list[Json]:
    """The lines of the day that the caller may see, in the CRM's order, each with its `status` when that is wanted.

    Raises:
        GatewayFailed: the CRM does not answer.
        Unavailable: it does not in time.
    """
    lines = await _asked(resources, day)
    ids = [line["id"] for line in lines]
    async with resources.database.read() as session:
        seen = await visible_fiche_ids(session, searcher.fiche, ids)
        hearer = searcher.recordings
        heard = await visible_fiche_ids(session, hearer, seen) if hearer else set[str]()
        states = await list_queries.states(session, searcher.fiche, sorted(seen)) if with_status else {}
    shown = [line if line["id"] in heard else _unheard(line) for line in lines if line["id"] in seen]
    return [_with_status(line, states[line["id"]]) for line in shown] if with_status else shown


def _with_status(line: Json, state: list_queries.FicheState) -> Json:
    return line | {"status": state.model_dump(mode="json", by_alias=True)}


def _unheard(line: Json) -> Json:
    calls: list[dict[str, Any]] = line.get("recordings", [])
    return line | {"recordings": [call | {"recording_url": None, "transcription": None} for call in calls]}


async def _asked(resources: Resources, day: date) -> list[Json]:
    """What the job answers; it is kept no longer than the caller waits."""
    identifier = f"{SEARCH}{day.isoformat()}-{uuid4().hex}"
    wanted = Wanted(
        what=f"The sales of {day.isoformat()}",
        failed=f"Failed to fetch sales with calls for {day.isoformat()}..{day.isoformat()}",
    )
    payload = FetchSalesDay(day=day)
    try:
        outcome = await outcome_of(
            resources, search_sales_day, payload, id=identifier, key=None, wanted=wanted
        )
        if not outcome.ok:
            raise failure_of(outcome, wanted)
        return outcome.value
    finally:
        await let_go(resources.durable, identifier)
