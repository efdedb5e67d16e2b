"""A room of fiches at work: its neighbours connected, a simulated CRM, and a count of what it asks the database."""

from collections.abc import AsyncGenerator, Generator
from dataclasses import replace

import pytest
from fiche_room import DAY, Crm

from conforme.accounts.actor import Actor
from conforme.app import FICHE_PORTS
from conforme.fiches.ports import Session, connect
from conforme.fiches.range_workflows import fetch_days, search_sales
from conforme.fiches.schemas import AuditStatus, TranscriptionStatus
from conforme.fiches.search import search_sales_day
from conforme.fiches.workflows import fetch_fiche, fetch_sales_day
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable
from conforme.foundation.llm import model_from
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.sandbox.chassis import Service
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.crm import DEFAULT_BEARER, crm_app
from conforme.sandbox.population import Population
from conforme.settings import Settings
from conforme.webhooks.workflows import deliver

JOBS = [fetch_fiche, fetch_sales_day, search_sales_day, fetch_days, search_sales, deliver]


async def _transcription(session: Session, actor: Actor, fiche_cache_id: int) -> TranscriptionStatus:
    assert fiche_cache_id > 0
    return TranscriptionStatus(total=2, transcribed=1, pending=1, percentage=50.0)


async def _audit(session: Session, actor: Actor, fiche_id: str) -> AuditStatus:
    assert fiche_id.isdigit()
    return AuditStatus()


@pytest.fixture(autouse=True)
def _neighbours() -> Generator[None]:
    """Neighbours that say little; the application's again when the test is over."""
    connect(replace(FICHE_PORTS, transcription_status=_transcription, audit_status=_audit))
    yield
    connect(FICHE_PORTS)


@pytest.fixture
async def crm() -> AsyncGenerator[Crm]:
    app = crm_app(Population(load_corpus(), sales_per_day=4))
    async with Service("crm", app) as service:
        gateway = app.state.gateway
        yield Crm(service, gateway, [sale.fiche_id for sale in gateway.population.sales(DAY)])


@pytest.fixture
async def resources(database: Database, crm: Crm) -> AsyncGenerator[Resources]:
    """What a process has; its engine dispatches jobs and does not run them."""
    settings = Settings.model_validate(
        {
            "fiche_api_base_url": crm.service.url,
            "fiche_api_auth_token": DEFAULT_BEARER,
            "openai_api_key": "unused",
            "node_env": "test",  # webhooks may go to loopback
        }
    )
    outbound, durable = Outbound(settings), Durable(settings, database)
    yield Resources(
        settings=settings,
        database=database,
        durable=durable,
        outbound=outbound,
        model=model_from(settings, outbound),
    )
    await durable.stop()
    await outbound.aclose()


@pytest.fixture
async def working(resources: Resources, request: pytest.FixtureRequest) -> AsyncGenerator[Resources]:
    """What a process has that carries jobs out; settings are changed by an indirect parameter."""
    changed = getattr(request, "param", {})
    settings = Settings.model_validate({**resources.settings.model_dump(), **changed, "drain_seconds": 1})
    durable = Durable(settings, resources.database, jobs=JOBS, schedules=[])
    at_work = replace(resources, settings=settings, durable=durable)
    await durable.start(at_work)
    yield at_work
    await durable.stop()
