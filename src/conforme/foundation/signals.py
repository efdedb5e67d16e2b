"""How replicas hear at once that work was queued or has ended.

The engine only polls. Triggers on its table send a notification with the transaction that queues or ends work; here
it is heard, on one connection per process that costs nothing while silent. A lost notification costs time, never work:
everybody who waits also looks by himself from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager

import psycopg
import structlog

log = structlog.get_logger(__name__)

CHANNEL = "conforme_engine"
INSTALL = f"""
do $install$
begin
  if to_regproc('dbos.conforme_signal') is null then
    create function dbos.conforme_signal() returns trigger language plpgsql as $body$
    begin
      if new.status = 'ENQUEUED' then
        perform pg_notify('{CHANNEL}', 'queued ' || coalesce(new.queue_name, ''));
      else
        perform pg_notify('{CHANNEL}', 'ended ' || new.workflow_uuid);
      end if;
      return null;
    end $body$;
    create trigger conforme_signal_insert after insert on dbos.workflow_status
      for each row when (new.status = 'ENQUEUED') execute function dbos.conforme_signal();
    create trigger conforme_signal_update after update of status on dbos.workflow_status
      for each row when (old.status is distinct from new.status and new.status not in ('PENDING', 'DELAYED'))
      execute function dbos.conforme_signal();
  end if;
end $install$
"""
RECONNECT_SECONDS = 0.5


class Expectation:
    """Waits until every awaited id has ended, or until one's own has (cancelled, or taken over)."""

    def __init__(self, own: str | None) -> None:
        self.own = own
        self.pending: set[str] = set()
        self._event = asyncio.Event()

    def heard(self, id: str) -> None:
        self.pending.discard(id)
        if not self.pending or id == self.own:
            self._event.set()

    def look(self) -> None:
        """Makes the waiter look for himself."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Returns when something decisive was heard, and at the latest after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()


class Signals:
    """The process's ear. Lives on the event loop that starts it."""

    def __init__(
        self, url: str, *, on_queued: Callable[[str | None], None], on_ended: Callable[[str], None]
    ) -> None:
        self._url = url
        self._on_queued = on_queued
        """Told the lane that received work; None means any may have."""
        self._on_ended = on_ended
        self._expectations: set[Expectation] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        connection = await self._connect()
        self._task = asyncio.create_task(self._listen(connection), name="engine-signals")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @contextmanager
    def expecting(self, own: str | None = None, ids: Iterable[str] = ()) -> Generator[Expectation]:
        expectation = Expectation(own)
        expectation.pending.update(ids)
        self._expectations.add(expectation)
        try:
            yield expectation
        finally:
            self._expectations.discard(expectation)

    async def _connect(self) -> psycopg.AsyncConnection:
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, connect_timeout=5)
        await connection.execute(f"listen {CHANNEL}")
        return connection

    async def _listen(self, connection: psycopg.AsyncConnection | None) -> None:
        while True:
            try:
                if connection is None:
                    connection = await self._connect()
                    self._catch_up()
                async with connection:
                    async for notification in connection.notifies():
                        self._hear(notification.payload)
            except psycopg.Error:
                log.warning("lost the engine's notifications, reconnecting")
                await asyncio.sleep(RECONNECT_SECONDS)
            connection = None

    def _hear(self, payload: str) -> None:
        kind, _, about = payload.partition(" ")
        if kind == "queued":
            self._on_queued(about)
            return
        self._on_ended(about)
        for expectation in tuple(self._expectations):
            if about in expectation.pending or about == expectation.own:
                expectation.heard(about)

    def _catch_up(self) -> None:
        self._on_queued(None)
        for expectation in tuple(self._expectations):
            expectation.look()


class LaneClock:
    """The stop event that the engine's queue loop rests on between two looks at its lane, woken when there is work.

    A look costs the database several statements. Where a look may be in vain (work has ended here; a moment has passed
    since the last look, which another replica's may have disturbed) one cheap question comes first.
    """

    GATHER_SECONDS = 0.004
    ECHO_SECONDS = 0.15

    def __init__(self, is_waiting: Callable[[], bool]) -> None:
        self._is_waiting = is_waiting
        """Whether any work waits on the lane."""
        self._woken = threading.Event()
        self._open = threading.Event()
        self._open.set()
        self._queued = False
        self._stopped = False

    def work_queued(self) -> None:
        self._queued = True
        self._woken.set()

    def place_freed(self) -> None:
        self._woken.set()

    def pause(self) -> None:
        """Takes no more work until `resume`."""
        self._open.clear()

    def resume(self) -> None:
        self._open.set()
        self.work_queued()

    def stop(self) -> None:
        self._stopped = True
        self._open.set()
        self._woken.set()

    def is_set(self) -> bool:
        return self._stopped

    def wait(self, timeout: float) -> bool:
        """Rests until there is work, or `timeout` seconds; True when the lane is closed for good."""
        rest, empty = self.ECHO_SECONDS, False
        while self._woken.wait(rest) or rest == self.ECHO_SECONDS:
            self._open.wait()
            time.sleep(self.GATHER_SECONDS)  # what is queued or ends together is seen together
            self._woken.clear()
            if self._stopped:  # asked after the clearing, which could have swallowed the call of `stop`
                return True
            queued, self._queued = self._queued, False
            if queued or (not empty and self._is_waiting()):
                return False
            rest, empty = timeout, True  # until more is queued, which is told
        return self._stopped
