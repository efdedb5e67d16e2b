"""A process that carries out runs, against a simulated CRM."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from automation_room import created, runs
from httpx2 import AsyncClient

from conforme.app import FICHE_PORTS
from conforme.automation.run_workflows import follow_end, run_automation, work_on_fiche
from conforme.fiches.ports import connect
from conforme.fiches.workflows import fetch_fiche, fetch_sales_day
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable, Job
from conforme.foundation.llm import model_from
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.sandbox.chassis import Service
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.crm import DEFAULT_BEARER, Gateway, crm_app
from conforme.sandbox.population import Population
from conforme.settings import Settings
from product_fixtures import SETTINGS

DAY = date(2026, 11, 20)
SALES = [sale.fiche_id for sale in Population(load_corpus(), sales_per_day=4).sales(DAY)]
JOBS: Sequence[Job[Any]] = (run_automation, work_on_fiche, follow_end, fetch_fiche, fetch_sales_day)
FETCHES_ONLY: dict[str, Any] = {
    "scheduleType": "MANUAL",
    "runTranscription": False,
    "runAudits": False,
    "ficheSelection": {"mode": "date_range", "dateRange": "custom", "customStartDate": DAY.isoformat()},
}


@dataclass(frozen=True)
class Worker:
    """The process, and the CRM it asks."""

    gateway: Gateway
    durable: Durable
    database: Database

    async def ran(self, api: AsyncClient, **said: object) -> list[dict[str, Any]]:
        """A schedule that fetches, unless `said` tells otherwise, carried out by hand: its fiches at the end."""
        schedule = await created(api, **{**FETCHES_ONLY, **said})
        answer = await api.post("/api/automation/trigger", json={"scheduleId": schedule["id"]})
        run_id = answer.json()["run_id"]
        await self.durable.wait(answer.json()["event_ids"][0], 60)
        await self.durable.wait(f"automation-{run_id}-end-1", 60)
        [run] = await runs(self.database, schedule["id"])
        assert run.completed_at, run.error_message
        return (await api.get(f"/api/automation/runs/{run_id}/fiches")).json()["data"]


@asynccontextmanager
async def at_work(database: Database, jobs: Sequence[Job[Any]] = JOBS, **said: Any) -> AsyncGenerator[Worker]:
    """Works until the block ends; `said` are settings."""
    app = crm_app(Population(load_corpus(), sales_per_day=4))
    async with Service("crm", app) as service:
        known = SETTINGS.model_dump() | {
            "fiche_api_base_url": service.url,
            "fiche_api_auth_token": DEFAULT_BEARER,
            "openai_api_key": "unused",
            "elevenlabs_api_key": "unused",
            "drain_seconds": 1,
        }
        settings = Settings.model_validate(known | said)
        outbound, durable = Outbound(settings), Durable(settings, database, jobs=jobs, schedules=[])
        resources = Resources(settings, database, durable, outbound, model_from(settings, outbound))
        connect(FICHE_PORTS)
        await durable.start(resources)
        try:
            yield Worker(app.state.gateway, durable, database)
        finally:
            await durable.stop()
            await outbound.aclose()
