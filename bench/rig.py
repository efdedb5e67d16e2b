"""What the pipeline is measured on: PostgreSQL, the sandbox and replicas of Conforme, each a process of its own.

What the sandbox burns is then never counted as ours. The database has the parameters of production.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import httpx2
import psutil
from sqlalchemy import text

from conforme.audit_configs import service
from conforme.audit_configs.rules import Rules
from conforme.audit_configs.shipped import COMPLETE, shipped
from conforme.foundation.database import Database
from conforme.process import migrated_database
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.population import Population
from conforme.settings import Settings

STEPS = 18
DAY = date(2026, 1, 5)
SALES = 12
TOKEN = "bench-token"  # noqa: S105 -- of a server that lives for a minute
START_SECONDS = 60.0
AUDITS_SECONDS = 120.0
LOOK_SECONDS = 0.05
WIDE = {
    "WORKER_CONCURRENCY": "100",
    "AUDIT_RUN_CONCURRENCY": "100",
    "AUDIT_STEP_WORKER_CONCURRENCY": "200",
    "FICHE_FETCH_CONCURRENCY": "20",
}
"""Limits out of the way, where the machine's own limit is looked for."""


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU since the start of each process."""

    application: float
    database: float

    @property
    def total(self) -> float:
        return self.application + self.database

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.application - other.application, self.database - other.database)


@dataclass(frozen=True)
class Replica:
    """One running `conforme serve`."""

    pid: int
    client: httpx2.AsyncClient

    def cpu(self) -> float:
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system

    def memory(self) -> tuple[int, int]:
        """Resident bytes: now, and at the peak of the process's life."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        kilobytes = {
            name: int(value.split()[0])
            for name, _, value in (line.partition(":") for line in status.splitlines())
            if name in {"VmRSS", "VmHWM"}
        }
        return kilobytes["VmRSS"] * 1024, kilobytes["VmHWM"] * 1024


@dataclass(frozen=True)
class Audited:
    """One audit of a run, as its row tells."""

    audit_id: int
    status: str
    seconds: float
    """From the row's writing, in the request, to the stored verdict."""


class Rig:
    """The database and the sandbox, and how to put replicas on them."""

    def __init__(
        self, url: str, postmaster: int, sandbox: Mapping[str, str], addresses: Mapping[str, str]
    ) -> None:
        self.url = url
        self.addresses = addresses
        """Of the sandbox's services, for their control routes."""
        self.database = Database(url, pool_size=2)
        self.config_id = 0
        self.environment = {
            **os.environ,
            **{name: value for name, value in sandbox.items() if not name.startswith("PUSHER_")},
            "DATABASE_URL": url,
            "API_AUTH_TOKEN": TOKEN,
            "LOG_LEVEL": "warning",
            "AUDIT_SAME_REQUEST_SECONDS": "0",
            "TRANSCRIPTION_ELEVENLABS_RATE_LIMIT_PER_MINUTE": "6000",
        }
        self._postmaster = psutil.Process(postmaster)

    async def answer_after(self, milliseconds: float) -> None:
        """Sets the time of each answer of the model."""
        async with httpx2.AsyncClient(trust_env=False) as client:
            told = await client.post(
                f"{self.addresses['model']}/__sandbox__/latency", json={"base_ms": milliseconds}
            )
            told.raise_for_status()

    async def asked_of(self, service: str) -> int:
        """How many requests a service of the sandbox has got."""
        async with httpx2.AsyncClient(trust_env=False) as client:
            counts = await client.get(f"{self.addresses[service]}/__sandbox__/counts")
        return sum(route["requests"] for route in counts.raise_for_status().json()["routes"].values())

    @asynccontextmanager
    async def replica(self, **environment: str) -> AsyncGenerator[Replica]:
        """A `conforme serve` of its own, stopped by SIGTERM."""
        port = free_port()
        command = [*python("conforme.cli"), "serve", "--port", str(port)]
        with _process(command, self.environment | environment) as process:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with httpx2.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, trust_env=False
            ) as client:
                await _answers(client, process)
                yield Replica(process.pid, client)

    def cpu(self, replicas: Sequence[Replica]) -> Cpu:
        """Those replicas and the whole PostgreSQL server, backends that have ended included."""
        return Cpu(sum(replica.cpu() for replica in replicas), self.database_cpu())

    def database_cpu(self) -> float:
        """Of the whole PostgreSQL server, backends that have ended included."""
        own = self._postmaster.cpu_times()
        database = own.user + own.system + own.children_user + own.children_system
        for child in self._postmaster.children():
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            database += times.user + times.system
        return database

    async def audit(self, replicas: Sequence[Replica], fiches: Sequence[str]) -> list[Audited]:
        """Asks for one audit per fiche, the replicas in turn, and waits until all have completed."""
        asked = [
            replicas[index % len(replicas)].client.post(
                "/api/audits/run", json={"fiche_id": fiche, "audit_config_id": self.config_id}
            )
            for index, fiche in enumerate(fiches)
        ]
        answers = await asyncio.gather(*asked)
        ids = [int(answer.raise_for_status().json()["audit_db_id"]) for answer in answers]
        return await self.ended(ids)

    async def ended(self, ids: list[int]) -> list[Audited]:
        """Waits until these audits have ended; all of them must have completed."""
        async with asyncio.timeout(AUDITS_SECONDS):
            while await self._open(ids):  # noqa: ASYNC110 -- other processes end them
                await asyncio.sleep(LOOK_SECONDS)
        return await self._audited(ids)

    async def _open(self, ids: list[int]) -> int:
        query = text("select count(*) from audits where id = any(:ids) and completed_at is null")
        async with self.database.read() as session:
            return await session.scalar(query, {"ids": ids}) or 0

    async def _audited(self, ids: list[int]) -> list[Audited]:
        query = text(
            "select id, status, extract(epoch from completed_at - created_at) from audits"
            " where id = any(:ids) order by id"
        )
        async with self.database.read() as session:
            rows = (await session.execute(query, {"ids": ids})).all()
        found = [Audited(row[0], row[1], float(row[2])) for row in rows]
        assert all(audited.status == "completed" for audited in found), found
        return found


def rubric() -> Rules:
    """The shipped configuration, cut to the number of steps that the figures are about."""
    complete = shipped(COMPLETE)
    return complete.model_copy(update={"name": f"{STEPS} steps", "steps": complete.steps[:STEPS]})


def fiches() -> list[str]:
    """The sales of the sandbox's day."""
    population = Population(load_corpus(), sales_per_day=SALES)
    return [sale.fiche_id for sale in population.sales(DAY)]


@asynccontextmanager
async def rig(sales: int = SALES, *, fault_rate: float = 0.0, attempts: int = 0) -> AsyncGenerator[Rig]:
    """A database, a sandbox with so many sales a day and the configuration of `STEPS` steps, until the block ends."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conforme-bench-")))
        settings = Settings(_env_file=None, CONFORME_DATA=folder, database_url=None)  # pyright: ignore[reportCallIssue]
        url = stack.enter_context(migrated_database(settings))
        postmaster = int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        told = folder / "sandbox.json"
        command = [*python("conforme.cli"), "sandbox", "--json", str(told), "--sales-per-day", str(sales)]
        command += ["--fault-rate", str(fault_rate), "--attempts-per-sale", str(attempts)]
        sandbox = stack.enter_context(_process(command, dict(os.environ)))
        world = _told(told, sandbox)
        made = Rig(url, postmaster, world["environment"], world["addresses"])
        async with AsyncExitStack() as closing:
            closing.push_async_callback(made.database.dispose)
            async with made.database.write() as session:
                made.config_id = (await service.import_rules(session, rubric(), created_by="bench")).id
            yield made


def python(module: str) -> list[str]:
    return [sys.executable, "-c", f"from {module} import main; main()"]


@contextmanager
def _process(command: list[str], environment: Mapping[str, str]) -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=dict(environment))
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _told(path: Path, process: subprocess.Popen[bytes]) -> dict[str, dict[str, str]]:
    limit = time.monotonic() + START_SECONDS
    while not path.exists():
        _require_start(process, limit)
        time.sleep(0.05)
    return json.loads(path.read_text())


async def _answers(client: httpx2.AsyncClient, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + START_SECONDS
    while True:
        _require_start(process, limit)
        try:
            if (await client.get("/health/ready")).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        await asyncio.sleep(0.1)


def _require_start(process: subprocess.Popen[bytes], limit: float) -> None:
    if process.poll() is not None or time.monotonic() > limit:
        raise RuntimeError("a process of the bench did not start")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
