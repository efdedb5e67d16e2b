"""One search of a fetch: the CRM is asked for some of its days, and each day is stored with what it says.

One transaction per day holds its sales, the ledger, the fetch's state and what is told of it: a process that dies
between two days leaves the first counted and told of, and the second as if nothing had been asked.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import structlog

from conforme.fiches import job_queries, noting, progress
from conforme.fiches.coverage import Span, coverage, known_days
from conforme.fiches.noting import Searched
from conforme.fiches.progress import DayEnd
from conforme.fiches.service import details_freshness
from conforme.foundation.database import WriteSession, now
from conforme.foundation.resources import Resources

log = structlog.get_logger(__name__)


async def search(resources: Resources, job_id: str, days: Sequence[date]) -> tuple[date, ...]:
    """Searches those of `days` that remain, with one call; days that shorter searches have to tell of.

    Raises:
        GatewayFailed: nothing is stored.
    """
    left = await _left(resources, job_id, days)
    if not left:
        return ()
    span = Span(left[0], left[-1])
    answer = await noting.ask(resources, span, details_freshness(resources.settings))
    if answer.short and len(left) > 1:
        announced = answer.listing.total
        log.warning("the CRM sent fewer sales than it announced", job_id=job_id, announced=announced)
        return left
    async with resources.database.read() as session:
        searched = await noting.divided(session, answer, left)
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


async def _store(
    session: WriteSession, resources: Resources, job_id: str, day: date, searched: Searched
) -> None:
    """A day with its sales, once: one that ended meanwhile is left alone."""
    await noting.hold(session)
    job = await job_queries.held(session, job_id)
    if job is None or day not in job.dates_remaining:
        return
    fetched = await noting.note(session, searched, day)
    await progress.end_day(session, resources.durable, job, DayEnd(day, fetched.error))


async def fail(resources: Resources, job_id: str, days: Sequence[date], reason: str, at: datetime) -> None:
    """Ends days that could not be searched, each with its reason, in the ledger too."""
    for day in days:
        async with resources.database.write() as session:
            await noting.hold(session)
            job = await job_queries.held(session, job_id)
            if job is None or day not in job.dates_remaining:
                continue
            await noting.note_failure(session, day, at, reason)
            await progress.end_day(session, resources.durable, job, DayEnd(day, reason))
