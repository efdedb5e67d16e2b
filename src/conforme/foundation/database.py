"""Sessions on PostgreSQL.

Two session types: a function that takes a `ReadSession` cannot be handed a writer by mistake, and the other way
round. Nobody but the edge commits: `Database.write` does, once, when its block ends well. Where a thing happens for
every step of every audit, and needs no objects, there is a `Connection`: a transaction, or statements by themselves.
"""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NewType

from sqlalchemy import BigInteger, DateTime, Engine, MetaData, event, func
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry

ReadSession = NewType("ReadSession", AsyncSession)
WriteSession = NewType("WriteSession", AsyncSession)
Connection = NewType("Connection", AsyncConnection)
Writer = WriteSession | Connection

TRUSTED_SECONDS = 1.0
"""A connection that rested no longer than this is not asked whether it still answers."""

WORK_MEM = "16MB"

WRITTEN = "tables written"
"""Where a session keeps the names of the tables that `rows.write_rows` wrote to."""

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Root of all tables; times are stored with their zone, in UTC."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: DateTime(timezone=True), int: BigInteger()}  # noqa: RUF012 -- SQLAlchemy reads it


class Identified:
    """A bigserial key and the time of creation."""

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, sort_order=-10)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=90)


class Updated(Identified):
    updated_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), onupdate=func.now(), sort_order=91
    )


def now() -> datetime:
    return datetime.now(UTC)


def async_url(url: str) -> str:
    """The same database through psycopg, whatever the scheme's spelling."""
    for scheme in ("postgresql+psycopg://", "postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    raise ValueError("DATABASE_URL must start with postgresql://")


class Database:
    """The application's engine and its two kinds of session."""

    def __init__(
        self, url: str, *, pool_size: int = 10, notify: bool = True, workflow_log: bool = False
    ) -> None:
        """Without `notify`, events are written without PostgreSQL's NOTIFY: somebody else tells of them.

        With `workflow_log`, events of workflows are also kept as lines of `workflow_logs`.
        """
        options = [] if notify else ["-c conforme.notify=off"]
        options += ["-c conforme.workflow_log=on"] if workflow_log else []
        self.url = async_url(url)
        self.on_commit: Callable[[frozenset[str]], None] | None = None
        """Told the tables that `rows.write_rows` wrote to, after each commit."""
        self.engine: AsyncEngine = create_async_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=0,  # a connection for a moment costs more than waiting for one that is known to the server
            pool_use_lifo=True,
            pool_timeout=30,
            connect_args={"options": " ".join(options)} if options else {},
        )
        _give_room_to_sort(self.engine.sync_engine)
        _ask_rested_connections(self.engine.sync_engine)
        _refuse_half_changed_connections(self.engine.sync_engine)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[ReadSession]:
        """A session whose transaction is read-only and never commits."""
        async with self._sessions() as session:
            await session.connection(execution_options={"postgresql_readonly": True})
            yield ReadSession(session)

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[WriteSession]:
        """One unit of work: committed when the block ends, rolled back when it raises."""
        async with self._sessions() as session:
            yield WriteSession(session)
            await session.commit()
            self._tell_of_commit(session.info)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """One unit of work as `write` is one, for statements that know no objects."""
        async with self.engine.connect() as connection:
            connection.info.pop(WRITTEN, None)
            async with connection.begin():
                yield Connection(connection)
            self._tell_of_commit(connection.info)

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[Connection]:
        """Each statement is a transaction of its own: nothing to begin, nothing to commit."""
        async with self.engine.connect() as connection:
            # Not as an option of an engine: what is cut off while that connects would never be given back.
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.info.pop(WRITTEN, None)
            yield Connection(connection)
            self._tell_of_commit(connection.info)

    def _tell_of_commit(self, info: dict[Any, Any]) -> None:
        written = frozenset[str](info.pop(WRITTEN, ()))
        if self.on_commit is not None:
            self.on_commit(written)

    async def dispose(self) -> None:
        await self.engine.dispose()


@asynccontextmanager
async def reading_on(connection: Connection) -> AsyncGenerator[ReadSession]:
    """A session on a connection that is held already: who holds one and waits for another may wait for ever."""
    async with AsyncSession(bind=connection, expire_on_commit=False) as session:
        yield ReadSession(session)


def _give_room_to_sort(engine: Engine) -> None:
    """Lets a statement hold so much of what it sorts or counts: what PostgreSQL gives by itself ends at 80 000 audits.

    Said once per connection and not when it is opened: poolers refuse to pass options on.
    """

    def say(connection: Any, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(f"set work_mem = '{WORK_MEM}'")
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", say)


def _ask_rested_connections(engine: Engine) -> None:
    """Asks a connection that has rested whether it still answers, before it is used; all are replaced if it does not."""

    def rests(_connection: Any, entry: ConnectionPoolEntry) -> None:
        entry.info["rests_since"] = time.monotonic()

    def wakes(connection: Any, entry: ConnectionPoolEntry, _proxy: Any) -> None:
        since = entry.info.get("rests_since")
        if since is None or time.monotonic() - since <= TRUSTED_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", rests)
    event.listen(engine, "checkout", wakes)


def _refuse_half_changed_connections(engine: Engine) -> None:
    """Replaces one that was made read-only, or to commit by itself, for somebody who was cut off at that moment."""

    def check(connection: Any, _entry: ConnectionPoolEntry, _proxy: Any) -> None:
        driver = connection.driver_connection
        if driver.autocommit or driver.read_only:
            raise DisconnectionError("the connection was left half changed")

    event.listen(engine, "checkout", check)


JsonObject = dict[str, Any]
