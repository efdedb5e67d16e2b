"""Telling of runs that should have been and were not, or were late: once for an outage, by webhook and mail."""

from collections.abc import Iterator
from datetime import datetime
from html import escape
from itertools import chain, islice, takewhile
from typing import Any, Final

from pydantic import BaseModel

from conforme.automation.due import due_times
from conforme.automation.models import AutomationSchedule
from conforme.automation.notices import into_outbox
from conforme.automation.rules import Timing
from conforme.foundation import mail
from conforme.foundation.mail import Letter
from conforme.foundation.resources import Resources
from conforme.foundation.web import iso

OUTAGE, OVERLAP, QUEUE_FULL = "outage", "overlap", "queue_full"
MAX_LISTED: Final = 20
"""Due times that a mail or a webhook names; all of them are counted."""
WHY: Final = {
    OUTAGE: "Nothing could fire them when they were due.",
    OVERLAP: (
        "Another run of the schedule was under way. Due times that pass until it ends are told of by events alone."
    ),
    QUEUE_FULL: (
        "Too many runs of the schedule wait already. Due times that pass until the first of them ends are told of by"
        " events alone."
    ),
}
EVENT: Final = "automation/missed"


class MissedRuns(BaseModel):
    """What there is to tell; payload of `automation/missed`."""

    schedule_id: int
    reason: str
    count: int
    """Due times that will not run."""
    due_times: list[datetime]
    """The first of them."""
    runs_late: datetime | None = None
    """The due time that runs now, after an outage."""
    next_due_at: datetime | None = None
    nobody_looked_since: datetime | None = None
    """When the clock was last looked at, where that is long ago."""


def listed(timing: Timing, first: datetime, last: datetime) -> list[datetime]:
    """The first due times from `first`, itself one, up to and with `last`. Pure."""
    times = takewhile(lambda each: each <= last, chain([first], due_times(timing, first)))
    return list(islice(times, MAX_LISTED))


def webhook_body(missed: MissedRuns, name: str) -> dict[str, Any]:
    """The report of a run that there was none of. Pure."""
    return {
        "schedule_id": str(missed.schedule_id),
        "schedule_name": name,
        "run_id": None,
        "status": "missed",
        "error": WHY[missed.reason],
        "reason": missed.reason,
        "missed": missed.count,
        "due_times": [iso(each) for each in missed.due_times],
        "runs_late": iso(missed.runs_late),
        "next_due_at": iso(missed.next_due_at),
    }


def letter_of(missed: MissedRuns, name: str, *, id: str, to: list[str], url: str) -> Letter:
    """The mail, as text and as HTML. Pure."""
    status = "MISSED" if missed.count else "LATE"
    head, times = list(_sentences(missed)), [_clock(each) for each in missed.due_times]
    more = missed.count - len(times)
    times += [f"… and {more} more"] if more > 0 else []
    text = "\n".join([*head, *(["", *(f"- {each}" for each in times)] if times else []), "", url, ""])
    items = "".join(f"<li>{escape(each)}</li>" for each in times)
    body = "".join(f"<p>{escape(each)}</p>" for each in head) + (f"<ul>{items}</ul>" if items else "")
    link = f'<p><a href="{escape(url)}">{escape(url)}</a></p>'
    html = f'<!doctype html><meta charset="utf-8"><title>{status}</title><h1>{escape(name)}</h1>{body}{link}'
    return Letter(id=id, to=to, subject=f"Automation {name} - {status}", text=text, html=html)


def _sentences(missed: MissedRuns) -> Iterator[str]:
    if missed.count:
        runs = "1 run" if missed.count == 1 else f"{missed.count} runs"
        yield f"Not carried out: {runs} of this schedule. {WHY[missed.reason]}"
    if missed.runs_late is not None:
        yield f"The run that was due at {_clock(missed.runs_late)} begins now, late."
    if missed.nobody_looked_since is not None:
        yield f"No process has looked at the clock since {_clock(missed.nobody_looked_since)}."
    if missed.next_due_at is not None:
        yield f"Next run: {_clock(missed.next_due_at)}."


def _clock(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


async def queue_webhook(resources: Resources, missed: MissedRuns, id: str) -> str:
    """Puts the report into the outbox, once under this id."""
    async with resources.database.write() as session:
        schedule = await session.get(AutomationSchedule, missed.schedule_id, with_for_update=True)
        if schedule is None or not schedule.notify_on_error:
            return "not wanted"
        body = webhook_body(missed, schedule.name)
        return await into_outbox(session, resources, schedule.webhook_endpoint_id, EVENT, id, body)


async def send_mail(resources: Resources, missed: MissedRuns, id: str) -> str:
    """Sends the report to those the schedule names; without a mail server nobody is written to.

    Raises:
        MailFailed: the server could not be reached, or refused.
    """
    async with resources.database.read() as session:
        schedule = await session.get(AutomationSchedule, missed.schedule_id)
    if schedule is None or not schedule.notify_on_error:
        return "not wanted"
    if not schedule.notify_emails:
        return "none"
    if not mail.is_configured(resources.settings):
        return "not configured"
    url = f"{resources.settings.api_base_url.rstrip('/')}/api/automation/schedules/{schedule.id}"
    to = list(schedule.notify_emails)
    await mail.send(resources.settings, letter_of(missed, schedule.name, id=id, to=to, url=url))
    return "sent"
