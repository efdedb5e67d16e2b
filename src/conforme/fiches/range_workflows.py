"""The durable fetch of a range: one search, shorter ones for what failed, and nothing left without an end.

The searches are children on the lane of sales searches: its limit protects the CRM over all replicas, and a fetch
that waits holds none of its places. What they have found is in the database when they end: the engine keeps days
and counts.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import structlog
from pydantic import BaseModel
from sqlalchemy import delete, select

from conforme.crm.gateway import CALL_SECONDS
from conforme.crm.retry import CRM_RETRY
from conforme.fiches import job_queries, placing, range_search
from conforme.fiches.job_queries import PROCESSING
from conforme.fiches.models import ProgressiveFetchJob
from conforme.fiches.noting import SHORT
from conforme.fiches.telling import subject_of
from conforme.fiches.workflows import DEADLINE, SALES
from conforme.foundation.database import WriteSession, now
from conforme.foundation.durable import Child, Durable, JobContext, Lane, Outcome, Priority, job, schedule
from conforme.foundation.resources import Resources
from conforme.webhooks import outbox

log = structlog.get_logger(__name__)

RANGES = Lane("range-fetches")
"""Fetches of ranges, which mostly wait for their searches."""
FETCH_DEADLINE: Final = timedelta(minutes=30)
STORING_SECONDS: Final = 120.0
"""Time a search has for storing what it found, beside its call."""
HALTED_AFTER: Final = timedelta(minutes=2)
MAX_ATTEMPTS: Final = 3
LOOKED_AT: Final = 100
BATCH: Final = 200
WORKING: Final = frozenset({"queued", "running"})
UNENDED: Final = "The fetch came to a halt again and again"


class FetchRange(BaseModel):
    """Payload of `fiches/progressive-fetch`."""

    job_id: str


class SearchSales(BaseModel):
    """Payload of `fiches/search-sales`."""

    job_id: str
    days: list[date]


async def dispatch(session: WriteSession, durable: Durable, job: ProgressiveFetchJob) -> None:
    """Queues the work of a fetch in the transaction that begins it, or begins it anew."""
    await durable.dispatch(session, fetch_days, FetchRange(job_id=job.id), id=work_id(job.id, job.attempt))


def work_id(job_id: str, attempt: int) -> str:
    return f"progressive-fetch-{job_id}-{attempt}"


@job("fiches/progressive-fetch", lane=RANGES, deadline=FETCH_DEADLINE)
async def fetch_days(ctx: JobContext, payload: FetchRange) -> dict[str, Any]:
    """Searches the days that remain: all at once, and what failed in halves, until it is clear that the CRM is away.

    One day that the CRM cannot list is found by as many failed searches as the range can be halved; when more than
    that fail one after the other, the days left are failed without asking.
    """
    days = [date.fromisoformat(day) for day in await ctx.step("plan", lambda: _plan(ctx.resources, payload))]
    waiting, patience = [tuple(days)] if days else [], len(days).bit_length() + 2
    searches = failed_in_a_row = failed_days = 0
    while waiting:
        searches, part = searches + 1, waiting.pop(0)
        [outcome] = await ctx.children([_child(ctx.id, payload.job_id, part, searches)])
        again, reason = _reading(outcome, part)
        failed_in_a_row = failed_in_a_row + 1 if reason else 0
        if failed_in_a_row >= patience:
            waiting, again, part = [], (), tuple(sorted({*part, *(day for each in waiting for day in each)}))
        if len(again) > 1:
            waiting = [*placing.halves(again), *waiting]
        elif reason:
            failed_days += len(part)
            await _give_up(ctx, payload.job_id, part, reason, searches)
    return {"days": len(days), "searches": searches, "failed_days": failed_days}


def _child(parent_id: str, job_id: str, days: Sequence[date], number: int) -> Child:
    payload = SearchSales(job_id=job_id, days=list(days))
    return Child(search_sales, payload, id=f"{parent_id}-search-{number}", priority=Priority.INTERACTIVE)


def _reading(outcome: Outcome, part: Sequence[date]) -> tuple[tuple[date, ...], str | None]:
    """The days to search once more, and why."""
    if not outcome.ok:
        return tuple(part), outcome.error or "The search did not end"
    again = tuple(date.fromisoformat(day) for day in outcome.value["again"])
    return again, SHORT if again else None


async def _plan(resources: Resources, payload: FetchRange) -> list[str]:
    async with resources.database.read() as session:
        known = await session.get(ProgressiveFetchJob, payload.job_id)
    return [] if known is None else [day.isoformat() for day in known.dates_remaining]


async def _give_up(ctx: JobContext, job_id: str, days: Sequence[date], reason: str, number: int) -> None:
    await ctx.step(f"give up {number}", lambda: range_search.fail(ctx.resources, job_id, days, reason, now()))


@job("fiches/search-sales", lane=SALES, deadline=DEADLINE)
async def search_sales(ctx: JobContext, payload: SearchSales) -> dict[str, Any]:
    """One search of a fetch; answers the days to be searched once more in shorter ranges.

    Raises:
        GatewayFailed: the CRM did not answer as agreed, however often it was asked.
    """
    again = await ctx.step(
        "search",
        lambda: _search(ctx.resources, payload),
        retry=CRM_RETRY,
        timeout=CALL_SECONDS + STORING_SECONDS,
    )
    return {"again": again}


async def _search(resources: Resources, payload: SearchSales) -> list[str]:
    again = await range_search.search(resources, payload.job_id, payload.days)
    return [day.isoformat() for day in again]


@schedule("fiches/resume-fetches", "* * * * *")
async def resume_fetches(ctx: JobContext, _: datetime) -> dict[str, int]:
    """Goes on with fetches that came to a halt: work that was cancelled, lost, or out of time."""
    return await ctx.step("resume", lambda: resume(ctx.resources))


async def resume(resources: Resources, *, after: timedelta = HALTED_AFTER) -> dict[str, int]:
    """Looks at fetches without progress for `after`; how many there were, went on, and were given up."""
    counts, before, last = {"silent": 0, "resumed": 0, "given_up": 0}, now() - after, None
    while True:
        async with resources.database.read() as session:
            silent = await job_queries.halted(session, before, LOOKED_AT, last)
        states = await resources.durable.states(work_id(each.job_id, each.attempt) for each in silent)
        counts["silent"] += len(silent)
        for last in silent:
            if states.get(work_id(last.job_id, last.attempt)) in WORKING:
                continue
            if last.attempt >= MAX_ATTEMPTS:
                await _end_all(resources, last.job_id)
                counts["given_up"] += 1
            else:
                counts["resumed"] += await _go_on(resources, last.job_id, last.attempt)
        if len(silent) < LOOKED_AT:
            return counts


async def _go_on(resources: Resources, job_id: str, attempt: int) -> bool:
    """Begins the work anew, unless somebody else has."""
    async with resources.database.write() as session:
        known = await job_queries.held(session, job_id)
        if known is None or known.attempt != attempt:
            return False
        known.attempt, known.updated_at = attempt + 1, now()
        await session.flush()
        await dispatch(session, resources.durable, known)
    log.warning("a fetch that had come to a halt goes on", job_id=job_id, attempt=attempt + 1)
    return True


async def _end_all(resources: Resources, job_id: str) -> None:
    async with resources.database.read() as session:
        known = await session.get(ProgressiveFetchJob, job_id)
    if known is not None:
        log.error("a fetch was given up", job_id=job_id, days=len(known.dates_remaining))
        await range_search.fail(resources, job_id, known.dates_remaining, UNENDED, now())


@schedule("fiches/fetch-retention", "47 3 * * *")
async def retention(ctx: JobContext, _: datetime) -> dict[str, int]:
    """Forgets fetches that ended long ago, with their webhooks and all that was told to them."""
    return await ctx.step("trim", lambda: trim(ctx.resources))


async def trim(resources: Resources) -> dict[str, int]:
    """In batches; how many fetches were deleted."""
    deleted = 0
    before = now() - timedelta(days=resources.settings.workflow_retention_days)
    ended = select(ProgressiveFetchJob.id).where(
        ProgressiveFetchJob.status != PROCESSING, ProgressiveFetchJob.completed_at < before
    )
    while True:
        async with resources.database.write() as session:
            ids = list((await session.scalars(ended.limit(BATCH))).all())
            await outbox.forget(session, [subject_of(each) for each in ids])
            await session.execute(delete(ProgressiveFetchJob).where(ProgressiveFetchJob.id.in_(ids)))
        deleted += len(ids)
        if len(ids) < BATCH:
            return {"fetches": deleted}
