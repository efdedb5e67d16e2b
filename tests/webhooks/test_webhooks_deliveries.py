"""What becomes of deliveries: tried in order, for hours, and never twice under two names.

Time is simulated: each turn is taken when the clock of the test reaches it.
"""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from standardwebhooks.webhooks import Webhook
from webhook_room import (
    ACTOR,
    PROGRESS,
    SECRET,
    attempts_of,
    contract_signatures,
    endpoint_of,
    open_turns,
    queued,
    receiver,
    registered,
    resources_of,
    row_of,
    settings_for,
    told,
    working,
)

from conforme.foundation.database import Database, now
from conforme.foundation.resources import Resources
from conforme.sandbox.webhooks import ScriptedAnswer
from conforme.webhooks import outbox, workflows
from conforme.webhooks.body import Payload
from conforme.webhooks.deliveries import Turn, valid_secrets

DELAYS = text(
    "select delay_until_epoch_ms - created_at from dbos.workflow_status where workflow_uuid = :id and status = 'DELAYED'"
)


def progress(percent: int) -> Payload:
    return Payload(status="processing", progress=percent)


class Simulation:
    """Takes every turn when it is due, and moves the clock on to the next one."""

    def __init__(self, resources: Resources, start: datetime) -> None:
        self.resources = resources
        self.now = start
        self.taken: list[tuple[float, str]] = []
        """Seconds since the start, and the status that the turn left."""
        self._start = start

    async def run(self, before_each: Callable[[float], None] = lambda _: None) -> None:
        while turns := await open_turns(self.resources.database):
            delivery, turn = turns[0]
            assert delivery.next_retry_at is not None
            self.now = max(self.now, delivery.next_retry_at)
            elapsed = (self.now - self._start).total_seconds()
            before_each(elapsed)
            status = await workflows.attempt(self.resources, turn, lambda: self.now)
            self.taken.append((elapsed, status))


async def test_a_delivery_arrives_signed_and_is_sent(database: Database) -> None:
    async with receiver() as (sink, url):
        resources = resources_of(settings_for(url), database)
        delivery_id = await queued(resources, await registered(resources, url))
        await Simulation(resources, now()).run()
    [request] = sink.deliveries
    row = await row_of(database, delivery_id)
    assert (row.status, row.status_code, row.attempt, row.next_retry_at) == ("sent", 200, 1, None)
    assert row.sent_at is not None
    assert json.loads(request.body)["data"]["partialData"][0]["prospectPrenom"] == "Régis"
    timestamp = request.headers["x-webhook-timestamp"]
    assert json.loads(request.body)["timestamp"] == timestamp
    signed = (request.headers["x-webhook-signature"], request.headers["x-webhook-signature-v2"])
    assert signed == contract_signatures(SECRET, timestamp, request.body.encode())
    Webhook(SECRET).verify(request.body, request.headers)
    assert request.headers["user-agent"] == "AI-Audit-Webhook/1.0"
    assert request.headers["content-type"] == "application/json"
    assert (request.headers["x-webhook-delivery-id"], request.headers["x-webhook-job-id"]) == (
        delivery_id,
        "j1",
    )


async def test_a_receiver_that_fails_for_two_hours_gets_everything_afterwards_in_order(
    database: Database,
) -> None:
    async with receiver() as (sink, url):
        resources = resources_of(settings_for(url), database)
        endpoint_id = await registered(resources, url)
        ids = [await queued(resources, endpoint_id, payload=progress(percent)) for percent in (20, 40, 60)]
        ids.append(await queued(resources, endpoint_id, "complete", Payload(status="complete")))
        # So that the simulated time of the successes is the verifier's.
        back = 2 + 4 + 60 + 300 + 1800 + 3600 + 7200
        simulation = Simulation(resources, now() - timedelta(seconds=back))
        async with database.write() as session:
            await session.execute(
                text("update webhook_deliveries set next_retry_at = :at where next_retry_at is not null"),
                {"at": simulation.now},
            )

        def fail_for_two_hours(elapsed: float) -> None:
            if elapsed < 7200:
                sink.script("a", [ScriptedAnswer(status=503)])

        await simulation.run(fail_for_two_hours)
    failed = [request for request in sink.deliveries if request.status == 503]
    arrived = [request for request in sink.deliveries if request.status == 200]
    assert [seconds for seconds, _ in simulation.taken[:8]] == [0, 2, 6, 66, 366, 2166, 5766, 12966]
    assert told(arrived) == [20, 40, 60, "complete"]
    assert told(failed) == [20] * 7, "no later delivery went out before the first had ended"
    assert {request.body for request in failed} == {arrived[0].body}
    assert [request.headers["x-webhook-attempt"] for request in sink.deliveries] == [
        *"12345678",
        "1",
        "1",
        "1",
    ]
    assert [request.headers["webhook-id"] for request in arrived] == ids
    for request in arrived:
        Webhook(SECRET).verify(request.body, request.headers)
    for request in sink.deliveries:
        timestamp, body = request.headers["x-webhook-timestamp"], request.body.encode()
        signed = (request.headers["x-webhook-signature"], request.headers["x-webhook-signature-v2"])
        assert signed == contract_signatures(SECRET, timestamp, body)
    assert [(await row_of(database, each)).status for each in ids] == ["sent"] * 4
    log = await attempts_of(database, ids[0])
    assert [(each.attempt, each.status_code) for each in log] == [
        *((number, 503) for number in range(1, 8)),
        (8, 200),
    ]


async def test_after_the_last_attempt_a_delivery_is_a_dead_letter_and_the_next_goes_on(
    database: Database,
) -> None:
    async with receiver() as (sink, url):
        resources = resources_of(settings_for(url, webhook_retry_seconds="2,4"), database)
        endpoint_id = await registered(resources, url)
        first = await queued(resources, endpoint_id, payload=progress(20))
        second = await queued(resources, endpoint_id, payload=progress(40))
        sink.script("a", [ScriptedAnswer(status=500), ScriptedAnswer(status=404), ScriptedAnswer(status=500)])
        await Simulation(resources, now()).run()
    dead = await row_of(database, first)
    assert (dead.status, dead.attempt, dead.max_attempts, dead.status_code) == ("failed", 3, 3, 500)
    assert dead.dead_at is not None
    assert told(sink.deliveries) == [20, 20, 20, 40]
    assert (await row_of(database, second)).status == "sent"


async def test_jobs_do_not_wait_for_each_other(database: Database) -> None:
    async with receiver() as (sink, url):
        resources = resources_of(settings_for(url), database)
        endpoint_id = await registered(resources, url)
        await queued(resources, endpoint_id, payload=progress(20), job_id="j1")
        await queued(resources, endpoint_id, payload=progress(40), job_id="j2")
        sink.script("a", [ScriptedAnswer(status=503)])
        simulation = Simulation(resources, now())
        await simulation.run()
    assert told(sink.deliveries) == [20, 40, 20]


@pytest.mark.parametrize(
    ("retry_after", "waited"),
    [("30", 30.0), ("1", 2.0), ("999999", 3600.0), ("soon", 2.0)],
    ids=["longer", "shorter", "beyond an hour", "unreadable"],
)
async def test_a_longer_wait_is_honoured_when_the_receiver_asks_for_it(
    database: Database, retry_after: str, waited: float
) -> None:
    async with receiver() as (sink, url):
        resources = resources_of(settings_for(url), database)
        delivery_id = await queued(resources, await registered(resources, url))
        sink.script("a", [ScriptedAnswer(status=429, retry_after=retry_after)])
        [(_, turn)] = await open_turns(database)
        at = now()
        assert await workflows.attempt(resources, turn, lambda: at) == "pending"
    row = await row_of(database, delivery_id)
    assert row.next_retry_at == at + timedelta(seconds=waited)
    async with database.read() as session:
        job_id = workflows.job_id_of(row.id, row.turn)
        assert await session.scalar(DELAYS, {"id": job_id}) == pytest.approx(waited * 1000, abs=2000)


async def test_gone_disables_the_endpoint_and_ends_what_waits_for_it(database: Database) -> None:
    async with receiver() as (sink, url):
        resources = resources_of(settings_for(url), database)
        endpoint_id = await registered(resources, url)
        first = await queued(resources, endpoint_id)
        waiting = await queued(resources, endpoint_id)
        other = await queued(resources, endpoint_id, job_id="j2")
        sink.script("a", [ScriptedAnswer(status=410)])
        await Simulation(resources, now()).run()
        late = await queued(resources, endpoint_id)
    assert len(sink.deliveries) == 1
    assert (await endpoint_of(database, endpoint_id)).disabled_because == "The receiver answered 410 Gone"
    for delivery_id in (first, waiting, other, late):
        row = await row_of(database, delivery_id)
        assert (row.status, row.next_retry_at) == ("failed", None)
        assert row.dead_at is not None
    assert await open_turns(database) == []


async def test_a_redirect_is_a_failure_and_is_not_followed(database: Database) -> None:
    async with receiver() as (sink, url):
        resources = resources_of(settings_for(url), database)
        delivery_id = await queued(resources, await registered(resources, url))
        sink.script("a", [ScriptedAnswer(status=302, location=url.replace("/a", "/b"))])
        await Simulation(resources, now()).run()
    assert [request.receiver for request in sink.deliveries] == ["a", "a"]
    log = await attempts_of(database, delivery_id)
    assert log[0].error == "HTTP 302 (redirects are not followed)"


async def test_a_receiver_that_does_not_answer_is_left_and_tried_again(database: Database) -> None:
    async with receiver() as (sink, url):
        resources = resources_of(settings_for(url, webhook_timeout_seconds=0.5), database)
        delivery_id = await queued(resources, await registered(resources, url))
        sink.script("a", [ScriptedAnswer(delay_seconds=30)])
        await Simulation(resources, now()).run()
    first, *_, last = await attempts_of(database, delivery_id)
    assert (first.status_code, first.error) == (None, "timed out")
    assert last.status_code == 200


async def test_what_a_receiver_says_is_kept_in_part(database: Database) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"a\0\xff" + b"x" * 199_997)
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/hooks/a"
    async with listening:
        resources = resources_of(settings_for(url), database)
        delivery_id = await queued(resources, await registered(resources, url))
        await Simulation(resources, now()).run()
    row = await row_of(database, delivery_id)
    assert row.status == "sent", "a long answer is a success like any other"
    assert row.response_body is not None
    assert len(row.response_body) == 1000
    assert row.response_body.startswith("a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}x")


async def test_a_delivery_whose_transaction_is_rolled_back_is_never_sent(database: Database) -> None:
    async with receiver() as (sink, url), working(resources_of(settings_for(url), database)) as resources:
        endpoint_id = await registered(resources, url)

        async def change_and_fail() -> None:
            async with database.write() as session:
                await outbox.queue(session, resources.durable, endpoint_id, "progress", "j1", PROGRESS)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await change_and_fail()
        kept = await queued(resources, endpoint_id)
        await resources.durable.wait(workflows.job_id_of(kept, 1), 20)
    assert [request.headers["webhook-id"] for request in sink.deliveries] == [kept]


async def test_the_engine_carries_out_all_turns_in_order(database: Database) -> None:
    """Several jobs side by side, each failing in its own way: within each, one after the other."""
    settings = {"webhook_retry_seconds": ",".join(["0"] * 8)}
    async with receiver() as (sink, url), working(resources_of(settings_for(url, **settings), database)) as r:
        endpoint_id = await registered(r, url)
        sink.script("a", [ScriptedAnswer(status=status) for status in (500, 200, 503, 500, 200, 500)])
        last: list[str] = []
        for percent in (20, 40, 60):
            last = [
                await queued(r, endpoint_id, payload=progress(percent), job_id=f"j{number}")
                for number in range(4)
            ]
        for delivery_id in last:
            await _ended(database, delivery_id)
    for number in range(4):
        of_job = [each for each in sink.deliveries if each.headers["x-webhook-job-id"] == f"j{number}"]
        assert told([each for each in of_job if each.status == 200]) == [20, 40, 60]
        assert told(of_job) == sorted(told(of_job))


async def _ended(database: Database, delivery_id: str) -> None:
    async with asyncio.timeout(30):
        while (await row_of(database, delivery_id)).status == "pending":  # noqa: ASYNC110 -- as a reader looks
            await asyncio.sleep(0.05)


async def test_a_turn_that_is_over_sends_nothing(database: Database) -> None:
    async with receiver() as (sink, url):
        resources = resources_of(settings_for(url), database)
        await queued(resources, await registered(resources, url))
        [(_, turn)] = await open_turns(database)
        assert await workflows.attempt(resources, turn) == "sent"
        assert await workflows.attempt(resources, turn) == "superseded"
        missing = Turn(delivery_id="c-none", turn=1, origin="http://x.example.test")
        assert await workflows.attempt(resources, missing) == "superseded"
    assert len(sink.deliveries) == 1


async def test_a_delivery_whose_job_was_lost_is_given_another_turn(database: Database) -> None:
    async with receiver() as (sink, url):
        resources = resources_of(settings_for(url), database)
        delivery_id = await queued(resources, await registered(resources, url))
        late = timedelta(seconds=-1)
        assert await workflows.resume(resources, after=late) == {"late": 1, "resumed": 0}, "its job is queued"
        assert await workflows.resume(resources) == {"late": 0, "resumed": 0}
        await resources.durable.cancel(workflows.job_id_of(delivery_id, 1))
        assert await workflows.resume(resources, after=late) == {"late": 1, "resumed": 1}
        async with working(resources):
            await resources.durable.wait(workflows.job_id_of(delivery_id, 2), 20)
    assert [request.headers["x-webhook-attempt"] for request in sink.deliveries] == ["1"]


async def test_turns_whose_jobs_wait_do_not_hide_lost_ones_behind_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiver() as (_, url):
        resources = resources_of(settings_for(url), database)
        endpoint_id = await registered(resources, url)
        ids = [await queued(resources, endpoint_id, job_id=f"j{number}") for number in range(3)]
        for each in ids[1:]:
            await resources.durable.cancel(workflows.job_id_of(each, 1))
        monkeypatch.setattr(workflows, "LOOKED_AT", 1)
        async with database.write() as session:
            await session.execute(
                text("update webhook_deliveries set next_retry_at = now() - interval '1 hour'")
            )
        assert await workflows.resume(resources) == {"late": 3, "resumed": 2}
        await resources.durable.stop()


async def test_old_deliveries_are_forgotten_and_those_that_wait_are_not(database: Database) -> None:
    async with receiver() as (sink, url):
        resources = resources_of(settings_for(url, webhook_retention_days=3), database)
        old = await registered(resources, url, subject="job:old")
        kept = await registered(resources, url, subject="job:kept")
        await queued(resources, old, job_id="old")
        await Simulation(resources, now()).run()
        waiting = await queued(resources, kept, job_id="kept")
        async with database.write() as session:
            await session.execute(
                text("update webhook_deliveries set created_at = now() - interval '4 days'")
            )
            await session.execute(text("update webhook_endpoints set created_at = now() - interval '4 days'"))
        assert await workflows.trim(resources) == {"deliveries": 1, "endpoints": 1}
    assert (await row_of(database, waiting)).status == "pending"
    async with database.read() as session:
        left = await session.scalar(text("select count(*) from webhook_delivery_partial_fiches"))
    assert left == 1, "what was told of people goes with the delivery"
    assert len(sink.deliveries) == 1


async def test_a_rotated_secret_overlaps_with_the_one_before(database: Database) -> None:
    async with receiver() as (_, url):
        resources = resources_of(settings_for(url), database)
        endpoint_id = await registered(resources, url)
        async with database.write() as session:
            await outbox.rotate(session, ACTOR, endpoint_id, "the next one", overlap_seconds=60)
    endpoint = await endpoint_of(database, endpoint_id)
    assert valid_secrets(endpoint, now()) == ("the next one", SECRET)
    assert valid_secrets(endpoint, now() + timedelta(seconds=61)) == ("the next one",)
