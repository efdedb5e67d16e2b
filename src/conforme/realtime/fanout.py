"""How replicas tell each other that the event log has grown (docs/adr/0007-waking-replicas.md).

A wake-up says "look again" and nothing more. The log is the truth: one that is lost costs a follower the wait until
it looks by itself, one that comes twice costs a query.

PostgreSQL's own NOTIFY is sent by the statement that writes the events. With Redis that statement keeps silent, and
the process says it on a stream once it has committed.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
import structlog
from psycopg import sql

from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.settings import Settings

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

STREAM = "conforme:events"
STREAM_LENGTH = 1000
BLOCK_MS = 5000
RETRY_SECONDS = 1.0
CANCEL_SECONDS = 0.1
REDIS_TIMEOUT_SECONDS = 5.0
LISTEN = sql.SQL("listen {}").format(sql.Identifier(events.NOTIFY_CHANNEL))


class Ear(Protocol):
    """One listener."""

    def attentive(self) -> AbstractAsyncContextManager[None]:
        """Forgets what was told, then wakes for whatever is told from here to the end of the block."""
        ...


class Fanout(Protocol):
    """Tells, and hears, that there is something new in the log."""

    def listening(self, wake: Callable[[], None]) -> AbstractAsyncContextManager[Ear]:
        """Calls `wake` in the loop's thread while it listens.

        Raises psycopg.Error or OSError, then or within `attentive`, when it cannot listen any longer: listen anew.
        """
        ...

    def announcing(self, database: Database) -> AbstractAsyncContextManager[None]:
        """While the block lasts, what this process commits is told."""
        ...


def fanout_of(settings: Settings, database: Database) -> Fanout:
    if settings.redis_url is None:
        return PostgresFanout(database.url)
    return RedisFanout(settings.redis_url.get_secret_value())


class PostgresFanout:
    """NOTIFY reaches who listens when the writing transaction commits."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("postgresql+psycopg://", "postgresql://", 1)

    @asynccontextmanager
    async def listening(self, wake: Callable[[], None]) -> AsyncGenerator[Ear]:
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            await connection.execute(LISTEN)
            yield _PostgresEar(connection, wake)

    @asynccontextmanager
    async def announcing(self, database: Database) -> AsyncGenerator[None]:
        del database
        yield


class _PostgresEar:
    def __init__(self, connection: psycopg.AsyncConnection, wake: Callable[[], None]) -> None:
        self._connection = connection
        self._wake = wake

    @asynccontextmanager
    async def attentive(self) -> AsyncGenerator[None]:
        async for _ in self._connection.notifies(timeout=0):
            pass
        # Only now: the driver watches the socket too while it reads, and leaves it unwatched behind it.
        loop, number = asyncio.get_running_loop(), self._connection.fileno()
        loop.add_reader(number, self._wake)
        try:
            yield
        finally:
            loop.remove_reader(number)


class RedisFanout:
    """A stream of bounded length; without Redis the followers look at the log every second."""

    def __init__(self, url: str) -> None:
        self._url = url

    @asynccontextmanager
    async def listening(self, wake: Callable[[], None]) -> AsyncGenerator[Ear]:
        async with self._connected() as redis:
            # Before the first look at the log: what is told after it must not be missed.
            last = await _last_told(redis)
            hearing = asyncio.create_task(_hear(redis, last, wake), name="hear of new events")
            try:
                yield _RedisEar()
            finally:
                await _ended(hearing)

    @asynccontextmanager
    async def announcing(self, database: Database) -> AsyncGenerator[None]:
        grown = asyncio.Event()

        def committed(tables: frozenset[str]) -> None:
            if events.EventRow.__tablename__ in tables:
                grown.set()

        async with self._connected() as redis:
            telling = asyncio.create_task(_tell(redis, grown), name="tell of new events")
            database.on_commit = committed
            try:
                yield
            finally:
                database.on_commit = None
                await _ended(telling)

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator["Redis"]:
        from redis.asyncio import Redis  # only who sets REDIS_URL pays for the import

        # A read waits for news longer than a connection may take to answer.
        waits: dict[str, Any] = {
            "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
            "socket_timeout": REDIS_TIMEOUT_SECONDS + BLOCK_MS / 1000,
        }
        redis = Redis.from_url(self._url, decode_responses=True, **waits)
        try:
            yield redis
        finally:
            await redis.aclose()


class _RedisEar:
    @asynccontextmanager
    async def attentive(self) -> AsyncGenerator[None]:
        yield


async def _last_told(redis: "Redis") -> str:
    """The newest entry; `$`, the next to come, where Redis does not answer: the follower is woken then anyway."""
    from redis.exceptions import RedisError

    try:
        newest = await redis.xrevrange(STREAM, count=1)
    except (RedisError, OSError):
        return "$"
    return str(newest[0][0]) if newest else "0-0"


async def _hear(redis: "Redis", last: str, wake: Callable[[], None]) -> None:
    from redis.exceptions import RedisError

    lost = False
    while True:
        try:
            heard: Any = await redis.xread({STREAM: last}, block=BLOCK_MS)
        except (RedisError, OSError) as error:
            if not lost:
                log.warning(
                    "redis does not answer; looking for events every second", error=type(error).__name__
                )
            lost, heard = True, []
            wake()
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if lost:
            log.info("redis answers again")
            wake()
        lost = False
        for _, entries in heard:
            last = entries[-1][0]
            wake()


async def _tell(redis: "Redis", grown: asyncio.Event) -> None:
    """One entry for however many commits came since the last; one that cannot be told is not told later."""
    from redis.exceptions import RedisError

    while True:
        await grown.wait()
        grown.clear()
        with contextlib.suppress(RedisError, OSError):
            await redis.xadd(STREAM, {"grown": "1"}, maxlen=STREAM_LENGTH, approximate=True)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancels until it has ended: the client swallows a cancellation that meets a read under way."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_SECONDS)
