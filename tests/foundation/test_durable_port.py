"""The durable port within one process: steps, children, retries, cancellation, deadlines, limits."""

from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Any

import durable_jobs as jobs
import pytest
from durable_jobs import Work
from replica_processes import SHORT_LEASE, until
from sqlalchemy import event, text

from conforme.foundation.database import Database
from conforme.foundation.durable import Child, Durable, Job, Outcome, Priority
from conforme.settings import Settings


@pytest.fixture(scope="module")
async def durable(session_database: Database) -> AsyncGenerator[Durable]:
    settings = Settings.model_validate(SHORT_LEASE | {"drain_seconds": 0})
    async with session_database.write() as session:
        await session.execute(text(jobs.TABLE))
    durable = Durable(settings, session_database, jobs=jobs.ALL, schedules=[])
    await durable.start(jobs.resources_of(settings, session_database, durable))
    yield durable
    await durable.stop()


async def send(durable: Durable, job: Job[Work], id: str, **options: Any) -> None:
    payload = {name: options.pop(name) for name in list(options) if name in Work.model_fields}
    async with durable.database.write() as session:
        await durable.dispatch(session, job, Work(**payload), id=id, **options)


async def run(durable: Durable, job: Job[Work], id: str, **options: Any) -> Outcome:
    await send(durable, job, id, **options)
    return await durable.wait(id, 20)


async def traces(durable: Durable, like: str) -> list[str]:
    """What jobs whose id is like that did, in order."""
    async with durable.database.read() as session:
        rows = await session.scalars(
            text("select what from traces where job like :like order by id"), {"like": like}
        )
        return list(rows.all())


@contextmanager
def sent_with(durable: Durable, words: str) -> Generator[list[str]]:
    """The statements with these words that leave while the block lasts."""
    found: list[str] = []

    def sent(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if words in statement:
            found.append(statement)

    engine = durable.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", sent)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", sent)


async def test_a_parent_gets_the_results_of_its_children_in_order(durable: Durable) -> None:
    outcome = await run(durable, jobs.PARENT, "order", children=3, steps=2)
    values = [[f"order-{child}:{step}" for step in range(2)] for child in range(3)]
    assert [child["value"] for child in outcome.value] == values
    assert await durable.state("order") == "done"


async def test_where_many_jobs_stand_is_told_at_once_and_what_is_not_there_is_left_out(
    durable: Durable,
) -> None:
    await run(durable, jobs.PARENT, "stands", children=2)
    known = {"stands": "done", "stands-0": "done", "stands-1": "done"}
    with sent_with(durable, "from dbos.workflow_status") as asked:
        assert await durable.states([*known, "stands-9"]) == known
    assert len(asked) == 1
    assert await durable.states([]) == {}


async def test_a_failed_child_is_an_outcome_and_sinks_nobody(durable: Durable) -> None:
    outcome = await run(durable, jobs.MIXED, "mixed", children=4)
    assert [(child["id"], child["value"], child["code"]) for child in outcome.value] == [
        ("mixed-3", None, "NOT_FOUND"),
        ("mixed-2", 2, None),
        ("mixed-1", None, "NOT_FOUND"),
        ("mixed-0", 0, None),
    ]


async def test_one_id_is_one_execution(durable: Durable) -> None:
    for _ in range(3):
        await run(durable, jobs.CHILD, "once")
    assert await traces(durable, "once") == ["begin 0", "end 0"]


async def test_an_id_that_another_job_has_is_refused(durable: Durable) -> None:
    await run(durable, jobs.CHILD, "claimed")
    with pytest.raises(Exception, match="different function name"):
        await send(durable, jobs.PARENT, "claimed")


async def test_a_child_that_is_queued_already_is_adopted(durable: Durable) -> None:
    await send(durable, jobs.CHILD, "adopted-0")
    outcome = await run(durable, jobs.PARENT, "adopted", children=2)
    assert [child["ok"] for child in outcome.value] == [True, True]
    assert await traces(durable, "adopted-0") == ["begin 0", "end 0"]
    query = text("select parent_workflow_id from dbos.workflow_status where workflow_uuid like 'adopted-_'")
    async with durable.database.read() as session:
        assert list(await session.scalars(query)) == ["adopted", "adopted"]


async def test_a_parent_without_children_goes_on_at_once(durable: Durable) -> None:
    outcome = await run(durable, jobs.PARENT, "childless", children=0)
    assert outcome.ok, outcome


async def test_children_are_queued_by_one_statement_however_many_they_are(durable: Durable) -> None:
    with sent_with(durable, "insert into dbos.workflow_status") as queued:
        await run(durable, jobs.PARENT, "wide", children=12)
    assert len(queued) == 2  # the parent, and all of its children


async def test_a_dispatch_that_is_rolled_back_leaves_nothing(durable: Durable) -> None:
    async def dispatch_and_fail() -> None:
        async with durable.database.write() as session:
            await durable.dispatch(session, jobs.CHILD, Work(), id="never")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await dispatch_and_fail()
    await run(durable, jobs.CHILD, "after-never")
    assert await durable.state("never") is None
    assert await traces(durable, "never") == []


async def test_waiting_for_what_does_not_end_says_so(durable: Durable) -> None:
    with pytest.raises(TimeoutError):
        await durable.wait("unheard of", 0.1)


async def test_a_retry_waits_as_long_as_the_other_side_asked(durable: Durable) -> None:
    outcome = await run(durable, jobs.STUBBORN, "polite", fail=2, retry_after=0.4)
    assert outcome.value == 3
    async with durable.database.read() as session:
        waits = await session.scalars(
            text(
                "select extract(epoch from at - lag(at) over (order by id)) from traces where job = 'polite'"
            )
        )
        assert all(wait >= 0.4 for wait in waits.all()[1:])


async def test_retries_end_and_the_last_error_is_the_outcome(durable: Durable) -> None:
    outcome = await run(durable, jobs.STUBBORN, "hopeless", fail=9)
    assert (outcome.ok, outcome.code, outcome.error) == (
        False,
        "EXTERNAL_API_ERROR",
        "the other side is busy",
    )
    assert await traces(durable, "hopeless") == ["attempt"] * 5


async def test_an_unexpected_error_tells_its_class_and_nothing_it_said(durable: Durable) -> None:
    outcome = await run(durable, jobs.LEAKY, "leaky")
    assert (outcome.code, outcome.error) == ("INTERNAL_ERROR", "Internal error (ValueError)")
    async with durable.database.read() as session:
        stored = await session.scalars(
            text(
                "select coalesce(error, '') || coalesce(output, '') from dbos.operation_outputs"
                " union all select coalesce(error, '') || coalesce(output, '') from dbos.workflow_output"
            )
        )
        assert not [line for line in stored.all() if "Martin" in line or "06 39" in line]


async def test_a_step_that_takes_too_long_is_cancelled(durable: Durable) -> None:
    outcome = await run(durable, jobs.SLOW, "slow", seconds=30)
    assert outcome.code == "TIMEOUT"
    assert await traces(durable, "slow") == ["begin call", "cancelled call"]


@pytest.mark.parametrize(
    "job", [jobs.SHAPELESS, jobs.TWICE_NAMED, jobs.SIDE_BY_SIDE], ids=lambda job: job.name
)
async def test_a_body_that_breaks_the_rules_of_the_port_fails(durable: Durable, job: Job[Work]) -> None:
    outcome = await run(durable, job, job.name)
    assert (outcome.ok, outcome.code) == (False, "INTERNAL_ERROR")


async def test_cancelling_reaches_the_children_and_the_call_in_flight(durable: Durable) -> None:
    await send(durable, jobs.PARENT, "doomed", children=2, seconds=0.2, steps=500)

    async def children_call() -> bool:
        return {"begin 0"} <= set(await traces(durable, "doomed-%"))

    await until(children_call, "the children are calling")
    await durable.cancel("doomed")
    outcome = await durable.wait("doomed", 10)
    assert (outcome.cancelled, outcome.code) == (True, "CANCELLED")
    assert (await durable.wait("doomed-0", 10)).cancelled
    assert (await durable.wait("doomed-1", 10)).cancelled

    async def calls_were_cancelled() -> bool:
        return len([what for what in await traces(durable, "doomed-%") if what.startswith("cancelled")]) == 2

    await until(calls_were_cancelled, "the calls in flight were cancelled")


async def test_a_queued_job_can_be_cancelled_before_it_starts(durable: Durable) -> None:
    await send(durable, jobs.CHILD, "later", delay_seconds=60)
    assert await durable.state("later") == "queued"
    await durable.cancel("later")
    assert (await durable.wait("later", 10)).cancelled
    assert await traces(durable, "later") == []


async def test_a_job_that_misses_its_deadline_fails_with_all_its_children(durable: Durable) -> None:
    outcome = await run(durable, jobs.HASTY, "hasty", children=2, seconds=0.3, steps=100)
    assert (outcome.ok, outcome.cancelled, outcome.code) == (False, False, "DEADLINE_EXCEEDED")
    assert await durable.state("hasty-0"), "the children had been started"
    for child in ("hasty-0", "hasty-1"):
        assert (await durable.wait(child, 10)).code in {"DEADLINE_EXCEEDED", "CANCELLED"}


async def test_a_job_can_be_given_less_time_than_its_own(durable: Durable) -> None:
    await send(durable, jobs.SLEEPER, "limited", within=0.3, seconds=60)
    assert (await durable.wait("limited", 10)).code == "DEADLINE_EXCEEDED"
    hasty, minute = Child(jobs.HASTY, Work(), "hasty", within=60), Child(jobs.SLEEPER, Work(), "s", within=60)
    settings = durable.settings
    assert (hasty.deadline_seconds(settings), minute.deadline_seconds(settings)) == (3, 60)
    assert Child(jobs.SLEEPER, Work(), "s").deadline_seconds(settings) is None


async def test_a_sleep_lasts(durable: Durable) -> None:
    assert (await run(durable, jobs.SLEEPER, "sleeper", seconds=0.5)).ok
    async with durable.database.read() as session:
        slept = await session.scalar(
            text(
                "select extract(epoch from t.at) - s.created_at / 1000.0 from traces t"
                " join dbos.workflow_status s on s.workflow_uuid = t.job where t.job = 'sleeper'"
            )
        )
    assert slept >= 0.5


@pytest.mark.parametrize("job", [jobs.CAPPED_JOB, jobs.KEYED_JOB], ids=lambda job: job.lane.name)
async def test_the_urgent_runs_before_the_bulk(durable: Durable, job: Job[Work]) -> None:
    lane = job.lane.name
    for number in range(8):
        await send(
            durable, job, f"{lane}-bulk-{number}", key=f"{number}", priority=Priority.BULK, seconds=0.3
        )
    await send(durable, job, f"{lane}-urgent", key="u", priority=Priority.INTERACTIVE)
    await durable.wait(f"{lane}-urgent", 20)
    ended = [what for what in await traces(durable, f"{lane}-bulk-%") if what.startswith("end")]
    assert len(ended) < 8
    for number in range(8):
        await durable.wait(f"{lane}-bulk-{number}", 20)


async def test_a_job_that_is_forgotten_leaves_nothing_of_what_it_was_given_and_answered(
    durable: Durable,
) -> None:
    assert (await run(durable, jobs.CHILD, "forgotten", steps=2)).ok
    await durable.forget("forgotten")
    assert await durable.state("forgotten") is None
    async with durable.database.read() as session:
        for table in ("workflow_input", "workflow_output", "operation_outputs"):
            left = text(f"select count(*) from dbos.{table} where workflow_uuid = 'forgotten'")  # noqa: S608 -- names given above
            assert await session.scalar(left) == 0


async def test_what_ended_long_ago_is_forgotten_and_the_rest_is_kept(durable: Durable) -> None:
    await run(durable, jobs.CHILD, "ancient")
    await run(durable, jobs.CHILD, "recent")
    async with durable.database.write() as session:
        await session.execute(
            text("update dbos.workflow_status set completed_at = 1000 where workflow_uuid = 'ancient'")
        )
    assert await durable.delete_ended(older_than_seconds=86400, batch=100) == 1
    assert await durable.state("ancient") is None
    assert await durable.state("recent") == "done"


async def test_jobs_of_a_kind_are_forgotten_by_how_their_ids_begin(durable: Durable) -> None:
    for id in ("asked-1", "asked-2", "ask", "unasked-1"):
        await run(durable, jobs.CHILD, id)
    assert await durable.delete_ended(3600, 100, ["asked-", "told-"]) == 0
    assert await durable.delete_ended(-1, 1, ["asked-", "told-"]) == 1
    assert await durable.delete_ended(-1, 100, ["asked-", "told-"]) == 1
    assert set(await durable.states(["asked-1", "asked-2", "ask", "unasked-1"])) == {"ask", "unasked-1"}
