"""One search of a fetch: the CRM is asked for some of its days, and each day is stored with what it says.

One transaction per day holds its sales, the ledger, the fetch's state and what is told of it: a process that dies
between two days leaves the first counted and told of, and the second as if nothing had been asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import structlog

from conforme.crm.gateway import CrmGateway, SalesListing
from conforme.fiches import job_queries, placing, progress, store
from conforme.fiches.coverage import Span, coverage, known_days
from conforme.fiches.placing import DayOfListing, Place
from conforme.fiches.progress import DayEnd
from conforme.fiches.service import details_freshness, quarantine
from conforme.fiches.store import DayFetched, Freshness
from conforme.foundation.database import WriteSession, now
from conforme.foundation.resources import Resources

log = structlog.get_logger(__name__)

SHORT = "The CRM sent fewer sales than it announced"


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search has told, before it is stored."""

    span: Span
    fresh: Freshness
    """From before the call: what is sold meanwhile may not be in the answer."""
    with_recordings: bool
    by_day: Mapping[date, DayOfListing]
    elsewhere: Mapping[date, Mapping[str, Place]]
    """By the day they were noted on: sales that turn out to be of another one."""
    known: Mapping[str, Place]
    """Where earlier searches have put what was found."""
    short: bool
    """The gateway announced more than it sent."""


async def search(resources: Resources, job_id: str, days: Sequence[date]) -> tuple[date, ...]:
    """Searches those of `days` that remain, with one call; days that shorter searches have to tell of.

    Raises:
        GatewayFailed: nothing is stored.
    """
    left = await _left(resources, job_id, days)
    if not left:
        return ()
    span = Span(left[0], left[-1])
    settings = resources.settings
    fresh, with_recordings = details_freshness(settings), settings.fiche_sales_include_recordings
    gateway = CrmGateway(resources.outbound, settings)
    listing = await gateway.sales(span.start, span.end, include_recordings=with_recordings)
    short = placing.is_short(listing)
    if short and len(left) > 1:
        log.warning("the CRM sent fewer sales than it announced", job_id=job_id, announced=listing.total)
        return left
    known, elsewhere = await _known(resources, listing, span, left)
    divided = placing.by_day(listing, known, span, left)
    searched = Searched(span, fresh, with_recordings, divided, elsewhere, known, short)
    for day in left:
        async with resources.database.write() as session:
            await _store(session, resources, job_id, day, searched)
    return ()


async def _left(resources: Resources, job_id: str, days: Sequence[date]) -> tuple[date, ...]:
    """Those of the days that remain; what another fetch has told of meanwhile is counted without a search."""
    async with resources.database.write() as session:
        job = await job_queries.held(session, job_id)
        if job is None:
            return ()
        remaining = [day for day in days if day in set(job.dates_remaining)]
        told = set(await _told_meanwhile(session, resources, job.start_date, job.end_date))
        for day in remaining if not job.refresh else ():
            if day in told:
                await progress.end_day(session, resources.durable, job, DayEnd(day))
        return tuple(sorted(set(remaining) & set(job.dates_remaining)))


async def _told_meanwhile(
    session: WriteSession, resources: Resources, start: date, end: date
) -> tuple[date, ...]:
    holds = timedelta(seconds=resources.settings.fiche_running_day_seconds)
    return known_days(await coverage(session, start, end), now(), running_holds=holds)


async def _known(
    resources: Resources, listing: SalesListing, span: Span, days: Sequence[date]
) -> tuple[dict[str, Place], dict[date, dict[str, Place]]]:
    """Where earlier searches have put the sales found; and by day, what was noted on it and is not of it."""
    found = [fiche.id for fiche in listing.fiches]
    found += [each.fiche_id for each in listing.quarantined if each.fiche_id]
    async with resources.database.read() as session:
        known = await job_queries.places(session, found)
        gone = await job_queries.not_found_again(session, span, days, found)
    elsewhere: dict[date, dict[str, Place]] = {}
    for fiche_id, place in gone.items():
        elsewhere.setdefault(place.day, {})[fiche_id] = placing.displaced(place, span)
    return known, elsewhere


async def _store(
    session: WriteSession, resources: Resources, job_id: str, day: date, searched: Searched
) -> None:
    """A day with its sales, once: one that ended meanwhile is left alone."""
    job = await job_queries.held(session, job_id)
    if job is None or day not in job.dates_remaining:
        return
    told = searched.by_day[day]
    stored = await store.write_summaries(
        session,
        told.fiches,
        searched.fresh,
        sales_date=day,
        with_recordings=searched.with_recordings,
        sold=told.sold,
    )
    elsewhere = searched.elsewhere.get(day, {})
    await store.move(session, elsewhere)
    fetched = DayFetched(
        expected=stored + len(told.quarantined),
        stored=stored,
        quarantined=len(told.quarantined),
        error=SHORT if searched.short else None,
        quarantine=quarantine(told.quarantined),
        searched=searched.span,
    )
    await store.note_day(session, day, searched.fresh.at, fetched)
    come_from = {searched.known[each.id].day for each in told.fiches if each.id in searched.known}
    await store.recount(session, (come_from | {place.day for place in elsewhere.values()}) - {day})
    await progress.end_day(session, resources.durable, job, DayEnd(day, fetched.error))


async def fail(resources: Resources, job_id: str, days: Sequence[date], reason: str, at: datetime) -> None:
    """Ends days that could not be searched, each with its reason, in the ledger too."""
    for day in days:
        async with resources.database.write() as session:
            job = await job_queries.held(session, job_id)
            if job is None or day not in job.dates_remaining:
                continue
            await store.note_day(session, day, at, DayFetched(error=reason))
            await progress.end_day(session, resources.durable, job, DayEnd(day, reason))
