"""Brings the database to the shape this version expects: the product's tables and the durable engine's."""

import time
from collections.abc import Generator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, create_engine, text

from conforme.foundation.database import async_url

LOCK_KEY = 7_266_013_001
"""Advisory lock of the migrations, the same for every replica."""
LOCK_POLL_SECONDS = 0.2


def migrate(url: str) -> None:
    """Applies every pending migration once, however many replicas call this at the same moment.

    Blocking: call it before an event loop runs, or from a thread.
    """
    from conforme.foundation.durable import migrate_engine

    with _engine(url) as engine, _alone(engine):
        with engine.begin() as connection:
            command.upgrade(_config(connection), "head")
        migrate_engine(url)


def pending(url: str) -> list[str]:
    """The revisions that `migrate` would apply, oldest first; empty when the database is up to date.

    `engine` stands for the durable engine's own tables.
    """
    from conforme.foundation.durable import engine_ready

    script = ScriptDirectory.from_config(_config(None))
    with _engine(url) as engine, engine.connect() as connection:
        applied = MigrationContext.configure(connection).get_current_heads()
    known = (
        {ancestor.revision for ancestor in script.iterate_revisions(applied, "base")}
        if applied
        else set[str]()
    )
    revisions = reversed(list(script.walk_revisions()))
    missing = [revision.revision for revision in revisions if revision.revision not in known]
    return missing if engine_ready(url) else [*missing, "engine"]


def _config(connection: Connection | None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "conforme.foundation:migrations")
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _engine(url: str) -> Generator[Engine]:
    engine = create_engine(async_url(url), poolclass=NullPool)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _alone(engine: Engine) -> Generator[None]:
    """Holds the migrations' lock; freed with its connection, even when the process is killed.

    The lock is asked for again and again, never waited for inside a statement: a waiting statement holds a snapshot,
    and `create index concurrently` on the other side would wait for it in turn.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(text("select pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}):
            time.sleep(LOCK_POLL_SECONDS)
        yield
