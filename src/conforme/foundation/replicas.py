"""Who is alive, and who takes over the work of those who are not.

Every replica writes a heartbeat on the database's clock, from a thread, so that a busy event loop is not taken for a
dead process. Every replica looks, at each beat, for running work whose holder has no fresh heartbeat and queues it
again: one statement, repeated for as long as there is such work, so that no single failure strands it. A replica that
could not beat for a whole lease must assume that others have its work: it lets go of it before it goes on.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
"""At least this often lanes with waiting work are looked at, when nothing else wakes them."""

BEAT = """
insert into engine_heartbeats (executor_id) values (%(me)s)
on conflict (executor_id) do update set beat_at = now()
"""
TAKE_OVER = """
with stranded as (
  select w.workflow_uuid from dbos.workflow_status w
  where w.status = 'PENDING' and w.executor_id <> %(me)s and w.application_version = %(version)s
    and not exists (
      select from engine_heartbeats b
      where b.executor_id = w.executor_id and b.beat_at > now() - make_interval(secs => %(lease)s)
    )
  for update skip locked
)
update dbos.workflow_status w
set status = 'ENQUEUED', owner_xid = null, started_at_epoch_ms = null,
    updated_at = (extract(epoch from clock_timestamp()) * 1000)::bigint
from stranded where w.workflow_uuid = stranded.workflow_uuid
"""
GIVE_BACK = """
update dbos.workflow_status
set status = 'ENQUEUED', owner_xid = null, started_at_epoch_ms = null,
    updated_at = (extract(epoch from clock_timestamp()) * 1000)::bigint
where status = 'PENDING' and executor_id = %(me)s
"""
WAITING = """
select lane from unnest(%(lanes)s::text[]) lane
where exists (select from dbos.workflow_status where queue_name = lane and status = 'ENQUEUED')
"""
FORGET = "delete from engine_heartbeats where executor_id = %(me)s or beat_at < now() - interval '1 day'"


@dataclass(frozen=True, slots=True)
class Duties:
    """What the heartbeat asks of the engine around it; called from the heartbeat's thread."""

    let_go: Callable[[], None]
    """Stop all local work, without recording anything, and take no more. Returns when it is so."""
    resume: Callable[[], None]
    look: Callable[[Sequence[str]], None]
    """Work is waiting on these lanes."""


class Replica:
    """This process among its peers. `url` is a libpq URL; `lease` and `beat` are seconds."""

    def __init__(self, url: str, *, version: str, lease: float, beat: float, lanes: Sequence[str]) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._url = url
        self._lease = lease
        self._interval = min(beat, LOOK_SECONDS)
        self._facts: dict[str, Any] = {
            "me": self.id,
            "version": version,
            "lease": lease,
            "lanes": list(lanes),
        }
        self._connection: psycopg.Connection | None = None
        self._last_beat = 0.0
        self._fenced = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the last heartbeat is younger than the lease: nobody has taken this one's work over."""
        return not self._fenced and time.monotonic() - self._last_beat <= self._lease

    def join(self, duties: Duties) -> None:
        """First beat, then one after the other from a thread. Call before taking any work."""
        self._beat()
        self._thread = threading.Thread(
            target=self._run, args=(duties,), name="engine-heartbeat", daemon=True
        )
        self._thread.start()

    def leave(self) -> None:
        """Gives back what was not finished, and goes: the others take it at once."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        try:
            connection = self._connected()
            connection.execute(GIVE_BACK, self._facts)
            connection.execute(FORGET, self._facts)
        except psycopg.Error:
            log.warning("could not hand over: the others take the work when the lease ends")
        self._disconnect()

    def _run(self, duties: Duties) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._tick(duties)
            except psycopg.Error as error:
                log.warning("heartbeat failed", error=type(error).__name__)
                self._disconnect()

    def _tick(self, duties: Duties) -> None:
        if not self._fenced and time.monotonic() - self._last_beat > self._lease:
            log.warning("no heartbeat for a whole lease: letting go of all work")
            self._fenced = True
            duties.let_go()
        if self._fenced:
            self._connected().execute(GIVE_BACK, self._facts)
        self._beat()
        if self._fenced:
            self._fenced = False
            duties.resume()
        taken = self._connected().execute(TAKE_OVER, self._facts).rowcount
        if taken:
            log.warning("took over work of a silent replica", jobs=taken)
        waiting = self._connected().execute(WAITING, self._facts).fetchall()
        if waiting:
            duties.look([str(lane) for (lane,) in waiting])

    def _beat(self) -> None:
        begun = time.monotonic()
        self._connected().execute(BEAT, self._facts)
        self._last_beat = begun

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            limit = str(max(1000, int(self._lease * 1000)))
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=5,
                tcp_user_timeout=limit,
                application_name="conforme-heartbeat",
            )
            self._connection.execute("select set_config('statement_timeout', %s, false)", [limit])
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
