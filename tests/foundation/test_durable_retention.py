"""What is old is deleted once a day, in batches; what is not is kept."""

from typing import cast

import durable_jobs as jobs
import pytest
from sqlalchemy import text

from conforme.foundation import retention
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable, JobContext
from conforme.foundation.resources import Resources
from conforme.settings import Settings

OLD_AND_NEW = [
    (
        "insert into events (name, channels, payload, created_at) select 'old', '{}', '{}', now() - interval '31 days'"
        " from generate_series(1, 5)"
    ),
    "insert into events (name, channels, payload) values ('new', '{}', '{}')",
    (
        "insert into idempotency_keys (actor, key, fingerprint, created_at) values"
        " ('a', 'old', '', now() - interval '8 days'), ('a', 'new', '', now())"
    ),
]


class Straight:
    """A context that remembers nothing: the deletions are what is tested."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    step = staticmethod(lambda _name, fn: fn())


@pytest.mark.parametrize("batch", [2, 1000])
async def test_only_what_is_old_is_deleted(
    database: Database, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", batch)
    settings = Settings.model_validate({})
    async with database.write() as session:
        for statement in OLD_AND_NEW:
            await session.execute(text(statement))
    resources = jobs.resources_of(settings, database, Durable(settings, database))
    deleted = await retention.retention.body(cast("JobContext", Straight(resources)), None)  # pyright: ignore[reportArgumentType]
    assert deleted == {"jobs": 0, "events": 5, "lines of workflows": 0, "idempotency keys": 1}
    async with database.read() as session:
        assert (await session.scalars(text("select name from events"))).all() == ["new"]
        assert (await session.scalars(text("select key from idempotency_keys"))).all() == ["new"]
