"""What tests of realtime share: a Redis of their own, and waiting for what nobody tells."""

import asyncio
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from shutil import which

PATIENCE = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Waits until a state of another process, which tells nobody, has come."""
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


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
        await until(self._answers)

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
