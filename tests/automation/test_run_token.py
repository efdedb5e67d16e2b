"""A schedule's own token for the CRM: used for its runs alone, and written down nowhere."""

import io
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import date

import pytest
from automation_room import created, runs
from httpx2 import AsyncClient
from sqlalchemy import select, text

from conforme.app import FICHE_PORTS
from conforme.automation.run_workflows import follow_end, run_automation, work_on_fiche
from conforme.automation.selection import NOT_FOUND
from conforme.fiches.coverage import coverage
from conforme.fiches.models import FicheCache
from conforme.fiches.ports import connect
from conforme.fiches.workflows import fetch_fiche, fetch_sales_day
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable
from conforme.foundation.llm import model_from
from conforme.foundation.logging import configure_logging
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.sandbox.chassis import Service
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.crm import DEFAULT_BEARER, Gateway, crm_app
from conforme.sandbox.population import Population
from conforme.settings import Settings
from product_fixtures import SETTINGS

CANARY = "canary-token-of-a-schedule-0123456789"
DAY = date(2026, 11, 20)
SALES = [sale.fiche_id for sale in Population(load_corpus(), sales_per_day=4).sales(DAY)]
JOBS = [run_automation, work_on_fiche, follow_end, fetch_fiche, fetch_sales_day]
OF_THE_DAY = {"mode": "date_range", "dateRange": "custom", "customStartDate": DAY.isoformat()}


@dataclass(frozen=True)
class Worker:
    """A process that carries out runs, and the CRM it asks."""

    gateway: Gateway
    durable: Durable


@pytest.fixture
def logged() -> io.StringIO:
    stream = io.StringIO()
    configure_logging(Settings(log_format="json", log_level="debug"), stream)
    return stream


@pytest.fixture
async def worker(database: Database, api: AsyncClient) -> AsyncGenerator[Worker]:
    """The CRM, asked by a process that carries out runs; the canary's token sees half of the day's sales."""
    app = crm_app(Population(load_corpus(), sales_per_day=4))
    app.state.gateway.views[CANARY] = lambda fiche_id: fiche_id in SALES[:2]
    async with Service("crm", app) as service:
        known = SETTINGS.model_dump() | {
            "fiche_api_base_url": service.url,
            "fiche_api_auth_token": DEFAULT_BEARER,
            "openai_api_key": "unused",
            "drain_seconds": 1,
        }
        settings = Settings.model_validate(known)
        outbound, durable = Outbound(settings), Durable(settings, database, jobs=JOBS, schedules=[])
        resources = Resources(settings, database, durable, outbound, model_from(settings, outbound))
        connect(FICHE_PORTS)
        await durable.start(resources)
        try:
            yield Worker(app.state.gateway, durable)
        finally:
            await durable.stop()
            await outbound.aclose()


async def ran(
    api: AsyncClient, worker: Worker, database: Database, **said: object
) -> dict[str, tuple[str | None, str | None]]:
    """A schedule that fetches, carried out by hand: what became of each fiche, and why."""
    fields = {
        "scheduleType": "MANUAL",
        "runTranscription": False,
        "runAudits": False,
        "ficheSelection": OF_THE_DAY,
    }
    schedule = await created(api, **{**fields, **said})
    answer = await api.post("/api/automation/trigger", json={"scheduleId": schedule["id"]})
    run_id = answer.json()["run_id"]
    await worker.durable.wait(answer.json()["event_ids"][0], 60)
    await worker.durable.wait(f"automation-{run_id}-end-1", 60)
    [run] = await runs(database, schedule["id"])
    assert run.completed_at, run.error_message
    fiches = (await api.get(f"/api/automation/runs/{run_id}/fiches")).json()["data"]
    return {each["ficheId"]: (each["outcome"], each["ignoreReason"]) for each in fiches}


async def test_the_crm_is_asked_with_the_schedules_token_for_its_runs_and_with_the_products_for_others(
    api: AsyncClient, database: Database, worker: Worker
) -> None:
    assert set(await ran(api, worker, database, externalApiKey=CANARY)) == set(SALES[:2])
    paths = {f"/api/fiches/by-id/{each}" for each in SALES[:2]}
    assert worker.gateway.asked_with == {CANARY: {"/api/fiches/sales-with-calls", *paths}}
    assert set(await ran(api, worker, database)) == set(SALES)
    assert f"/api/fiches/by-id/{SALES[3]}" in worker.gateway.asked_with[DEFAULT_BEARER]
    assert len(worker.gateway.searches) == 2, "what one token lists is not what another one would be told"


async def test_what_a_token_lists_says_nothing_about_the_day_to_others_nor_do_others_to_it(
    api: AsyncClient, database: Database, worker: Worker
) -> None:
    await ran(api, worker, database, externalApiKey=CANARY)
    async with database.read() as session:
        assert (await coverage(session, DAY, DAY)).missing == (DAY,)
    await ran(api, worker, database)
    async with database.read() as session:
        assert (await coverage(session, DAY, DAY)).covered == (DAY,)
    assert set(await ran(api, worker, database, externalApiKey=CANARY)) == set(SALES[:2])
    assert len(worker.gateway.searches) == 3


async def test_a_fiche_that_is_denied_to_a_token_is_not_denied_to_others(
    api: AsyncClient, database: Database, worker: Worker
) -> None:
    by_id = {"mode": "manual", "ficheIds": [SALES[3]]}
    denied = await ran(api, worker, database, externalApiKey=CANARY, ficheSelection=by_id)
    assert denied == {SALES[3]: ("ignored", NOT_FOUND)}
    async with database.read() as session:
        assert await session.scalar(select(FicheCache).where(FicheCache.fiche_id == SALES[3])) is None
    assert await ran(api, worker, database, ficheSelection=by_id) == {SALES[3]: ("successful", None)}


async def test_a_token_is_found_in_no_job_event_log_nor_answer(
    api: AsyncClient, database: Database, worker: Worker, logged: io.StringIO
) -> None:
    worker.gateway.views.clear()  # the CRM does not know the token: errors are told of
    assert await ran(api, worker, database, externalApiKey=CANARY) == {}
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
