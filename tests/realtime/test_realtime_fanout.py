"""What wakes the followers of the log: PostgreSQL or Redis, held to the same promises."""

import asyncio
from collections.abc import AsyncGenerator

import httpx2
import psycopg
import pytest
from pydantic import SecretStr, ValidationError
from realtime_room import RedisServer, until

from conforme.app import Role
from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.process import Served, http_server
from conforme.realtime.fanout import STREAM, STREAM_LENGTH, Fanout
from conforme.realtime.hub import Hub
from conforme.settings import Settings

CHANNEL = "private-audit-7"
PATIENCE = 15.0
TOKEN = SecretStr("fanout-token")


async def write(database: Database, number: int = 1) -> None:
    async with database.write() as session:
        await events.record(session, "test.event", {"number": number}, [CHANNEL])


async def test_a_commit_wakes_who_listens(replica_database: Database, fanout: Fanout) -> None:
    woken = asyncio.Event()
    async with fanout.listening(woken.set) as ear, ear.attentive():
        await write(replica_database)
        await asyncio.wait_for(woken.wait(), PATIENCE)


async def test_everybody_who_listens_is_woken(replica_database: Database, fanout: Fanout) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    async with (
        fanout.listening(first.set) as one,
        fanout.listening(second.set) as other,
        one.attentive(),
        other.attentive(),
    ):
        await write(replica_database)
        await asyncio.wait_for(asyncio.gather(first.wait(), second.wait()), PATIENCE)


async def test_what_is_told_between_listening_and_the_first_look_is_heard(
    replica_database: Database, fanout: Fanout
) -> None:
    """The follower looks at the log once it listens; whatever comes after that look wakes it."""
    woken = asyncio.Event()
    async with fanout.listening(woken.set) as ear:
        async with ear.attentive():
            pass
        async with ear.attentive():
            await write(replica_database)
            await asyncio.wait_for(woken.wait(), PATIENCE)


async def test_a_commit_without_events_wakes_nobody_and_the_next_with_one_does(
    replica_database: Database, fanout: Fanout
) -> None:
    woken: list[int] = []
    heard = asyncio.Event()

    def wake() -> None:
        woken.append(1)
        heard.set()

    async with fanout.listening(wake) as ear:
        async with replica_database.write() as session:
            await session.connection()
        async with ear.attentive():
            assert woken == []
            await write(replica_database)
            await asyncio.wait_for(heard.wait(), PATIENCE)


@pytest.fixture
async def replicas(told_by: Settings, database_url: str, database: Database) -> AsyncGenerator[list[Served]]:
    """Two replicas, told the same way."""
    chosen = told_by.model_copy(update={"api_auth_token": TOKEN, "port": 0, "drain_seconds": 1.0})
    async with (
        http_server(chosen, database_url, Role.API) as one,
        http_server(chosen, database_url, Role.API) as other,
    ):
        yield [one, other]


async def test_what_one_replica_writes_reaches_the_clients_of_the_other(
    replicas: list[Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conforme.realtime.hub.POLL_SECONDS", 3600.0)
    writer, other = replicas
    headers = {"Authorization": f"Bearer {TOKEN.get_secret_value()}"}
    async with (
        httpx2.AsyncClient(base_url=other.url, headers=headers, trust_env=False, timeout=PATIENCE) as client,
        client.stream("GET", f"/api/realtime/stream?channels={CHANNEL}") as answer,
    ):
        lines = answer.aiter_lines()
        await anext(lines)
        async with asyncio.timeout(PATIENCE):
            for number in range(3):
                await write(writer.resources.database, number)
                while '"number": ' not in (line := await anext(lines)):
                    pass
                assert f'"number": {number}' in line


# Redis alone


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conforme.realtime.fanout.RETRY_SECONDS", 0.05)
    monkeypatch.setattr("conforme.realtime.hub.POLL_SECONDS", 3600.0)


@pytest.mark.parametrize("told_by", ["redis"], indirect=True)
async def test_with_redis_the_writing_statement_notifies_nobody(
    replica_database: Database, fanout: Fanout, database_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(f"listen {events.NOTIFY_CHANNEL}".encode())
        await write(replica_database)
        await connection.execute(f"select pg_notify('{events.NOTIFY_CHANNEL}', 'the last')".encode())
        async with asyncio.timeout(PATIENCE):
            assert [note.payload async for note in connection.notifies(stop_after=1)] == ["the last"]


@pytest.mark.parametrize("told_by", ["redis"], indirect=True)
async def test_the_stream_does_not_grow_without_end(
    replica_database: Database, fanout: Fanout, redis: RedisServer
) -> None:
    from redis.asyncio import Redis

    woken = asyncio.Event()
    async with Redis.from_url(redis.url) as client, fanout.listening(woken.set):
        for _ in range(2 * STREAM_LENGTH):
            await client.xadd(STREAM, {"grown": "1"})
        woken.clear()
        await write(replica_database)
        await asyncio.wait_for(woken.wait(), PATIENCE)

        async def trimmed() -> bool:
            return await client.xlen(STREAM) < 2 * STREAM_LENGTH

        await until(trimmed)


@pytest.mark.parametrize("told_by", ["redis"], indirect=True)
async def test_events_go_on_arriving_while_redis_is_away_and_when_it_is_back(
    replica_database: Database, fanout: Fanout, redis: RedisServer, no_rest: None
) -> None:
    hub = Hub(replica_database, fanout)
    async with hub.subscribe(frozenset({CHANNEL})) as (subscription, _), asyncio.timeout(PATIENCE):
        redis.stop()
        await write(replica_database, 1)
        assert (await subscription.queue.get()).payload["number"] == 1
        await redis.start()
        await write(replica_database, 2)
        assert (await subscription.queue.get()).payload["number"] == 2
    await hub.stop()


@pytest.mark.parametrize("told_by", ["redis"], indirect=True)
async def test_a_replica_that_starts_without_redis_follows_all_the_same(
    replica_database: Database, fanout: Fanout, redis: RedisServer, no_rest: None
) -> None:
    redis.stop()
    hub = Hub(replica_database, fanout)
    async with hub.subscribe(frozenset({CHANNEL})) as (subscription, _), asyncio.timeout(PATIENCE):
        await write(replica_database, 1)
        assert (await subscription.queue.get()).payload["number"] == 1
    await hub.stop()


def test_an_address_that_is_no_redis_is_refused() -> None:
    with pytest.raises(ValidationError, match="must start with redis://"):
        Settings(redis_url=SecretStr("http://cache.example.test"))
