"""A process that is killed again and again while it fetches a range: each day is counted once, and all is told."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import date

import httpx2
import pytest
from pipeline_audits import client_of, rows
from pipeline_processes import Outside, Start, free_port, until

from conforme.accounts.actor import Actor
from conforme.fiches.range_fetch import RangeAsked, fetch_range
from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable
from conforme.foundation.llm import model_from
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.sandbox.weather import Latency
from conforme.sandbox.webhooks import WebhookSink
from conforme.sandbox.world import SandboxOptions
from conforme.settings import Settings

pytestmark = pytest.mark.crash

FIRST, LAST, SALES = date(2026, 1, 5), date(2026, 1, 21), 8
DAYS = (LAST - FIRST).days + 1
RANDOM_DEATHS = int(os.environ.get("RANDOM_DEATHS", "1"))
"""Beside those at the boundaries of the work."""
FAMILY = "fiches.progressive_fetch."
SLOW_CRM = SandboxOptions(sales_per_day=SALES, crm_latency=Latency(base_ms=400))


async def begun(database: Database, url: str) -> str:
    """A fetch that nobody works at yet; returns its id."""
    settings = Settings(node_env="test")
    outbound = Outbound(settings)
    durable, model = Durable(settings, database), model_from(settings, outbound)
    resources = Resources(settings, database, durable, outbound, model)
    asked = RangeAsked(FIRST, LAST, webhook_url=url)
    async with database.write() as session:
        job = await fetch_range(session, resources, Actor.system("test"), asked)
    assert job is not None
    return job.id


class Listener:
    """A browser that is left behind by its server again and again, and goes on where it stood."""

    def __init__(self, url: str, channel: str) -> None:
        self.heard: list[tuple[int, str]] = []
        self.connections = 0
        self._url = url
        self._path = f"/api/realtime/stream?channels={channel}&after=0"

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator["Listener"]:
        task = asyncio.create_task(self._listen())
        yield self
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _listen(self) -> None:
        while True:
            with suppress(httpx2.TransportError):
                await self._until_cut()
            await asyncio.sleep(0.05)

    async def _until_cut(self) -> None:
        resumed = {"Last-Event-ID": str(self.heard[-1][0])} if self.heard else {}
        async with (
            client_of(self._url) as client,
            client.stream("GET", self._path, headers=resumed) as answer,
        ):
            if answer.status_code != 200:
                return
            self.connections += 1
            told: dict[str, str] = {}
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if line:
                    told[name] = value
                elif "id" in told and "event" in told:
                    self.heard.append((int(told["id"]), told["event"]))
                    told = {}


async def logged(database: Database, job_id: str) -> list[events.Event]:
    async with database.read() as session:
        return await events.after(session, 0, limit=1000, channels=[events.job_channel(job_id)])


Moment = Callable[[], Awaitable[bool]]


def moments(database: Database, outside: Outside, job_id: str) -> list[Moment]:
    """When the process is killed: at each boundary of the work, and while it stores."""

    async def claimed() -> bool:
        return bool(await rows(database, "select 1 from dbos.workflow_status where status = 'PENDING'"))

    async def asking() -> bool:
        counts = await outside.counts("crm")
        return counts["in_flight"] > 0 or bool(counts["routes"])

    def ended(days: int) -> Moment:
        async def reached() -> bool:
            [[left]] = await rows(
                database,
                "select cardinality(dates_remaining) from progressive_fetch_jobs where id = :id",
                id=job_id,
            )
            return DAYS - left >= days

        return reached

    chance = random.Random(31)  # noqa: S311
    drawn = sorted(chance.randint(1, DAYS - 1) for _ in range(RANDOM_DEATHS))
    return [claimed, asking, *map(ended, drawn), ended(DAYS)]


@pytest.mark.parametrize("outside_world", [SLOW_CRM], indirect=True)
async def test_each_day_is_counted_once_and_all_is_told_however_often_the_process_dies(
    database: Database, outside_world: Outside, start: Start
) -> None:
    sink, port = WebhookSink(), free_port()
    async with sink.service() as service:
        job_id = await begun(database, f"{service.url}/hooks/a")
        listener = Listener(f"http://127.0.0.1:{port}", events.job_channel(job_id))
        async with listener.listening():
            deaths = moments(database, outside_world, job_id)
            for moment in deaths:
                replica = start(port, WEBHOOK_ALLOWED_ORIGINS=service.url)
                await until(moment, "the moment has come", 60)
                replica.kill()
            start(port, WEBHOOK_ALLOWED_ORIGINS=service.url)
            await _all_is_told(database, sink, listener, job_id)
    await _each_day_is_counted_once(database, job_id)
    searches = (await outside_world.counts("crm"))["routes"]["GET /api/fiches/sales-with-calls"]["requests"]
    assert searches <= len(deaths), "one, and one for each death that cut one short"
    assert listener.connections > 1


async def _all_is_told(database: Database, sink: WebhookSink, listener: Listener, job_id: str) -> None:
    """Waits for the end of everything; nothing is missing and, on the stream, nothing comes twice."""

    async def over() -> bool:
        [[waiting]] = await rows(database, "select count(*) from webhook_deliveries where status = 'pending'")
        return waiting == 0 and any(name == f"{FAMILY}complete" for _, name in listener.heard)

    await until(over, "all is told", 60)
    log = await logged(database, job_id)
    assert listener.heard == [(event.id, event.name) for event in log]
    written = await rows(
        database, "select id, event, payload_progress from webhook_deliveries order by position"
    )
    fetched = [*range(5, DAYS, 5), DAYS]
    percents = [(200 * days + DAYS) // (2 * DAYS) for days in fetched]
    assert [(row[1], row[2]) for row in written] == [
        *(("progress", percent) for percent in percents),
        ("complete", 100),
    ]
    bodies: dict[str, set[str]] = {}
    for each in sink.deliveries:
        bodies.setdefault(each.headers["x-webhook-delivery-id"], set()).add(each.body)
    assert set(bodies) == {row[0] for row in written}
    assert all(len(different) == 1 for different in bodies.values())
    first_come = list(dict.fromkeys(each.headers["x-webhook-delivery-id"] for each in sink.deliveries))
    assert first_come == [row[0] for row in written], "in order"


async def _each_day_is_counted_once(database: Database, job_id: str) -> None:
    log = await logged(database, job_id)
    names = Counter(event.name.removeprefix(FAMILY) for event in log)
    assert names == {"created": 1, "progress": DAYS, "complete": 1}
    days = [event.payload["latestDate"] for event in log if "latestDate" in event.payload]
    assert len(set(days)) == DAYS
    [[fiches]] = await rows(database, "select count(*) from fiche_cache")
    [[counted]] = await rows(database, "select sum(stored) from fiche_days")
    [job] = await rows(
        database,
        "select status, completed_days, total_fiches from progressive_fetch_jobs where id = :id",
        id=job_id,
    )
    assert tuple(job) == ("complete", DAYS, DAYS * SALES)
    assert fiches == counted == DAYS * SALES
    assert log[-1].payload["datesRemaining"] == []
