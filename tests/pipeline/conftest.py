"""A client on real replicas in processes of their own, with a sandbox that outlives them."""

from collections.abc import Generator

import pytest
from pipeline_audits import DAY, configured
from pipeline_processes import Outside, Start, outside, replicas
from pipeline_site import Site

from conforme.foundation.database import Database
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.population import Population
from conforme.sandbox.weather import Latency
from conforme.sandbox.world import SandboxOptions

SLOWLY = SandboxOptions(
    model_latency=Latency(base_ms=250), speech_latency=Latency(base_ms=200), crm_latency=Latency(base_ms=100)
)
"""So that calls are in flight whenever a process dies."""


@pytest.fixture
def outside_world(request: pytest.FixtureRequest) -> Generator[Outside]:
    with outside(getattr(request, "param", SLOWLY)) as found:
        yield found


@pytest.fixture
def start(database_url: str, outside_world: Outside) -> Generator[Start]:
    with replicas(database_url, outside_world.environment) as start:
        yield start


@pytest.fixture
async def site(database: Database, outside_world: Outside, start: Start) -> Site:
    sales = Population(load_corpus()).sales(DAY)
    return Site(database, outside_world, start, await configured(database), [sale.fiche_id for sale in sales])
