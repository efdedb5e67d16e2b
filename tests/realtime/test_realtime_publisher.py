"""The log at Pusher: each event once in the ordinary run, in order, nothing lost whatever dies or is down.

The provider is the one of the sandbox, which checks every signature by its own code.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from realtime_room import until
from sqlalchemy import select, update
from structlog.testing import capture_logs

from conforme.app import Role
from conforme.foundation import events
from conforme.foundation.database import Database, now
from conforme.foundation.events import Draft, Event, EventRow, record_all
from conforme.foundation.jobs import Retry
from conforme.foundation.outbound import Outbound
from conforme.process import http_server
from conforme.realtime.cursors import CursorLost, cursor
from conforme.realtime.fanout import PostgresFanout
from conforme.realtime.models import RealtimeCursor
from conforme.realtime.publisher import CURSOR, Publisher, parcels_of
from conforme.realtime.pusher import PusherAccess, pusher
from conforme.realtime.pusher_names import published_names
from conforme.realtime.pusher_signing import channel_auth, signed_query
from conforme.sandbox.chassis import Service
from conforme.sandbox.pusher import PusherDesk, PusherKeys
from conforme.sandbox.weather import Fault, FaultPlan
from conforme.settings import Settings, settings_with

CHANNEL = "private-audit-7"
KEYS = PusherKeys()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wake-ups alone, and waits that a test can afford."""
    monkeypatch.setattr("conforme.realtime.publisher.POLL_SECONDS", 3600.0)
    monkeypatch.setattr("conforme.realtime.publisher.TAKE_OVER_SECONDS", 0.05)
    quicker = Retry(attempts=0, base_seconds=0.01, cap_seconds=0.05, when=lambda _: True)
    monkeypatch.setattr("conforme.realtime.publisher.RETRY", quicker)


class Desk:
    """The provider, and what it was asked."""

    def __init__(self, service: Service, desk: PusherDesk) -> None:
        self.service = service
        self.desk = desk
        self.settings = settings_with(
            Settings(),
            {
                "PUSHER_APP_ID": KEYS.app_id,
                "PUSHER_KEY": KEYS.key,
                "PUSHER_SECRET": KEYS.secret,
                "PUSHER_HOST": service.url,
            },
        )

    @property
    def numbers(self) -> list[int]:
        return [json.loads(event.data)["number"] for event in self.desk.events]

    @property
    def counts(self) -> Mapping[str, Any]:
        return self.service.counts()["routes"].get("POST /apps/{app_id}/events", {})

    async def has(self, *numbers: int) -> None:
        async def there() -> bool:
            return set(self.numbers) >= set(numbers)

        await until(there)

    async def was_asked(self, times: int) -> None:
        async def asked() -> bool:
            routes = self.service.counts()["routes"].values()  # of single events and of batches
            return sum(route["requests"] for route in routes) >= times

        await until(asked)


@pytest.fixture
async def desk() -> AsyncGenerator[Desk]:
    given = PusherDesk()
    async with given.service() as service:
        yield Desk(service, given)


@asynccontextmanager
async def publishing(
    database: Database, settings: Settings, *, max_age: float = 300.0
) -> AsyncGenerator[Publisher]:
    """One publisher that leads already."""
    access = PusherAccess.of(settings)
    assert access is not None
    outbound = Outbound(settings)
    publisher = Publisher(database, PostgresFanout(database.url), access, max_age)
    async with pusher(access, outbound) as sender:
        running = asyncio.create_task(publisher.run(sender))
        try:
            await _led(database)
            yield publisher
        finally:
            publisher.stop()
            await running
            await outbound.aclose()


async def _led(database: Database) -> None:
    async def leads() -> bool:
        return await _place(database) is not None

    await until(leads)


async def _place(database: Database) -> int | None:
    async with database.read() as session:
        return await session.scalar(select(RealtimeCursor.last_event_id).where(RealtimeCursor.name == CURSOR))


async def _stands_at(database: Database, event_id: int) -> None:
    async def there() -> bool:
        return await _place(database) == event_id

    await until(there)


async def tell(database: Database, *numbers: int, channels: tuple[str, ...] = (CHANNEL,)) -> None:
    for number in numbers:
        async with database.write() as session:
            await events.record(session, "audit.progress", {"number": number}, channels)


async def _remember(database: Database, event_id: int = 0) -> None:
    """As after an earlier run that had come so far."""
    async with database.write() as session:
        session.add(RealtimeCursor(name=CURSOR, last_event_id=event_id))


async def test_events_are_published_in_order_with_what_orders_them(database: Database, desk: Desk) -> None:
    async with publishing(database, desk.settings):
        await tell(database, *range(5))
        await desk.has(*range(5))
    assert desk.numbers == list(range(5))
    first = desk.desk.events[0]
    assert (first.name, first.channels) == ("audit.progress", (CHANNEL,))
    assert set(json.loads(first.data)) == {"number", "event_uid", "emitted_at"}


async def test_it_begins_at_the_end_of_the_log_and_goes_on_where_it_stood(
    database: Database, desk: Desk
) -> None:
    await tell(database, 1)
    async with publishing(database, desk.settings):
        await tell(database, 2)
        await desk.has(2)
        await _stands_at(database, 2)
    await tell(database, 3)
    async with publishing(database, desk.settings):
        await desk.has(2, 3)
    assert desk.numbers == [2, 3]


async def test_events_of_one_channel_keep_their_order_through_faults_and_come_once(
    database: Database, desk: Desk
) -> None:
    kinds = (Fault.RATE_LIMITED, Fault.SERVER_ERROR, Fault.UNAVAILABLE)
    desk.service.faults = FaultPlan(shares=dict.fromkeys(kinds, 0.15), retry_after_seconds=0.02)
    async with publishing(database, desk.settings):
        for number in range(40):
            await tell(
                database, number, channels=(f"private-audit-{number % 4}", f"private-fiche-{number % 3}")
            )
        await desk.has(*range(40))
    assert set(desk.numbers) == set(range(40))
    for channel in {channel for event in desk.desk.events for channel in event.channels}:
        told = [json.loads(event.data)["number"] for event in desk.desk.events if channel in event.channels]
        assert told == sorted(set(told))
    routes = desk.service.counts()["routes"].values()
    assert any(route["faults"] for route in routes)
    assert all(route["early"] == 0 for route in routes), "Retry-After is waited for"


async def test_a_burst_is_told_in_batches(database: Database, desk: Desk) -> None:
    drafts = [Draft("audit.progress", {"number": number}, [CHANNEL]) for number in range(25)]
    async with publishing(database, desk.settings):
        async with database.write() as session:
            await record_all(session, drafts)
        await desk.has(*range(25))
    assert desk.numbers == list(range(25))
    asked = {name: route["requests"] for name, route in desk.service.counts()["routes"].items()}
    assert asked == {"POST /apps/{app_id}/batch_events": 3}


async def test_an_event_that_is_refused_keeps_none_of_its_batch_back(
    database: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conforme.sandbox.pusher.LONGEST_DATA_BYTES", 200)
    drafts = [
        Draft("audit.progress", {"number": number, "text": "x" * (300 if number == 3 else 0)}, [CHANNEL])
        for number in range(6)
    ]
    async with publishing(database, desk.settings):
        async with database.write() as session:
            await record_all(session, drafts)
        await desk.has(0, 1, 2, 4, 5)
    assert desk.numbers == [0, 1, 2, 4, 5]


def _logged(number: int, channels: int) -> Event:
    names = tuple(f"private-job-{channel}" for channel in range(channels))
    return Event(number, "audit.progress", names, {}, now())


@given(st.lists(st.integers(0, 25), max_size=20))
def test_parcels_hold_every_event_in_order_on_all_its_channels(channels: list[int]) -> None:
    page = [_logged(number, count) for number, count in enumerate(channels, 1)]
    parcels = parcels_of(page, private=True)
    told = [(each.event.id, name) for parcel in parcels for each in parcel.contents for name in each.channels]
    assert told == [(event.id, name) for event in page for name in event.channels]
    assert all(sum(len(each.channels) for each in parcel.contents) <= 10 for parcel in parcels)
    ends = [parcel.through for parcel in parcels if parcel.through is not None]
    assert ends == sorted(set(ends))
    assert ends[-1:] == [event.id for event in page][-1:]


async def test_an_outage_is_waited_out(database: Database, desk: Desk) -> None:
    desk.service.faults = FaultPlan(down=True)
    async with publishing(database, desk.settings):
        await tell(database, 1, 2)
        await desk.was_asked(3)
        assert await _place(database) == 0
        desk.service.faults = FaultPlan()
        await desk.has(1, 2)
    assert desk.numbers == [1, 2]


async def test_what_became_too_old_meanwhile_is_left_out_and_counted(database: Database, desk: Desk) -> None:
    await _remember(database)
    await tell(database, 1, 2, 3)
    async with database.write() as session:
        await session.execute(
            update(EventRow).where(EventRow.id < 3).values(created_at=now() - timedelta(minutes=6))
        )
    with capture_logs() as lines:
        async with publishing(database, desk.settings):
            await _stands_at(database, 3)
    assert desk.numbers == [3]
    assert [line["skipped"] for line in lines if "skipped" in line] == [2]


async def test_a_gap_that_may_still_be_filled_is_not_passed(database: Database, desk: Desk) -> None:
    async with publishing(database, desk.settings):
        async with database.write() as slow:
            await events.record(slow, "audit.progress", {"number": 1}, [CHANNEL])
            await tell(database, 2)
            assert await _place(database) == 0
            assert desk.numbers == []
        await desk.has(1, 2)
    assert desk.numbers == [1, 2]


async def test_one_publishes_and_another_takes_over_when_it_dies(
    database: Database, desk: Desk, database_url: str
) -> None:
    async with publishing(database, desk.settings), publishing(database, desk.settings):
        await tell(database, 1)
        await desk.has(1)
        await _stands_at(database, 1)
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            found = await connection.execute(
                "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
                " and classid = 266013011"
                " and database = (select oid from pg_database where datname = current_database())"
            )
            assert len(await found.fetchall()) == 1
        await tell(database, 2)
        await desk.has(1, 2)
        await tell(database, 3)
        await desk.has(1, 2, 3)
    assert desk.numbers == [1, 2, 3]


async def test_a_crash_before_the_acknowledgement_repeats_the_event_and_loses_none(
    database: Database, desk: Desk
) -> None:
    desk.service.faults = FaultPlan(down=True)
    access = PusherAccess.of(desk.settings)
    assert access is not None
    outbound = Outbound(desk.settings)
    publisher = Publisher(database, PostgresFanout(database.url), access, 300.0)
    async with pusher(access, outbound) as sender:
        dying = asyncio.create_task(publisher.run(sender))
        await _led(database)
        await tell(database, 1, 2)
        dying.cancel()
        await asyncio.wait({dying})
    await outbound.aclose()
    desk.service.faults = FaultPlan()
    async with publishing(database, desk.settings):
        await desk.has(1, 2)
    assert desk.numbers == [1, 2]


async def test_who_has_lost_the_lock_cannot_move_the_cursor(database: Database) -> None:
    async with cursor(database.url, CURSOR) as one, cursor(database.url, CURSOR) as other:
        assert await one.take()
        assert not await other.take()
        async with database.write() as session:
            await session.execute(update(RealtimeCursor).values(last_event_id=9))
        with pytest.raises(CursorLost):
            await one.check()
        with pytest.raises(CursorLost):
            await one.advance(5)
    assert await _place(database) == 9


async def test_an_event_that_the_provider_refuses_does_not_stop_the_others(
    database: Database, desk: Desk
) -> None:
    async with publishing(database, desk.settings):
        async with database.write() as session:
            await events.record(session, "pusher:forged", {"number": 1}, [CHANNEL])
            await events.record(session, "audit.progress", {"number": 2}, ["private-fiche-a:b"])
        await tell(database, 3)
        await desk.has(3)
        await _stands_at(database, 3)
    assert desk.numbers == [3]


async def test_more_than_ten_channels_take_several_calls(database: Database, desk: Desk) -> None:
    channels = tuple(f"private-audit-{number}" for number in range(23))
    async with publishing(database, desk.settings):
        await tell(database, 1, channels=channels)
        await _stands_at(database, 1)
    assert [len(event.channels) for event in desk.desk.events] == [10, 10, 3]
    assert tuple(channel for event in desk.desk.events for channel in event.channels) == channels


async def test_a_large_payload_is_reduced_before_it_leaves(database: Database, desk: Desk) -> None:
    payload = {"audit_id": "a", "number": 1, "status": "completed", "comparison": ["é" * 500] * 40}
    async with publishing(database, desk.settings):
        async with database.write() as session:
            await events.record(session, "audit.step_completed", payload, [CHANNEL])
        await _stands_at(database, 1)
    (event,) = desk.desk.events
    data = json.loads(event.data)
    assert {"audit_id": "a", "status": "completed", "truncated": True}.items() <= data.items()
    assert data["event_uid"] == "1"
    assert len(event.data.encode()) <= 9000


async def test_a_dry_run_tells_the_log_and_nobody_else(database: Database, desk: Desk) -> None:
    dry = settings_with(desk.settings, {"PUSHER_DRY_RUN": "1"})
    with capture_logs() as lines:
        async with publishing(database, dry):
            await tell(database, 1)
            await _stands_at(database, 1)
    (line,) = [line for line in lines if line["event"] == "would publish"]
    assert (line["event_name"], line["channels"]) == ("audit.progress", [CHANNEL])
    assert line["bytes"] > 20
    assert desk.desk.events == []


async def test_events_inside_the_house_are_not_published(database: Database, desk: Desk) -> None:
    async with publishing(database, desk.settings):
        await tell(database, 1, channels=("internal-accounts",))
        await tell(database, 2, channels=("internal-accounts", "private-user-5"))
        await _stands_at(database, 2)
    assert [(event.channels, json.loads(event.data)["number"]) for event in desk.desk.events] == [
        (("private-user-5",), 2)
    ]


def test_public_channels_lose_the_prefix_and_a_persons_never_do() -> None:
    channels = ["private-audit-7", "private-global", "private-user-5", "internal-accounts"]
    assert published_names(channels, private=True) == ("private-audit-7", "private-global", "private-user-5")
    assert published_names(channels, private=False) == ("audit-7", "global", "private-user-5")


# Configuration


@pytest.mark.parametrize("missing", ["PUSHER_APP_ID", "PUSHER_KEY", "PUSHER_SECRET", "PUSHER_HOST"])
def test_without_any_one_of_its_settings_it_is_off(desk: Desk, missing: str) -> None:
    blank = {"PUSHER_SECRET": "  ", "PUSHER_APP_ID": " "}.get(missing)
    fields: dict[str, Any] = {missing.lower(): None}
    assert PusherAccess.of(desk.settings) is not None
    assert PusherAccess.of(desk.settings.model_copy(update=fields)) is None
    if blank:
        assert PusherAccess.of(settings_with(desk.settings, {missing: blank})) is None


def test_the_key_has_a_second_name_and_the_cluster_gives_the_address() -> None:
    given = {
        "PUSHER_APP_ID": "3",
        "NEXT_PUBLIC_PUSHER_KEY": "k",
        "PUSHER_SECRET": "s",
        "PUSHER_CLUSTER": "eu",
    }
    access = PusherAccess.of(settings_with(Settings(), given))
    assert access is not None
    assert (access.key, access.base_url) == ("k", "https://api-eu.pusher.com")
    assert "'s'" not in repr(access)
    hosted = PusherAccess.of(settings_with(Settings(), given | {"PUSHER_HOST": "push.example.test"}))
    assert hosted is not None
    assert hosted.base_url == "https://push.example.test"


async def test_unconfigured_it_says_so_once_and_does_nothing(database_url: str, database: Database) -> None:
    with capture_logs() as lines:
        async with http_server(Settings(port=0, drain_seconds=1), database_url, Role.ALL) as served:
            await tell(served.resources.database, 1)
    said = [line for line in lines if "Pusher" in line["event"]]
    assert [line["log_level"] for line in said] == ["info"]
    assert await _place(database) is None


async def test_a_process_that_works_publishes_and_one_that_only_answers_does_not(
    database_url: str, database: Database, desk: Desk
) -> None:
    settings = settings_with(desk.settings, {"PORT": "0", "DRAIN_SECONDS": "1"})
    async with http_server(settings, database_url, Role.API):
        await tell(database, 1)
    assert await _place(database) is None
    async with http_server(settings, database_url, Role.ALL):
        await _led(database)
        await tell(database, 2)
        await desk.has(2)
    assert desk.numbers == [2]


# The wire


def test_a_call_is_signed_as_the_contract_says() -> None:
    """Against a computation of our own from the words of spec/realtime §1.3."""
    body = b'{"name":"a","data":"{}","channels":["private-audit-1"]}'
    query = dict(parse_qsl(signed_query("k", "s", "/apps/3/events", body, 1_767_604_442)))
    signature = query.pop("auth_signature")
    assert query == {
        "auth_key": "k",
        "auth_timestamp": "1767604442",
        "auth_version": "1.0",
        "body_md5": hashlib.md5(body).hexdigest(),  # noqa: S324 -- the provider's checksum
    }
    line = "\n".join(["POST", "/apps/3/events", "&".join(f"{name}={query[name]}" for name in sorted(query))])
    assert signature == hmac.new(b"s", line.encode(), "sha256").hexdigest()


def test_the_signature_of_the_providers_own_example_comes_out() -> None:
    body = b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
    query = dict(
        parse_qsl(
            signed_query("278d425bdf160c739803", "7ad3773142a6692b25b8", "/apps/3/events", body, 1353088179)
        )
    )
    assert query["body_md5"] == "ec365a775a4cd0599faeb73354201b6f"
    assert query["auth_signature"] == "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"


def test_subscriptions_are_signed_as_the_contract_says() -> None:
    assert (
        channel_auth("k", "s", "123.456", "private-audit-1")
        == "k:da6413779a63a60975b497a37f73c945ef1e85d91fd84d23c4e3fdb4289c13b3"
    )
    data = '{"user_id":"1","user_info":{"n":1,"email":"admin@example.com","roles":["admin"]}}'
    assert (
        channel_auth("k", "s", "123.456", "presence-global", data)
        == "k:31377cdb20165ec9a600a781cd1cb6662cd397809436b48d9a3d3ea252a88a86"
    )
