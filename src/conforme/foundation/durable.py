"""The port to the durable engine; the one file that imports it."""

from conforme.foundation.database import async_url


def migrate_engine(url: str) -> None:
    """Creates or upgrades the engine's own tables (schema `dbos`). Blocking."""
    from dbos import DBOS

    DBOS.migrate(async_url(url))
