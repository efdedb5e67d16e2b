"""Statements that one audit and each hot read send to the database, counted inside the process."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from fastapi import FastAPI
from sqlalchemy import Connection, Engine, event

from bench.rig import STEPS, TOKEN, WIDE, Replica, Rig, fiches, rig
from conforme.app import Role, build
from conforme.foundation.events import audit_channel
from conforme.realtime.stream import Listener, Pace, stream
from conforme.settings import Settings, settings_with

ENGINE_TABLES = "dbos."
SETTLES = 1.5
"""Seconds after an audit in which the engine may still be writing."""
STREAM_SECONDS = 1.0


@dataclass
class Counted:
    """Statements by who sends them (`application`, `engine`)."""

    statements: Counter[str] = field(default_factory=Counter[str])
    commits: int = 0

    @property
    def total(self) -> int:
        return self.statements.total()


@contextmanager
def counting(observer: Engine) -> Generator[Counted]:
    """Counts what the SQLAlchemy engines of this process send while the block lasts, the observer's own left out."""
    counted = Counted()

    def statement(connection: Connection, _cursor: Any, text: str, *_rest: Any) -> None:
        if connection.engine is not observer:
            counted.statements["engine" if ENGINE_TABLES in text else "application"] += 1

    def committed(connection: Connection) -> None:
        counted.commits += connection.engine is not observer

    event.listen(Engine, "before_cursor_execute", statement)
    event.listen(Engine, "commit", committed)
    try:
        yield counted
    finally:
        event.remove(Engine, "before_cursor_execute", statement)
        event.remove(Engine, "commit", committed)


def main() -> None:
    asyncio.run(_main())


async def _main() -> None:
    known, new, *_ = fiches()
    async with rig() as made:
        async with _bench(made, Role.ALL) as bench:
            [first] = await made.audit([bench.replica], [known])
            await asyncio.sleep(SETTLES)
            await bench.audit(known, "whose words are known")
            await bench.audit(new, "seen for the first time")
        async with _bench(made, Role.API) as bench:  # nothing happens beside the requests
            await bench.requests(first.audit_id, known)
            await bench.replay(first.audit_id)


@asynccontextmanager
async def _bench(made: Rig, role: Role) -> AsyncGenerator["_Bench"]:
    settings = settings_with(Settings(_env_file=None), made.environment | WIDE)  # pyright: ignore[reportCallIssue]
    app = build(settings, made.url, role)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://bench.test", headers=headers
        ) as client,
    ):
        yield _Bench(made, app, Replica(0, client), made.database.engine.sync_engine)


@dataclass(frozen=True)
class _Bench:
    made: Rig
    app: FastAPI
    replica: Replica
    observer: Engine

    async def audit(self, fiche: str, what: str) -> None:
        with counting(self.observer) as counted:
            await self.made.audit([self.replica], [fiche])
            await asyncio.sleep(SETTLES)
        application, engine = counted.statements["application"], counted.statements["engine"]
        print(
            f"one audit, a fiche {what}: {counted.total} statements (application {application}, engine {engine})"
            f" in {counted.commits} transactions that write; per step {counted.total / STEPS:.1f}"
        )

    async def requests(self, audit_id: int, fiche: str) -> None:
        paths = {
            "GET /api/audits": "/api/audits?latest_only=false",
            "GET /api/audits/{id}": f"/api/audits/{audit_id}",
            "GET /api/audits/by-fiche/{id}": f"/api/audits/by-fiche/{fiche}",
            "GET /api/fiches/{id}": f"/api/fiches/{fiche}",
        }
        for name, path in paths.items():
            with counting(self.observer) as counted:
                answer = await self.replica.client.get(path)
            assert answer.status_code == 200, answer.text
            print(f"{name}: {counted.total} statements, {len(answer.content) / 1024:.1f} KB")
        wish = {"fiche_id": fiche, "audit_config_id": self.made.config_id}
        with counting(self.observer) as counted:
            answer = await self.replica.client.post("/api/audits/run", json=wish)
        assert answer.status_code == 200, answer.text
        print(f"POST /api/audits/run: {counted.total} statements")

    async def replay(self, audit_id: int) -> None:
        """A stream that is opened, replays what happened to one audit, and is closed."""
        database, pace = (
            self.app.state.resources.database,
            Pace(heartbeat=STREAM_SECONDS, life=STREAM_SECONDS),
        )
        with counting(self.observer) as counted:
            opened = stream(
                self.app.state.hub, database, Listener(frozenset({audit_channel(audit_id)})), 0, pace
            )
            told = [part async for part in opened if part.startswith("id:")]
        print(f"GET /api/realtime/stream, {len(told)} events replayed: {counted.total} statements")
