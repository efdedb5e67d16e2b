"""Replicas that are killed, frozen, stopped, or lose their database: the work goes on, and nothing is told twice."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import durable_jobs as jobs
import pytest
from durable_jobs import Work
from replica_processes import ReplicaProcess, is_alive, replica_processes, until
from sqlalchemy import text

from conforme.foundation.database import Database
from conforme.foundation.durable import Durable, Job, Outcome
from conforme.foundation.embedded import ensure_database, running_server
from conforme.foundation.migrate import migrate
from conforme.settings import Settings
from postgres_tuning import FAST_AND_FORGETFUL

pytestmark = pytest.mark.crash

Start = Callable[..., ReplicaProcess]


@dataclass
class Bench:
    """A database, a process that only dispatches, and replicas to be hurt."""

    database: Database
    durable: Durable
    start: Start

    async def send(self, job: Job[Work], id: str, key: str | None = None, **work: Any) -> None:
        async with self.database.write() as session:
            await self.durable.dispatch(session, job, Work(**work), id=id, key=key)

    async def outcomes(self, ids: list[str], seconds: float = 180) -> list[Outcome]:
        return [await self.durable.wait(id, seconds) for id in ids]

    async def rows(self, query: str, **values: Any) -> list[Any]:
        async with self.database.read() as session:
            return list((await session.execute(text(query), values)).all())

    async def until_begun(self, calls: int) -> None:
        async def begun() -> bool:
            return len(await self.rows("select 1 from traces where what like 'begin%'")) >= calls

        await until(begun, f"{calls} calls have begun")

    async def remembered(self) -> set[tuple[str, str]]:
        """(job, step) of every result that is stored."""
        rows = await self.rows("select workflow_uuid, function_name from dbos.operation_outputs")
        return {(row[0], row[1]) for row in rows}

    async def begun_since(self, trace: int) -> set[tuple[str, str]]:
        rows = await self.rows(
            "select job, what from traces where id > :trace and what like 'begin %'", trace=trace
        )
        return {(row[0], row[1].removeprefix("begin ")) for row in rows}

    async def last_trace(self) -> int:
        return (await self.rows("select coalesce(max(id), 0) from traces"))[0][0]


@pytest.fixture
def start(database_url: str) -> Generator[Start]:
    with replica_processes(database_url) as start:
        yield start


@pytest.fixture
async def bench(database: Database, start: Start) -> AsyncGenerator[Bench]:
    async with database.write() as session:
        await session.execute(text(jobs.TABLE))
    durable = Durable(Settings.model_validate({}), database)
    await durable.start(jobs.resources_of(durable.settings, database, durable), works=False)
    yield Bench(database, durable, start)
    await durable.stop()


def named(step: str) -> str:
    """The name of the step that a trace is of."""
    return f"step {step}" if step.isdigit() else step


def results_of(job: str, children: int, steps: int) -> list[dict[str, Any]]:
    """What a `test.parent` answers."""
    ids = [f"{job}-{child}" for child in range(children)]
    return [
        {"id": id, "ok": True, "value": [f"{id}:{step}" for step in range(steps)], "code": None} for id in ids
    ]


async def test_killed_at_random_moments_the_work_goes_on_where_it_stood(bench: Bench) -> None:
    chance = random.Random(7)  # noqa: S311
    replicas = [bench.start(), bench.start()]
    parents = [f"p{n}" for n in range(4)]
    for parent in parents:
        await bench.send(jobs.PARENT, parent, children=3, steps=3, seconds=0.15)
    for _ in range(2):
        await bench.until_begun(1)
        await asyncio.sleep(chance.uniform(0.1, 0.8))
        before, last = await bench.remembered(), await bench.last_trace()
        victim = replicas.pop(0)
        victim.kill()
        replicas.append(bench.start())
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        repeated = {(job, named(step)) for job, step in await bench.begun_since(last)} & before
        assert not repeated, "what was answered and stored is not asked again"
    outcomes = await bench.outcomes(parents)
    assert [outcome.value for outcome in outcomes] == [results_of(parent, 3, 3) for parent in parents]


async def test_no_branch_gets_the_result_of_another_after_a_crash(bench: Bench) -> None:
    replica = bench.start()
    await bench.send(jobs.PARENT, "swap", children=8, steps=2, seconds=0.2)
    await bench.until_begun(6)
    replica.kill()
    bench.start()
    assert (await bench.outcomes(["swap"]))[0].value == results_of("swap", 8, 2)


async def test_a_frozen_replica_does_no_harm_when_it_wakes(bench: Bench) -> None:
    frozen = await bench.start().ready()
    await bench.send(jobs.PARENT, "z", children=2, steps=6, seconds=0.25)
    await bench.until_begun(4)
    frozen.signal(signal.SIGSTOP)
    other = await bench.start().ready()

    async def taken_over() -> bool:
        return bool(await bench.rows("select 1 from traces where replica = :pid", pid=other.pid))

    await until(taken_over, "the other replica has taken the work over")
    frozen.signal(signal.SIGCONT)
    assert (await bench.outcomes(["z"]))[0].value == results_of("z", 2, 6)
    other.kill()
    await bench.send(jobs.CHILD, "afterwards")
    assert (await bench.outcomes(["afterwards"]))[0].ok, "the woken replica works again"


async def test_asked_to_stop_it_finishes_its_calls_and_hands_the_rest_over_at_once(
    database_url: str, bench: Bench
) -> None:
    with replica_processes(database_url, replica_lease_seconds=60) as start:
        leaving = start()
        await bench.send(jobs.PARENT, "h", children=2, steps=10, seconds=0.2)
        await bench.until_begun(4)
        start()
        leaving.signal(signal.SIGTERM)
        assert await leaving.ended() == 0
        assert (await bench.outcomes(["h"]))[0].value == results_of("h", 2, 10), "long before the lease ends"
    begun = Counter(await bench.rows("select job, what from traces where what like 'begin %'"))
    assert set(begun.values()) == {1}, "no call is made twice"
    assert len(await bench.rows("select distinct replica from traces")) == 2


async def test_limits_hold_over_all_replicas_together(bench: Bench) -> None:
    await bench.start().ready()
    await bench.start().ready()
    for number in range(12):
        await bench.send(jobs.CAPPED_JOB, f"capped-{number}", seconds=0.15)
        await bench.send(jobs.KEYED_JOB, f"keyed-{number % 3}-{number}", key=f"{number % 3}", seconds=0.15)
    for number in range(6):
        await bench.send(jobs.RATED_JOB, f"rated-{number}")
    ids = [row[0] for row in await bench.rows("select workflow_uuid from dbos.workflow_status")]
    assert all(outcome.ok for outcome in await bench.outcomes(ids))
    assert await at_once(bench, "capped-%") <= 3
    assert await at_once(bench, "keyed-%") <= 4
    for key in range(3):
        assert await at_once(bench, f"keyed-{key}-%") == 1
    starts = await bench.rows(
        "select extract(epoch from lead(at, 3) over (order by at) - at) from traces"
        " where job like 'rated-%' and what like 'begin%'"
    )
    # The window counts starts as the engine books them; the call itself begins a moment later.
    assert all(gap >= 1.0 for (gap,) in starts if gap is not None)
    replicas = await bench.rows("select distinct replica from traces")
    assert len(replicas) == 2


async def at_once(bench: Bench, jobs_like: str) -> int:
    """The most calls of such jobs that were in flight together."""
    rows = await bench.rows(
        "select max(running) from (select sum(case when what like 'begin%' then 1 else -1 end)"
        " over (order by id) as running from traces where job like :like) t",
        like=jobs_like,
    )
    return int(rows[0][0])


async def test_a_schedule_runs_once_at_each_tick_over_all_replicas(bench: Bench) -> None:
    await bench.start(ticking=True).ready()
    await bench.start(ticking=True).ready()

    async def ticked() -> bool:
        return len(await bench.rows("select 1 from traces where what like 'tick%'")) >= 3

    await until(ticked, "three ticks have passed")
    ticks = Counter(await bench.rows("select what from traces where what like 'tick%'"))
    assert set(ticks.values()) == {1}


REMEMBERING = FAST_AND_FORGETFUL | {"synchronous_commit": "on"}
"""What was committed must outlive the server's process here."""


async def test_work_survives_a_restart_of_the_database(open_folder: Path) -> None:
    folder = open_folder / "pg"
    with running_server(folder, parameters=REMEMBERING, at_end="delete") as server_url:
        url = ensure_database(server_url, "conforme")
        await asyncio.to_thread(migrate, url)
        database = Database(url)
        async with database.write() as session:
            await session.execute(text(jobs.TABLE))
        durable = Durable(Settings.model_validate({}), database)
        await durable.start(jobs.resources_of(durable.settings, database, durable), works=False)
        with replica_processes(url, replica_lease_seconds=20) as start:
            bench = Bench(database, durable, start)
            await bench.start().ready()
            await bench.send(jobs.PARENT, "r", children=3, steps=4, seconds=0.2)
            await bench.until_begun(4)
            postmaster = int((folder / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGQUIT)
            await until(lambda: not is_alive(postmaster), "the database is down")
            with running_server(folder, parameters=REMEMBERING):
                await database.dispose()
                outcome = (await bench.outcomes(["r"]))[0]
            assert outcome.value == results_of("r", 3, 4)
        await durable.stop()
        await database.dispose()
