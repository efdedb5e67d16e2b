"""Telling of the end of a run: a webhook and one mail, each once (spec/automation §5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from sqlalchemy import exists, select

from conforme.accounts.actor import Actor
from conforme.automation import run_logs, run_queries, run_reads
from conforme.automation.models import (
    COMPLETED,
    FAILED,
    OPEN,
    AutomationRun,
    AutomationSchedule,
)
from conforme.automation.run_reads import Result
from conforme.automation.run_telling import subject_of
from conforme.foundation import mail
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.errors import NotFound
from conforme.foundation.mail import Letter
from conforme.foundation.resources import Resources
from conforme.webhooks import outbox
from conforme.webhooks.models import WebhookDelivery

ACTOR: Final = Actor.system("automation-notice")
MAX_FAILURES: Final = 200
"""Failures that a webhook or a mail lists; all of them are on the run's page."""
MAX_REASON: Final = 300


@dataclass(frozen=True, slots=True)
class Report:
    """What is told of the end of a run."""

    run_id: int
    attempt: int
    schedule_id: int
    schedule_name: str
    status: str
    duration_seconds: int
    total: int
    successful: int
    failed: int
    ignored: int
    transcriptions: int
    audits: int
    error: str | None
    """Why the run as a whole failed, or is incomplete."""
    crashed: bool
    """It ended before it had selected its fiches."""
    failures: tuple[Result, ...]
    url: str


def webhook_body(report: Report) -> dict[str, Any]:
    """The body of the contract; of a run that failed as a whole its shorter variant. Pure."""
    head = {
        "schedule_id": str(report.schedule_id),
        "schedule_name": report.schedule_name,
        "run_id": str(report.run_id),
        "status": report.status,
        "duration_seconds": report.duration_seconds,
    }
    if report.crashed:
        return head | {"error": report.error or ""}
    listed = [{"ficheId": each.fiche_id, "error": _reason(each)} for each in report.failures]
    return head | {
        "total_fiches": report.total,
        "successful_fiches": report.successful,
        "failed_fiches": report.failed,
        "ignored_fiches": report.ignored,
        "transcriptions_run": report.transcriptions,
        "audits_run": report.audits,
        "failures": listed,
        **({"error": report.error} if report.error else {}),
    }


def _reason(each: Result) -> str:
    return (each.reason or "")[:MAX_REASON]


def letter_of(report: Report, to: list[str]) -> Letter:
    """The mail, as text and as HTML. Pure."""
    status = report.status.upper()
    return Letter(
        id=f"automation-run-{report.run_id}-{report.attempt}",
        to=to,
        subject=f"Automation {report.schedule_name} - {status}",
        text=_text(report, status),
        html=_html(report, status),
    )


def _lines(report: Report) -> list[tuple[str, str]]:
    counted = [
        ("Total fiches", report.total),
        ("Successful", report.successful),
        ("Failed", report.failed),
        ("Ignored", report.ignored),
        ("Transcriptions", report.transcriptions),
        ("Audits", report.audits),
        ("Duration (seconds)", report.duration_seconds),
    ]
    return [(name, str(value)) for name, value in counted]


def _head(report: Report, status: str) -> list[str]:
    if report.crashed:
        return [f"Automation failed with error: {report.error or 'unknown'}"]
    return [f"Status: {status}", *([report.error] if report.error else [])]


def _more(report: Report) -> str | None:
    more = report.failed - len(report.failures)
    return f"… and {more} more" if more > 0 else None


def _text(report: Report, status: str) -> str:
    parts = _head(report, status)
    if not report.crashed:
        parts += ["", *(f"{name}: {value}" for name, value in _lines(report))]
    if report.failures:
        parts += ["", "Failures:", *(f"- {each.fiche_id}: {_reason(each)}" for each in report.failures)]
        parts += [more] if (more := _more(report)) else []
    return "\n".join([*parts, "", report.url, ""])


def _html(report: Report, status: str) -> str:
    head = "".join(f"<p>{escape(line)}</p>" for line in _head(report, status))
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in _lines(report)
    )
    table = "" if report.crashed else f"<table>{rows}</table>"
    items = "".join(f"<li>{escape(each.fiche_id)}: {escape(_reason(each))}</li>" for each in report.failures)
    failures = f"<h2>Failures</h2><ul>{items}</ul><p>{_more(report) or ''}</p>" if items else ""
    link = f'<p><a href="{escape(report.url)}">{escape(report.url)}</a></p>'
    title = f"<h1>{escape(report.schedule_name)}</h1>"
    return f'<!doctype html><meta charset="utf-8"><title>{status}</title>{title}{head}{table}{failures}{link}'


async def report_of(session: ReadSession | WriteSession, resources: Resources, run: AutomationRun) -> Report:
    """What there is to tell now."""
    schedule = await session.get_one(AutomationSchedule, run.schedule_id)
    failures = await run_reads.results(session, ACTOR, run.id, FAILED, limit=MAX_FAILURES)
    return Report(
        run_id=run.id,
        attempt=run.attempt,
        schedule_id=run.schedule_id,
        schedule_name=schedule.name,
        status=run.status,
        duration_seconds=round((run.duration_ms or 0) / 1000),
        total=run.total_fiches,
        successful=run.successful_fiches,
        failed=run.failed_fiches,
        ignored=run.ignored_fiches,
        transcriptions=run.transcriptions_run,
        audits=run.audits_run,
        error=run.error_message,
        crashed=run.selected_at is None,
        failures=tuple(failures),
        url=f"{resources.settings.api_base_url.rstrip('/')}/api/automation/runs/{run.id}",
    )


def is_wanted(schedule: AutomationSchedule, run: AutomationRun, attempt: int) -> bool:
    """Whether the schedule wants to be told of an end like this one, that of this attempt."""
    if run.status in OPEN or run.attempt != attempt:  # taken up again meanwhile: its next end is told
        return False
    return schedule.notify_on_complete if run.status == COMPLETED else schedule.notify_on_error


async def queue_webhook(resources: Resources, run_id: int, attempt: int) -> str:
    """Puts the report into the outbox, once for each end of the run."""
    async with resources.database.write() as session:
        run = await run_queries.held(session, run_id)
        schedule = run and await session.get(AutomationSchedule, run.schedule_id)
        if run is None or schedule is None or not is_wanted(schedule, run, attempt):
            return "not wanted"
        job_id = subject_of(run.id) if run.attempt == 1 else f"{subject_of(run.id)}-{run.attempt}"
        body = webhook_body(await report_of(session, resources, run))
        event = "automation/failed" if run.selected_at is None else "automation/completed"
        return await into_outbox(session, resources, schedule.webhook_endpoint_id, event, job_id, body)


async def into_outbox(
    session: WriteSession,
    resources: Resources,
    endpoint_id: str | None,
    event: str,
    job_id: str,
    body: Mapping[str, Any],
) -> str:
    """Queues a delivery, unless one of this `job_id` is there; the caller holds what it is about."""
    if endpoint_id is None:
        return "none"
    queued = exists().where(WebhookDelivery.endpoint_id == endpoint_id, WebhookDelivery.job_id == job_id)
    if await session.scalar(select(queued)):  # before a crash
        return "queued"
    try:
        await outbox.queue(session, resources.durable, endpoint_id, event, job_id, body)
    except NotFound:
        return "no endpoint"
    return "queued"


async def send_mail(resources: Resources, run_id: int, attempt: int) -> str:
    """Sends the report to those the schedule names; without a mail server nobody is written to.

    Raises:
        MailFailed: the server could not be reached, or refused.
    """
    async with resources.database.read() as session:
        run = await session.get(AutomationRun, run_id)
        schedule = run and await session.get(AutomationSchedule, run.schedule_id)
        if run is None or schedule is None or not is_wanted(schedule, run, attempt):
            return "not wanted"
        if not schedule.notify_emails:
            return "none"
        if not mail.is_configured(resources.settings):
            return "not configured"
        letter = letter_of(await report_of(session, resources, run), list(schedule.notify_emails))
    await mail.send(resources.settings, letter)
    return "sent"


async def note_no_mail(resources: Resources, run_id: int, attempt: int, reason: str) -> dict[str, Any]:
    """Says in the run's log that its mail could not be sent."""
    async with resources.database.write() as session:
        key = f"no-mail-{attempt}"
        await run_logs.write(session, run_id, "warning", "Mail not sent", key=key, why=reason)
    return {"mail": reason}
