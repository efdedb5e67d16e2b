"""What the body of a job is given: steps, children, sleep. Knows no engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog

from conforme.foundation import faults
from conforme.foundation.errors import ConformeError
from conforme.foundation.jobs import Child, Job, Outcome, Retry, Schedule, check_children
from conforme.foundation.outages import outlast
from conforme.settings import Settings

if TYPE_CHECKING:
    from conforme.foundation.resources import Resources

T = TypeVar("T")

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 5.0
"""A longer wait before a retry is made durable: a crash does not start it again."""


class Host(Protocol):
    """Who runs the body."""

    settings: Settings

    @property
    def resources(self) -> Resources: ...

    def refuse_when_draining(self) -> None:
        """Ends the body at this boundary when another replica is to continue it."""
        ...

    async def remember(self, label: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Calls once and stores the result; labels follow one another in the same order at every execution."""
        ...

    async def run_children(self, context: JobContext, children: Sequence[Child]) -> list[Outcome]: ...

    async def rest(self, context: JobContext, wake_at: float) -> None:
        """Until `wake_at`, in seconds of the epoch."""
        ...


class JobContext:
    """The body is sequential: one step, sleep or fan-out at a time."""

    def __init__(self, host: Host, job: Job[Any] | Schedule, id: str, until: float | None) -> None:
        self.id = id
        self.until = until
        """When the job must have ended, in seconds of the epoch."""
        self.at_rest = False
        """Nothing is in flight: handing the job over now loses nothing."""
        self._host = host
        self._job = job
        self._names: set[str] = set()
        self._busy = False
        self._sleeps = 0

    @property
    def resources(self) -> Resources:
        return self._host.resources

    async def step(
        self,
        name: str,
        fn: Callable[[], Awaitable[T]],
        *,
        retry: Retry | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- the limit of one attempt, part of the step's policy
    ) -> T:
        """Calls `fn` once and remembers its JSON result under `name`, unique within the job.

        After a crash a remembered step is not called again. `timeout` seconds bound each attempt (`StepTimeout`).
        Raises what the last attempt raised when that is a `ConformeError`, else `StepFailed`; both the same after a
        crash. Cancelling the job cancels the call in flight. While the database is away the call is made again until
        it is back: that counts as no attempt.
        """
        if name in self._names:
            raise ValueError(f"job {self._job.name!r} has two steps named {name!r}")
        self._names.add(name)
        failed, label = 0, name
        while True:
            call = partial(_attempts, fn, retry, failed, timeout)
            try:
                return await self._alone(self._host.remember(label, call))
            except LaterError as later:
                failed, label = later.failed, f"{name} after {later.failed}"
                await self.sleep(later.seconds)

    async def children(self, children: Sequence[Child]) -> list[Outcome]:
        """Starts all of them and waits until all have ended; outcomes in the given order, failures included."""
        if not isinstance(self._job, Job):
            raise TypeError("a schedule starts no children: let it dispatch a job")
        check_children(self._job, children, self._host.settings)
        if not children:
            return []
        return await self._alone(self._host.run_children(self, children))

    async def sleep(self, seconds: float) -> None:
        """Rests; after a crash only for what is left."""
        self._sleeps += 1
        call = partial(_in_seconds, seconds)
        wake_at = await self._alone(self._host.remember(f"sleep {self._sleeps}", call))
        await self._alone(self._host.rest(self, wake_at))

    async def _alone(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            self._refuse_to_go_on()
        except BaseException:
            work.close()
            raise
        self._busy = True
        try:
            return await work
        finally:
            self._busy = False

    def _refuse_to_go_on(self) -> None:
        if self._busy:
            raise RuntimeError("the body of a job is sequential: use children for work side by side")
        self._host.refuse_when_draining()


class LaterError(ConformeError):
    """The next attempt is far away: the engine is to remember when"""

    def __init__(self, seconds: float, failed: int) -> None:
        super().__init__()
        self.seconds = seconds
        self.failed = failed


def without_values(error: BaseException) -> BaseException:
    """The traceback under an error that tells only its class: messages may quote personal data."""
    return faults.StepFailed(type(error).__name__).with_traceback(error.__traceback__)


async def _in_seconds(seconds: float) -> float:
    return time.time() + max(0.0, seconds)


async def _attempts(
    fn: Callable[[], Awaitable[T]], retry: Retry | None, failed: int, limit: float | None
) -> T:
    """Calls `fn` until it answers or its policy gives up; `failed` attempts were made before."""
    while True:
        try:
            async with asyncio.timeout(limit):
                return await outlast(fn)
        except Exception as error:
            fault = faults.presentable(error)
            failed += 1
            if retry is None or failed >= retry.attempts or not retry.when(fault):
                if fault is not error and not isinstance(error, TimeoutError):
                    log.exception("step failed", exc_info=without_values(error))
                raise fault from None
            wait = retry.wait_seconds(failed, fault)
        if wait > PATIENCE_SECONDS:
            raise LaterError(wait, failed)
        await asyncio.sleep(wait)
