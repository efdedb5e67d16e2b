"""The durable port within one process: steps, children, limits, cancellation, deadlines."""

from collections.abc import AsyncGenerator

import durable_jobs as jobs
import pytest
from durable_jobs import Work
from sqlalchemy import text

from conforme.foundation.database import Database
from conforme.foundation.durable import Durable, Outcome
from conforme.settings import Settings


@pytest.fixture
async def durable(database: Database) -> AsyncGenerator[Durable]:
    settings = Settings.model_validate(
        {"replica_heartbeat_seconds": 0.5, "replica_lease_seconds": 2, "drain_seconds": 2}
    )
    async with database.write() as session:
        await session.execute(text(jobs.TABLE))
    durable = Durable(settings, database, jobs=jobs.ALL, schedules=[])
    await durable.start(jobs.resources_of(settings, database, durable))
    yield durable
    await durable.stop()


async def test_a_job_runs_and_its_result_is_kept(database: Database, durable: Durable) -> None:
    async with database.write() as session:
        await durable.dispatch(session, jobs.PARENT, Work(children=3, steps=2), id="p")
    outcome = await durable.wait("p", 10)
    assert outcome == Outcome(
        id="p",
        ok=True,
        value=[
            {"id": f"p-{n}", "ok": True, "value": [f"p-{n}:0", f"p-{n}:1"], "code": None} for n in range(3)
        ],
    )
    assert await durable.state("p") == "done"
