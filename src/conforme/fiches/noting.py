"""Noting what a search of the CRM has told: the sales of its days, and in the ledger of days how it went.

A listing says of a sale that it is of one of the days searched; where earlier searches have put it narrows that down.
Whoever notes holds the ledger until their transaction ends, before any other lock: of two searches at once the later
builds on what the earlier has noted, and neither waits for what the other holds. The caller commits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from pydantic import SecretStr
from sqlalchemy import text

from conforme.crm.gateway import CrmGateway, SalesListing
from conforme.crm.validation import Quarantined
from conforme.fiches import job_queries, placing, store
from conforme.fiches.coverage import Span
from conforme.fiches.models import FicheDay
from conforme.fiches.placing import DayOfListing, Place
from conforme.fiches.ports import Session
from conforme.fiches.store import DayFetched, Freshness
from conforme.foundation.database import WriteSession
from conforme.foundation.resources import Resources

SHORT: Final = "The CRM sent fewer sales than it announced"
QUARANTINE_KEPT: Final = 50
_HOLD = text("select pg_advisory_xact_lock(hashtextextended('fiche-days', 0))")


@dataclass(frozen=True, slots=True)
class Answered:
    """What the CRM answered to one search."""

    span: Span
    fresh: Freshness
    """From before the call: what is sold meanwhile may not be in the answer."""
    with_recordings: bool
    listing: SalesListing

    @property
    def short(self) -> bool:
        """The gateway announced more than it sent."""
        return placing.is_short(self.listing)


@dataclass(frozen=True, slots=True)
class Searched:
    """An answer, divided among the days it was asked for."""

    answer: Answered
    by_day: Mapping[date, DayOfListing]
    told: frozenset[str]
    """All sales it told of, those that could not be read included."""
    exhaustive: bool
    """What it does not tell of was not sold on its days: nothing was cut off, and each line says whose it is."""


async def ask(resources: Resources, span: Span, fresh: Freshness, token: SecretStr | None = None) -> Answered:
    """One attempt at the sales of a range. Raises `GatewayFailed`: nothing is noted."""
    settings = resources.settings
    with_recordings = settings.fiche_sales_include_recordings
    gateway = CrmGateway(resources.outbound, settings, token)
    listing = await gateway.sales(span.start, span.end, include_recordings=with_recordings)
    return Answered(span, fresh, with_recordings, listing)


async def divided(session: Session, answer: Answered, days: Sequence[date]) -> Searched:
    """The answer, each of its sales on the likeliest of `days`."""
    listing = answer.listing
    told = [fiche.id for fiche in listing.fiches]
    told += [each.fiche_id for each in listing.quarantined if each.fiche_id]
    known = await job_queries.places(session, told) if len(days) > 1 else {}
    by_day = placing.by_day(listing, known, answer.span, days)
    named = all(each.fiche_id for each in listing.quarantined)
    return Searched(answer, by_day, frozenset(told), named and not answer.short)


async def hold(session: WriteSession) -> None:
    """Holds the ledger of days until the transaction ends."""
    await session.execute(_HOLD)


async def note(session: WriteSession, searched: Searched, day: date) -> DayFetched:
    """Notes a day with its sales, and what its search says of other days. The ledger is held."""
    answer, told = searched.answer, searched.by_day[day]
    known = await job_queries.places_for(session, answer.span, day, told.fiche_ids)
    # Where a sale is may have been learnt since the answer was divided: it is placed on this day, or not at all.
    told = placing.by_day(told.as_listing(), known, answer.span, (day,))[day]
    stored = await _stored(session, answer, day, told)
    elsewhere = _not_found_again(searched, day, known) | await _ruled_out(session, answer, day, told)
    await store.move(session, day, elsewhere)
    fetched = _fetched(answer, told, stored)
    await store.note_day(session, day, answer.fresh.at, fetched)
    come_from = {known[each.id].day for each in told.fiches if each.id in known}
    touched = come_from | {place.day for place in elsewhere.values()} | {day}
    await store.recount(session, touched - {day} if answer.short else touched)
    return fetched


async def note_sales(session: WriteSession, answer: Answered, day: date) -> DayFetched:
    """Stores the sales of the one day searched; what the ledger says of searches stays. The ledger is held."""
    told = placing.by_day(answer.listing, {}, answer.span, (day,))[day]
    come_from = await job_queries.places(session, told.fiche_ids)
    stored = await _stored(session, answer, day, told)
    await store.recount(session, {day, *(place.day for place in come_from.values())})
    return _fetched(answer, told, stored)


async def _stored(session: WriteSession, answer: Answered, day: date, told: DayOfListing) -> int:
    return await store.write_summaries(
        session,
        told.fiches,
        answer.fresh,
        sales_date=day,
        with_recordings=answer.with_recordings,
        sold=told.sold,
    )


async def note_failure(session: WriteSession, day: date, at: datetime, reason: str) -> None:
    """Notes that a search begun at `at` has failed. The ledger is held."""
    await store.note_day(session, day, at, DayFetched(error=reason))


def _not_found_again(searched: Searched, day: date, known: Mapping[str, Place]) -> dict[str, Place]:
    """Where sales go that were noted on the day, may be of one that was not searched, and were not found."""
    if not searched.exhaustive:
        return {}
    span = searched.answer.span
    return {
        fiche_id: placing.displaced(place, span)
        for fiche_id, place in known.items()
        if fiche_id not in searched.told and place.day == day and not place.sold.within(span)
    }


async def _ruled_out(
    session: WriteSession, answer: Answered, day: date, told: DayOfListing
) -> dict[str, Place]:
    """Where sales go that were put on the day for want of better, though a search begun later held them not."""
    ledger = await session.get(FicheDay, day)
    if ledger is None or ledger.fetched_at is None or ledger.fetched_at <= answer.fresh.at:
        return {}
    later = Span(ledger.searched_from or day, ledger.searched_to or day)
    return {
        fiche_id: placing.displaced(Place(day, sold), later)
        for fiche_id, sold in (told.sold or {}).items()
        if not sold.within(later)
    }


def _fetched(answer: Answered, told: DayOfListing, stored: int) -> DayFetched:
    return DayFetched(
        expected=stored + len(told.quarantined),
        stored=stored,
        quarantined=len(told.quarantined),
        error=SHORT if answer.short else None,
        quarantine=_quarantine(told.quarantined),
        searched=answer.span,
    )


def _quarantine(aside: Sequence[Quarantined]) -> list[dict[str, str | None]]:
    """What the ledger keeps of fiches that could not be read: which and why, never what they say."""
    return [{"fiche_id": each.fiche_id, "reason": each.reason} for each in aside[:QUARANTINE_KEPT]]
