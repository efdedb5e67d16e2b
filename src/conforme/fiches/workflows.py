"""Durable fetches from the CRM: one fiche, or the sales of a day (spec/fiches §2.4).

A fiche's job answers `{success, not_found, cached, cache_id, recordings_count}`. Only where a reader waits for a fiche
that cannot be stored does the answer hold more than ids and counts: `unstored`, the fiche, and the reader has it
forgotten. Where a schedule of automation brings a token of its own, the job carries the schedule's id, and the step that
asks the CRM opens the token; what the CRM denies to that token is not noted as denied to the product.
"""

from datetime import timedelta
from typing import Any

import structlog
from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError

from conforme.accounts.actor import Actor
from conforme.crm.errors import FicheNotFound
from conforme.crm.exchange import LONGEST_WAIT_SECONDS
from conforme.crm.gateway import CALL_SECONDS
from conforme.crm.retry import CRM_RETRY
from conforme.fiches import policy, queries, service
from conforme.fiches.policy import CacheFacts, Reason
from conforme.fiches.ports import connected
from conforme.fiches.schemas import FetchFiche, FetchSalesDay
from conforme.fiches.service import StoredFiche
from conforme.fiches.store import FicheIncomplete
from conforme.foundation.database import ReadSession, now
from conforme.foundation.durable import JobContext, Lane, LaneLimits, job
from conforme.foundation.outages import is_outage
from conforme.foundation.resources import Resources
from conforme.settings import Settings

log = structlog.get_logger(__name__)

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
    resources = ctx.resources
    decided = await ctx.step("decide", lambda: _decide(resources, payload))
    if not Reason(decided["reason"]).fetches:
        return decided["answer"]
    try:
        return await ctx.step(
            "fetch", lambda: _fetch(resources, payload), retry=CRM_RETRY, timeout=CALL_SECONDS + 10
        )
    except FicheNotFound:
        pass
    own = bool(decided.get("own_token"))
    return await ctx.step("deny", lambda: _deny(resources, payload, keep=decided["keep"], noted=not own))


async def _decide(resources: Resources, payload: FetchFiche) -> dict[str, Any]:
    """Whether to fetch and why; the answer at once when not."""
    async with resources.database.read() as session:
        known = await queries.cached(session, ACTOR, connected().recordings, payload.fiche_id)
        own_token = await _token(session, resources, payload.schedule_id) is not None
    facts = known and known.facts
    if own_token and facts is not None and facts.not_found:  # denied to the product, which is somebody else
        facts = None
    reason, keep = _judged(resources.settings, payload, facts)
    answer = None
    if known and reason is Reason.NOT_FOUND:
        answer = _answer(StoredFiche(known.row.id, 0), cached=True, not_found=True)
    elif known and reason is Reason.VALID:
        answer = await _still_valid(resources, payload, known)
    return {"reason": reason.value, "keep": keep, "answer": answer, "own_token": own_token}


async def _token(session: ReadSession, resources: Resources, schedule_id: int | None) -> SecretStr | None:
    """The token that a schedule brings along; None: the product's own is used."""
    if schedule_id is None:
        return None
    return await connected().schedule_token(session, resources.settings, schedule_id)


async def _opened(resources: Resources, schedule_id: int | None) -> SecretStr | None:
    if schedule_id is None:
        return None
    async with resources.database.read() as session:
        return await _token(session, resources, schedule_id)


def _judged(settings: Settings, payload: FetchFiche, facts: CacheFacts | None) -> tuple[Reason, bool]:
    """What to do and why, and whether what is known is kept should the CRM deny the fiche."""
    if wants := payload.reader:
        reason = policy.for_read(facts, now(), refresh=wants.refresh, mail_devis=wants.mail_devis)
        return reason, policy.reading_survives_denial(facts, refresh=wants.refresh)
    force = payload.force_refresh
    reason = policy.for_job(facts, now(), force=force, cooldown=policy.cooldown_of(settings))
    return reason, policy.survives_denial(facts, reason, force=force)


async def _still_valid(resources: Resources, payload: FetchFiche, known: queries.Cached) -> dict[str, Any]:
    stored = StoredFiche(known.row.id, known.facts.recordings_known)
    if payload.reader is None:
        async with resources.database.write() as session:
            await service.announce(session, payload.fiche_id, stored, cached=True)
    return _answer(stored, cached=True)


async def _fetch(resources: Resources, payload: FetchFiche) -> dict[str, Any]:
    wants, recordings = payload.reader, connected().recordings
    mail_devis = wants is not None and wants.mail_devis
    token = await _opened(resources, payload.schedule_id)
    details = await service.fetch_details(resources, payload.fiche_id, mail_devis=mail_devis, token=token)
    try:
        async with resources.database.write() as session:
            fresh = service.details_freshness(resources.settings)
            stored = await service.store_details(session, recordings, details, fresh)
    except (SQLAlchemyError, FicheIncomplete) as error:
        if wants is None or not wants.even_unstored or is_outage(error):
            raise
        log.warning("fetched but not stored", fiche_id=payload.fiche_id, error=type(error).__name__)
        shown = queries.document_of(details, recordings)
        return {"success": True, "not_found": False, "cached": False, "unstored": shown}
    return _answer(stored, cached=False)


async def _deny(resources: Resources, payload: FetchFiche, *, keep: bool, noted: bool) -> dict[str, Any]:
    """What follows when the CRM says for good that it has no such fiche; to whom but the asker, when it is `noted`.

    A job goes on with what is kept; a reader is told of the denial, and decides whether to show it.
    """
    fiche_id = payload.fiche_id
    async with resources.database.write() as session:
        known = await queries.cached(session, ACTOR, connected().recordings, fiche_id) if keep else None
        if known is None and not noted:
            return _answer(None, cached=False, not_found=True)
        if known is None:
            cache_id = await service.mark_not_found(session, resources.settings, fiche_id)
            return _answer(StoredFiche(cache_id, 0), cached=False, not_found=True)
        stored = StoredFiche(known.row.id, known.facts.recordings_known)
        if payload.reader is None:
            await service.announce(session, fiche_id, stored, cached=True)
        return _answer(stored, cached=True, not_found=payload.reader is not None)


def _answer(stored: StoredFiche | None, *, cached: bool, not_found: bool = False) -> dict[str, Any]:
    return {
        "success": not not_found,
        "not_found": not_found,
        "cached": cached,
        "cache_id": stored and stored.fiche_cache_id,
        "recordings_count": stored.recordings_count if stored else 0,
    }


@job("fiches/fetch-sales-day", lane=SALES, deadline=DEADLINE)
async def fetch_sales_day(ctx: JobContext, payload: FetchSalesDay) -> dict[str, Any]:
    """Notes the sales of a day; answers `{day, expected, stored, quarantined}`, for a schedule with `fiche_ids`.

    Raises:
        GatewayFailed: the CRM did not answer as agreed, however often it was asked.
    """
    return await ctx.step(
        "fetch", lambda: _fetch_day(ctx.resources, payload), retry=CRM_RETRY, timeout=CALL_SECONDS + 10
    )


async def _fetch_day(resources: Resources, payload: FetchSalesDay) -> dict[str, Any]:
    token = await _opened(resources, payload.schedule_id)
    listing, fetched = await service.fetch_sales_day(resources, payload.day, token)
    ids = sorted({fiche.id for fiche in listing.fiches})
    listed = {} if payload.schedule_id is None else {"fiche_ids": ids}
    return {
        "day": payload.day.isoformat(),
        "expected": fetched.expected,
        "stored": fetched.stored,
        "quarantined": fetched.quarantined,
        **listed,
    }
