"""Who is told when nothing ran that should have: one mail and one webhook for an outage."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from automation_room import Clock, created, due_next, ended, runs
from httpx2 import AsyncClient
from sqlalchemy import select

from conforme.automation.missed import MissedRuns, letter_of, listed, webhook_body
from conforme.automation.missed_workflows import tell_missed
from conforme.automation.rules import Timing
from conforme.automation.ticking import tick
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable
from conforme.foundation.llm import model_from
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.sandbox.smtp import SmtpSink
from conforme.settings import Settings
from conforme.webhooks.models import WebhookDelivery
from product_fixtures import SETTINGS

DUE = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
DAY = timedelta(days=1)
AT_SIX = {"timeOfDay": "06:00", "timezone": "UTC", "notifyEmails": ["equipe@example.test"]}
DAILY = Timing(schedule_type="DAILY", time_of_day="06:00")
OUTAGE = MissedRuns(
    schedule_id=3,
    reason="outage",
    count=2,
    due_times=[DUE, DUE + DAY],
    runs_late=DUE + 2 * DAY,
    next_due_at=DUE + 3 * DAY,
    nobody_looked_since=DUE - timedelta(hours=3),
)


def test_the_mail_says_what_was_missed_what_is_late_and_since_when_nobody_looked() -> None:
    letter = letter_of(OUTAGE, "Nuit <1>", id="x", to=["equipe@example.test"], url="https://c.example.test/3")
    assert letter.subject == "Automation Nuit <1> - MISSED"
    for line in (
        "Not carried out: 2 runs of this schedule. Nothing could fire them when they were due.",
        "The run that was due at 2026-01-07 06:00 UTC begins now, late.",
        "No process has looked at the clock since 2026-01-05 03:00 UTC.",
        "Next run: 2026-01-08 06:00 UTC.",
        "- 2026-01-06 06:00 UTC",
        "https://c.example.test/3",
    ):
        assert line in letter.text
        assert line.removeprefix("- ") in letter.html
    assert "<h1>Nuit &lt;1&gt;</h1>" in letter.html
    late = letter_of(OUTAGE.model_copy(update={"count": 0, "due_times": []}), "Nuit", id="x", to=[], url="u")
    assert late.subject == "Automation Nuit - LATE"
    assert "Not carried out" not in late.text


def test_the_webhook_is_the_report_of_a_run_that_there_was_none_of() -> None:
    assert webhook_body(OUTAGE, "Nuit") == {
        "schedule_id": "3",
        "schedule_name": "Nuit",
        "run_id": None,
        "status": "missed",
        "error": "Nothing could fire them when they were due.",
        "reason": "outage",
        "missed": 2,
        "due_times": ["2026-01-05T06:00:00.000Z", "2026-01-06T06:00:00.000Z"],
        "runs_late": "2026-01-07T06:00:00.000Z",
        "next_due_at": "2026-01-08T06:00:00.000Z",
    }


def test_of_a_long_outage_the_first_due_times_are_named_and_the_others_counted() -> None:
    assert listed(DAILY, DUE, DUE + 2 * DAY) == [DUE, DUE + DAY, DUE + 2 * DAY]
    many = OUTAGE.model_copy(update={"count": 100, "due_times": listed(DAILY, DUE, DUE + 99 * DAY)})
    assert "… and 80 more" in letter_of(many, "Nuit", id="x", to=[], url="u").text


@pytest.fixture
async def sink() -> AsyncGenerator[SmtpSink]:
    async with SmtpSink() as sink:
        yield sink


@pytest.fixture
async def teller(database: Database, api: AsyncClient, sink: SmtpSink) -> AsyncGenerator[Resources]:
    """A process that tells of what was missed."""
    mail = {
        "smtp_host": "127.0.0.1",
        "smtp_port": sink.port,
        "smtp_from": "nuit@example.test",
        "drain_seconds": 1,
    }
    settings = Settings.model_validate(SETTINGS.model_dump() | {"openai_api_key": "unused", **mail})
    outbound, durable = Outbound(settings), Durable(settings, database, jobs=[tell_missed], schedules=[])
    resources = Resources(settings, database, durable, outbound, model_from(settings, outbound))
    await durable.start(resources)
    try:
        yield resources
    finally:
        await durable.stop()
        await outbound.aclose()


async def told(resources: Resources, schedule_id: str, about: str) -> Any:
    return (await resources.durable.wait(f"automation-schedule-{schedule_id}-missed-{about}", 60)).value


async def test_a_night_without_any_process_is_told_by_one_mail_and_one_webhook(
    api: AsyncClient, database: Database, teller: Resources, sink: SmtpSink
) -> None:
    schedule = (await created(api, **AT_SIX, webhookUrl="http://127.0.0.1:9/told"))["id"]
    await due_next(database, schedule, DUE)
    clock = Clock(DUE - timedelta(hours=3))
    await tick(teller, clock)
    clock.forward(days=2, hours=5)
    for _ in range(3):
        await tick(teller, clock)
        clock.forward(minutes=1)
    outcome = await told(teller, schedule, f"outage-{int(DUE.timestamp())}")
    assert outcome == {"webhook": "queued", "mail": "sent"}
    [mail] = sink.mails
    plain = mail.message.get_body(("plain",))
    assert plain is not None
    text = plain.get_content()
    assert mail.recipients == ("equipe@example.test",)
    assert "2 runs" in text
    assert "since 2026-01-05 03:00 UTC" in text
    async with database.read() as session:
        [delivery] = await session.scalars(select(WebhookDelivery))
    assert delivery.event == "automation/missed"


async def test_due_times_that_pass_under_one_run_are_told_of_once(
    api: AsyncClient, database: Database, teller: Resources, sink: SmtpSink
) -> None:
    schedule = (await created(api, **AT_SIX))["id"]
    await due_next(database, schedule, DUE)
    clock = Clock(DUE)
    for _ in range(4):
        await tick(teller, clock)
        clock.forward(days=1)
    [run] = await runs(database, schedule)
    assert (await told(teller, schedule, f"overlap-{run.id}"))["mail"] == "sent"
    assert len(sink.mails) == 1
    await ended(database, run.id)
    await tick(teller, clock)
    clock.forward(days=1)
    await tick(teller, clock)
    _, second = await runs(database, schedule)
    assert (await told(teller, schedule, f"overlap-{second.id}"))["mail"] == "sent"
    assert len(sink.mails) == 2, "another run in the way is another matter"


@pytest.mark.parametrize(
    ("said", "mail"),
    [({"notifyOnError": False}, "not wanted"), ({"notifyEmails": []}, "none")],
)
async def test_who_does_not_want_to_hear_of_errors_is_not_told(
    api: AsyncClient, database: Database, teller: Resources, said: dict[str, Any], mail: str
) -> None:
    schedule = (await created(api, **{**AT_SIX, **said}))["id"]
    await due_next(database, schedule, DUE)
    await tick(teller, Clock(DUE + timedelta(hours=5)))
    assert (await told(teller, schedule, f"outage-{int(DUE.timestamp())}"))["mail"] == mail


async def test_what_is_a_few_minutes_late_is_no_outage(
    api: AsyncClient, database: Database, teller: Resources
) -> None:
    every_minute = {"scheduleType": "CRON", "cronExpression": "* * * * *", "catchUp": "last"}
    schedule = (await created(api, **AT_SIX, **every_minute))["id"]
    await due_next(database, schedule, DUE)
    assert (await tick(teller, Clock(DUE + timedelta(minutes=5))))["missed"] == 5
    assert (
        await teller.durable.state(f"automation-schedule-{schedule}-missed-outage-{int(DUE.timestamp())}")
        is None
    )
