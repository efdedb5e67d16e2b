"""A range of days: what is known of it at once, what is not fetched in the background (spec/automation §6)."""

from dataclasses import dataclass, replace
from datetime import date, timedelta

from conforme.accounts.actor import Actor
from conforme.fiches import list_queries
from conforme.fiches.coverage import Coverage, Span, coverage, known_days, today
from conforme.fiches.list_queries import PageOfRows, Window
from conforme.fiches.list_schemas import CacheCoverage, FetchedRangeMeta, ListedFiche, RangeMeta
from conforme.fiches.range_fetch import FetchJob, RangeAsked, fetch_range
from conforme.foundation.database import now
from conforme.foundation.resources import Resources


@dataclass(frozen=True, slots=True)
class RangeRead:
    """A page of the fiches sold in a range, and how much of the range is known."""

    span: Span
    page: PageOfRows
    fiches: list[ListedFiche]
    meta: RangeMeta


async def read_range(
    resources: Resources, actor: Actor, asked: RangeAsked, window: Window
) -> RangeRead | None:
    """The CRM is not waited for; None when all days are to come.

    Only who asks for the first page has known days searched again, and is told by webhook: the pages behind it go on
    reading.

    Raises:
        Invalid, UnsafeUrl, RangeWatchedByMany: as `fetch_range` does.
    """
    first = window.offset == 0 and window.after is None
    asked = replace(asked, refresh=asked.refresh and first, webhook_url=asked.webhook_url if first else None)
    async with resources.database.write() as session:
        job = await fetch_range(session, resources, actor, asked)
    span = Span(asked.start, min(asked.end, today()))
    if span.end < span.start:
        return None
    async with resources.database.read() as session:
        page = await list_queries.sold(session, actor, span, window)
        fiches = await list_queries.described(session, actor, page.rows)
        covered = await coverage(session, span.start, span.end)
    holds = timedelta(seconds=resources.settings.fiche_running_day_seconds)
    known = known_days(covered, now(), running_holds=holds)
    return RangeRead(span, page, fiches, meta_of(covered, known, job))


def meta_of(covered: Coverage, known: tuple[date, ...], job: FetchJob | None) -> RangeMeta:
    """How much of a range is known; `job` fetches the rest of it. Pure."""
    days = [each.day for each in covered.days]
    fetched = job.completed_days if job else len(known)
    complete = len(known) == len(days) and (job is None or job.status == "complete")
    told = {
        "complete": complete,
        "partial": not complete,
        "total_days_requested": len(days),
        "days_fetched": fetched,
        "days_remaining": len(days) - fetched,
        "days_cached": len(known),
        "cache_coverage": CacheCoverage(
            dates_with_data=[day.isoformat() for day in known],
            dates_missing=[day.isoformat() for day in days if day not in set(known)],
        ),
    }
    if job is None:
        return RangeMeta.model_validate(told)
    return FetchedRangeMeta.model_validate(told | {"background_job_id": job.id})


def nothing() -> FetchedRangeMeta:
    """Of a range that is all to come."""
    return FetchedRangeMeta(
        complete=True,
        partial=False,
        background_job_id=None,
        total_days_requested=0,
        days_fetched=0,
        days_remaining=0,
        days_cached=0,
        cache_coverage=CacheCoverage(dates_with_data=[], dates_missing=[]),
    )
