"""How far the fetch of a range is: each day ends once, and when the last has, the fetch ends. The caller commits.

Whoever changes a fetch holds its row: days that end side by side are counted one after the other, and what is told
of them is told in that order.
"""

from dataclasses import dataclass
from datetime import date

from conforme.accounts.actor import Actor
from conforme.fiches import job_queries, telling
from conforme.fiches.coverage import Span
from conforme.fiches.job_queries import COMPLETE, FAILED, PROCESSING
from conforme.fiches.models import ProgressiveFetchJob
from conforme.foundation.database import WriteSession, now
from conforme.foundation.durable import Durable

ACTOR = Actor.system("progressive-fetch")


@dataclass(frozen=True, slots=True)
class DayEnd:
    """A day of a range is known now, or why it could not be."""

    day: date
    error: str | None = None


def percent(job: ProgressiveFetchJob) -> int:
    """Of its days those that ended, well or not; 100 only with the last (half-up)."""
    ended = len(job.dates_already_fetched) + len(job.dates_failed)
    if not job.dates_remaining:
        return 100
    return min(99, (200 * ended + job.total_days) // (2 * job.total_days))


def derived_status(job: ProgressiveFetchJob) -> str:
    """The status to show: with nothing left to do a fetch has ended, whatever its row says (spec/automation §6)."""
    if job.status == PROCESSING and job.progress == 100 and not job.dates_remaining:
        return FAILED if job.dates_failed else COMPLETE
    return job.status


async def end_day(session: WriteSession, durable: Durable, job: ProgressiveFetchJob, ended: DayEnd) -> None:
    """Counts a day that remained, and tells of it; with the last one the fetch ends. The job is held."""
    job.dates_remaining = [day for day in job.dates_remaining if day != ended.day]
    if ended.error is None:
        job.dates_already_fetched = sorted([*job.dates_already_fetched, ended.day])
    else:
        job.dates_failed = sorted([*job.dates_failed, ended.day])
        job.date_errors = job.date_errors | {ended.day.isoformat(): ended.error}
    job.completed_days = len(job.dates_already_fetched)
    job.progress = percent(job)
    job.total_fiches = await job_queries.count_sold(session, ACTOR, Span(job.start_date, job.end_date))
    job.updated_at = now()
    await telling.of_progress(session, durable, job, ended.day)
    if not job.dates_remaining:
        close(job)
        await telling.of_end(session, durable, job)
    await session.flush()


def close(job: ProgressiveFetchJob) -> None:
    """Ends a fetch of which no day remains."""
    job.status = FAILED if job.dates_failed else COMPLETE
    job.completed_at = job.updated_at
    if job.dates_failed:
        job.error = f"{len(job.dates_failed)} date(s) failed during progressive fetch"
