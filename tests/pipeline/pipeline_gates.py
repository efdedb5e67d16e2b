"""Gates in the database: what the product writes waits there until it is killed at just that point, or let pass."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from conforme.foundation.database import Database

FUNCTIONS = """
create function gate() returns trigger language plpgsql as
  $$ begin perform pg_advisory_xact_lock_shared(tg_argv[0]::bigint); return new; end $$;
create function slowly() returns trigger language plpgsql as
  $$ begin perform pg_sleep(tg_argv[0]::float); return new; end $$
"""
WAITING = (
    "from pg_locks where locktype = 'advisory' and not granted and classid = 0 and objsubid = 1"
    " and database = (select oid from pg_database where datname = current_database())"
)
FIRST_KEY = 4100


@dataclass(frozen=True)
class Gate:
    """A kind of write, by its table and a condition on the row."""

    passed: str
    """What has happened when the product stands before it."""
    table: str
    condition: str
    event: str = "insert"


class Gates:
    """Some gates, open until they are closed."""

    def __init__(self, connection: AsyncConnection, gates: list[Gate]) -> None:
        self._connection = connection
        self._keys = {gate: FIRST_KEY + number for number, gate in enumerate(gates)}

    async def _do(self, statement: str) -> None:
        await self._connection.exec_driver_sql(statement)

    async def close(self, gate: Gate) -> None:
        await self._do(f"select pg_advisory_lock({self._keys[gate]})")

    async def open(self, gate: Gate) -> None:
        await self._do(f"select pg_advisory_unlock({self._keys[gate]})")

    async def reached(self, gate: Gate) -> bool:
        """Whether somebody waits at the gate."""
        waiting = await self._connection.exec_driver_sql(f"select {WAITING} and objid = {self._keys[gate]}")
        return waiting.first() is not None

    async def turn_away(self) -> None:
        """What a process that was killed waits to write is never written."""
        keys = ", ".join(map(str, self._keys.values()))
        await self._do(f"select count(pg_terminate_backend(pid)) {WAITING} and objid in ({keys})")

    async def build(self) -> None:
        for gate, key in self._keys.items():
            await self._do(
                f"create trigger gate_{key} before {gate.event} on {gate.table} for each row"
                f" when ({gate.condition}) execute function gate('{key}')"
            )

    async def tear_down(self) -> None:
        await self.turn_away()
        await self._do("select pg_advisory_unlock_all()")
        for gate, key in self._keys.items():
            await self._do(f"drop trigger if exists gate_{key} on {gate.table}")


@asynccontextmanager
async def _functions(database: Database) -> AsyncGenerator[AsyncConnection]:
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in FUNCTIONS.strip().split(";\n"):
            await connection.exec_driver_sql(statement)
        try:
            yield connection
        finally:
            await connection.exec_driver_sql("drop function gate, slowly")


@asynccontextmanager
async def gates(database: Database, *wanted: Gate) -> AsyncGenerator[Gates]:
    """The gates stand while the block lasts."""
    async with _functions(database) as connection:
        built = Gates(connection, list(wanted))
        try:
            await built.build()
            yield built
        finally:
            await built.tear_down()


@asynccontextmanager
async def slowed(database: Database, table: str, seconds: float) -> AsyncGenerator[None]:
    """Each row that comes to a table takes so long, and no CPU."""
    async with _functions(database) as connection:
        trigger = (
            f"create trigger slow before insert on {table} for each row execute function slowly('{seconds}')"
        )
        await connection.exec_driver_sql(trigger)
        try:
            yield
        finally:
            await connection.exec_driver_sql(f"drop trigger slow on {table}")
