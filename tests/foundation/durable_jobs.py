"""The jobs that the engine's tests run, here and in processes of their own; each tells what it does in a table."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from multiprocessing.synchronize import Event
from typing import Any, cast

from pydantic import BaseModel
from sqlalchemy import text

from conforme.foundation.database import Database
from conforme.foundation.durable import (
    Child,
    Durable,
    Job,
    JobContext,
    Lane,
    LaneLimits,
    Outcome,
    Rate,
    Retry,
    Schedule,
)
from conforme.foundation.errors import External, NotFound
from conforme.foundation.resources import Resources
from conforme.settings import Settings

TABLE = """
create table if not exists traces (
  id bigserial primary key, job text not null, what text not null, replica int not null,
  at timestamptz not null default clock_timestamp()
)
"""

PARENTS = Lane("test-parents")
CHILDREN = Lane("test-children")
CAPPED = Lane("test-capped", lambda _: LaneLimits(at_once=3))
KEYED = Lane("test-keyed", lambda _: LaneLimits(at_once=4, per_key=1))
RATED = Lane("test-rated", lambda _: LaneLimits(rate=Rate(limit=3, per_seconds=2)))


class Work(BaseModel):
    """How many steps, and how long each takes."""

    steps: int = 1
    seconds: float = 0.0
    children: int = 0
    fail: int = 0
    retry_after: float | None = None


async def trace(context: JobContext, what: str) -> None:
    async with context.resources.database.write() as session:
        await session.execute(
            text("insert into traces (job, what, replica) values (:job, :what, :replica)"),
            {"job": context.id, "what": what, "replica": os.getpid()},
        )


def doing(context: JobContext, name: str, seconds: float, answer: Any = None) -> Callable[[], Awaitable[Any]]:
    """A call that leaves a trace when it begins, when it ends and when it is cancelled."""

    async def call() -> Any:
        await trace(context, f"begin {name}")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            await trace(context, f"cancelled {name}")
            raise
        await trace(context, f"end {name}")
        return answer

    return call


async def work(context: JobContext, payload: Work) -> Any:
    """Some steps in a row; the answer is what the steps answered."""
    answers: list[Any] = []
    for number in range(payload.steps):
        answer = f"{context.id}:{number}"
        answers.append(
            await context.step(f"step {number}", doing(context, f"{number}", payload.seconds, answer))
        )
    return answers


async def fan_out(context: JobContext, payload: Work) -> Any:
    """A first step, children side by side, a last step."""
    await context.step("first", doing(context, "first", payload.seconds))
    work = Work(steps=payload.steps, seconds=payload.seconds)
    names = [f"{context.id}-{number}" for number in range(payload.children)]
    outcomes = await context.children([Child(job=CHILD, payload=work, id=name) for name in names])
    await context.step("last", doing(context, "last", 0))
    return [plain(outcome) for outcome in outcomes]


def plain(outcome: Outcome) -> dict[str, Any]:
    return {"id": outcome.id, "ok": outcome.ok, "value": outcome.value, "code": outcome.code}


async def stubborn(context: JobContext, payload: Work) -> Any:
    """A call that fails `fail` times, saying when to come back."""
    attempts = 0

    async def call() -> int:
        nonlocal attempts
        attempts += 1
        await trace(context, "attempt")
        if attempts <= payload.fail:
            raise External("the other side is busy", retryable=True, retry_after=payload.retry_after)
        return attempts

    retry = Retry(
        attempts=5, base_seconds=0.05, cap_seconds=0.2, when=lambda e: getattr(e, "retryable", False)
    )
    return await context.step("call", call, retry=retry)


async def leaky(context: JobContext, payload: Work) -> Any:
    """Fails with an error that quotes what nobody may read."""

    async def call() -> None:
        raise ValueError("Mme Martin, 06 39 98 12 34")

    await context.step("call", call)


async def slow(context: JobContext, payload: Work) -> Any:
    return await context.step("call", doing(context, "call", payload.seconds), timeout=0.1)


async def shapeless(context: JobContext, payload: Work) -> Any:
    return await context.step("call", lambda: asyncio.sleep(0, result={1, 2}))


async def twice_named(context: JobContext, payload: Work) -> Any:
    await context.step("call", lambda: asyncio.sleep(0))
    await context.step("call", lambda: asyncio.sleep(0))


async def side_by_side(context: JobContext, payload: Work) -> Any:
    return await asyncio.gather(
        context.step("one", lambda: asyncio.sleep(0.2)), context.step("two", lambda: asyncio.sleep(0.2))
    )


async def brittle(context: JobContext, payload: Work) -> Any:
    """Fails when its number is odd."""

    async def call() -> int:
        if payload.steps % 2:
            raise NotFound.of("thing", payload.steps)
        return payload.steps

    return await context.step("call", call)


async def mixed(context: JobContext, payload: Work) -> Any:
    """Children of which some fail."""
    children = [
        Child(job=BRITTLE, payload=Work(steps=n), id=f"{context.id}-{n}")
        for n in reversed(range(payload.children))
    ]
    return [plain(outcome) for outcome in await context.children(children)]


async def sleeper(context: JobContext, payload: Work) -> Any:
    await context.sleep(payload.seconds)
    await trace(context, "woke")


async def hasty(context: JobContext, payload: Work) -> Any:
    return await fan_out(context, payload)


async def tick(context: JobContext, at: datetime) -> None:
    await context.step("tick", lambda: told(context, at))


async def told(context: JobContext, at: datetime) -> None:
    await trace(context, f"tick {at.isoformat()}")


CHILD = Job("test.child", CHILDREN, work)
PARENT = Job("test.parent", PARENTS, fan_out)
CAPPED_JOB = Job("test.capped", CAPPED, work)
KEYED_JOB = Job("test.keyed", KEYED, work)
RATED_JOB = Job("test.rated", RATED, work)
STUBBORN = Job("test.stubborn", PARENTS, stubborn)
LEAKY = Job("test.leaky", PARENTS, leaky)
SLEEPER = Job("test.sleeper", PARENTS, sleeper)
HASTY = Job("test.hasty", PARENTS, hasty, deadline=timedelta(seconds=3))
SLOW = Job("test.slow", PARENTS, slow)
SHAPELESS = Job("test.shapeless", PARENTS, shapeless)
TWICE_NAMED = Job("test.twice-named", PARENTS, twice_named)
SIDE_BY_SIDE = Job("test.side-by-side", PARENTS, side_by_side)
BRITTLE = Job("test.brittle", CHILDREN, brittle)
MIXED = Job("test.mixed", PARENTS, mixed)
ALL = [
    *(CHILD, PARENT, CAPPED_JOB, KEYED_JOB, RATED_JOB, STUBBORN, LEAKY, SLEEPER, HASTY),
    *(SLOW, SHAPELESS, TWICE_NAMED, SIDE_BY_SIDE, BRITTLE, MIXED),
]
TICK = Schedule("test.tick", "* * * * * *", Lane("test-ticks"), tick)


def resources_of(settings: Settings, database: Database, durable: Durable) -> Resources:
    """Resources for jobs that call nobody."""
    nothing = cast("Any", None)
    return Resources(settings=settings, database=database, durable=durable, outbound=nothing, model=nothing)


async def replica(url: str, settings: Settings, *, ticking: bool, ready: Event) -> None:
    database = Database(url, pool_size=5)
    durable = Durable(settings, database, jobs=ALL, schedules=[TICK] if ticking else [])
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await durable.start(resources_of(settings, database, durable))
    ready.set()
    orphaned = asyncio.create_task(end_with(os.getppid()))
    await stopping.wait()
    await durable.stop()
    orphaned.cancel()
    await database.dispose()


async def end_with(parent: int) -> None:
    """Ends this process when the test run that started it is gone."""
    while os.getppid() == parent:  # noqa: ASYNC110 -- nobody tells
        await asyncio.sleep(0.5)
    os._exit(1)


def main(url: str, settings: dict[str, Any], ticking: bool, ready: Event) -> None:
    """A replica that works until SIGTERM."""
    Settings.model_config["env_file"] = None
    asyncio.run(replica(url, Settings.model_validate(settings), ticking=ticking, ready=ready))
