"""Durable fetches from the CRM: one fiche, or the sales of a day (spec/fiches §2.4).

A fiche's job answers `{success, not_found, cached, cache_id, recordings_count}`.
"""

from datetime import timedelta
from typing import Any

from conforme.accounts.actor import Actor
from conforme.crm.errors import FicheNotFound
from conforme.crm.gateway import CALL_SECONDS, LONGEST_WAIT_SECONDS
from conforme.crm.retry import CRM_RETRY
from conforme.fiches import policy, queries, service
from conforme.fiches.policy import Reason
from conforme.fiches.ports import connected
from conforme.fiches.schemas import FetchFiche, FetchSalesDay
from conforme.fiches.service import StoredFiche
from conforme.foundation.database import now
from conforme.foundation.durable import JobContext, Lane, LaneLimits, job
from conforme.foundation.resources import Resources
from conforme.settings import Settings

ACTOR = Actor.system("fiche-fetch")


def _details_limits(settings: Settings) -> LaneLimits:
    return LaneLimits(at_once=settings.fiche_fetch_concurrency, per_key=1)


def _sales_limits(settings: Settings) -> LaneLimits:
    return LaneLimits(at_once=settings.fiche_sales_search_concurrency)


CRM = Lane("crm", _details_limits)
"""Detail fetches, one at a time per fiche: dispatch with the fiche id as key."""
SALES = Lane("crm-sales", _sales_limits)

DEADLINE = timedelta(seconds=CRM_RETRY.attempts * (CALL_SECONDS + LONGEST_WAIT_SECONDS) + 30)


@job("fiche/fetch", lane=CRM, deadline=DEADLINE)
async def fetch_fiche(ctx: JobContext, payload: FetchFiche) -> dict[str, Any]:
    """Brings the cache of a fiche up to date, or finds that it is.

    Raises:
        GatewayFailed: the CRM did not answer as agreed, however often it was asked.
    """
    resources, fiche_id = ctx.resources, payload.fiche_id
    decided = await ctx.step("decide", lambda: _decide(resources, payload))
    reason = Reason(decided["reason"])
    if not reason.fetches:
        return decided["answer"]
    try:
        return await ctx.step(
            "fetch", lambda: _fetch(resources, fiche_id), retry=CRM_RETRY, timeout=CALL_SECONDS + 10
        )
    except FicheNotFound:
        pass
    return await ctx.step("deny", lambda: _deny(resources, fiche_id, keep=decided["keep"]))


async def _decide(resources: Resources, payload: FetchFiche) -> dict[str, Any]:
    """Whether to fetch and why; the answer at once when not."""
    settings, ports = resources.settings, connected()
    async with resources.database.read() as session:
        known = await queries.cached(session, ACTOR, ports.recordings, payload.fiche_id)
    facts, force = known and known.facts, payload.force_refresh
    reason = policy.for_job(facts, now(), force=force, cooldown=policy.cooldown_of(settings))
    keep = policy.survives_denial(facts, reason, force=force)
    answer = None
    if known and reason is Reason.NOT_FOUND:
        answer = _answer(StoredFiche(known.row.id, 0), cached=True, not_found=True)
    elif known and reason is Reason.VALID:
        answer = await _still_valid(resources, payload.fiche_id, known)
    return {"reason": reason.value, "keep": keep, "answer": answer}


async def _still_valid(resources: Resources, fiche_id: str, known: queries.Cached) -> dict[str, Any]:
    stored = StoredFiche(known.row.id, known.facts.recordings_known)
    async with resources.database.write() as session:
        await service.announce(session, fiche_id, stored, cached=True)
    return _answer(stored, cached=True)


async def _fetch(resources: Resources, fiche_id: str) -> dict[str, Any]:
    details = await service.fetch_details(resources, fiche_id)
    async with resources.database.write() as session:
        fresh = service.details_freshness(resources.settings)
        stored = await service.store_details(session, connected().recordings, details, fresh)
    return _answer(stored, cached=False)


async def _deny(resources: Resources, fiche_id: str, *, keep: bool) -> dict[str, Any]:
    """What follows when the CRM says for good that it has no such fiche."""
    async with resources.database.write() as session:
        known = await queries.cached(session, ACTOR, connected().recordings, fiche_id) if keep else None
        if known:
            stored = StoredFiche(known.row.id, known.facts.recordings_known)
            await service.announce(session, fiche_id, stored, cached=True)
            return _answer(stored, cached=True)
        cache_id = await service.mark_not_found(session, resources.settings, fiche_id)
    return _answer(StoredFiche(cache_id, 0), cached=False, not_found=True)


def _answer(stored: StoredFiche, *, cached: bool, not_found: bool = False) -> dict[str, Any]:
    return {
        "success": not not_found,
        "not_found": not_found,
        "cached": cached,
        "cache_id": stored.fiche_cache_id,
        "recordings_count": stored.recordings_count,
    }


@job("fiches/fetch-sales-day", lane=SALES, deadline=DEADLINE)
async def fetch_sales_day(ctx: JobContext, payload: FetchSalesDay) -> dict[str, Any]:
    """Notes the sales of a day; answers `{day, expected, stored, quarantined}`.

    Raises:
        GatewayFailed: the CRM did not answer as agreed, however often it was asked.
    """
    return await ctx.step(
        "fetch", lambda: _fetch_day(ctx.resources, payload), retry=CRM_RETRY, timeout=CALL_SECONDS + 10
    )


async def _fetch_day(resources: Resources, payload: FetchSalesDay) -> dict[str, Any]:
    fetched = await service.fetch_sales_day(resources, payload.day)
    return {
        "day": payload.day.isoformat(),
        "expected": fetched.expected,
        "stored": fetched.stored,
        "quarantined": fetched.quarantined,
    }
