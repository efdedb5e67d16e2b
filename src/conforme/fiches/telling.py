"""What is told of the fetch of a range: its events (spec/realtime §3.4) and its webhooks (spec/automation §7)."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from conforme.fiches import job_queries
from conforme.fiches.coverage import Span
from conforme.fiches.job_queries import FicheLine
from conforme.fiches.models import ProgressiveFetchJob
from conforme.foundation import events
from conforme.foundation.database import WriteSession
from conforme.foundation.durable import Durable
from conforme.foundation.web import Page, iso
from conforme.settings import Settings
from conforme.webhooks import outbox, queries
from conforme.webhooks.body import PartialFiche, Payload
from conforme.webhooks.models import WebhookEndpoint

CREATED = "fiches.progressive_fetch.created"
PROGRESS = "fiches.progressive_fetch.progress"
COMPLETED = "fiches.progressive_fetch.complete"
FAILED = "fiches.progressive_fetch.failed"

PARTIAL_FICHES: Final = 1000
"""Fiches that a progress report lists at most, the newest; `currentFichesCount` says how many there are."""

NAME_SHOWN: Final = 200


def subject_of(job_id: str) -> str:
    """What an endpoint is registered for that is told of a fetch."""
    return f"job:{job_id}"


def data_url(settings: Settings, job: ProgressiveFetchJob) -> str:
    """Where the fiches of the range are read."""
    base = settings.api_base_url.rstrip("/")
    return f"{base}/api/fiches/status/by-date-range?startDate={job.start_date}&endDate={job.end_date}"


def _state(job: ProgressiveFetchJob) -> dict[str, Any]:
    return {
        "jobId": job.id,
        "status": job.status,
        "startDate": job.start_date.isoformat(),
        "endDate": job.end_date.isoformat(),
        "progress": job.progress,
        "completedDays": job.completed_days,
        "totalDays": job.total_days,
        "totalFiches": job.total_fiches,
        "datesCompleted": written(job.dates_already_fetched),
        "datesRemaining": written(job.dates_remaining),
        "datesFailed": written(job.dates_failed),
    }


def written(days: Sequence[date]) -> list[str]:
    return [day.isoformat() for day in days]


async def of_creation(session: WriteSession, job: ProgressiveFetchJob) -> None:
    """That there is a fetch, as under way: of one that has ended from the start the end is told next."""
    payload = _state(job) | {"status": job_queries.PROCESSING}
    await events.record(session, CREATED, payload, [events.job_channel(job.id)])


async def of_progress(session: WriteSession, durable: Durable, job: ProgressiveFetchJob, day: date) -> None:
    """Every day on the stream; to webhooks every so many of those fetched, and the last."""
    payload = {**_state(job), "latestDate": day.isoformat()}
    await events.record(session, PROGRESS, payload, [events.job_channel(job.id)])
    fetched = len(job.dates_already_fetched) + len(job.dates_failed) - job.days_known
    if fetched % durable.settings.progressive_fetch_webhook_frequency == 0 or not job.dates_remaining:
        for endpoint in await queries.endpoints_of(session, subject_of(job.id)):
            report = await _report(session, job, day, endpoint)
            await outbox.queue(session, durable, endpoint.id, "progress", job.id, report)


async def _report(
    session: WriteSession, job: ProgressiveFetchJob, day: date, endpoint: WebhookEndpoint
) -> Payload:
    """How far the fetch is, and the fiches of its range that whoever asked may see."""
    asker, span = outbox.asker_of(endpoint), Span(job.start_date, job.end_date)
    lines = await job_queries.sold(session, asker, span, Page(limit=PARTIAL_FICHES, offset=0))
    seen = await job_queries.count_sold(session, asker, span)
    return Payload(
        status=job.status,
        progress=job.progress,
        completed_days=job.completed_days,
        total_days=job.total_days,
        total_fiches=seen,
        current_fiches_count=seen,
        latest_date=day.isoformat(),
        partial_data=tuple(map(_partial, lines)),
    )


def _partial(line: FicheLine) -> PartialFiche:
    return PartialFiche(
        fiche_id=line.fiche_id,
        groupe=line.groupe,
        prospect_nom=_short(line.prospect_nom),
        prospect_prenom=_short(line.prospect_prenom),
        recordings_count=line.recordings_count,
        created_at=iso(line.created_at),
    )


def _short(name: str | None) -> str | None:
    """A name that the CRM lets anybody write, at a length that a report can hold."""
    return None if name is None else name[:NAME_SHOWN]


async def of_end(session: WriteSession, durable: Durable, job: ProgressiveFetchJob) -> None:
    """The fetch has ended, well or not: its status says which."""
    channels = [events.job_channel(job.id)]
    if job.dates_failed:
        await events.record(session, FAILED, _state(job), channels)
    else:
        await events.record(session, COMPLETED, _state(job), channels)
    for endpoint in await queries.endpoints_of(session, subject_of(job.id)):
        await tell_end(session, durable, job, endpoint)


async def tell_end(
    session: WriteSession, durable: Durable, job: ProgressiveFetchJob, endpoint: WebhookEndpoint
) -> None:
    """Tells one endpoint how the fetch has ended."""
    if job.dates_failed:
        await outbox.queue(
            session, durable, endpoint.id, "failed", job.id, Payload(status=job.status, error=job.error)
        )
        return
    seen = await job_queries.count_sold(
        session, outbox.asker_of(endpoint), Span(job.start_date, job.end_date)
    )
    payload = Payload(
        status=job.status,
        progress=100,
        completed_days=job.completed_days,
        total_days=job.total_days,
        total_fiches=seen,
        data_url=data_url(durable.settings, job),
    )
    await outbox.queue(session, durable, endpoint.id, "complete", job.id, payload)
