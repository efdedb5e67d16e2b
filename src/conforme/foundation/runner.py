"""Runs the bodies of jobs on this replica, and lets go of them: what is left is continued elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import structlog
from sqlalchemy import Connection

from conforme.foundation import faults, job_rows
from conforme.foundation.database import Database
from conforme.foundation.errors import ConformeError
from conforme.foundation.job_context import JobContext, without_values
from conforme.foundation.job_rows import JobRow
from conforme.foundation.jobs import Child, Job, Outcome, Schedule
from conforme.foundation.outages import outlast
from conforme.foundation.signals import Expectation, Signals
from conforme.settings import Settings

if TYPE_CHECKING:
    from conforme.foundation.resources import Resources

T = TypeVar("T")

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
"""Waiters look for themselves this often, should a notification be lost."""
ABANDON_SECONDS = 10.0


class Engine(Protocol):
    """What stores the progress of jobs."""

    async def step(self, label: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Calls once and stores the result; in a later execution only gives it back."""
        ...

    def current(self) -> tuple[str, float | None]:
        """Id of the job that runs here, and when its own deadline ends (seconds of the epoch)."""
        ...

    def check_owner(self, id: str, own: tuple[str, str | None] | None) -> None:
        """Ends this execution unless status and owner say that the job is still its own."""
        ...

    def enqueue(
        self, connection: Connection, children: Sequence[Child], *, until: float | None, parent: str
    ) -> None: ...

    async def cancel_children(self, id: str) -> None: ...

    def forget(self, id: str) -> None:
        """The job runs here no more."""
        ...


@dataclass(slots=True)
class _Started:
    """A job that was started here, until its end is heard of."""

    lane: str
    task: asyncio.Task[Any]
    over: bool = False
    """The body has ended by itself."""


class Runner:
    """The host of all bodies of one process."""

    def __init__(self, settings: Settings, database: Database, engine: Engine) -> None:
        self.settings = settings
        self._database = database
        self._engine = engine
        self._resources: Resources | None = None
        self._signals: Signals | None = None
        self._running: dict[asyncio.Task[Any], JobContext] = {}
        self._started: dict[str, _Started] = {}
        self._draining = False

    def open(self, resources: Resources, signals: Signals) -> None:
        self._resources, self._signals, self._draining = resources, signals, False

    @property
    def resources(self) -> Resources:
        if self._resources is None:
            raise RuntimeError("the engine was not started")
        return self._resources

    # What the engine calls.

    async def run_job(self, job: Job[Any], envelope: dict[str, Any]) -> Any:
        id, started_until = self._engine.current()
        limits = [limit for limit in (envelope["until"], started_until) if limit is not None]
        context = JobContext(self, job, id, min(limits, default=None))
        payload = job.payload_type.model_validate(envelope["payload"])
        return await self._run(context, job, partial(job.body, context, payload))

    async def run_tick(self, schedule: Schedule, at: str) -> Any:
        id, _until = self._engine.current()
        context = JobContext(self, schedule, id, None)
        return await self._run(context, schedule, partial(schedule.body, context, datetime.fromisoformat(at)))

    async def _run(
        self, context: JobContext, what: Job[Any] | Schedule, body: Callable[[], Awaitable[Any]]
    ) -> Any:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._running[task] = context
        self._started[context.id] = started = _Started(what.lane.name, task)
        task.add_done_callback(self._running.pop)
        with structlog.contextvars.bound_contextvars(job=what.name, job_id=context.id):
            try:
                return await self._within_deadline(context, body)
            except ConformeError as error:
                log.warning("job failed", code=error.code)
                raise
            except Exception as error:
                log.exception("job failed", exc_info=without_values(error))
                raise faults.presentable(error) from None
            except BaseException:  # the engine parks it until whoever holds it now has ended it
                context.at_rest = True
                raise
            finally:
                started.over = True
                self._engine.forget(context.id)

    async def _within_deadline(self, context: JobContext, body: Callable[[], Awaitable[Any]]) -> Any:
        left = None if context.until is None else context.until - time.time()
        limit = asyncio.timeout(left)
        try:
            async with limit:
                return await body()
        except TimeoutError:
            if not limit.expired():
                raise
            await self._engine.cancel_children(context.id)
            raise faults.DeadlineExceeded from None

    # What a running job asks for.

    async def run_children(self, context: JobContext, children: Sequence[Child]) -> list[Outcome]:
        ids = [child.id for child in children]
        with self._expecting(context.id, ids) as expectation:
            await outlast(partial(self._give_birth, context, children))
            context.at_rest = True
            try:
                rows = await self._join(context, ids, expectation)
            finally:
                context.at_rest = False
        return [rows[id].outcome() for id in ids]

    async def _give_birth(self, context: JobContext, children: Sequence[Child]) -> None:
        """In one transaction that holds the parent: it cannot be cancelled between, leaving children behind."""
        ordered = sorted(children, key=lambda child: child.id)
        async with self._database.transaction() as connection:
            own = (await connection.execute(job_rows.HOLD, {"id": context.id})).one_or_none()
            self._engine.check_owner(context.id, None if own is None else (own[0], own[1]))
            enqueue = partial(self._engine.enqueue, children=ordered, until=context.until, parent=context.id)
            await connection.run_sync(enqueue)

    async def rest(self, context: JobContext, wake_at: float) -> None:
        context.at_rest = True
        try:
            with self._expecting(context.id, [context.id]) as expectation:
                while (left := wake_at - time.time()) > 0:
                    await expectation.wait(left)
                    if time.time() < wake_at:
                        await self._rows_of(context, [])
        finally:
            context.at_rest = False

    async def remember(self, label: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await self._engine.step(label, call)

    def refuse_when_draining(self) -> None:
        """Ends the body at the boundary of a step, to be continued by another replica."""
        if self._draining:
            raise asyncio.CancelledError

    async def _join(self, context: JobContext, ids: list[str], expectation: Expectation) -> dict[str, JobRow]:
        while True:
            rows = await self._rows_of(context, ids)
            # Rows may be older than a word heard while they were read: only rows say that a child has ended.
            waiting = {id for id in ids if id not in rows or not rows[id].ended}
            if not waiting:
                return rows
            expectation.pending.intersection_update(waiting)
            await expectation.wait(LOOK_SECONDS)

    async def _rows_of(self, context: JobContext, ids: list[str]) -> dict[str, JobRow]:
        rows = await self.rows([context.id, *ids])
        own = rows.pop(context.id, None)
        self._engine.check_owner(context.id, None if own is None else (own.status, own.owner))
        return rows

    async def rows(self, ids: list[str]) -> dict[str, JobRow]:
        return await outlast(partial(job_rows.read_rows, self._database, ids))

    def _expecting(self, own: str, ids: Iterable[str]) -> AbstractContextManager[Expectation]:
        if self._signals is None:
            raise RuntimeError("the engine was not started")
        return self._signals.expecting(own, ids)

    # Being told, and letting go.

    def heard_end(self, id: str) -> str | None:
        """A job has ended, here or elsewhere, by itself or cancelled. Returns the lane it ran on when it ran here."""
        started = self._started.pop(id, None)
        if started is None:
            return None
        if not started.over:  # ended from outside: cancelled
            started.task.cancel()
        return started.lane

    async def drain(self) -> None:
        """Lets the calls in flight end, and bodies only reach their next boundary; at most `drain_seconds`."""
        self._draining = True
        limit = time.monotonic() + self.settings.drain_seconds
        while self._running and time.monotonic() < limit:
            for task, context in self._running.items():
                if context.at_rest:
                    task.cancel()
            await asyncio.wait(
                list(self._running),
                timeout=min(0.5, max(0.0, limit - time.monotonic())),
                return_when=asyncio.FIRST_COMPLETED,
            )

    async def abandon(self) -> None:
        """Ends all local work without recording anything: it goes on wherever it is taken next."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=ABANDON_SECONDS)
