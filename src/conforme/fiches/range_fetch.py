"""Asking for the sales of a range of days: what is not known is fetched in the background (spec/automation §6)."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert

from conforme.accounts.actor import Actor
from conforme.fiches import job_queries, telling
from conforme.fiches.coverage import Span, coverage, days_between, due_days, today
from conforme.fiches.job_queries import PROCESSING
from conforme.fiches.models import ProgressiveFetchAsker, ProgressiveFetchJob
from conforme.fiches.progress import ACTOR, derived_status, percent
from conforme.fiches.range_workflows import dispatch
from conforme.foundation.database import WriteSession, now
from conforme.foundation.errors import Conflict, Invalid
from conforme.foundation.outbound import WEBHOOK_URL
from conforme.foundation.resources import Resources
from conforme.webhooks import outbox, queries
from conforme.webhooks.ids import new_id

MAX_TOLD: Final = 20
"""Webhooks that one fetch tells."""


class RangeWatchedByMany(Conflict):
    """The fetch of this range tells as many webhooks as it can"""


@dataclass(frozen=True, slots=True)
class RangeAsked:
    """Days somebody wants the sales of, both ends included, and whom to tell."""

    start: date
    end: date
    refresh: bool = False
    """All days are searched again, known or not."""
    webhook_url: str | None = None
    webhook_secret: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class FetchJob:
    """A fetch of a range as it stands."""

    id: str
    status: str
    """`processing`, `complete` or `failed`."""
    progress: int
    """Per cent of its days that were dealt with, those known before included."""
    total_days: int
    completed_days: int
    failed_days: int
    start: date
    end: date


async def fetch_range(
    session: WriteSession, resources: Resources, actor: Actor, asked: RangeAsked
) -> FetchJob | None:
    """Sees to it that the days asked for become known; the caller commits.

    Gives the running fetch of the same range when there is one (whoever asks then belongs to it, with their webhook),
    else starts one. Days to come are left out. None when nothing is to be fetched now: all days are known, or to come, or
    have failed a moment ago, when the CRM is left in peace; the fetch of this very range that failed is given then.

    Raises:
        Invalid: the range is in the wrong order or longer than `FICHE_RANGE_MAX_DAYS`; the secret cannot be one.
        UnsafeUrl: with the messages of spec/automation §8.
        RangeWatchedByMany: its fetch tells `MAX_TOLD` webhooks already.
    """
    _check(resources, asked)
    span = Span(asked.start, min(asked.end, today()))
    if span.end < span.start:
        return None
    job = await job_queries.held_of_range(session, span, refresh=asked.refresh)
    job = job or await _begun(session, resources, span, refresh=asked.refresh)
    job = job or await job_queries.newest_failed(session, span)
    if job is None or (job.status != PROCESSING and await _all_known(session, resources, span)):
        return None
    await _belong(session, resources, actor, job, asked)
    return fetch_job_of(job)


def fetch_job_of(job: ProgressiveFetchJob) -> FetchJob:
    return FetchJob(
        id=job.id,
        status=derived_status(job),
        progress=job.progress,
        total_days=job.total_days,
        completed_days=job.completed_days,
        failed_days=len(job.dates_failed),
        start=job.start_date,
        end=job.end_date,
    )


def _check(resources: Resources, asked: RangeAsked) -> None:
    if asked.start > asked.end:
        raise Invalid("startDate must be before or equal to endDate", field="startDate")
    longest, days = resources.settings.fiche_range_max_days, (asked.end - asked.start).days + 1
    if days > longest:
        raise Invalid(f"The range has {days} days; the most is {longest}", field="endDate")
    if asked.webhook_url:
        resources.outbound.check(asked.webhook_url, WEBHOOK_URL)
        if secret := _secret(asked):
            outbox.checked_secret(secret)


def _secret(asked: RangeAsked) -> str | None:
    return asked.webhook_secret.get_secret_value() if asked.webhook_secret else None


def _running_holds(resources: Resources) -> timedelta:
    return timedelta(seconds=resources.settings.fiche_running_day_seconds)


async def _all_known(session: WriteSession, resources: Resources, span: Span) -> bool:
    known = await coverage(session, span.start, span.end)
    return not known.failed and not due_days(known, now(), running_holds=_running_holds(resources))


async def _begun(
    session: WriteSession, resources: Resources, span: Span, *, refresh: bool
) -> ProgressiveFetchJob | None:
    """A new fetch of the range; None when there is nothing to fetch."""
    days = list(days_between(span.start, span.end))
    known = await coverage(session, span.start, span.end)
    due = days if refresh else due_days(known, now(), running_holds=_running_holds(resources))
    if not due:
        return None
    at = now()
    already = [day for day in days if day not in set(due)]
    values = {
        "id": new_id(at),
        "start_date": span.start,
        "end_date": span.end,
        "refresh": refresh,
        "status": PROCESSING,
        "total_days": len(days),
        "days_known": len(already),
        "completed_days": len(already),
        "total_fiches": await job_queries.count_sold(session, ACTOR, span),
        "dates_already_fetched": already,
        "dates_remaining": list(due),
        "created_at": at,
        "updated_at": at,
    }
    only_one = insert(ProgressiveFetchJob).on_conflict_do_nothing(
        index_elements=["start_date", "end_date", "refresh"], index_where=text("status = 'processing'")
    )
    await session.execute(only_one.values(values))
    job = await job_queries.held_of_range(session, span, refresh=refresh)
    if job is not None and job.id == values["id"]:
        job.progress = percent(job)
        await session.flush()
        await telling.of_creation(session, job)
        await dispatch(session, resources.durable, job)
    return job


async def _belong(
    session: WriteSession, resources: Resources, actor: Actor, job: ProgressiveFetchJob, asked: RangeAsked
) -> None:
    """Makes whoever asks one of those who may look at the fetch, and who are told of it."""
    asker = {"job_id": job.id, "name": actor.name, "user_id": actor.user_id}
    await session.execute(insert(ProgressiveFetchAsker).values(asker).on_conflict_do_nothing())
    if not asked.webhook_url:
        return
    subject = telling.subject_of(job.id)
    told = await queries.endpoints_of(session, subject)
    if any(each.url == asked.webhook_url and each.asked_by == actor.name for each in told):
        return
    if len(told) >= MAX_TOLD:
        raise RangeWatchedByMany
    endpoint_id = await outbox.register(
        session,
        resources.outbound,
        subject=subject,
        url=asked.webhook_url,
        secret=_secret(asked),
        actor=actor,
    )
    if job.status != PROCESSING:
        await telling.tell_end(
            session, resources.durable, job, await queries.endpoint(session, actor, endpoint_id)
        )
