"""A schedule's own token for the CRM: used for its runs alone, and written down nowhere."""

import io
from collections.abc import AsyncGenerator

import pytest
from httpx2 import AsyncClient
from run_worker import DAY, SALES, Worker, at_work
from sqlalchemy import select, text

from conforme.automation.selection import NOT_FOUND
from conforme.fiches.coverage import coverage
from conforme.fiches.models import FicheCache
from conforme.foundation.database import Database
from conforme.foundation.logging import configure_logging
from conforme.sandbox.crm import DEFAULT_BEARER
from conforme.settings import Settings

CANARY = "canary-token-of-a-schedule-0123456789"


@pytest.fixture
def logged() -> io.StringIO:
    stream = io.StringIO()
    configure_logging(Settings(log_format="json", log_level="debug"), stream)
    return stream


@pytest.fixture
async def worker(database: Database) -> AsyncGenerator[Worker]:
    """The canary's token sees half of the day's sales."""
    async with at_work(database) as worker:
        worker.gateway.views[CANARY] = lambda fiche_id: fiche_id in SALES[:2]
        yield worker


async def ran(api: AsyncClient, worker: Worker, **said: object) -> dict[str, tuple[str | None, str | None]]:
    """What became of each fiche of a run, and why."""
    fiches = await worker.ran(api, **said)
    return {each["ficheId"]: (each["outcome"], each["ignoreReason"]) for each in fiches}


async def test_the_crm_is_asked_with_the_schedules_token_for_its_runs_and_with_the_products_for_others(
    api: AsyncClient, database: Database, worker: Worker
) -> None:
    assert set(await ran(api, worker, externalApiKey=CANARY)) == set(SALES[:2])
    paths = {f"/api/fiches/by-id/{each}" for each in SALES[:2]}
    assert worker.gateway.asked_with == {CANARY: {"/api/fiches/sales-with-calls", *paths}}
    assert set(await ran(api, worker)) == set(SALES)
    assert f"/api/fiches/by-id/{SALES[3]}" in worker.gateway.asked_with[DEFAULT_BEARER]
    assert len(worker.gateway.searches) == 2, "what one token lists is not what another one would be told"


async def test_what_a_token_lists_says_nothing_about_the_day_to_others_nor_do_others_to_it(
    api: AsyncClient, database: Database, worker: Worker
) -> None:
    await ran(api, worker, externalApiKey=CANARY)
    async with database.read() as session:
        assert (await coverage(session, DAY, DAY)).missing == (DAY,)
    await ran(api, worker)
    async with database.read() as session:
        assert (await coverage(session, DAY, DAY)).covered == (DAY,)
    assert set(await ran(api, worker, externalApiKey=CANARY)) == set(SALES[:2])
    assert len(worker.gateway.searches) == 3


async def test_a_fiche_that_is_denied_to_a_token_is_not_denied_to_others(
    api: AsyncClient, database: Database, worker: Worker
) -> None:
    by_id = {"mode": "manual", "ficheIds": [SALES[3]]}
    denied = await ran(api, worker, externalApiKey=CANARY, ficheSelection=by_id)
    assert denied == {SALES[3]: ("ignored", NOT_FOUND)}
    async with database.read() as session:
        assert await session.scalar(select(FicheCache).where(FicheCache.fiche_id == SALES[3])) is None
    assert await ran(api, worker, ficheSelection=by_id) == {SALES[3]: ("successful", None)}


async def test_a_token_is_found_in_no_job_event_log_nor_answer(
    api: AsyncClient, database: Database, worker: Worker, logged: io.StringIO
) -> None:
    worker.gateway.views.clear()  # the CRM does not know the token: errors are told of
    assert await ran(api, worker, externalApiKey=CANARY) == {}
    [run] = (await api.get("/api/automation/runs")).json()["data"]
    assert (run["status"], run["daysFailed"]) == ("failed", 1)
    told = [logged.getvalue(), (await api.get(f"/api/automation/runs/{run['id']}")).text]
    tables = (
        "dbos.workflow_status dbos.operation_outputs events automation_runs automation_logs automation_schedules"
        " fiche_days workflow_logs"
    )
    async with database.read() as session:
        for table in tables.split():
            rows = await session.execute(text(f"select t::text from {table} t"))  # noqa: S608 -- named above
            told += [row for (row,) in rows]
    assert len(told) > len(tables.split())
    assert not [each for each in told if CANARY in each]
