"""The port to the durable engine (DBOS), and the one file that imports it.

Domains see jobs on lanes, steps with unique names, children and sleep; nothing of the engine. What this file adds to
the engine, and why, is in docs/adr/0001-durable-engine.md; the parts of it that are not public are used in `_Engine`
and, where its tables and threads are concerned, in `engine_tables` and `engine_outcomes`, and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog
from pydantic import BaseModel
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from conforme.foundation import job_rows
from conforme.foundation.database import Database, WriteSession, async_url
from conforme.foundation.engine_outcomes import stay_on_the_loop
from conforme.foundation.engine_tables import EngineJson, Gathered, Improvements, gather
from conforme.foundation.job_context import JobContext
from conforme.foundation.job_rows import State
from conforme.foundation.jobs import (
    HOUSEKEEPING,
    JOBS,
    SCHEDULES,
    Child,
    Job,
    Lane,
    LaneLimits,
    Outcome,
    Priority,
    Rate,
    Retry,
    Schedule,
    check_dispatch,
    job,
    lanes_of,
    schedule,
)
from conforme.foundation.replicas import Duties, Replica
from conforme.foundation.runner import ABANDON_SECONDS, LOOK_SECONDS, Runner
from conforme.foundation.signals import INSTALL, LaneClock, Signals
from conforme.settings import Settings

if TYPE_CHECKING:
    from dbos import DBOS, DBOSClient, EnqueueOptions
    from dbos._context import DBOSContext
    from dbos._queue import Queue
    from dbos._sys_db import SystemDatabase

    from conforme.foundation.resources import Resources

__all__ = [
    "HOUSEKEEPING",
    "Child",
    "Durable",
    "Job",
    "JobContext",
    "Lane",
    "LaneLimits",
    "Outcome",
    "Priority",
    "Rate",
    "Retry",
    "job",
    "migrate_engine",
    "schedule",
]

T = TypeVar("T")
P = TypeVar("P", bound=BaseModel)
Body = Callable[..., Coroutine[Any, Any, Any]]
Bodies = Mapping[str, Body]
log = structlog.get_logger(__name__)

APPLICATION = "conforme"
VERSION = "wf-2"
"""Bumped by hand, and only for a change after which running jobs cannot be continued by the new code."""

MAX_STARTS = 25
"""A job whose process dies this often while it runs is given up (`ABANDONED`)."""
DEADLINE_GRACE = 60.0
"""Seconds after a job's deadline when the engine ends what did not end itself."""
REST_SECONDS = 30.0
"""An idle lane is looked at this often without being woken."""
EXECUTOR_THREADS = 8
POOL_SIZE = 8


def migrate_engine(url: str) -> None:
    """Creates or upgrades the engine's own tables (schema `dbos`) and our triggers on them. Blocking."""
    from dbos import DBOS

    _quiet_engine()
    DBOS.migrate(async_url(url))
    engine = create_engine(async_url(url))
    with engine.begin() as connection:
        connection.exec_driver_sql(INSTALL)
    engine.dispose()


def engine_ready(url: str) -> bool:
    """Whether `migrate_engine` has run on this database. Blocking."""
    engine = create_engine(async_url(url))
    try:
        with engine.connect() as connection:
            return bool(connection.scalar(text("select to_regproc('dbos.conforme_signal') is not null")))
    finally:
        engine.dispose()


def _declared_schedules() -> list[Schedule]:
    from conforme.foundation import retention  # it declares its own, and needs this module

    return list({**SCHEDULES, retention.retention.name: retention.retention}.values())


@dataclass(slots=True)
class _LaneWorker:
    clock: LaneClock
    thread: threading.Thread = field(init=False)


class Durable:
    """Dispatches jobs and, unless told not to, runs them. One per process, living on the event loop that starts it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        jobs: Iterable[Job[Any]] | None = None,
        schedules: Iterable[Schedule] | None = None,
    ) -> None:
        """`jobs` and `schedules` are what this process may run: all that were declared, by default."""
        self.settings = settings
        self.database = database
        self._jobs = jobs
        self._schedules = schedules
        self._engine = _Engine(database.url, settings)
        self._runner = Runner(settings, database, self._engine)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._replica: Replica | None = None
        self._lanes: dict[str, _LaneWorker] = {}
        self._libpq_url = database.url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._signals = Signals(self._libpq_url, on_queued=self._wake, on_ended=self._heard_end)

    @property
    def healthy(self) -> bool:
        """Whether this process may take work; one that only dispatches always may."""
        return self._replica is None or self._replica.alive

    async def start(self, resources: Resources, *, works: bool = True) -> None:
        """Joins the replicas and begins to take work; with `works=False` only dispatches and waits.

        The database must have been migrated. Blocks the loop for the moment the engine needs to start.
        """
        self._loop = asyncio.get_running_loop()
        self._runner.open(resources, self._signals)
        await self._signals.start()
        if not works:
            return
        jobs = list(JOBS.values()) if self._jobs is None else list(self._jobs)
        schedules = _declared_schedules() if self._schedules is None else list(self._schedules)
        lanes = lanes_of(jobs, schedules)
        self._replica = Replica(
            self._libpq_url,
            version=VERSION,
            lease=self.settings.replica_lease_seconds,
            beat=self.settings.replica_heartbeat_seconds,
            lanes=list(lanes),
        )
        duties = Duties(let_go=self._let_go, resume=self._resume, look=self._look)
        await asyncio.to_thread(self._replica.join, duties)
        bodies = {job.name: partial(self._runner.run_job, job) for job in jobs}
        ticks = {schedule.name: partial(self._runner.run_tick, schedule) for schedule in schedules}
        self._engine.launch(self._replica.id, self.settings.replica_lease_seconds, bodies, ticks)
        for lane in lanes.values():
            await self._open(lane)
        await self._engine.apply(schedules)
        log.info("replica started", replica=self._replica.id, lanes=sorted(lanes))

    async def stop(self) -> None:
        """Takes no more work, lets calls in flight end (`drain_seconds`), hands over the rest."""
        for worker in self._lanes.values():
            worker.clock.stop()
        if self._replica is not None:
            await self._runner.drain()
            for worker in self._lanes.values():
                await asyncio.to_thread(worker.thread.join)
            await self._runner.abandon()
            await asyncio.to_thread(self._replica.leave)
        await self._signals.stop()
        await self._engine.close()
        self._lanes.clear()
        self._replica = None

    async def dispatch(  # noqa: PLR0913 -- the words of the port
        self,
        session: WriteSession,
        job: Job[P],
        payload: P,
        *,
        id: str,
        key: str | None = None,
        priority: Priority = Priority.NORMAL,
        delay_seconds: float = 0,
        within: float | None = None,
    ) -> None:
        """Queues a job in the session's transaction: it runs if, and only if, that commits.

        `within` is that of a `Child`.

        The same id twice is one execution for as long as the first is kept (`workflow_retention_days`). Raises
        ValueError when the lane needs a key and none is given.
        """
        check_dispatch(job, id, key, self.settings)
        child = Child(job=job, payload=payload, id=id, key=key, priority=priority, within=within)
        enqueue = partial(self._engine.enqueue, children=[child], delay=delay_seconds)
        await (await session.connection()).run_sync(enqueue)

    async def cancel(self, *ids: str) -> None:
        """Cancels jobs and their children, queued or running; calls in flight are cancelled too.

        All jobs before any of their children: however many there are, nothing new is begun meanwhile.
        """
        if ids:
            await self._engine.cancel(ids)

    async def state(self, id: str) -> State | None:
        """Where a job stands; None when there is no such job (or it is kept no longer)."""
        return (await self.states([id])).get(id)

    async def states(self, ids: Iterable[str]) -> dict[str, State]:
        """Where these jobs stand, by one statement; those that there are not (or that are kept no longer) are left out."""
        rows = await job_rows.read_rows(self.database, list(ids))
        return {id: row.state for id, row in rows.items()}

    async def wait(self, id: str, timeout: float) -> Outcome:  # noqa: ASYNC109 -- the words of the port
        """How a job ended. Raises TimeoutError when it has not ended after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            with self._signals.expecting(ids=[id]) as expectation:
                while True:
                    row = (await self._runner.rows([id])).get(id)
                    if row is not None and row.ended:
                        return row.outcome()
                    expectation.pending.add(id)
                    await expectation.wait(LOOK_SECONDS)

    async def forget(self, id: str) -> None:
        """Deletes a job that has ended, its payload and all it answered."""
        await self._engine.delete([id])

    async def delete_ended(self, older_than_seconds: float, batch: int, like: Sequence[str] = ()) -> int:
        """Forgets up to `batch` jobs that ended longer ago than that; returns how many.

        `like` says how their ids begin: only such are forgotten, as far as they ended within the last day.
        """
        ids = await job_rows.expired(self.database, older_than_seconds, batch, like)
        if ids:
            await self._engine.delete(ids)
        return len(ids)

    async def _open(self, lane: Lane) -> None:
        limits = lane.limits(self.settings)
        worker = _LaneWorker(LaneClock(partial(self._engine.is_waiting, lane.name)))
        queue = await self._engine.register(lane.name, limits, self.settings.worker_concurrency)
        worker.thread = self._engine.serve(queue, worker.clock)
        self._lanes[lane.name] = worker
        worker.clock.work_queued()

    # Being told.

    def _wake(self, lane: str | None) -> None:
        for name in self._lanes if lane is None else (lane,):
            if name in self._lanes:
                self._lanes[name].clock.work_queued()

    def _heard_end(self, id: str) -> None:
        lane = self._runner.heard_end(id)
        if lane in self._lanes:
            self._lanes[lane].clock.place_freed()

    def _look(self, lanes: Sequence[str]) -> None:
        for lane in lanes:
            self._wake(lane)

    # Letting go.

    def _let_go(self) -> None:
        for worker in self._lanes.values():
            worker.clock.pause()
        if self._loop is not None and not self._loop.is_closed():
            done = asyncio.run_coroutine_threadsafe(self._runner.abandon(), self._loop)
            try:
                done.result(ABANDON_SECONDS)
            except TimeoutError:
                log.warning("the event loop is busy: work may run here and elsewhere for a moment")

    def _resume(self) -> None:
        for worker in self._lanes.values():
            worker.clock.resume()


class _EngineLog(logging.Handler):
    """The engine's warnings in our log, by their first line: what it quotes of errors may be personal."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage().partition("\n")[0].partition(":")[0]
        if not message.startswith("Exception encountered in asynchronous workflow"):
            log.debug("engine", message=message[:200])


def _quiet_engine() -> None:
    logger = logging.getLogger("dbos")
    if not any(isinstance(handler, _EngineLog) for handler in logger.handlers):
        logger.handlers = [_EngineLog()]
        logger.propagate = False
        logger.setLevel(logging.WARNING)


class _Engine:
    """DBOS, narrowed to what the port needs. Everything that is not public there is touched here alone."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        self._settings = settings
        self._sql: Engine | None = None
        self._client: DBOSClient | None = None
        self._dbos: DBOS | None = None
        self._per_key: dict[str, int] = {}
        self._ticks: dict[str, Callable[..., Any]] = {}
        self._ticking: set[str] = set()
        """Lanes that schedules queue work on."""
        self._fresh: set[str] = set()
        """Jobs that run here and had no step stored when they were claimed: there is nothing to look up for them."""

    def launch(self, executor: str, lease: float, jobs: Bodies, ticks: Bodies) -> None:
        """Starts the engine on the running loop. `executor` names this process, unique per boot."""
        from dbos import DBOS

        _quiet_engine()
        self._dbos = DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": self._url,
                "system_database_engine": self._engine(lease),
                "application_version": VERSION,
                "executor_id": executor,
                "serializer": cast("Any", EngineJson()),
                "run_migrations": False,
                "max_executor_threads": EXECUTOR_THREADS,
                "log_level": "WARNING",
                "notification_coalesce_sec": 1.0,  # a feature we do not use, that would wake a thread a hundred times a second
            }
        )
        DBOS.listen_queues([])  # our own threads serve the lanes: see `serve`
        for name, body in jobs.items():
            DBOS.workflow(name=name, max_recovery_attempts=MAX_STARTS)(_with_envelope(body))
        self._ticks = {
            name: DBOS.workflow(name=f"schedule {name}", max_recovery_attempts=MAX_STARTS)(_with_tick(body))
            for name, body in ticks.items()
        }
        DBOS.launch()
        self._improve(self._dbos._sys_db)  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001

    def _improve(self, database: SystemDatabase) -> None:
        """Changes how the engine uses its tables and its threads."""
        from dbos._context import current_owner_xid
        from dbos._outcome import DeferredResult, Pending

        stay_on_the_loop(Pending, DeferredResult, lambda: _engine_context().workflow_id in self._fresh)
        Improvements(
            alone=self._alone(),
            fresh=self._fresh,
            ticking=self._ticking,
            per_key=self._per_key,
            owner_of=current_owner_xid,
        ).apply(database)

    def forget(self, id: str) -> None:
        """The job runs here no more."""
        self._fresh.discard(id)

    async def close(self) -> None:
        if self._dbos is not None:
            from dbos import DBOS

            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(1) as own:  # the engine shuts the loop's default executor down
                await loop.run_in_executor(own, partial(DBOS.destroy, destroy_registry=True))
            loop.set_default_executor(ThreadPoolExecutor())
            self._dbos = None
        self._client = None
        if self._sql is not None:
            self._sql.dispose()
            self._sql = None

    async def register(self, name: str, limits: LaneLimits, per_replica: int) -> Queue:
        from dbos import DBOS

        queue = await DBOS.register_queue_async(
            name,
            worker_concurrency=min(per_replica, limits.at_once or per_replica),
            global_concurrency=limits.at_once,
            partition_concurrency=limits.per_key,
            limiter={"limit": limits.rate.limit, "period": limits.rate.per_seconds} if limits.rate else None,
            polling_interval_sec=REST_SECONDS,
            on_conflict="always_update",
        )
        queue.database_backed_queue = False  # its limits are our settings: no reading them again at each look
        if limits.per_key is not None:
            self._per_key[name] = limits.per_key
        return queue

    def serve(self, queue: Queue, clock: LaneClock) -> threading.Thread:
        """Runs the engine's own queue loop, woken by our clock instead of by polling."""
        from dbos._queue import queue_worker_thread

        arguments = (cast("threading.Event", clock), cast("DBOS", self._dbos), queue)
        thread = threading.Thread(
            target=queue_worker_thread, args=arguments, name=f"lane-{queue.name}", daemon=True
        )
        thread.start()
        return thread

    async def apply(self, schedules: Sequence[Schedule]) -> None:
        """Makes the engine's schedules those that are declared, and no others."""
        from dbos import DBOS

        declared = {schedule.name for schedule in schedules}
        self._ticking.update(schedule.lane.name for schedule in schedules)
        for known in await DBOS.list_schedules_async():
            if known["schedule_name"] not in declared:
                await DBOS.delete_schedule_async(known["schedule_name"])
        if schedules:
            await DBOS.apply_schedules_async(
                [
                    {
                        "schedule_name": schedule.name,
                        "workflow_fn": self._ticks[schedule.name],
                        "schedule": schedule.cron,
                        "context": None,
                        "queue_name": schedule.lane.name,
                    }
                    for schedule in schedules
                ]
            )

    def enqueue(
        self,
        connection: Connection,
        children: Sequence[Child],
        *,
        until: float | None = None,
        delay: float = 0,
        parent: str | None = None,
    ) -> None:
        """Queues jobs by one statement. Of an id that is taken the engine says whether it may be this job's."""
        queue, gathered = self._outside().enqueue_in_transaction, Gathered()
        asked = {child.id: (self._options(child, delay), _envelope(child, until)) for child in children}
        for options, envelope in asked.values():
            queue(cast("Connection", gathered), options, envelope)
        taken = gathered.insert(connection, parent)
        for id in taken:
            queue(connection, *asked[id])
        if taken and parent is not None:
            connection.execute(job_rows.ADOPT, {"parent": parent, "ids": taken})

    def _options(self, child: Child, delay: float) -> EnqueueOptions:
        options: EnqueueOptions = {
            "workflow_name": child.job.name,
            "queue_name": child.job.lane.name,
            "workflow_id": child.id,
            "app_version": VERSION,
            "priority": int(child.priority),
        }
        if child.job.lane.limits(self._settings).per_key is not None and child.key is not None:
            options["queue_partition_key"] = child.key
        if delay > 0:
            options["delay_seconds"] = delay
        deadline = child.deadline_seconds(self._settings)
        if deadline is not None:
            options["workflow_timeout"] = deadline + DEADLINE_GRACE
        return options

    async def step(self, label: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        from dbos import DBOS

        return await DBOS.run_step_async({"name": label, "preemptible": True}, call)

    def current(self) -> tuple[str, float | None]:
        """Id of the running job, and when its own deadline ends (seconds of the epoch), counted from its first start."""
        context = _engine_context()
        ends = context.workflow_deadline_epoch_ms
        return context.workflow_id, None if ends is None else ends / 1000 - DEADLINE_GRACE

    def check_owner(self, id: str, own: tuple[str, str | None] | None) -> None:
        """Ends this execution when the job was cancelled, or is somebody else's by now."""
        from dbos import error

        if own is None or job_rows.STATES[own[0]] == "cancelled":
            raise error.DBOSWorkflowCancelledError(f"{id} was cancelled")
        if own[0] != "PENDING" or own[1] != _engine_context().owner_xid:
            raise error.DBOSWorkflowConflictIDError(id)

    async def cancel(self, ids: Sequence[str]) -> None:
        await self._outside().cancel_workflows_async(list(ids), cancel_children=True)

    async def cancel_children(self, id: str) -> None:
        def cancel() -> None:
            with self._engine().begin() as connection:
                children = list(connection.scalars(job_rows.CHILDREN, {"id": id}))
            if children:
                self._outside().cancel_workflows(children, cancel_children=True)

        await asyncio.to_thread(cancel)

    async def delete(self, ids: list[str]) -> None:
        await asyncio.to_thread(self._outside().delete_workflows, ids)

    def is_waiting(self, lane: str) -> bool:
        """Whether anything is queued on a lane; True when the database does not answer."""
        try:
            with self._alone().connect() as connection:
                return bool(connection.scalar(job_rows.WAITS, {"lane": lane}))
        except DBAPIError:
            return True

    def _outside(self) -> DBOSClient:
        if self._client is None:
            from dbos import DBOSClient

            _quiet_engine()
            self._client = DBOSClient(
                system_database_engine=self._engine(),
                serializer=cast("Any", EngineJson()),
                application_name=APPLICATION,
                lazy=True,
            )
            gather(self._client._sys_db)  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        return self._client

    def _alone(self) -> Engine:
        """The engine's connections, each statement by itself: nothing to begin, nothing to commit."""
        return self._engine().execution_options(isolation_level="AUTOCOMMIT")

    def _engine(self, lease: float = 60.0) -> Engine:
        if self._sql is None:
            self._sql = create_engine(
                self._url,
                pool_size=POOL_SIZE,
                max_overflow=POOL_SIZE,
                pool_use_lifo=True,
                hide_parameters=True,
            )
            # A frozen replica must not keep the rows it was writing from those who take its work over.
            limit = f"set idle_in_transaction_session_timeout = {int(max(5.0, lease) * 1000)}"
            event.listen(self._sql, "connect", partial(_prepare, limit))
        return self._sql


def _prepare(statement: str, connection: Any, _: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.commit()


def _envelope(child: Child, until: float | None) -> dict[str, Any]:
    return {"payload": child.payload.model_dump(mode="json"), "until": until}


def _engine_context() -> DBOSContext:
    from dbos._context import assert_current_dbos_context

    return assert_current_dbos_context()


def _with_envelope(body: Body) -> Body:
    async def run(envelope: dict[str, Any]) -> Any:
        return await body(envelope)

    return run


def _with_tick(body: Body) -> Body:
    async def run(at: str, _context: None) -> Any:
        return await body(at)

    return run
