"""Asking for the sales of a range of days: what is not known is fetched in the background (spec/automation §6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert

from conforme.accounts.actor import Actor
from conforme.fiches import job_queries, progress, telling
from conforme.fiches.coverage import Span, coverage, days_between, due_days, today
from conforme.fiches.job_queries import COMPLETE, FAILED, PROCESSING
from conforme.fiches.models import ProgressiveFetchAsker, ProgressiveFetchJob
from conforme.fiches.progress import ACTOR, derived_status, percent
from conforme.fiches.range_workflows import dispatch
from conforme.foundation.database import WriteSession, now
from conforme.foundation.errors import Conflict, Invalid
from conforme.foundation.outbound import WEBHOOK_URL
from conforme.foundation.resources import Resources
from conforme.webhooks import outbox, queries
from conforme.webhooks.ids import new_id
from conforme.webhooks.models import WebhookEndpoint

MAX_TOLD: Final = 20
"""Webhooks that one fetch tells."""
REUSED: Final = timedelta(minutes=5)
"""Whoever asks for a known range is given the fetch of it that was begun within this time (spec/automation §6)."""


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
    else starts one. Days to come are left out. When nothing is to be fetched now, since all days are known, or to come, or
    have failed a moment ago, the fetch of this very range that tells so is given (of known days one begun a moment ago);
    without one, None, or for who is to be told by a webhook one that has ended from the start.

    Raises:
        Invalid: the range is in the wrong order or longer than `FICHE_RANGE_MAX_DAYS`; the secret cannot be one.
        UnsafeUrl: with the messages of spec/automation §8.
        RangeWatchedByMany: its fetch tells `MAX_TOLD` webhooks already.
    """
    _check(resources, asked)
    span = Span(asked.start, min(asked.end, today()))
    if span.end < span.start:
        return None
    job = await job_queries.under_way(session, span, refresh=asked.refresh)
    job = job or await _begun(session, resources, span, asked)
    if job is None:
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


async def _begun(
    session: WriteSession, resources: Resources, span: Span, asked: RangeAsked
) -> ProgressiveFetchJob | None:
    """A new fetch of the range; when nothing is to be fetched, whatever tells how it went."""
    known = await coverage(session, span.start, span.end)
    holds = timedelta(seconds=resources.settings.fiche_running_day_seconds)
    days = days_between(span.start, span.end)
    due = days if asked.refresh else due_days(known, now(), running_holds=holds)
    failed = {day: reason for day, reason in known.failed.items() if day not in set(due)}
    if due:
        values = await _values(session, span, due, failed)
        return await _started(session, resources, span, values | {"refresh": asked.refresh})
    ended = await job_queries.newest(session, span)
    if ended is not None and _still_says(ended, failed):
        return ended
    if not asked.webhook_url:
        return None
    return await _ended_at_once(session, resources, await _values(session, span, (), failed))


def _still_says(job: ProgressiveFetchJob, failed: Mapping[date, str]) -> bool:
    """Whether an ended fetch tells how the range stands: of days that failed, or, begun a moment ago, that all are known."""
    if failed:
        return job.status == FAILED and set(job.dates_failed) == set(failed)
    return job.status == COMPLETE and now() - job.created_at < REUSED


async def _values(
    session: WriteSession, span: Span, due: Sequence[date], failed: Mapping[date, str]
) -> dict[str, Any]:
    """The columns of a new fetch: of its days those to be searched, those that failed a moment ago, and those known."""
    days, at = days_between(span.start, span.end), now()
    already = [day for day in days if day not in {*due, *failed}]
    return {
        "id": new_id(at),
        "start_date": span.start,
        "end_date": span.end,
        "status": PROCESSING,
        "total_days": len(days),
        "days_known": len(days) - len(due),
        "completed_days": len(already),
        "total_fiches": await job_queries.count_sold(session, ACTOR, span),
        "dates_already_fetched": already,
        "dates_remaining": list(due),
        "dates_failed": sorted(failed),
        "date_errors": {day.isoformat(): reason for day, reason in failed.items()},
        "created_at": at,
        "updated_at": at,
    }


async def _started(
    session: WriteSession, resources: Resources, span: Span, values: dict[str, Any]
) -> ProgressiveFetchJob | None:
    """The fetch of the range with its work queued, unless somebody else has started one at the same moment: then theirs."""
    only_one = insert(ProgressiveFetchJob).on_conflict_do_nothing(
        index_elements=["start_date", "end_date", "refresh"], index_where=text("status = 'processing'")
    )
    own = await session.scalar(only_one.values(values).returning(ProgressiveFetchJob.id))
    if own is None:
        theirs = await job_queries.under_way(session, span, refresh=values["refresh"])
        return theirs or await job_queries.newest(session, span)  # it may have ended since
    job = await session.get_one(ProgressiveFetchJob, own)
    job.progress = percent(job)
    await session.flush()
    await telling.of_creation(session, job)
    await dispatch(session, resources.durable, job)
    return job


async def _ended_at_once(
    session: WriteSession, resources: Resources, values: dict[str, Any]
) -> ProgressiveFetchJob:
    """A fetch of days of which none is to be searched, so that its webhook hears how the range stands."""
    job = ProgressiveFetchJob(**values)
    job.progress = percent(job)
    progress.close(job)  # before it is written: beside it a fetch of the same range may be under way
    session.add(job)
    await session.flush()
    await telling.of_creation(session, job)
    await telling.of_end(session, resources.durable, job)
    return job


async def _belong(
    session: WriteSession, resources: Resources, actor: Actor, job: ProgressiveFetchJob, asked: RangeAsked
) -> None:
    """Makes whoever asks one of those who may look at the fetch, and who are told of it."""
    asker = {"job_id": job.id, "name": actor.name, "user_id": actor.user_id}
    await session.execute(insert(ProgressiveFetchAsker).values(asker).on_conflict_do_nothing())
    if not asked.webhook_url:
        return
    held = await job_queries.held_to_tell(session, job.id)
    subject = telling.subject_of(job.id)
    told = await queries.endpoints_of(session, subject)
    for each in told:
        if each.url == asked.webhook_url and each.asked_by == actor.name:
            await _sign_anew(session, resources, actor, each, _secret(asked))
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
    if held is not None and held.status != PROCESSING:
        endpoint = await queries.endpoint(session, actor, endpoint_id)
        await telling.tell_end(session, resources.durable, held, endpoint)


async def _sign_anew(
    session: WriteSession, resources: Resources, actor: Actor, endpoint: WebhookEndpoint, secret: str | None
) -> None:
    """Who asks once more with another secret has what is told from now on signed with it; without one, as before."""
    if secret is None or secret == endpoint.secret:
        return
    overlap = resources.settings.webhook_secret_overlap_seconds
    await outbox.rotate(session, actor, endpoint.id, secret, overlap_seconds=overlap)
