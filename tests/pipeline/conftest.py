"""A client on real replicas in processes of their own, with a sandbox that outlives them."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from pipeline_audits import DAY, Client, client_of, configured
from pipeline_processes import Outside, Start, outside, replicas

from conforme.foundation.database import Database
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.population import Population
from conforme.sandbox.weather import Latency
from conforme.sandbox.world import SandboxOptions

SLOWLY = SandboxOptions(
    model_latency=Latency(base_ms=250), speech_latency=Latency(base_ms=200), crm_latency=Latency(base_ms=100)
)
"""So that calls are in flight whenever a process dies."""


@dataclass
class Site:
    """A database, the outside world, and replicas to be hurt."""

    database: Database
    outside: Outside
    start: Start
    config_id: int
    fiche_ids: list[str]

    @asynccontextmanager
    async def client(self, url: str) -> AsyncGenerator[Client]:
        async with client_of(url) as http:
            yield Client(http)


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
