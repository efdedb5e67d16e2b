"""The original's database on the test server, and an import of it into ours."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from old_database import OldDatabase
from psycopg import sql
from pydantic import SecretStr

from conforme.foundation.database import Database
from conforme.foundation.embedded import sibling_url
from conforme.legacy.importing import Tell, Wish, run
from conforme.legacy.report import Report
from conforme.legacy.source import Source, opened
from conforme.legacy.verify import verify

SCHEMA = Path(__file__).with_name("legacy_schema.sql")
Import = Callable[..., Awaitable[Report]]


@pytest.fixture(scope="session")
def old_url(server_url: str, worker_id: str) -> str:
    name = f"legacy_{worker_id}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    url = sibling_url(server_url, name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA.read_bytes())
    return url


@pytest.fixture
def old(old_url: str) -> Generator[OldDatabase]:
    """An empty database of the original."""
    old = OldDatabase(old_url)
    old.empty()
    yield old
    old.close()


@pytest.fixture
async def source(old: OldDatabase) -> AsyncGenerator[Source]:
    async with opened(SecretStr(old.url)) as source:
        yield source


def silent(_: Any) -> None:
    """Tells nobody."""


@pytest.fixture
def bring(database: Database, source: Source) -> Import:
    """Imports what is in the original."""

    async def bring(wish: Wish | None = None, tell: Tell = silent) -> Report:
        return await run(database, source, wish or Wish(), tell)

    return bring


@pytest.fixture
def check(database: Database, source: Source) -> Import:
    """Verifies what was imported."""

    async def check(wish: Wish | None = None) -> Report:
        return await verify(database, source, (wish or Wish()).kinds, silent)

    return check
