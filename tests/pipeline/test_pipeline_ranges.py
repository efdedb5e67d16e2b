"""A process that is killed again and again while it fetches a range: each day is counted once, and all is told."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta

import httpx2
import pytest
import structlog
from pipeline_audits import client_of, rows
from pipeline_gates import Gate, Gates, gates, slowed
from pipeline_processes import Nursery, free_port, nursery, until
from sqlalchemy import text

from conforme.accounts.actor import Actor
from conforme.fiches.range_fetch import RangeAsked, fetch_range
from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable
from conforme.foundation.llm import model_from
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.sandbox.chassis import Service
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.crm import DEFAULT_BEARER, Gateway, crm_app
from conforme.sandbox.population import Population
from conforme.sandbox.weather import Latency
from conforme.sandbox.webhooks import WebhookSink
from conforme.settings import Settings

pytestmark = pytest.mark.crash
log = structlog.get_logger(__name__)

FIRST, DAYS, SALES = date(2026, 1, 5), 17, 8
RANDOM_DEATHS = int(os.environ.get("RANDOM_DEATHS", "10"))
STRUCK = RANDOM_DEATHS // 2
"""How many of them at least fall while a fetch is under way; up to twice as many are died for that."""
SEED = int(os.environ.get("RANDOM_DEATHS_SEED", "7"))
LIVES = (0.0, 1.5)
"""Seconds from which to which a process of random death lives once it is at work."""
DAY_SECONDS = 0.1
"""Time that each day takes to store meanwhile, so that deaths fall between days and in the midst of them."""
FAMILY = "fiches.progressive_fetch."


def day(rank: int) -> date:
    return FIRST + timedelta(days=rank)


PLANNED = Gate(
    "the days are planned, no search is queued", "dbos.workflow_status", "new.name = 'fiches/search-sales'"
)
ANSWERED = Gate("the CRM has answered, nothing is stored", "fiche_days", f"new.day = '{day(0)}'")
STORED = Gate("a day is stored, the next is not", "fiche_days", f"new.day = '{day(1)}'")
LAST_STORED = Gate(
    "the last day is stored, the search does not know it yet",
    "dbos.operation_outputs",
    "new.function_name = 'search'",
)
SEARCHED = Gate(
    "the search has ended, its fetch has not read that",
    "dbos.workflow_output",
    "position('-search-' in new.workflow_uuid) > 0",
)
QUEUED = Gate(
    "webhooks are queued, none is sent",
    "dbos.workflow_status",
    "new.queue_name = 'webhooks' and new.status = 'PENDING'",
    event="update",
)
SENT = Gate("a webhook is sent, its attempt is not stored", "webhook_attempts", "true")
GIVEN_UP = Gate("a day is given up, which is not stored", "fiche_days", "new.error is not null")
BOUNDARIES = (PLANNED, ANSWERED, STORED, LAST_STORED, SEARCHED, QUEUED, SENT)


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
        async with client_of(self._url) as client:
            while True:
                with suppress(httpx2.TransportError):
                    await self._until_cut(client)
                await asyncio.sleep(0.05)

    async def _until_cut(self, client: httpx2.AsyncClient) -> None:
        resumed = {"Last-Event-ID": str(self.heard[-1][0])} if self.heard else {}
        async with client.stream("GET", self._path, headers=resumed) as answer:
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


@dataclass
class Asked:
    """A fetch that somebody follows by webhook and on a stream."""

    id: str
    receiver: str
    start: date
    days: int
    listener: Listener


@dataclass
class Ground:
    """The database and what outlives the product: the CRM, a receiver of webhooks, and whoever starts it again."""

    database: Database
    gateway: Gateway
    sink: WebhookSink
    hooks: str
    settings: Settings
    nursery: Nursery
    asked: list[Asked] = field(default_factory=list[Asked])

    async def ask(self, start: date, days: int) -> Asked:
        """Begins a fetch that nobody works at yet."""
        receiver = f"r{len(self.asked)}"
        wanted = RangeAsked(
            start, start + timedelta(days=days - 1), webhook_url=f"{self.hooks}/hooks/{receiver}"
        )
        outbound, durable = Outbound(self.settings), Durable(self.settings, self.database)
        model = model_from(self.settings, outbound)
        resources = Resources(self.settings, self.database, durable, outbound, model)
        async with self.database.write() as session:
            job = await fetch_range(session, resources, Actor.system("test"), wanted)
        await outbound.aclose()
        assert job is not None
        listener = Listener(self.nursery.url, events.job_channel(job.id))
        self.asked.append(Asked(job.id, receiver, start, days, listener))
        return self.asked[-1]

    async def begin_life(self) -> None:
        """The process begins anew; whoever follows the last fetch on a stream has found it again."""
        listener = self.asked[-1].listener
        before = listener.connections
        await self.nursery.begin()
        await until(lambda: listener.connections > before, "the stream is open again")

    async def die(self) -> None:
        """The process dies, and its lease is over."""
        await self.nursery.end()
        async with self.database.write() as session:
            await session.execute(text("update engine_heartbeats set beat_at = now() - interval '1 hour'"))

    async def at_work(self) -> bool:
        """Whether the replica that lives has taken up the fetch that the last one left."""
        held = (
            "select 1 from dbos.workflow_status join engine_heartbeats using (executor_id)"
            " where status = 'PENDING' and beat_at > now() - interval '1 minute'"
            " and name in ('fiches/progressive-fetch', 'fiches/search-sales')"
        )
        return bool(await rows(self.database, held))

    async def at_work_or_done(self) -> bool:
        """A fetch of which little was left may have ended before anybody looked."""
        return await self.at_work() or not await self.under_way()

    async def under_way(self) -> bool:
        [[count]] = await rows(
            self.database, "select count(*) from progressive_fetch_jobs where status = 'processing'"
        )
        return count > 0


@pytest.fixture
async def ground(database: Database, database_url: str) -> AsyncGenerator[Ground]:
    app, sink = crm_app(Population(load_corpus(), sales_per_day=SALES)), WebhookSink()
    async with (
        Service("crm", app, latency=Latency(base_ms=150)) as crm,
        sink.service() as receiver,
    ):
        environment = {
            "NODE_ENV": "test",
            "FICHE_API_BASE_URL": crm.url,
            "FICHE_API_AUTH_TOKEN": DEFAULT_BEARER,
            "OPENAI_API_KEY": "unused",
            "WEBHOOK_ALLOWED_ORIGINS": receiver.url,
            "REPLICA_HEARTBEAT_SECONDS": "0.2",
        }
        settings = Settings(node_env="test")
        with nursery(database_url, environment, free_port()) as replica:
            yield Ground(database, app.state.gateway, sink, receiver.url, settings, replica)


async def test_each_day_is_counted_once_and_all_is_told_when_the_process_dies_at_each_boundary_of_the_work(
    ground: Ground,
) -> None:
    ground.gateway.faults.unlistable = frozenset({day(DAYS)})
    async with gates(ground.database, *BOUNDARIES, GIVEN_UP) as held:
        job = await ground.ask(FIRST, DAYS)
        async with job.listener.listening():
            await held.close(QUEUED)  # so that webhooks still wait when their turn to die has come
            for boundary in BOUNDARIES:
                if boundary is not QUEUED:
                    await held.close(boundary)
                await ground.begin_life()
                await until(lambda at=boundary: held.reached(at), f"{boundary.passed}", 60)
                await ground.die()
                await held.turn_away()
                await held.open(boundary)
            await ground.nursery.begin()
            await _ends_as_if_nothing_had_happened(ground, job)
            assert len(ground.gateway.searches) == 3, (
                "cut short when it was answered, and amid its days; then the last"
            )
            await ground.die()
            await _dies_while_a_day_is_given_up(ground, held)


async def _dies_while_a_day_is_given_up(ground: Ground, held: Gates) -> None:
    refused = await ground.ask(day(DAYS), 2)
    await held.close(GIVEN_UP)
    async with refused.listener.listening():
        await ground.begin_life()
        await until(lambda: held.reached(GIVEN_UP), GIVEN_UP.passed, 60)
        await ground.die()
        await held.turn_away()
        await held.open(GIVEN_UP)
        await ground.nursery.begin()
        await _ends_as_if_nothing_had_happened(ground, refused, failed=1)


async def test_each_day_is_counted_once_and_all_is_told_when_the_process_dies_at_random_moments(
    ground: Ground,
) -> None:
    chance = random.Random(SEED)  # noqa: S311 -- printed, to be repeated
    lives = [chance.uniform(*LIVES) for _ in range(2 * RANDOM_DEATHS)]
    log.info("deaths", seed=SEED, seconds=lives)
    struck = 0
    async with slowed(ground.database, "fiche_days", DAY_SECONDS), AsyncExitStack() as listening:
        for deaths, life in enumerate(lives):
            if deaths >= RANDOM_DEATHS and struck >= STRUCK:
                break
            if not await ground.under_way():
                job = await ground.ask(FIRST + timedelta(days=DAYS * len(ground.asked)), DAYS)
                await listening.enter_async_context(job.listener.listening())
            await ground.begin_life()
            await until(ground.at_work_or_done, "the replica is at work, or nothing is left to do")
            await asyncio.sleep(life)
            await ground.die()
            struck += await ground.under_way()
        assert struck >= STRUCK, "deaths that find nothing to cut short show nothing"
        await ground.nursery.begin()
        for job in ground.asked:
            await _ends_as_if_nothing_had_happened(ground, job)
        log.info("survived", fetches=len(ground.asked), searches=len(ground.gateway.searches), struck=struck)


async def _ends_as_if_nothing_had_happened(ground: Ground, job: Asked, *, failed: int = 0) -> None:
    await _all_is_told(ground, job, failed)
    await _each_day_is_counted_once(ground.database, job, failed)


async def _all_is_told(ground: Ground, job: Asked, failed: int) -> None:
    """Waits for the end of everything; nothing is missing and, on the stream, nothing comes twice."""
    end, database = "failed" if failed else "complete", ground.database

    async def over() -> bool:
        [[waiting]] = await rows(database, "select count(*) from webhook_deliveries where status = 'pending'")
        return waiting == 0 and any(name == f"{FAMILY}{end}" for _, name in job.listener.heard)

    await until(over, "all is told", 60)
    assert job.listener.heard == [(event.id, event.name) for event in await logged(database, job.id)]
    written = await rows(
        database,
        "select id, event, payload_progress from webhook_deliveries where job_id = :id order by position",
        id=job.id,
    )
    fetched = [*range(5, job.days, 5), job.days]
    percents = [(200 * days + job.days) // (2 * job.days) for days in fetched]
    assert [(row[1], row[2]) for row in written] == [
        *(("progress", percent) for percent in percents),
        (end, None if failed else 100),
    ]
    received = [each for each in ground.sink.deliveries if each.receiver == job.receiver]
    bodies: dict[str, set[str]] = {}
    for each in received:
        bodies.setdefault(each.headers["x-webhook-delivery-id"], set()).add(each.body)
    assert all(len(different) == 1 for different in bodies.values())
    assert list(bodies) == [row[0] for row in written], "each at least once, and first in their order"


async def logged(database: Database, job_id: str) -> list[events.Event]:
    async with database.read() as session:
        return await events.after(session, 0, limit=1000, channels=[events.job_channel(job_id)])


async def _each_day_is_counted_once(database: Database, job: Asked, failed: int) -> None:
    told, good = await logged(database, job.id), job.days - failed
    names = Counter(event.name.removeprefix(FAMILY) for event in told)
    assert names == {"created": 1, "progress": job.days, "failed" if failed else "complete": 1}
    days = [event.payload["latestDate"] for event in told if "latestDate" in event.payload]
    assert len(set(days)) == job.days
    assert told[-1].payload["datesRemaining"] == []
    span = {"first": job.start, "last": job.start + timedelta(days=job.days - 1)}
    [[fiches]] = await rows(
        database,
        "select count(*) from fiche_cache where sales_date\\:\\:date between :first and :last",
        **span,
    )
    [[counted]] = await rows(
        database, "select sum(stored) from fiche_days where day between :first and :last", **span
    )
    [row] = await rows(
        database,
        "select status, completed_days, total_fiches from progressive_fetch_jobs where id = :id",
        id=job.id,
    )
    assert tuple(row) == ("failed" if failed else "complete", good, good * SALES)
    assert fiches == counted == good * SALES
