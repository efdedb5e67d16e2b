"""Follows the event log and hands each event, in order, to who listens on this replica.

Ids are drawn when an event is written and seen when its transaction commits, so a lower id may show up after a
higher one. The hub therefore delivers only the settled prefix of the log: behind a gap it waits until every
transaction that could still fill it has ended: a snapshot taken after the gap was seen gives an `xmax`, and a later
one whose `xmin` has passed it proves, once the log is read again, that nobody will. (A transaction has its own id
before it draws an event's: see the table's default.) A client that resumes from the last id it saw misses nothing
and sees nothing twice.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.foundation.events import Event
from conforme.realtime.fanout import Ear, Fanout

log = structlog.get_logger(__name__)

POLL_SECONDS = 5.0
"""How long a lost notification may go unnoticed."""
GAP_POLL_SECONDS = 0.02
GATHER_SECONDS = 0.01
TAIL_BATCH = 500
QUEUE_LIMIT = 2000
RECONNECT_SECONDS = 1.0


@dataclass(eq=False)
class Subscription:
    """One listener; `overflowed` tells that it was too slow and must come back and replay."""

    channels: frozenset[str]
    queue: asyncio.Queue[Event] = field(default_factory=lambda: asyncio.Queue(QUEUE_LIMIT))
    overflowed: bool = False

    def offer(self, event: Event) -> None:
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            self.overflowed = True


@dataclass
class SettledPrefix:
    """The largest id below which every event is known, and the gap that stands in the way (pure state)."""

    settled: int
    _gap: int | None = None
    _gap_xmax: int | None = None

    def admit(self, pending: list[Event], xmin: int, xmax: int) -> list[Event]:
        """The events of `pending` (ordered, all above `settled`) that may be delivered now.

        `xmin` and `xmax` are of a snapshot taken after the previous call's `pending` and no later than this one's.
        """
        admitted: list[Event] = []
        for event in pending:
            if event.id != self.settled + 1 and not self._gap_closed(self.settled + 1, xmin, xmax):
                break
            admitted.append(event)
            self.settled = event.id
        return admitted

    def _gap_closed(self, gap: int, xmin: int, xmax: int) -> bool:
        if self._gap != gap:
            self._gap, self._gap_xmax = gap, None
            return False
        if self._gap_xmax is None:
            self._gap_xmax = xmax
        return xmin >= self._gap_xmax


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the log gave."""

    admitted: list[Event]
    """The next events that are settled by now."""
    more: bool
    """Whether the log holds events behind them, or may."""


async def settled_page(database: Database, prefix: SettledPrefix) -> Look:
    async with database.alone() as connection:
        page = await events.page(connection, prefix.settled, limit=TAIL_BATCH)
    admitted = prefix.admit(page.events, page.xmin, page.xmax)
    return Look(admitted, more=len(admitted) < len(page.events) or len(page.events) == TAIL_BATCH)


class Hub:
    """One follower per process, running only while somebody listens."""

    def __init__(self, database: Database, fanout: Fanout) -> None:
        self._database = database
        self._fanout = fanout
        self._by_channel: dict[str, set[Subscription]] = {}
        self._count = 0
        self._follower: asyncio.Task[None] | None = None
        self._prefix: SettledPrefix | None = None
        self._ready = asyncio.Event()
        self._wake = asyncio.Event()
        self._stopping = False
        self._one_at_a_time = asyncio.Lock()
        self._ending: asyncio.Task[None] | None = None

    @property
    def clients(self) -> int:
        return self._count

    @property
    def settled(self) -> int:
        return self._prefix.settled if self._prefix else 0

    @asynccontextmanager
    async def subscribe(self, channels: frozenset[str]) -> AsyncGenerator[tuple[Subscription, int]]:
        """A subscription and the id from which it is live; what lies before is read from the log."""
        subscription = Subscription(channels)
        self._count += 1
        try:
            await self._start()
            await self._ready.wait()
            for channel in channels:
                self._by_channel.setdefault(channel, set()).add(subscription)
            yield subscription, self.settled
        finally:
            self._forget(subscription)
            self._count -= 1
            if self._count == 0:
                # A client that went away takes its task with it: whoever ends the follower must not be that task.
                self._ending = asyncio.create_task(self._end_when_idle(), name="end the follower")

    def _forget(self, subscription: Subscription) -> None:
        for channel in subscription.channels:
            listeners = self._by_channel.get(channel, set())
            listeners.discard(subscription)
            if not listeners:
                self._by_channel.pop(channel, None)

    async def _start(self) -> None:
        async with self._one_at_a_time:
            if self._follower is None:
                self._ready, self._wake, self._stopping = asyncio.Event(), asyncio.Event(), False
                self._follower = asyncio.create_task(self._follow(), name="follow the event log")

    async def _end_when_idle(self) -> None:
        if self._count == 0:
            await self.stop()

    async def stop(self) -> None:
        """Lets the follower end by itself: a query that is cut off would cost its connection."""
        async with self._one_at_a_time:
            if self._follower is not None:
                self._stopping = True
                self._wake.set()
                await self._follower
                self._follower = None

    async def _follow(self) -> None:
        """Follows until told to stop; a lost connection is made again and the log read on from where it stood."""
        prefix: SettledPrefix | None = None
        while not self._stopping:
            try:
                async with self._fanout.listening(self._wake.set) as ear:
                    prefix = prefix or await self._settled_start()
                    self._prefix = prefix
                    self._ready.set()
                    await self._listen_with(ear, prefix)
            except (psycopg.Error, SQLAlchemyError, OSError) as error:
                log.warning("event log connection lost", error=type(error).__name__)
                await self._rest(RECONNECT_SECONDS)
        self._prefix = None

    async def _listen_with(self, ear: Ear, prefix: SettledPrefix) -> None:
        """Reads the log whenever there is said to be something new, and at the latest after the poll."""
        while not self._stopping:
            self._wake.clear()
            async with ear.attentive():
                await self._drain(prefix)
                await self._rest(POLL_SECONDS)
            await asyncio.sleep(GATHER_SECONDS)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _settled_start(self) -> SettledPrefix:
        """Begins behind everything that may still be committing."""
        async with self._database.read() as session:
            first = await events.horizon(session)
        current = first
        while current.xmin < first.xmax and not self._stopping:
            await asyncio.sleep(GAP_POLL_SECONDS)
            async with self._database.read() as session:
                current = await events.horizon(session)
        return SettledPrefix(first.last_id)

    async def _drain(self, prefix: SettledPrefix) -> None:
        """Delivers what is settled, and waits out the gaps."""
        while not self._stopping:
            look = await settled_page(self._database, prefix)
            for event in look.admitted:
                for subscription in self._listeners(event):
                    subscription.offer(event)
            if not look.more:
                return
            if not look.admitted:
                await asyncio.sleep(GAP_POLL_SECONDS)

    def _listeners(self, event: Event) -> Iterator[Subscription]:
        found: set[Subscription] = set()
        for channel in event.channels:
            found |= self._by_channel.get(channel, set())
        return iter(found)
