"""The hub delivers the settled prefix of the log: nothing missed, nothing twice, whatever the order of commits.

Every test that writes is passed with both ways of waking (`replica_database`).
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.foundation.events import Event, audit_channel, fiche_channel, job_channel
from conforme.realtime.fanout import Fanout
from conforme.realtime.hub import QUEUE_LIMIT, Hub, SettledPrefix, Subscription

CHANNEL = "private-fiche-1"
PATIENCE = 10.0


def event(number: int) -> Event:
    return Event(number, "e", (CHANNEL,), {}, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(autouse=True)
def nobody_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notifications alone wake the follower: the poll would hide one that is lost."""
    monkeypatch.setattr("conforme.realtime.hub.POLL_SECONDS", 3600.0)


@pytest.fixture
async def hub(replica_database: Database, fanout: Fanout) -> AsyncGenerator[Hub]:
    hub = Hub(replica_database, fanout)
    yield hub
    await hub.stop()


async def write(database: Database, number: int, channel: str = CHANNEL) -> None:
    async with database.write() as session:
        await events.record(session, "test.event", {"number": number}, [channel])


async def write_and_fail(database: Database) -> None:
    async with database.write() as session:
        await events.record(session, "test.event", {"number": 1}, [CHANNEL])
        raise RuntimeError


async def received(subscription: Subscription, count: int) -> list[int]:
    async with asyncio.timeout(PATIENCE):
        return [(await subscription.queue.get()).payload["number"] for _ in range(count)]


async def test_an_event_reaches_who_listens_on_its_channel_and_nobody_else(
    replica_database: Database, hub: Hub
) -> None:
    async with (
        hub.subscribe(frozenset({CHANNEL})) as (mine, _),
        hub.subscribe(frozenset({"private-fiche-2"})) as (
            other,
            _,
        ),
    ):
        await write(replica_database, 1)
        await write(replica_database, 2, "private-fiche-2")
        assert await received(mine, 1) == [1]
        assert await received(other, 1) == [2]
        assert mine.queue.empty()


async def test_an_event_that_is_rolled_back_is_never_told(replica_database: Database, hub: Hub) -> None:
    async with hub.subscribe(frozenset({CHANNEL})) as (subscription, _):
        with pytest.raises(RuntimeError):
            await write_and_fail(replica_database)
        await write(replica_database, 2)
        assert await received(subscription, 1) == [2]


async def test_a_lower_id_that_commits_later_is_still_delivered_and_in_order(
    replica_database: Database, hub: Hub
) -> None:
    async with hub.subscribe(frozenset({CHANNEL})) as (subscription, _):
        async with replica_database.write() as slow:
            await events.record(slow, "test.event", {"number": 1}, [CHANNEL])
            await write(replica_database, 2)
            assert subscription.queue.empty()
        assert await received(subscription, 2) == [1, 2]


async def test_many_writers_side_by_side_lose_nothing(replica_database: Database, hub: Hub) -> None:
    async with hub.subscribe(frozenset({CHANNEL})) as (subscription, _):
        await asyncio.gather(*(write(replica_database, number) for number in range(60)))
        assert sorted(await received(subscription, 60)) == list(range(60))


async def test_ids_come_in_order_and_once(replica_database: Database, hub: Hub) -> None:
    async with hub.subscribe(frozenset({CHANNEL})) as (subscription, _):
        await asyncio.gather(*(write(replica_database, number) for number in range(40)))
        async with asyncio.timeout(PATIENCE):
            ids = [(await subscription.queue.get()).id for _ in range(40)]
        assert ids == sorted(set(ids))


async def test_the_follower_rests_when_nobody_listens(replica_database: Database, hub: Hub) -> None:
    async with hub.subscribe(frozenset({CHANNEL})):
        assert hub.clients == 1
    assert hub.clients == 0
    ending = {task for task in asyncio.all_tasks() if "follow" in task.get_name()}
    await asyncio.wait_for(asyncio.gather(*ending), PATIENCE)
    assert not [task for task in asyncio.all_tasks() if "follow" in task.get_name()]


async def test_a_listener_that_comes_while_the_follower_ends_is_served(
    replica_database: Database, hub: Hub
) -> None:
    for number in range(5):
        async with hub.subscribe(frozenset({CHANNEL})) as (subscription, _):
            await write(replica_database, number)
            assert await received(subscription, 1) == [number]


def test_a_listener_that_does_not_read_is_told_to_come_back() -> None:
    subscription = Subscription(frozenset({CHANNEL}))
    for number in range(QUEUE_LIMIT + 1):
        subscription.offer(event(number))
    assert subscription.overflowed


def test_a_gap_is_waited_for_until_no_transaction_can_fill_it() -> None:
    prefix = SettledPrefix(4)
    assert prefix.admit([event(6)], xmin=100, xmax=101) == []
    assert prefix.admit([event(6)], xmin=100, xmax=103) == []
    assert prefix.admit([event(5), event(6)], xmin=100, xmax=104) == [event(5), event(6)]


def test_a_gap_that_nobody_can_fill_any_more_is_passed() -> None:
    prefix = SettledPrefix(4)
    assert prefix.admit([event(6)], xmin=100, xmax=101) == []
    assert prefix.admit([event(6)], xmin=101, xmax=101) == [event(6)]


@given(st.lists(st.integers(1, 60), unique=True, max_size=40), st.randoms(use_true_random=False))
def test_whatever_becomes_visible_when_is_admitted_once_and_in_order(
    ids: list[int], chance: random.Random
) -> None:
    """Transactions end in any order; the clock passes them all in the end."""
    order = list(ids)
    chance.shuffle(order)
    prefix, visible, told = SettledPrefix(0), set[int](), list[int]()
    for step, arrived in enumerate(order):
        visible.add(arrived)
        pending = [event(each) for each in sorted(visible) if each > prefix.settled]
        told += [each.id for each in prefix.admit(pending, xmin=0, xmax=step + 1)]
    for turn in range(2 * len(ids) + 2):
        pending = [event(each) for each in sorted(visible) if each > prefix.settled]
        told += [each.id for each in prefix.admit(pending, xmin=1000 + turn, xmax=1000 + turn)]
    assert told == sorted(ids)


@given(st.text(max_size=400))
def test_a_channel_name_has_only_what_pusher_accepts(identifier: str) -> None:
    for name in (audit_channel(identifier), fiche_channel(identifier), job_channel(identifier)):
        assert len(name) <= 200
        assert all(character.isalnum() or character in "_-=@,.;" for character in name)
        assert name.isascii()
