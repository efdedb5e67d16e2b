"""Replicas in process groups of their own that are killed and begun again, and what is kept of each life."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO

import httpx2
import psutil

from bench.rig import TOKEN, free_port, python

LONG_SECONDS = 20.0
"""A life that is long enough for its memory to tell anything."""

WARM_SECONDS = 60.0
"""By then everything has been imported and met once."""


@dataclass
class Life:
    """One process from its beginning to its end."""

    process: subprocess.Popen[bytes]
    began: float
    memory: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    """Age in seconds, resident bytes."""
    cpu: float = 0.0
    killed: bool = False

    @property
    def age(self) -> float:
        return self.memory[-1][0] if self.memory else 0.0

    @property
    def peak(self) -> int:
        return max((size for _, size in self.memory), default=0)

    def look(self) -> None:
        """Notes what the process has used; nothing when it has ended."""
        try:
            known = psutil.Process(self.process.pid)
            times, size = known.cpu_times(), known.memory_info().rss
        except psutil.NoSuchProcess:
            return
        self.cpu = times.user + times.system
        self.memory.append((time.monotonic() - self.began, size))


class Lives:
    """So many replicas, each on a port that it keeps from life to life."""

    def __init__(self, count: int, environment: Mapping[str, str], log: Path) -> None:
        self.urls = [f"http://127.0.0.1:{free_port()}" for _ in range(count)]
        self.ended: list[Life] = []
        self._environment = dict(environment)
        self._log: IO[bytes] = log.open("ab")
        self.now = [self._begin(number) for number in range(count)]

    @property
    def all(self) -> list[Life]:
        return [*self.ended, *self.now]

    def _begin(self, number: int) -> Life:
        port = self.urls[number].rpartition(":")[2]
        command = [*python("conforme.cli"), "serve", "--port", port]
        process = subprocess.Popen(
            command,
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        return Life(process, time.monotonic())

    def look(self) -> None:
        for life in self.now:
            life.look()

    def kill(self, number: int) -> None:
        """Ends a life without a word, and whatever it had begun; another one begins at once."""
        life = self.now[number]
        life.look()
        self._end(life)
        self.ended.append(life)
        self.now[number] = self._begin(number)

    def _end(self, life: Life) -> None:
        life.killed = True
        if life.process.poll() is None:
            os.killpg(life.process.pid, signal.SIGKILL)
        life.process.wait()

    def close(self) -> None:
        for life in self.now:
            self._end(life)
        self._log.close()

    def died(self) -> list[int | None]:
        """Exit codes of processes that ended without being killed."""
        return [
            life.process.returncode
            for life in self.now
            if not life.killed and life.process.poll() is not None
        ]

    async def ready(self) -> list[str]:
        """The replicas that answer now, the one that has lived longest first."""
        order = sorted(range(len(self.now)), key=lambda number: self.now[number].began)
        return [self.urls[number] for number in order if await _answers(self.urls[number])]


async def _answers(url: str) -> bool:
    try:
        async with client_of(url, seconds=2) as client:
            return (await client.get("/health/ready")).status_code == 200
    except httpx2.TransportError:
        return False


def client_of(url: str, seconds: float = 30) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx2.AsyncClient(base_url=url, headers=headers, timeout=seconds, trust_env=False)


def growth_within(life: Life) -> float:
    """What a life ended with, as a multiple of what it had after its first minute; 1 for a shorter one."""
    early = [size for age, size in life.memory if WARM_SECONDS <= age < 2 * WARM_SECONDS]
    return life.memory[-1][1] / max(early) if early else 1.0


def growth(lives: list[Life]) -> tuple[float, float]:
    """Median of the peaks of the lives in the first third and in the last, in MB; short lives left out."""
    long = [life.peak / 1e6 for life in lives if life.age >= LONG_SECONDS]
    third = max(1, len(long) // 3)
    return (median(long[:third]), median(long[-third:])) if long else (0.0, 0.0)
