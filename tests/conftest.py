"""What every test stands on: a real database, no network, no model, no configuration of the developer."""

import gc
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import psycopg
import pytest
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from psycopg import sql
from pytest_socket import socket_allow_hosts
from sqlalchemy import text

from conforme.foundation.database import Database
from conforme.foundation.embedded import running_server, sibling_url
from conforme.foundation.migrate import migrate
from conforme.process import GC_THRESHOLDS
from conforme.settings import Settings
from postgres_tuning import FAST_AND_FORGETFUL

pytest_plugins = ["attack_tally", "product_fixtures"]

LOOPBACK = ["127.0.0.1", "::1"]
TEMPLATE = "conforme_template"
WHAT_EMPTIES = """
select format(
  -- Truncating makes new files for the table, its indexes and all that refers to it: too dear for a few rows.
  $$ select case when pg_relation_size(%1$L) < 262144 then 'delete from %1$s' else 'truncate %1$s cascade' end
     where exists (select from %1$s) $$,
  format('%I.%I', schemaname, tablename))
from pg_tables
where schemaname in ('public', 'dbos')
  and tablename not in ('alembic_version', 'dbos_migrations', 'application_versions', 'queues')
union all
select format($$ select 'alter sequence %1$s restart' from %1$s where is_called $$,
  format('%I.%I', schemaname, sequencename))
from pg_sequences where schemaname = 'public'
"""
"""Queries that each give the statement which empties a table or sets a sequence back, or nothing."""

hypothesis_settings.register_profile(
    "conforme",
    max_examples=50,  # a tenth of the suite's time; `--hypothesis-profile default` looks twice as long
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
hypothesis_settings.register_profile("ci", hypothesis_settings.get_profile("conforme"), derandomize=True)
hypothesis_settings.load_profile("ci" if os.environ.get("CI") else "conforme")


def pytest_configure() -> None:
    """Hides the developer's `.env` and exported settings; plain tracebacks, for pretty ones take seconds."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    Settings.model_config["env_file"] = None
    names = {str(field.validation_alias or name).lower() for name, field in Settings.model_fields.items()}
    for name in [name for name in os.environ if name.lower() in names]:
        del os.environ[name]


def pytest_collection_finish() -> None:
    """What was imported stays, and garbage is looked for as seldom as in the product: it took a seventh of all time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def pytest_runtest_setup() -> None:
    socket_allow_hosts(LOOPBACK, allow_unix_socket=True)
    models = sys.modules.get("pydantic_ai.models")
    if models is not None:  # imported by what is tested; importing it here would cost every run seconds
        vars(models)["ALLOW_MODEL_REQUESTS"] = False


@pytest.fixture(scope="session")
def run_folder(testrun_uid: str) -> Path:
    """A folder that all workers of this run share; not pytest's own, which the server's user may not enter."""
    return Path(tempfile.gettempdir()) / f"conforme-tests-{testrun_uid}"


@pytest.fixture
def open_folder() -> Generator[Path]:
    """A folder for a server of one's own."""
    with tempfile.TemporaryDirectory(prefix="conforme-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def server_url(run_folder: Path) -> Generator[str]:
    """The one PostgreSQL server of this run."""
    with running_server(run_folder, parameters=FAST_AND_FORGETFUL, at_end="delete") as url:
        yield url


@pytest.fixture(scope="session")
def database_url(server_url: str, worker_id: str) -> str:
    """The database of one worker, a copy of the one that the migrations built."""
    name = sql.Identifier(f"conforme_{worker_id}")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(1)")
        if connection.execute("select 1 from pg_database where datname = %s", [TEMPLATE]).fetchone() is None:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
            migrate(sibling_url(server_url, TEMPLATE))
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(name))
        connection.execute(sql.SQL("create database {} template {}").format(name, sql.Identifier(TEMPLATE)))
    return sibling_url(server_url, f"conforme_{worker_id}")


@pytest.fixture(scope="session")
async def session_database(database_url: str) -> AsyncGenerator[Database]:
    database = Database(database_url, pool_size=20)
    yield database
    await database.dispose()


@pytest.fixture
async def database(session_database: Database) -> Database:
    """An empty, migrated database."""
    async with session_database.engine.begin() as connection:
        queries = await connection.scalars(text(WHAT_EMPTIES))
        found = await connection.exec_driver_sql(" union all ".join(queries))
        if statements := list(found.scalars()):
            # The log that refuses to be emptied, too.
            statements.insert(0, "set local session_replication_role = replica")
            await connection.exec_driver_sql("; ".join(statements))
    return session_database
