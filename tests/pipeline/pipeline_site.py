"""Where processes are hurt: one database, the outside world, and replicas."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pipeline_audits import Client, client_of
from pipeline_processes import Outside, Start

from conforme.foundation.database import Database


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
