"""One process of Conforme from the outside in: its database, its HTTP server, its end on SIGTERM."""

import asyncio
import gc
import resource
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from conforme.foundation.embedded import database_url
from conforme.foundation.migrate import migrate
from conforme.settings import Settings

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from conforme.app import Role
    from conforme.foundation.resources import Resources

log = structlog.get_logger(__name__)

START_SECONDS = 60.0
GC_THRESHOLDS = (10_000, 20, 50)
"""Objects that make a search of the youngest, and how many of those make one of the next generation."""


@contextmanager
def migrated_database(settings: Settings) -> Generator[str]:
    """The URL of a database in the shape this version expects; the embedded server runs while the block lasts."""
    with database_url(settings) as url:
        migrate(url)
        yield url


@dataclass(frozen=True)
class Served:
    """A running HTTP server."""

    url: str
    serving: asyncio.Task[None]
    """Ends when the server does."""
    resources: "Resources"


@asynccontextmanager
async def http_server(settings: Settings, url: str, role: "Role") -> AsyncGenerator[Served]:
    """Serves the application on `settings.host:settings.port` (0 = any free port) until the block ends.

    Raises:
        OSError: the address is in use.
    """
    from conforme.app import build

    async with serving(build(settings, url, role), settings) as served:
        yield served


@asynccontextmanager
async def serving(app: "FastAPI", settings: Settings) -> AsyncGenerator[Served]:
    """The same of an application that is built already."""
    import uvicorn

    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_seconds),
    )
    socket = config.bind_socket()
    server = _quiet_server(config)
    work = asyncio.create_task(server.serve(sockets=[socket]), name="serve HTTP")
    try:
        await _started(server, work)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        yield Served(f"http://{host}:{socket.getsockname()[1]}", work, app.state.resources)
    finally:
        server.should_exit = True
        await work


def _quiet_server(config: "uvicorn.Config") -> "uvicorn.Server":
    """A server that leaves the signals of the process to us."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Generator[None]:
            yield

    return Server(config)


async def _started(server: "uvicorn.Server", serving: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(START_SECONDS):
        while not server.started:
            if serving.done():
                serving.result()
                raise RuntimeError("the server ended before it started")
            await asyncio.sleep(0.02)


def stop_on_signals() -> asyncio.Event:
    """An event set by SIGTERM or SIGINT."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    return asked


def settle_memory() -> None:
    """Spares what the process is built of every later search for garbage, and searches less often.

    Half a million objects of libraries live as long as the process: looking through them took a twentieth of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def allow_open_files() -> None:
    """As many as the system lets this process have: each open stream is one (`STREAM_MAX_CLIENTS`)."""
    now_allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and now_allowed < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def serve(settings: Settings, url: str, role: "Role") -> None:
    """Runs one replica until it is told to stop, then drains it."""
    from conforme.app import Role, running

    asked = stop_on_signals()
    allow_open_files()
    if role is Role.WORKER:
        async with running(settings, url, role):
            settle_memory()
            log.info("worker is running")
            await asked.wait()
        return
    async with http_server(settings, url, role) as served:
        settle_memory()
        log.info("serving", url=served.url, role=role.value)
        told = asyncio.create_task(asked.wait())
        await asyncio.wait([served.serving, told], return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
