"""Many listeners of live events on one process: whether any event is lost, how late they come, what a listener weighs.

Each channel has several listeners, as an audit or a fetch has that a team looks at. Every event is a row of the log,
written and committed as the product does it, and every listener says which it got: nothing is sampled. Listeners are
bare sockets of one process that note what comes when, and read it only afterwards.
"""

import asyncio
import re
import resource
import statistics
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from bench.goals import goal
from bench.pace import told
from bench.rig import TOKEN, Replica, rig
from conforme.foundation.database import Database
from conforme.foundation.events import Draft, job_channel, record_all

CLIENTS, CHANNELS = 2000, 200
EVENTS_PER_SECOND, SECONDS = 200, 15
TICKS_PER_SECOND = 50
CONNECTING_AT_ONCE = 50
SETTLES = 3.0
GOAL_MS = 250.0
FILES = 8192
_EVENT = re.compile(rb'"at": (\d+(?:\.\d+)?), "number": (\d+)')
"""As jsonb orders the keys."""


@dataclass(eq=False)
class Listener(asyncio.Protocol):
    """One client: what came, and when."""

    channel: int
    port: int
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    pieces: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])
    lost: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        path = f"/api/realtime/stream?channels={_channel(self.channel)}"
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        transport.write(head.encode())

    def data_received(self, data: bytes) -> None:
        self.pieces.append((time.time(), data))
        if not self.connected.is_set() and b": connected" in data:
            self.connected.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the protocol names it
        self.lost = True
        self.connected.set()

    def received(self) -> list[tuple[int, float]]:
        """Number of each event in the order it came, and milliseconds from before its writing."""
        ends = list(accumulate(len(data) for _, data in self.pieces))
        whole = b"".join(data for _, data in self.pieces)
        return [
            (int(found[2]), (self.pieces[bisect_right(ends, found.end() - 1)][0] - float(found[1])) * 1000)
            for found in _EVENT.finditer(whole)
        ]


def _channel(number: int) -> str:
    return job_channel(f"bench-{number}")


def main() -> None:
    allow_files()
    asyncio.run(_main())


def allow_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, most) if most > 0 else FILES, most))


async def _main() -> None:
    async with rig() as made, made.replica(STREAM_RECHECK_SECONDS="600") as replica:
        await asyncio.sleep(SETTLES)
        before = replica.memory()[0]
        begun = time.monotonic()
        listeners = await _connected(replica)
        took = time.monotonic() - begun
        await asyncio.sleep(SETTLES)
        weight = (replica.memory()[0] - before) / CLIENTS / 1024
        print(f"{CLIENTS} listeners of {CHANNELS} channels connected in {took:.1f} s, {weight:.1f} KB each")
        spent = made.cpu([replica])
        published, lasted = await _published(made.database)
        spent = made.cpu([replica]) - spent
        await asyncio.sleep(SETTLES)
        _report(listeners, published, lasted)
        print(
            f"CPU while publishing: application {spent.application / lasted:.0%}, PostgreSQL"
            f" {spent.database / lasted:.0%} of a core; {told()}"
        )
        for listener in listeners:
            listener.transport.abort()


async def _connected(replica: Replica) -> list[Listener]:
    loop, turn = asyncio.get_running_loop(), asyncio.Semaphore(CONNECTING_AT_ONCE)
    port = replica.client.base_url.port
    assert port is not None

    async def one(number: int) -> Listener:
        async with turn:
            listener = Listener(number % CHANNELS, port)
            await loop.create_connection(lambda: listener, "127.0.0.1", port)
            async with asyncio.timeout(60):
                await listener.connected.wait()
            assert not listener.lost, listener.pieces[:1]
            return listener

    return list(await asyncio.gather(*map(one, range(CLIENTS))))


async def _published(database: Database) -> tuple[int, float]:
    """Publishes at an even pace; how many events, and in how many seconds."""
    begun, number, batch = time.monotonic(), 0, EVENTS_PER_SECOND // TICKS_PER_SECOND
    while number < EVENTS_PER_SECOND * SECONDS:
        await asyncio.sleep(max(0.0, begun + number / EVENTS_PER_SECOND - time.monotonic()))
        drafts = [_draft(number + rank) for rank in range(batch)]
        async with database.write() as session:
            await record_all(session, drafts)
        number += batch
    return number, time.monotonic() - begun


def _draft(number: int) -> Draft:
    payload = {"number": number, "at": time.time(), "status": "processing", "progress": number % 100}
    return Draft("bench.progress", payload, [_channel(number % CHANNELS)])


def _report(listeners: Sequence[Listener], published: int, lasted: float) -> None:
    late: list[float] = []
    missing = disordered = 0
    for listener in listeners:
        received = listener.received()
        numbers = [number for number, _ in received]
        late += [milliseconds for _, milliseconds in received]
        expected = list(range(listener.channel, published, CHANNELS))
        missing += len(set(expected) - set(numbers))
        disordered += numbers != sorted(set(numbers))
    cuts = statistics.quantiles(late, n=100)
    print(
        f"{published} events in {lasted:.1f} s, {len(late)} deliveries ({len(late) / lasted:.0f} a second): {missing}"
        f" lost, {disordered} streams out of order or with repetitions"
    )
    print(
        f"delivered after {cuts[49]:.0f} ms at the median, {cuts[94]:.0f} ms at p95,"
        f" {cuts[98]:.0f} ms at p99, {max(late):.0f} ms at the latest"
    )
    goal("no event is lost", missing == 0)
    goal("none comes twice or out of order", disordered == 0)
    goal(f"p95 of delivery is at most {GOAL_MS:.0f} ms", cuts[94] <= GOAL_MS)
