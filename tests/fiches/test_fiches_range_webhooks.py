"""Who asks for a range with a webhook is told how it goes on, as far as they may see, and how it ends."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fiche_room import Crm, details_of, fiche_id_of, informed, stored
from pydantic import SecretStr
from range_room import ASKER, ask, asked, begun, day, ended, fetched, later, told
from sqlalchemy import select, text

from conforme.accounts.actor import Actor, Scope
from conforme.fiches import job_queries
from conforme.fiches.range_fetch import RangeWatchedByMany
from conforme.foundation.database import Database
from conforme.foundation.errors import Invalid
from conforme.foundation.resources import Resources
from conforme.sandbox.population import Population
from conforme.sandbox.webhooks import ScriptedAnswer, WebhookSink
from conforme.webhooks.models import WebhookEndpoint
from conforme.webhooks.queries import Told, told_of_job

TEAM = Actor("user:7", Scope.GROUP, groupes=frozenset({"EQUIPE R1"}), user_id=7)


@pytest.fixture
def sink() -> WebhookSink:
    return WebhookSink()


@pytest.fixture
async def hook(sink: WebhookSink) -> AsyncGenerator[str]:
    async with sink.service() as service:
        yield f"{service.url}/hooks"


PENDING = text("select count(*) from webhook_deliveries where status = 'pending'")


async def received(database: Database, sink: WebhookSink, receiver: str) -> list[dict[str, Any]]:
    """All that the receiver was told, once nothing waits to be sent to anybody."""
    async with asyncio.timeout(60):
        while True:
            async with database.read() as session:
                if await session.scalar(PENDING) == 0:
                    return [json.loads(each.body) for each in sink.deliveries if each.receiver == receiver]
            await asyncio.sleep(0.02)


async def test_progress_is_told_every_fifth_day_and_at_the_end_in_the_words_of_the_contract(
    working: Resources, crm: Crm, database: Database, sink: WebhookSink, hook: str
) -> None:
    secret = SecretStr("whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw")
    job = await fetched(working, asked(0, 6, webhook_url=f"{hook}/a", webhook_secret=secret))
    fifth, last, complete = await received(database, sink, "a")
    assert [each["event"] for each in (fifth, last, complete)] == ["progress", "progress", "complete"]
    assert list(fifth["data"]) == [
        *("status", "progress", "completedDays", "totalDays", "totalFiches", "currentFichesCount"),
        *("latestDate", "partialData"),
    ]
    noted = len(fifth["data"].pop("partialData"))
    assert fifth["data"] == {
        "status": "processing",
        "progress": 71,
        "completedDays": 5,
        "totalDays": 7,
        "totalFiches": noted,
        "currentFichesCount": noted,
        "latestDate": "2026-01-09",
    }
    assert 0 < noted < len(last["data"]["partialData"]) == 28
    assert complete["data"] == {
        "status": "complete",
        "progress": 100,
        "completedDays": 7,
        "totalDays": 7,
        "totalFiches": 28,
        "dataUrl": "http://localhost:3002/api/fiches/status/by-date-range"
        "?startDate=2026-01-05&endDate=2026-01-11",
    }
    assert {each["jobId"] for each in (fifth, last, complete)} == {job.id}
    assert all("x-webhook-signature-v2" in each.headers for each in sink.deliveries)


async def test_a_fetch_knows_how_its_webhooks_went(
    working: Resources, crm: Crm, database: Database, sink: WebhookSink, hook: str
) -> None:
    sink.script("a", [ScriptedAnswer(status=500)])
    job = await fetched(working, asked(0, 0, webhook_url=f"{hook}/a"))
    refused = await told_of(database, job.id, attempts=1)
    assert (refused.attempts, refused.last_error) == (1, "HTTP 500")
    [progress, again, complete] = await received(database, sink, "a")
    assert progress == again != complete
    sent = await told_of(database, job.id, attempts=3)
    assert (sent.attempts, sent.last_error) == (3, None)
    assert sent.last_sent_at is not None
    async with database.read() as session:
        assert (await told_of_job(session, TEAM, job.id)).attempts == 0


async def told_of(database: Database, job_id: str, *, attempts: int) -> Told:
    """How the webhooks of a fetch went, once so many attempts are stored."""
    async with asyncio.timeout(60):
        while True:
            async with database.read() as session:
                found = await told_of_job(session, ASKER, job_id)
            if found.attempts >= attempts:
                return found
            await asyncio.sleep(0.02)


async def test_each_is_shown_what_they_may_see(
    working: Resources, crm: Crm, database: Database, sink: WebhookSink, hook: str
) -> None:
    population: Population = crm.gateway.population
    mine = informed(details_of(), fiche_id=population.sales(day(1))[0].fiche_id, groupe="EQUIPE R1")
    await stored(database, mine)
    job = await begun(working, asked(0, 2, webhook_url=f"{hook}/all"))
    joined = await begun(working, asked(0, 2, webhook_url=f"{hook}/team"), TEAM)
    assert joined.id == job.id
    await ended(working, job.id)
    progress, complete = await received(database, sink, "team")
    assert [line["ficheId"] for line in progress["data"]["partialData"]] == [fiche_id_of(mine)]
    assert (progress["data"]["totalFiches"], complete["data"]["totalFiches"]) == (1, 1)
    progress, complete = await received(database, sink, "all")
    assert len(progress["data"]["partialData"]) == complete["data"]["totalFiches"] == 12


async def test_a_fetch_that_fails_is_told_with_its_reason_and_so_is_who_asks_just_afterwards(
    working: Resources, crm: Crm, database: Database, sink: WebhookSink, hook: str
) -> None:
    crm.gateway.faults.unlistable = frozenset({day(0)})
    job = await fetched(working, asked(0, 0, webhook_url=f"{hook}/a"))
    late = await begun(working, asked(0, 0, webhook_url=f"{hook}/late"))
    assert late.id == job.id
    _, failed = await received(database, sink, "a")
    [too_late] = await received(database, sink, "late")
    assert failed["data"] == {"status": "failed", "error": "1 date(s) failed during progressive fetch"}
    assert (too_late["event"], too_late["data"]) == ("failed", failed["data"])


async def test_who_asks_for_what_is_known_already_is_told_that_it_is_complete(
    working: Resources, crm: Crm, database: Database, sink: WebhookSink, hook: str
) -> None:
    job = await fetched(working, asked(0, 1))
    soon = await begun(working, asked(0, 1, webhook_url=f"{hook}/soon"))
    await later(database, created_at="6 minutes")
    late = await begun(working, asked(0, 1, webhook_url=f"{hook}/late"))
    again = await begun(working, asked(0, 1, webhook_url=f"{hook}/late"))
    assert (soon.id, again.id, late.status) == (job.id, late.id, "complete")
    assert late.id != job.id
    assert len(crm.gateway.searches) == 1
    for receiver, told_by in (("soon", soon), ("late", late)):
        [complete] = await received(database, sink, receiver)
        assert (complete["event"], complete["jobId"]) == ("complete", told_by.id)
        assert (complete["data"]["completedDays"], complete["data"]["totalFiches"]) == (2, 8)
    names = [event.name.rpartition(".")[2] for event in await told(database, late.id)]
    assert names == ["created", "complete"]


async def test_who_asks_for_what_is_known_by_now_is_told_beside_a_fetch_of_it_that_is_still_under_way(
    working: Resources, crm: Crm, database: Database, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    await fetched(working, asked(0, 1))
    await later(database, created_at="6 minutes")
    async with database.write() as session:
        await session.execute(text("update progressive_fetch_jobs set status = 'processing'"))
    monkeypatch.setattr(job_queries, "under_way", _nothing_yet)
    job = await begun(working, asked(0, 1, webhook_url=f"{hook}/a"))
    created, complete = await told(database, job.id)
    assert (created.payload["status"], complete.payload["status"]) == ("processing", "complete")


async def _nothing_yet(*_: Any, **__: Any) -> None:
    """Somebody else's fetch is written just after one has looked for it, or has ended just before."""


async def test_who_asks_for_days_that_another_fetch_failed_a_moment_ago_is_told_so(
    working: Resources, crm: Crm, database: Database, sink: WebhookSink, hook: str
) -> None:
    crm.gateway.faults.unlistable = frozenset({day(0)})
    await fetched(working, asked(0, 0))
    crm.gateway.faults.unlistable = frozenset({day(1)})
    await fetched(working, asked(1, 1))
    job = await begun(working, asked(0, 1, webhook_url=f"{hook}/a"))
    assert (job.status, job.failed_days) == ("failed", 2)
    [failed] = await received(database, sink, "a")
    assert failed["data"] == {"status": "failed", "error": "2 date(s) failed during progressive fetch"}


async def test_who_asks_again_with_another_secret_has_it_used(
    resources: Resources, database: Database, hook: str
) -> None:
    hooked = {"webhook_url": f"{hook}/a"}
    for secret in ("the first", None, "the second", "the second"):
        await begun(resources, asked(0, 1, **hooked, webhook_secret=SecretStr(secret) if secret else None))
    async with database.read() as session:
        [endpoint] = await session.scalars(select(WebhookEndpoint))
        rotations = text("select count(*) from audit_log where action = 'webhook.secret.rotated'")
        assert await session.scalar(rotations) == 1
    assert (endpoint.secret, endpoint.previous_secret) == ("the second", "the first")
    assert endpoint.previous_secret_until is not None


async def test_asking_again_and_again_registers_one_webhook(
    resources: Resources, database: Database, hook: str
) -> None:
    for number in (0, 0, *range(20)):
        await begun(resources, asked(0, 1, webhook_url=f"{hook}/{number}"))
    with pytest.raises(RangeWatchedByMany):
        await ask(resources, asked(0, 1, webhook_url=f"{hook}/one-more"))


@pytest.mark.parametrize("url", ["ftp://example.test/x", "http://10.0.0.1/x", "nonsense"])
async def test_a_webhook_that_may_not_be_is_refused_before_anything_is_begun(
    resources: Resources, database: Database, url: str
) -> None:
    with pytest.raises(Invalid, match="webhookUrl"):
        await ask(resources, asked(0, 1, webhook_url=url))
    secret = SecretStr("x" * 300)
    with pytest.raises(Invalid, match="webhookSecret"):
        await ask(resources, asked(0, 1, webhook_url="https://example.test/x", webhook_secret=secret))
    async with database.read() as session:
        assert await session.scalar(text("select count(*) from progressive_fetch_jobs")) == 0
