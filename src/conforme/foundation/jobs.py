"""The words in which durable work is described: jobs, lanes, priorities, retries. Knows no engine."""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import BaseModel

from conforme.settings import Settings

P = TypeVar("P", bound=BaseModel)

MAX_ID_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` starts in any window of `per_seconds`, all replicas together."""

    limit: int
    per_seconds: float


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """What holds for all replicas together; None is no limit.

    A job counts from its start to its end, also while it sleeps or waits for its children.
    """

    at_once: int | None = None
    per_key: int | None = None
    rate: Rate | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """A pool of capacity that jobs share. Parents and their children must be on different lanes."""

    name: str
    limits: Callable[[Settings], LaneLimits] = lambda _: LaneLimits()


class Priority(IntEnum):
    """Within a lane, lower runs first."""

    INTERACTIVE = 1
    NORMAL = 10
    BULK = 100


@dataclass(frozen=True, slots=True)
class Retry:
    """Which errors of a step are worth another attempt, how many, and how long between them.

    The n-th wait is `base_seconds * 2**(n-1)`, at most `cap_seconds`, shortened by up to a quarter at random so that
    those who failed together do not return together; never shorter than the `retry_after` the error carries.
    """

    attempts: int
    base_seconds: float
    cap_seconds: float
    when: Callable[[BaseException], bool]

    def wait_seconds(self, attempt: int, error: BaseException, *, chance: float | None = None) -> float:
        """Seconds to wait after failed attempt number `attempt` (1-based); `chance` in 0..1 replaces the random."""
        chance = random.random() if chance is None else chance  # noqa: S311 -- spreads load, guards nothing
        backoff = min(self.cap_seconds, self.base_seconds * 2 ** min(attempt - 1, 60)) * (1 - chance / 4)
        asked = getattr(error, "retry_after", None)
        return max(backoff, float(asked)) if isinstance(asked, int | float) else backoff


@dataclass(frozen=True, slots=True)
class Job(Generic[P]):
    """A named durable function: `async (ctx, payload) -> JSON value`."""

    name: str
    lane: Lane
    body: Callable[[Any, P], Awaitable[Any]]
    deadline: timedelta | Callable[[Settings], timedelta] | None = None

    @property
    def payload_type(self) -> type[P]:
        """The payload's model, read from the body's second parameter."""
        return _payload_type(self.body)

    def deadline_seconds(self, settings: Settings) -> float | None:
        deadline = self.deadline(settings) if callable(self.deadline) else self.deadline
        return None if deadline is None else deadline.total_seconds()


@dataclass(frozen=True, slots=True)
class Schedule:
    """A durable function that runs at each tick of a cron expression (UTC), once over all replicas."""

    name: str
    cron: str
    lane: Lane
    body: Callable[[Any, datetime], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Child:
    """A job to be started by another one. `id` is deterministic: the same id twice is one execution."""

    job: Job[Any]
    payload: BaseModel
    id: str
    key: str | None = None
    priority: Priority = Priority.NORMAL
    within: float | None = None
    """Seconds from its first start in which it must have ended, where that is sooner than its own deadline."""

    def deadline_seconds(self, settings: Settings) -> float | None:
        limits = (self.within, self.job.deadline_seconds(settings))
        return min((limit for limit in limits if limit is not None), default=None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended."""

    id: str
    ok: bool
    value: Any = None
    error: str | None = None
    code: str | None = None
    cancelled: bool = False


@functools.cache
def _payload_type(body: Callable[[Any, P], Awaitable[Any]]) -> type[P]:
    second = list(inspect.signature(body).parameters)[1]
    return get_type_hints(body)[second]


JOBS: dict[str, Job[Any]] = {}
SCHEDULES: dict[str, Schedule] = {}

HOUSEKEEPING = Lane("housekeeping", lambda _: LaneLimits(at_once=1))
"""Where scheduled work runs unless it says otherwise."""


def job(
    name: str, *, lane: Lane, deadline: timedelta | Callable[[Settings], timedelta] | None = None
) -> Callable[[Callable[[Any, P], Awaitable[Any]]], Job[P]]:
    """Makes a durable job of a function. `deadline` counts from the job's first start and holds for its children."""

    def declare(body: Callable[[Any, P], Awaitable[Any]]) -> Job[P]:
        if name in JOBS:
            raise ValueError(f"two jobs are named {name!r}")
        JOBS[name] = declared = Job(name=name, lane=lane, body=body, deadline=deadline)
        return declared

    return declare


def schedule(
    name: str, cron: str, *, lane: Lane = HOUSEKEEPING
) -> Callable[[Callable[[Any, datetime], Awaitable[Any]]], Schedule]:
    """Runs a function at each tick of `cron` (UTC; five fields, or six with seconds first)."""

    def declare(body: Callable[[Any, datetime], Awaitable[Any]]) -> Schedule:
        if name in SCHEDULES:
            raise ValueError(f"two schedules are named {name!r}")
        SCHEDULES[name] = declared = Schedule(name=name, cron=cron, lane=lane, body=body)
        return declared

    return declare


def lanes_of(jobs: Iterable[Job[Any]], schedules: Iterable[Schedule]) -> dict[str, Lane]:
    """The lanes that these stand on, by name."""
    lanes: dict[str, Lane] = {}
    for lane in [*(job.lane for job in jobs), *(schedule.lane for schedule in schedules)]:
        if lanes.setdefault(lane.name, lane) is not lane:
            raise ValueError(f"two lanes are named {lane.name!r}")
    return lanes


def check_dispatch(job: Job[Any], id: str, key: str | None, settings: Settings) -> None:
    """Refuses what the engine would accept and never run.

    Raises ValueError for an id that is empty or too long, and when the lane limits work per key and none is given.
    """
    if not 0 < len(id.strip()) <= MAX_ID_LENGTH or "\x00" in id:
        raise ValueError(f"the id of a {job.name} must have 1 to {MAX_ID_LENGTH} characters")
    if job.lane.limits(settings).per_key is not None and not key:
        raise ValueError(f"lane {job.lane.name!r} limits work per key: dispatch {job.name!r} with a key")


def check_children(parent: Job[Any], children: Sequence[Child], settings: Settings) -> None:
    """Refuses children that could wait for their own parent's place, twice the same id, or a missing key."""
    if len({child.id for child in children}) != len(children):
        raise ValueError(f"two children of a {parent.name} have one id")
    for child in children:
        check_dispatch(child.job, child.id, child.key, settings)
        if child.job.lane.name == parent.lane.name:
            raise ValueError(
                f"{child.job.name!r} runs on lane {parent.lane.name!r}, as its parent {parent.name!r} does:"
                " parents that fill the lane would wait for ever"
            )
