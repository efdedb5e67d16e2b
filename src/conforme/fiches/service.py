"""Fetching from the CRM and storing what it said: load, call, store, with no transaction across the call."""

from dataclasses import dataclass
from datetime import date, timedelta

from pydantic import SecretStr

from conforme.crm.errors import GatewayFailed
from conforme.crm.gateway import CrmGateway, SalesListing
from conforme.crm.schemas import FicheDetails
from conforme.fiches import noting, store
from conforme.fiches.coverage import Span
from conforme.fiches.noting import Answered
from conforme.fiches.ports import RecordingsStore
from conforme.fiches.store import DayFetched, Freshness
from conforme.foundation import events
from conforme.foundation.database import WriteSession, now
from conforme.foundation.resources import Resources
from conforme.settings import Settings

FETCHED = "fiche/fetched"


@dataclass(frozen=True, slots=True)
class StoredFiche:
    """A fiche as it now stands in the cache."""

    fiche_cache_id: int
    recordings_count: int


def details_freshness(settings: Settings) -> Freshness:
    return Freshness(now(), timedelta(hours=settings.fiche_cache_ttl_hours))


async def fetch_details(
    resources: Resources, fiche_id: str, *, mail_devis: bool = False, token: SecretStr | None = None
) -> FicheDetails:
    """One attempt at the gateway. Raises `FicheNotFound` and `GatewayFailed`."""
    gateway = CrmGateway(resources.outbound, resources.settings, token)
    return await gateway.fiche(fiche_id, include_mail_devis=mail_devis)


async def store_details(
    session: WriteSession,
    recordings: RecordingsStore,
    details: FicheDetails,
    fresh: Freshness,
    *,
    sales_date: date | None = None,
) -> StoredFiche:
    """Replaces what is cached of a fiche, its calls included, and tells of it, all in the caller's transaction.

    Raises:
        FicheIncomplete: the details have no `information`.
    """
    fiche_cache_id = await store.write_details(session, details, fresh, sales_date=sales_date)
    assert details.information is not None  # noqa: S101 -- `write_details` refused such details
    fiche_id = details.information.fiche_id
    await recordings.upsert(session, fiche_cache_id, fiche_id, details.recordings)
    stored = StoredFiche(fiche_cache_id, len(details.recordings))
    await announce(session, fiche_id, stored, cached=False)
    return stored


async def announce(session: WriteSession, fiche_id: str, stored: StoredFiche, *, cached: bool) -> None:
    """Tells that a fiche is ready to work on."""
    payload = {
        "fiche_id": fiche_id,
        "cache_id": str(stored.fiche_cache_id),
        "recordings_count": stored.recordings_count,
        "cached": cached,
    }
    await events.record(session, FETCHED, payload, [events.fiche_channel(fiche_id)])


async def mark_not_found(session: WriteSession, settings: Settings, fiche_id: str) -> int:
    """Notes the CRM's denial for `FICHE_NOT_FOUND_TTL_MS`; returns the id of the cache row."""
    lasts = timedelta(milliseconds=settings.fiche_not_found_ttl_ms)
    return await store.mark_not_found(session, fiche_id, Freshness(now(), lasts))


async def fetch_sales_day(
    resources: Resources, day: date, token: SecretStr | None = None
) -> tuple[SalesListing, DayFetched]:
    """One attempt at the sales of a day: its fiches noted, and in the ledger of days how it went.

    Under another `token` than the product's own, which may see other sales, the ledger goes on saying how far the product
    sees: sales are counted where they are noted, and that is all.

    Raises:
        GatewayFailed: after noting it in the ledger; of a listing that was cut short, after noting what came.
    """
    answer, fetched = await _searched(resources, day, token)
    if fetched.error is not None:
        raise GatewayFailed(fetched.error, retryable=True)
    return answer.listing, fetched


async def list_sales_day(resources: Resources, day: date) -> SalesListing:
    """The same for whoever wants the listing itself, as far as it came."""
    answer, _ = await _searched(resources, day, None)
    return answer.listing


async def _searched(resources: Resources, day: date, token: SecretStr | None) -> tuple[Answered, DayFetched]:
    fresh = details_freshness(resources.settings)
    try:
        answer = await noting.ask(resources, Span(day, day), fresh, token)
    except GatewayFailed as failure:
        if token is None:
            async with resources.database.write() as session:
                await noting.hold(session)
                await noting.note_failure(session, day, fresh.at, failure.message)
        raise
    async with resources.database.write() as session:
        await noting.hold(session)
        if token is not None:
            return answer, await noting.note_sales(session, answer, day)
        searched = await noting.divided(session, answer, (day,))
        return answer, await noting.note(session, searched, day)
