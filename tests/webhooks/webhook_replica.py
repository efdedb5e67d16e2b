"""A replica that only delivers webhooks, in a process of its own, to be killed."""

import asyncio
import multiprocessing
import os
import signal
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event
from typing import Any, Self

from webhook_room import resources_of, working

from conforme.foundation.database import Database
from conforme.settings import Settings

_forks = multiprocessing.get_context("forkserver")


class WebhookReplica:
    """Killed at the latest when its block ends."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._ready = _forks.Event()
        known = settings.model_dump(include={"webhook_allowed_origins", "webhook_retry_seconds"})
        self._process: ForkServerProcess = _forks.Process(
            target=_main, args=(url, known, self._ready), daemon=True
        )

    async def __aenter__(self) -> Self:
        self._process.start()
        await asyncio.to_thread(self._ready.wait, 60)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()


def _main(url: str, known: dict[str, Any], ready: Event) -> None:
    Settings.model_config["env_file"] = None
    settings = Settings(
        **known, replica_heartbeat_seconds=0.3, replica_lease_seconds=1.5, webhook_timeout_seconds=60
    )
    asyncio.run(_work(url, settings, ready, os.getppid()))


async def _work(url: str, settings: Settings, ready: Event, parent: int) -> None:
    async with working(resources_of(settings, Database(url, pool_size=5))):
        ready.set()
        while os.getppid() == parent:  # noqa: ASYNC110 -- nobody tells that the test run is gone
            await asyncio.sleep(0.5)
