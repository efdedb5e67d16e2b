"""Audits as a client asks for them and reads them, and what is stored of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import httpx2
from fastapi import FastAPI
from pipeline_processes import QUICK, TOKEN, until
from sqlalchemy import text

from conforme.app import Role, build
from conforme.audit_configs.shipped import SHORT, Shipped, ensure_shipped
from conforme.audits import case
from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.foundation.resources import Resources
from conforme.sandbox.world import Sandbox
from conforme.settings import Settings, settings_with

DAY = date(2026, 11, 20)
ENDED = frozenset({"completed", "failed"})
MODEL = "POST /v1/responses"
SPEECH = "POST /v1/speech-to-text"


@dataclass(frozen=True)
class Asked:
    """One audit as its client knows it."""

    db_id: str
    tracking_id: str
    fiche_id: str


class Client:
    """A caller with a token."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def run(self, fiche_id: str, config_id: int, key: str | None = None) -> httpx2.Response:
        headers = {"Idempotency-Key": key} if key else {}
        body = {"fiche_id": fiche_id, "audit_config_id": config_id}
        return await self.http.post("/api/audits/run", json=body, headers=headers)

    async def ask(self, fiche_id: str, config_id: int) -> Asked:
        return asked(await self.run(fiche_id, config_id))

    async def detail(self, audit: Asked) -> dict[str, Any]:
        answer = await self.http.get(f"/api/audits/{audit.db_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def resume(self, audit: Asked) -> httpx2.Response:
        return await self.http.post(f"/api/audits/{audit.db_id}/resume")

    async def ended(self, audits: list[Asked], seconds: float = 90) -> list[dict[str, Any]]:
        """The audits in the order given, once none of them is under way."""
        return [await self._ended(audit, seconds) for audit in audits]

    async def _ended(self, audit: Asked, seconds: float) -> dict[str, Any]:
        found: dict[str, Any] = {}

        async def over() -> bool:
            found.update(await self.detail(audit))
            return found["status"] in ENDED

        await until(over, f"audit {audit.db_id} has ended", seconds)
        return found


def asked(answer: httpx2.Response) -> Asked:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return Asked(body["audit_db_id"], body["audit_id"], body["fiche_id"])


def client_of(url: str, transport: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx2.AsyncClient(base_url=url, headers=headers, transport=transport, timeout=30, trust_env=False)


@dataclass
class Product:
    """The whole product in this process, with the sandbox behind it."""

    sandbox: Sandbox
    resources: Resources
    client: Client
    config_id: int

    @property
    def fiche_ids(self) -> list[str]:
        return [sale.fiche_id for sale in self.sandbox.population.sales(DAY)]

    def asked(self, route: str) -> int:
        """Requests that reached that route of the sandbox's providers."""
        counts = self.sandbox.counts().values()
        return sum(each["routes"][route]["requests"] for each in counts if route in each["routes"])


Builder = Callable[..., Any]


@asynccontextmanager
async def product(
    database: Database, sandbox: Sandbox, *, config: Shipped = SHORT, **changed: str
) -> AsyncGenerator[Product]:
    """One process that answers HTTP and carries out jobs, until the block ends."""
    # It takes seconds, which tests of processes need not spend.
    from pydantic_ai.models import override_allow_model_requests

    # The database of the test before gave the same ids to other words.
    case._cases.clear()  # pyright: ignore[reportPrivateUsage]
    # Nobody is killed within this process: a beat that comes late on busy cores is to mean nothing.
    alone = {"REPLICA_LEASE_SECONDS": "60", "DRAIN_SECONDS": "0"}
    environment = {**sandbox.environment(), **QUICK, **alone, **changed}
    settings = settings_with(Settings(), environment)
    app: FastAPI = build(settings, database.url, Role.ALL)
    config_id = await configured(database, config)
    with override_allow_model_requests(True):
        async with (
            app.router.lifespan_context(app),
            client_of(
                "http://conforme.test", httpx2.ASGITransport(app=app, raise_app_exceptions=False)
            ) as http,
        ):
            yield Product(sandbox, app.state.resources, Client(http), config_id)


async def configured(database: Database, config: Shipped = SHORT) -> int:
    async with database.write() as session:
        return await ensure_shipped(session, config)


async def rows(database: Database, query: str, **values: Any) -> list[Any]:
    async with database.read() as session:
        return list((await session.execute(text(query), values)).all())


async def told(database: Database, audit: Asked) -> list[events.Event]:
    """The events of one audit, oldest first."""
    async with database.read() as session:
        return await events.after(session, 0, limit=1000, channels=[events.audit_channel(audit.db_id)])


async def names_told(database: Database, audit: Asked) -> Counter[str]:
    return Counter(event.name for event in await told(database, audit))


async def ledger(database: Database, kind: str) -> Counter[tuple[int | None, int | None, int | None]]:
    """(audit, step, recording) → paid calls."""
    found = await rows(
        database, "select audit_id, step_position, recording_id from llm_calls where kind = :kind", kind=kind
    )
    return Counter((row[0], row[1], row[2]) for row in found)


async def together(count: int, call: Callable[[], Any]) -> list[Any]:
    return list(await asyncio.gather(*(call() for _ in range(count))))
