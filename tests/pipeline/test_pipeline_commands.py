"""The commands as a person types them: the demo survives its own death, `serve` and `sandbox` end when they are told to."""

import asyncio
import json
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pipeline_audits import DAY, Client, client_of, configured, ledger
from pipeline_processes import QUICK, Command, Outside, Start, command, free_port, replicas, until

from conforme.foundation.database import Database
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.population import Population

pytestmark = pytest.mark.crash


DEMO = ("demo", "--once", "--json", "out.json")
HURRIED = {
    "PORT": "0",
    "REPLICA_HEARTBEAT_SECONDS": "0.4",
    "REPLICA_LEASE_SECONDS": "2",
    "DRAIN_SECONDS": "1",
}


async def _killed_when_the_providers_were_asked(requests: int, folder: Path) -> None:
    """Starts the demo and kills it, and its sandbox with it, in the middle of its work."""
    state = folder / ".conforme" / "demo" / "demo.json"
    with command(folder, *DEMO, **HURRIED) as demo:

        async def reached() -> bool:
            assert demo.process.is_alive(), demo.log
            ports = _json_in(state)["ports"] if state.exists() else {}
            addresses = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
            try:
                return (
                    bool(ports)
                    and await Outside(addresses, {}).requests("crm", "speech", "model") >= requests
                )
            except httpx2.TransportError:
                return False

        await until(reached, f"the providers of the demo were asked {requests} times", 90)


async def _typed(folder: Path, *words: str, **environment: str) -> tuple[int | None, str]:
    """Exit code and output of a command started from nothing, as a shell starts it."""
    program = (sys.executable, "-c", "from conforme.cli import main; main()")
    process = await asyncio.create_subprocess_exec(
        *program, *words, cwd=folder, env={**os.environ, **environment}, stdout=PIPE, stderr=STDOUT
    )
    try:
        async with asyncio.timeout(300):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said.decode()


async def test_the_demo_shows_the_whole_walk_though_it_is_killed_twice(tmp_path: Path) -> None:
    chance = random.Random(11)  # noqa: S311
    for earliest, latest in ((3, 12), (20, 50)):
        await _killed_when_the_providers_were_asked(chance.randint(earliest, latest), tmp_path)
    code, said = await _typed(tmp_path, *DEMO, **HURRIED)
    assert code == 0, said
    report = _json_in(tmp_path / "out.json")
    audits, totals = report["audits"], report["totals"]
    assert [audit["status"] for audit in audits] == ["completed"] * 6
    assert report["fiches"] == [audit["fiche_id"] for audit in audits]
    assert len(set(report["fiches"])) == totals["audits"] == 6
    niveaux = {audit["niveau"] for audit in audits}
    assert "REJET" in niveaux
    assert niveaux & {"BON", "EXCELLENT"}
    assert totals["cached_tokens"] / totals["prompt_tokens"] >= 0.65
    assert report["planted"]["fabricated_quotes"] > 0
    assert report["planted"]["fabricated_quotes_kept"] == 0


def _json_in(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


async def _announced(path: Path) -> Outside:
    await until(path.exists, "the sandbox says where it is")
    found = _json_in(path)
    return Outside(found["addresses"], found["environment"])


async def test_serve_and_sandbox_work_together_and_end_when_told_to(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    slow = ("--model-latency-ms", "400", "--speech-latency-ms", "300", "--sales-per-day", "5", "--seed", "3")
    with command(tmp_path, "sandbox", "--json", "where.json", *slow) as sandbox:
        world = await _announced(tmp_path / "where.json")
        port = free_port()
        patient = {**world.environment, **QUICK, "REPLICA_LEASE_SECONDS": "600", "DATABASE_URL": database_url}
        with (
            command(tmp_path, "serve", "--port", str(port), **patient) as serve,
            replicas(database_url, world.environment) as start,
        ):
            await _handed_over(world, database, port, serve, start)
        sandbox.signal(signal.SIGTERM)
        assert await sandbox.ended() == 0, sandbox.log


async def _handed_over(world: Outside, database: Database, port: int, serve: Command, start: Start) -> None:
    """Asks one process for an audit, tells it to stop during the analysis, and reads the result from another."""
    sale = Population(load_corpus(), seed=3, sales_per_day=5).sales(DAY)[0]
    async with client_of(f"http://127.0.0.1:{port}") as http:
        await until(lambda: _is_ready(http), f"the server is ready\n{serve.log}", 90)
        audit = await Client(http).ask(sale.fiche_id, await configured(database))
        await until(lambda: _asked(world, 1), "the model is asked")
    successor = start(REPLICA_LEASE_SECONDS="600")
    serve.signal(signal.SIGTERM)
    assert await serve.ended() == 0, serve.log
    async with client_of((await successor.ready()).url) as http:
        [detail] = await Client(http).ended([audit])
    assert (detail["status"], detail["errorMessage"]) == ("completed", None), serve.log
    assert await world.requests("model") == 5
    assert set((await ledger(database, "model")).values()) == {1}


async def _is_ready(http: httpx2.AsyncClient) -> bool:
    try:
        return (await http.get("/health/ready")).status_code == 200
    except httpx2.TransportError:
        return False


async def _asked(world: Outside, times: int) -> bool:
    return await world.requests("model") >= times
