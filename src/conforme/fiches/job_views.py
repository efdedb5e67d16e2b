"""Fetches of ranges as the wire shows them to somebody."""

from typing import Literal

from conforme.accounts.actor import Actor
from conforme.fiches import job_queries, telling
from conforme.fiches.coverage import Span
from conforme.fiches.job_queries import FicheLine
from conforme.fiches.job_schemas import (
    JobDelivery,
    JobLine,
    JobOut,
    PartialFicheOut,
    ProgressAnswer,
    ProgressData,
)
from conforme.fiches.models import ProgressiveFetchJob
from conforme.fiches.ports import Session
from conforme.fiches.progress import derived_status
from conforme.foundation.web import Page
from conforme.settings import Settings
from conforme.webhooks import queries

DELIVERIES_SHOWN = 10
_EVENTS: dict[str, Literal["complete", "failed"]] = {"complete": "complete", "failed": "failed"}


async def progress_of(
    session: Session, actor: Actor, settings: Settings, job: ProgressiveFetchJob, page: Page
) -> ProgressAnswer:
    """How far a fetch is, with a page of the fiches of its range that the actor may see."""
    status, span = derived_status(job), Span(job.start_date, job.end_date)
    seen = await job_queries.count_sold(session, actor, span)
    lines = await job_queries.sold(session, actor, span, page)
    ended = _EVENTS.get(status)
    data = ProgressData.model_validate(
        {
            **_counts(job, seen),
            "status": status,
            "current_fiches_count": seen,
            "dates_completed": job.dates_already_fetched,
            "partial_data": list(map(_line, lines)),
            **({"data_url": telling.data_url(settings, job)} if ended else {}),
        }
    )
    # `success` is set, since what is not set is left out of the answer.
    return ProgressAnswer(
        success=True, jobId=job.id, event=ended or "progress", timestamp=job.updated_at, data=data
    )


def _line(line: FicheLine) -> PartialFicheOut:
    return PartialFicheOut.model_validate(line)


def _counts(job: ProgressiveFetchJob, seen: int) -> dict[str, object]:
    return {
        "progress": job.progress,
        "completed_days": job.completed_days,
        "total_days": job.total_days,
        "total_fiches": seen,
        "dates_remaining": job.dates_remaining,
        "dates_failed": job.dates_failed,
        "error": job.error,
    }


async def detail_of(session: Session, actor: Actor, job: ProgressiveFetchJob) -> JobOut:
    """A fetch with what became of its webhooks, as far as the actor may see them."""
    seen = await job_queries.count_sold(session, actor, Span(job.start_date, job.end_date))
    last = Page(limit=DELIVERIES_SHOWN, offset=0)
    deliveries, _ = await queries.deliveries(session, actor, last, job_id=job.id)
    told = await queries.told_of_job(session, actor, job.id)
    return JobOut.model_validate(
        {
            **_counts(job, seen),
            "id": job.id,
            "status": derived_status(job),
            "start_date": job.start_date,
            "end_date": job.end_date,
            "dates_already_fetched": job.dates_already_fetched,
            "date_errors": job.date_errors,
            "created_at": job.created_at,
            "updated_at": job.updated_at,
            "completed_at": job.completed_at,
            "last_webhook_sent_at": told.last_sent_at,
            "webhook_attempts": told.attempts,
            "webhook_last_error": told.last_error,
            "webhook_deliveries": [JobDelivery.model_validate(each) for each in deliveries],
        }
    )


async def lines_of(
    session: Session, actor: Actor, page: Page, *, status: str | None
) -> tuple[list[JobLine], int]:
    """A page of the fetches that the actor may see, and how many there are."""
    found, total = await job_queries.jobs(session, actor, page, status=status)
    told = await queries.count_of_jobs(session, actor, [job.id for job, _ in found])
    lines = [
        JobLine(
            id=job.id,
            status=job.status,  # pyright: ignore[reportArgumentType] -- the table's check says which there are
            progress=job.progress,
            start_date=job.start_date,
            end_date=job.end_date,
            completed_days=job.completed_days,
            total_days=job.total_days,
            total_fiches=seen,
            dates_failed=job.dates_failed,
            created_at=job.created_at,
            completed_at=job.completed_at,
            webhook_deliveries_count=told.get(job.id, 0),
        )
        for job, seen in found
    ]
    return lines, total
