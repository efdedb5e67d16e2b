"""A reader of the log that only one replica may be, and how far it has come.

The right to read and the record of it share one connection: whoever loses the connection loses both at once, so a
reader that was replaced cannot move the cursor of its successor. The server drops the lock of a machine that is gone
within half a minute.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
from psycopg import sql

from conforme.foundation.errors import ConformeError
from conforme.realtime.models import RealtimeCursor

KEEPALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
LOCK_KEY = 266_013_011
"""First of the two numbers of the advisory lock; the second is the hash of the cursor's name."""

TABLE = sql.Identifier(RealtimeCursor.__tablename__)

_LOCK = sql.SQL("select pg_try_advisory_lock(%s, hashtext(%s))")
_OPEN = sql.SQL(
    "insert into {} (name, last_event_id) select %s, coalesce(max(id), 0) from events on conflict (name) do nothing"
).format(TABLE)
_READ = sql.SQL("select last_event_id from {} where name = %s").format(TABLE)
_ADVANCE = sql.SQL(
    "update {} set last_event_id = %s, updated_at = now() where name = %s and last_event_id = %s"
).format(TABLE)


class CursorLost(ConformeError):
    """Another reader has moved the cursor"""


class Cursor:
    """The place of one reader, named; `last_event_id` is valid once `take` has succeeded."""

    def __init__(self, connection: psycopg.AsyncConnection, name: str) -> None:
        self._connection = connection
        self._name = name
        self.last_event_id = 0

    async def take(self) -> bool:
        """Whether this is the one reader now; the first one ever begins at the end of the log."""
        found = await (await self._connection.execute(_LOCK, [LOCK_KEY, self._name])).fetchone()
        if found is None or not found[0]:
            return False
        await self._connection.execute(_OPEN, [self._name])
        self.last_event_id = await self._stored()
        return True

    async def check(self) -> None:
        """Raises `CursorLost`, or psycopg.Error when the right to read is gone with the connection."""
        if await self._stored() != self.last_event_id:
            raise CursorLost

    async def advance(self, event_id: int) -> None:
        """Everything up to this event has been told. Raises as `check` does."""
        moved = await self._connection.execute(_ADVANCE, [event_id, self._name, self.last_event_id])
        if moved.rowcount != 1:
            raise CursorLost
        self.last_event_id = event_id

    async def _stored(self) -> int:
        found = await (await self._connection.execute(_READ, [self._name])).fetchone()
        if found is None:
            raise CursorLost
        return int(found[0])


@asynccontextmanager
async def cursor(url: str, name: str) -> AsyncGenerator[Cursor]:
    """A connection that may become the reader's; closing it gives the right away."""
    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    async with await psycopg.AsyncConnection.connect(plain, autocommit=True, options=KEEPALIVE) as connection:
        yield Cursor(connection, name)
