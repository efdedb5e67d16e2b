"""`GET /api/realtime/stream`, by a real server: replay, order, heartbeats, bounded life, several replicas."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from conforme.app import Role
from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.foundation.errors import Forbidden, Invalid
from conforme.process import Served, http_server
from conforme.realtime.hub import TAIL_BATCH
from conforme.realtime.routes import parse_channels
from conforme.realtime.stream import encode
from conforme.settings import Settings

TOKEN = "stream-token"
CHANNEL = "private-audit-7"
PATIENCE = 15.0


@pytest.fixture(autouse=True)
def nobody_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notifications alone wake the follower: the poll would hide one that is lost."""
    monkeypatch.setattr("conforme.realtime.hub.POLL_SECONDS", 3600.0)


@asynccontextmanager
async def replica(url: str, **settings: Any) -> AsyncGenerator[Served]:
    chosen = Settings(api_auth_token=TOKEN, port=0, drain_seconds=1, **settings)  # pyright: ignore[reportArgumentType]
    async with http_server(chosen, url, Role.API) as served:
        yield served


@pytest.fixture(scope="module")
async def served(database_url: str) -> AsyncGenerator[Served]:
    async with replica(database_url, stream_heartbeat_seconds=0.05) as served:
        yield served


async def tell(database: Database, *numbers: int, channel: str = CHANNEL) -> None:
    for number in numbers:
        async with database.write() as session:
            await events.record(session, "audit.progress", {"number": number}, [channel])


@asynccontextmanager
async def listening(served: Served, query: str = "", **headers: str) -> AsyncGenerator[AsyncIterator[str]]:
    auth = {"Authorization": f"Bearer {TOKEN}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    async with (
        httpx2.AsyncClient(base_url=served.url, headers=auth, trust_env=False, timeout=PATIENCE) as client,
        client.stream("GET", f"/api/realtime/stream?channels={CHANNEL}{query}") as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("retry:")
        assert (await anext(lines)).startswith(": connected")
        yield lines


async def heard(lines: AsyncIterator[str], count: int) -> list[tuple[int, int]]:
    """The (id, number) of the next events."""
    found: list[tuple[int, int]] = []
    last = 0
    async with asyncio.timeout(PATIENCE):
        async for line in lines:
            if line.startswith("id: "):
                last = int(line[4:])
            if line.startswith("data: "):
                found.append((last, json.loads(line[6:])["number"]))
                if len(found) == count:
                    return found
    raise AssertionError(f"the stream ended after {found}")


async def test_events_arrive_live_in_order_with_ids_of_the_log(served: Served, database: Database) -> None:
    async with listening(served) as lines:
        await tell(database, 1, 2, 3)
        got = await heard(lines, 3)
    assert [number for _, number in got] == [1, 2, 3]
    assert [identifier for identifier, _ in got] == sorted({identifier for identifier, _ in got})


async def test_a_client_that_comes_back_misses_nothing_and_sees_nothing_twice(
    served: Served, database: Database
) -> None:
    async with listening(served) as lines:
        await tell(database, 1, 2)
        first = await heard(lines, 1)
    await tell(database, 3)
    async with listening(served, Last_Event_ID=str(first[-1][0])) as lines:
        await tell(database, 4)
        rest = await heard(lines, 3)
    assert [number for _, number in first + rest] == [1, 2, 3, 4]


async def test_replay_by_query_pages_through_a_long_log(served: Served, database: Database) -> None:
    async with database.write() as session:
        drafts = [events.Draft("audit.progress", {"number": number}, [CHANNEL]) for number in range(1200)]
        await events.record_all(session, drafts)
    async with listening(served, "&after=0") as lines:
        got = await heard(lines, 1200)
    assert [number for _, number in got] == list(range(1200))


async def test_without_a_place_to_resume_from_only_what_is_new_is_told(
    served: Served, database: Database
) -> None:
    await tell(database, 1)
    async with listening(served) as lines:
        await tell(database, 2)
        assert [number for _, number in await heard(lines, 1)] == [2]


async def test_other_channels_stay_silent(served: Served, database: Database) -> None:
    async with listening(served) as lines:
        await tell(database, 1, channel="private-audit-8")
        await tell(database, 2)
        assert [number for _, number in await heard(lines, 1)] == [2]


async def test_an_idle_stream_beats_and_holds_no_database_connection(served: Served) -> None:
    async with listening(served) as lines:
        async with asyncio.timeout(PATIENCE):
            while (await anext(lines)) != ": heartbeat":
                pass
        pool: Any = served.resources.database.engine.pool
        assert pool.checkedout() == 0


async def test_a_stream_ends_after_its_life_and_is_resumed(database_url: str, database: Database) -> None:
    async with replica(database_url, stream_max_seconds=0.2) as served:
        async with listening(served) as lines:
            async with asyncio.timeout(PATIENCE):
                assert not [line async for line in lines if line.startswith("data:")]
        await tell(database, 1)
        async with listening(served, "&after=0") as lines:
            assert [number for _, number in await heard(lines, 1)] == [1]


async def test_an_event_written_by_one_replica_reaches_the_clients_of_another(
    served: Served, database_url: str, database: Database
) -> None:
    async with replica(database_url) as other, listening(served) as here, listening(other) as there:
        async with other.resources.database.write() as session:
            await events.record(session, "audit.progress", {"number": 1}, [CHANNEL])
        await tell(database, 2)
        assert [number for _, number in await heard(here, 2)] == [1, 2]
        assert [number for _, number in await heard(there, 2)] == [1, 2]


async def test_streams_beyond_the_limit_are_refused(database_url: str) -> None:
    async with replica(database_url, stream_max_clients=1) as served, listening(served):
        auth = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx2.AsyncClient(base_url=served.url, headers=auth, trust_env=False) as client:
            refused = await client.get(f"/api/realtime/stream?channels={CHANNEL}")
        assert (refused.status_code, refused.json()["code"]) == (503, "SERVICE_UNAVAILABLE")


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "VALIDATION_ERROR"),
        ("channels=,,", 400, "VALIDATION_ERROR"),
        ("channels=private-admin-1", 403, "AUTHORIZATION_ERROR"),
        ("channels=private-audit-", 403, "AUTHORIZATION_ERROR"),
        ("channels=private-audit-1&after=-1", 400, "VALIDATION_ERROR"),
        ("channels=private-audit-1&after=x", 400, "VALIDATION_ERROR"),
        ("channels=private-audit-1&after=99999999999999999999", 400, "VALIDATION_ERROR"),
    ],
)
async def test_a_stream_that_cannot_be_is_refused_at_once(
    api: httpx2.AsyncClient, query: str, status: int, code: str
) -> None:
    answer = await api.get(f"/api/realtime/stream?{query}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_last_event_id_that_is_none_is_named(api: httpx2.AsyncClient) -> None:
    answer = await api.get(f"/api/realtime/stream?channels={CHANNEL}", headers={"Last-Event-ID": "abc"})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["field"] == "Last-Event-ID"


def test_channels_are_bounded_in_number_and_length() -> None:
    with pytest.raises(Invalid):
        parse_channels(",".join(f"private-audit-{number}" for number in range(51)))
    with pytest.raises(Invalid):
        parse_channels("private-audit-" + "x" * 200)
    with pytest.raises(Forbidden):
        parse_channels("public-audit-1")
    assert parse_channels("private-audit-1, private-global") == {"private-audit-1", "private-global"}


def test_what_is_handed_over_at_once_is_written_once_for_all_who_listen() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    handed = [events.Event(number, "e", (CHANNEL,), {}, at) for number in range(1, TAIL_BATCH + 1)]
    first = [encode(event) for event in handed]
    assert all(encode(event) is text for event, text in zip(handed, first, strict=True))
