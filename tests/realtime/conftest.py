"""Both ways in which replicas wake each other: PostgreSQL's NOTIFY and a stream of a real Redis."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from shutil import which

import pytest
from pydantic import SecretStr

from conforme.foundation.database import Database
from conforme.realtime.fanout import Fanout, fanout_of
from conforme.settings import Settings

START_SECONDS = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RedisServer:
    """A server of our own, which a test may stop and start."""

    def __init__(self, folder: Path) -> None:
        executable = which("redis-server")
        assert executable, "redis-server is not installed: apt-get install redis-server"
        self._port = free_port()
        self._command = [executable, "--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        self._command += ["--dir", str(folder), "--appendonly", "no"]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: ASYNC220
        async with asyncio.timeout(START_SECONDS):
            while not await self._answers():
                await asyncio.sleep(0.02)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer.startswith(b"+PONG")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
async def redis(redis_server: RedisServer) -> RedisServer:
    """A Redis that answers, whatever a test before did to it."""
    redis_server.stop()
    await redis_server.start()
    return redis_server


@pytest.fixture(params=["postgres", "redis"])
def told_by(request: pytest.FixtureRequest) -> Settings:
    """The settings of a replica, for each way of waking."""
    if request.param == "postgres":
        return Settings()
    server: RedisServer = request.getfixturevalue("redis")
    return Settings(redis_url=SecretStr(server.url))


@pytest.fixture
async def replica_database(
    told_by: Settings, database: Database, database_url: str
) -> AsyncGenerator[Database]:
    """A replica's own connection to the empty database; what it commits is told its way."""
    own = Database(database_url, pool_size=20, notify=told_by.redis_url is None)
    async with fanout_of(told_by, own).announcing(own):
        yield own
    await own.dispose()


@pytest.fixture
def fanout(told_by: Settings, replica_database: Database) -> Fanout:
    return fanout_of(told_by, replica_database)
