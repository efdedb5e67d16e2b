"""The database the product finds or starts, and its two kinds of session."""

import asyncio
import gc
from pathlib import Path

import pytest
from psycopg import waiting
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from conforme.foundation import database as database_module
from conforme.foundation.database import Database
from conforme.foundation.embedded import database_url as product_url
from conforme.foundation.migrate import migrate, pending
from conforme.settings import Settings

INSERT = text("insert into events (name, channels, payload) values ('probe', '{}', '{}')")


async def test_a_write_block_that_ends_well_is_committed(database: Database) -> None:
    async with database.write() as session:
        await session.execute(INSERT)
    async with database.read() as session:
        assert await session.scalar(text("select count(*) from events")) == 1


async def test_a_write_block_that_raises_leaves_nothing(database: Database) -> None:
    async def fail_after_writing() -> None:
        async with database.write() as session:
            await session.execute(INSERT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_after_writing()
    async with database.read() as session:
        assert await session.scalar(text("select count(*) from events")) == 0


async def test_a_read_session_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError, match="read-only"):
        async with database.read() as session:
            await session.execute(INSERT)


async def test_a_connection_that_was_lost_while_it_rested_is_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "TRUSTED_SECONDS", 0.0)
    mine = text("select pg_backend_pid()")
    async with database.read() as session:
        lost = await session.scalar(mine)
    other = Database(database.url, pool_size=1)
    async with other.alone() as connection:
        await connection.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": lost})
    await other.dispose()
    async with database.read() as session:
        assert await session.scalar(mine) != lost


async def test_statements_alone_take_effect_one_by_one(database: Database) -> None:
    async with database.alone() as connection:
        await connection.execute(INSERT)
        with pytest.raises(DBAPIError):
            await connection.execute(text("select 1 / 0"))
        await connection.execute(INSERT)
    async with database.read() as session:
        assert await session.scalar(text("select count(*) from events")) == 2


async def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    async def fail_after_writing() -> None:
        async with database.transaction() as connection:
            await connection.execute(INSERT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_after_writing()
    async with database.read() as session:
        assert await session.scalar(text("select count(*) from events")) == 0


@pytest.mark.parametrize("kind", ["read", "write", "transaction", "alone"])
async def test_who_is_cut_off_at_any_moment_leaves_a_connection_that_is_as_it_was(
    database: Database, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither lost to the pool, nor read-only, nor committing by itself for whoever is given it next."""
    # The driver gives way at each of its steps, as it does by itself only when the loop has been busy for long.
    monkeypatch.setattr(waiting, "MAX_BUSY_TIME", 0.0)

    async def use() -> None:
        async with getattr(database, kind)() as session:
            await session.execute(text("select 1"))

    for moments in range(16):
        await use()
        cut_off = asyncio.create_task(use())
        for _ in range(moments):
            await asyncio.sleep(0)
        cut_off.cancel()
        await asyncio.gather(cut_off, return_exceptions=True)
        async with database.transaction() as connection:
            await connection.execute(INSERT)
            await connection.rollback()
    gc.collect()  # warns of each connection that nobody gave back
    async with database.read() as session:
        assert await session.scalar(text("select count(*) from events")) == 0


async def test_connections_may_sort_more_than_postgresql_gives_by_itself(database: Database) -> None:
    for use in (database.read, database.write, database.transaction, database.alone):
        async with use() as session:
            assert (await session.execute(text("show work_mem"))).scalar_one() == "16MB"


async def test_every_test_starts_on_empty_tables_with_fresh_ids(database: Database) -> None:
    async with database.write() as session:
        first = await session.scalar(
            text("insert into events (name, channels, payload) values ('x', '{}', '{}') returning id")
        )
    assert first == 1


def test_a_configured_url_is_used_as_it_is() -> None:
    url = "postgresql://somebody@db.example.test/sales"
    with product_url(Settings.model_validate({"database_url": url})) as used:
        assert used == url


async def test_the_migrated_database_has_nothing_pending(database_url: str) -> None:
    assert await asyncio.to_thread(pending, database_url) == []
    await asyncio.to_thread(migrate, database_url)


def test_settings_of_the_developer_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=4567\n")
    monkeypatch.chdir(tmp_path)
    assert Settings().port == 3002
