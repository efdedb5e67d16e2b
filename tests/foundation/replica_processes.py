"""Replicas in processes of their own, to be frozen and killed."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from typing import Any

import durable_jobs
import psutil

SHORT_LEASE: dict[str, Any] = {
    "replica_heartbeat_seconds": 0.3,
    "replica_lease_seconds": 1.5,
    "drain_seconds": 5,
    "worker_concurrency": 4,
}

# One process imports everything, each replica is a fork of it: a start takes a moment instead of seconds.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    ["durable_jobs", "dbos._sys_db_postgres", "dbos._sys_db_sqlite", "conforme.foundation.retention"]
)


class ReplicaProcess:
    def __init__(self, url: str, settings: dict[str, Any], *, ticking: bool = False) -> None:
        ready = _forks.Event()
        self._process: ForkServerProcess = _forks.Process(
            target=durable_jobs.main, args=(url, settings, ticking, ready), daemon=True
        )
        self._process.start()
        self._ready = ready

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    async def ready(self) -> "ReplicaProcess":
        await until(self._ready.is_set, "the replica is ready")
        return self

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self) -> int | None:
        await until(lambda: not self._process.is_alive(), "the replica has ended")
        return self._process.exitcode

    def kill(self) -> None:
        if self._process.is_alive():
            self.signal(signal.SIGKILL)
        self._process.join()


@contextmanager
def replica_processes(url: str, **settings: Any) -> Generator[Callable[..., ReplicaProcess]]:
    """Starts replicas on a database; whatever is left of them is killed at the end."""
    started: list[ReplicaProcess] = []

    def start(*, ticking: bool = False) -> ReplicaProcess:
        started.append(ReplicaProcess(url, SHORT_LEASE | settings, ticking=ticking))
        return started[-1]

    try:
        yield start
    finally:
        for replica in started:
            replica.kill()


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, seconds: float = 30) -> None:
    """Returns as soon as the condition holds; fails when it does not within `seconds`."""
    limit = asyncio.get_running_loop().time() + seconds
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert asyncio.get_running_loop().time() < limit, f"waited in vain until {what}"
        await asyncio.sleep(0.03)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet buried does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
