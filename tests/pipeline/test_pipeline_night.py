"""Nights under hardship: replicas killed while every tenth call fails, people in between, stopped and taken up again."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pipeline_account import Account
from pipeline_audits import DAY, MODEL, SPEECH, Client, ledger, product, rows
from pipeline_nights import API, asked_for, check_books, run_of
from pipeline_processes import Replica, free_port, until
from pipeline_site import Site
from pydantic import PrivateAttr

from audit_rows import configured as with_steps
from conforme.audit_configs.shipped import SHORT
from conforme.foundation.database import Database
from conforme.sandbox.crm import GatewayFaults
from conforme.sandbox.weather import FaultPlan, Latency
from conforme.sandbox.world import Sandbox, SandboxOptions

SALES = 10
KILLS = 4
SERVICES = ("crm", "speech", "model")
ENDED = frozenset({"completed", "partial", "failed", "cancelled"})
PATIENT = {"REPLICA_LEASE_SECONDS": "3"}
"""Who lives is not taken for dead although others begin on the same cores: only a death may cost an answer."""
HARDSHIP = SandboxOptions(
    sales_per_day=SALES,
    faults=FaultPlan.of_rate(0.1, retry_after_seconds=0.1, hang_seconds=0.3),
    model_latency=Latency(base_ms=150),
    speech_latency=Latency(base_ms=150),
    crm_latency=Latency(base_ms=50),
)


@pytest.mark.crash
@pytest.mark.parametrize("outside_world", [HARDSHIP], indirect=True)
async def test_though_replicas_are_killed_again_and_again_a_night_accounts_for_every_fiche_and_pays_once(
    site: Site,
) -> None:
    """The month of `python -m bench month` in little: one of two replicas, at random, dies whenever the night got on."""
    chance, account = random.Random(6), Account(site)  # noqa: S311
    second = (await with_steps(site.database, name="Seconde grille", steps=1)).config_id
    night = [site.start(free_port(), **PATIENT) for _ in range(2)]
    await asyncio.gather(*(each.ready() for each in night))
    async with site.client(night[0].url) as client:
        configs = [site.config_id, second]
        run_id = await asked_for(client, configs, retryFailed=True, maxRetries=2)
    for _ in range(KILLS):
        await _got_on(site, chance.randint(4, 12))
        number = chance.randrange(len(night))
        night[number].kill()
        await account.note_death()
        # It is not waited for: it may die while it begins.
        night[number] = site.start(_port(night[number]), **PATIENT)
    await night[0].ready()
    async with site.client(night[0].url) as client:
        found = await _ended(client, run_id, 60)
    assert found["status"] in {"completed", "partial"}
    outcomes = await check_books(site.database, found, SALES)
    assert found["auditsRun"] >= 2 * outcomes["successful"] > 0
    await _told_once(site.database, run_id)
    await account.check()


def _port(replica: Replica) -> int:
    return int(replica.url.rpartition(":")[2])


async def _got_on(site: Site, requests: int) -> None:
    """The providers were asked so many times more."""
    before = await site.outside.requests(*SERVICES)

    async def reached() -> bool:
        return await site.outside.requests(*SERVICES) >= before + requests

    await until(reached, f"the providers were asked {requests} times more")


async def _ended(client: Client, run_id: str, seconds: float = 30) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def over() -> bool:
        found.update(await run_of(client, run_id))
        return found["status"] in ENDED

    await until(over, f"run {run_id} has ended", seconds)
    return found


async def _told_once(database: Database, run_id: str) -> None:
    """Begin and end are told once, and the end of each fiche changes what is told of progress by one."""
    told = await rows(
        database,
        "select name, (payload->>'successful')::int + (payload->>'failed')::int + (payload->>'ignored')::int"
        " from events where payload->>'run_id' = :run and name like 'automation%' order by id",
        run=run_id,
    )
    names = Counter(name for name, _ in told)
    once = (
        "automation.run.started",
        "automation.run.selection",
        "automation.run.completed",
        "automation/completed",
    )
    assert {name: names[name] for name in once} == dict.fromkeys(once, 1)
    counts = [count for name, count in told if name == "automation.run.progress"]
    assert counts == sorted(counts)
    assert set(counts) == set(range(SALES + 1))


class TiresAfter(Latency):
    """The model answers so many questions at once, and then none for a long while."""

    answers: int
    _answered: list[float] = PrivateAttr(default_factory=list[float])

    def seconds(self, units: float) -> float:
        self._answered.append(units)
        return 0 if len(self._answered) <= self.answers else 300


async def test_a_stop_cuts_off_the_calls_in_flight_and_begins_none_and_taken_up_again_only_what_is_missing_is_asked(
    database: Database,
) -> None:
    """Weakness 12 of spec/automation §12, too: while audits are at work no job of the run waits for them."""
    sales, steps, answered = 6, 5, 20
    options = SandboxOptions(sales_per_day=sales)
    async with (
        Sandbox(options) as sandbox,
        product(database, sandbox, AUDIT_STEP_WORKER_CONCURRENCY="1") as run,
    ):
        sandbox.model.latency = TiresAfter(answers=answered)
        run_id = await asked_for(run.client, [run.config_id])
        await until(lambda: run.asked(MODEL) == answered + 1, "the model has tired", 60)
        await until(partial(_all_at_audits, database, sales), "all else is done", 60)
        await until(partial(_no_open_jobs, database, "automation%"), "no job waits for the audits")
        stopped = await run.client.http.post(f"{API}/runs/{run_id}/cancel")
        assert stopped.status_code == 200, stopped.text
        cut = await _ended(run.client, run_id)
        await until(lambda: not sandbox.model.tally.in_flight, "the model hears of it")
        assert _counts(sandbox) == (answered + 1, answered, 1, 0)
        outcomes = await check_books(database, cut, sales)
        assert (cut["status"], outcomes["failed"]) == ("cancelled", 0)
        assert 0 < outcomes["successful"] < sales
        assert {each["reason"] for each in cut["resultSummary"]["ignored"]} == {"Run cancelled"}
        await until(partial(_no_open_jobs, database, "audit%"), "no audit goes on")

        heard, sandbox.model.latency = run.asked(SPEECH), Latency()
        again = await run.client.http.post(f"{API}/runs/{run_id}/retry-failed")
        assert again.status_code == 200, again.text
        whole = await _ended(run.client, run_id)
        assert (whole["status"], whole["auditsRun"]) == ("completed", sales)
        assert (await check_books(database, whole, sales))["successful"] == sales
        assert _counts(sandbox) == (sales * steps + 1, sales * steps, 1, 0)
        assert run.asked(SPEECH) == heard
    for kind in ("speech", "model"):
        assert set((await ledger(database, kind)).values()) == {1}


def _counts(sandbox: Sandbox) -> tuple[int, int, int, int]:
    """Questions to the model: asked, answered, cut off, and asked again although they were answered."""
    counts = sandbox.model.tally.routes[MODEL]
    return counts.requests, counts.answered, counts.abandoned, counts.repeated


async def _all_at_audits(database: Database, fiches: int) -> bool:
    at_audits = "select count(*) from automation_run_fiches where stage = 'audits'"
    return await rows(database, at_audits) == [(fiches,)]


async def _no_open_jobs(database: Database, like: str) -> bool:
    """Whether no durable job of such a name is queued or under way."""
    query = (
        "select count(*) from dbos.workflow_status where name like :like"
        " and status in ('ENQUEUED', 'PENDING', 'DELAYED')"
    )
    return await rows(database, query, like=like) == [(0,)]


NARROW = {
    "FICHE_FETCH_CONCURRENCY": "1",
    "TRANSCRIPTION_RECORDING_CONCURRENCY": "1",
    "AUDIT_STEP_WORKER_CONCURRENCY": "1",
    "AUTOMATION_FICHE_WORKER_CONCURRENCY": "14",
    "AUTOMATION_FICHE_WORKER_PER_SCHEDULE_CONCURRENCY": "12",
}
"""One place at each service, and a night that fills all of them."""


async def test_a_fiche_nobody_knows_is_fetched_transcribed_and_audited_ahead_of_the_night(
    database: Database,
) -> None:
    slowly = SandboxOptions(
        sales_per_day=12,
        crm_latency=Latency(base_ms=150),
        speech_latency=Latency(base_ms=200),
        model_latency=Latency(base_ms=50),
    )
    async with Sandbox(slowly) as sandbox, product(database, sandbox, config=SHORT, **NARROW) as run:
        day_after = sandbox.population.sales(DAY + timedelta(days=1))
        await asked_for(run.client, [run.config_id])
        await until(partial(_queued, database, {"crm": 5, "speech": 3}), "the night waits everywhere")
        urgent = await asked_for(
            run.client,
            [run.config_id],
            ficheSelection={"mode": "manual", "ficheIds": [day_after[0].fiche_id]},
            transcriptionPriority="high",
        )
        audit = await run.client.ask(day_after[1].fiche_id, run.config_id)
        [detail] = await run.client.ended([audit])
        assert detail["status"] == "completed"
        await until(partial(_begun, database, f"automation-{urgent}-transcribe%"), "the urgent run is heard")
        starts = await rows(database, STARTS)
    for lane, waiting in (("crm", 3), ("speech", 2), ("analysis", 0)):
        jobs = [Start(*row[1:]) for row in starts if row[0] == lane]
        mine = [each for each in jobs if each.priority == INTERACTIVE]
        assert mine
        for own in mine:
            night = [each for each in jobs if each.priority == BULK and each.asked <= own.asked]
            overtaken = [each for each in night if each.begun is None or each.begun >= (own.begun or 0)]
            assert len(overtaken) >= waiting, lane
        # One may be taken while it is being asked for.
        assert max(_ahead(jobs, own) for own in mine) <= 1, lane
    heard = [Start(*row[1:]) for row in starts if row[0] == "speech"]
    urgently = [each for each in heard if each.priority == NORMAL]
    assert urgently
    assert max(_ahead(heard, each) for each in urgently) <= 1, (
        "transcriptionPriority high goes ahead of other nights"
    )


INTERACTIVE, NORMAL, BULK = 1, 10, 100
STARTS = "select queue_name, priority, created_at, started_at_epoch_ms from dbos.workflow_status where queue_name is not null"


@dataclass(frozen=True)
class Start:
    """A job: how urgent it is, when it was asked for and when it was begun, in milliseconds."""

    priority: int
    asked: int
    begun: int | None


def _ahead(jobs: list[Start], own: Start) -> int:
    """How many jobs of the night were begun while this one waited."""
    until_begun = own.begun or 0
    return sum(each.priority == BULK and own.asked < (each.begun or 0) < until_begun for each in jobs)


async def _queued(database: Database, least: dict[str, int]) -> bool:
    query = "select queue_name, count(*) from dbos.workflow_status where status = 'ENQUEUED' group by 1"
    found = {row[0]: row[1] for row in await rows(database, query)}
    return all(found.get(lane, 0) >= count for lane, count in least.items())


async def _begun(database: Database, like: str) -> bool:
    """The speech of that run is begun."""
    query = (
        "select count(*) from dbos.workflow_status where queue_name = 'speech' and workflow_uuid like :like"
        " and started_at_epoch_ms is not null"
    )
    [[count]] = await rows(database, query, like=f"transcription-recording-{like}")
    return count > 0


async def test_weakness_6_a_night_has_calls_transcribed_by_the_same_jobs_and_says_what_it_could_not_hear(
    database: Database,
) -> None:
    async with Sandbox() as sandbox, product(database, sandbox) as run:
        sale = next(
            sale for sale in sandbox.population.sales(DAY) if len(sandbox.population.recordings(sale)) == 2
        )
        calls = sandbox.population.recordings(sale)
        [lost] = [each for each in calls if each.reference.scenario != sale.scenario]
        sandbox.gateway.faults = GatewayFaults(lost_audio=frozenset({lost.file_name}))
        selection = {"mode": "manual", "ficheIds": [sale.fiche_id]}
        run_id = await asked_for(run.client, [run.config_id], ficheSelection=selection)
        by_hand = await run.client.http.post(f"/api/transcriptions/{sale.fiche_id}")
        assert by_hand.status_code == 200, by_hand.text
        found = await _ended(run.client, run_id)
        assert run.asked(SPEECH) == 1, "a job by hand beside the night has nothing heard twice"
        [[audit_id, tracking_id]] = await rows(database, "select id, tracking_id from audits")
        audit = (await run.client.http.get(f"/api/audits/{audit_id}")).json()["data"]
        jobs = {row[0] for row in await rows(database, "select workflow_uuid from dbos.workflow_status")}
    assert found["status"] == "completed"
    assert audit["resultData"]["coverage"]["not_transcribed"] == [lost.call_id]
    assert "Recordings could not be transcribed" in {line["message"] for line in found["logs"]}
    names = {f"automation-{run_id}-{what}-{sale.fiche_id}" for what in ("fetch", "transcribe", "fiche")}
    assert names <= jobs, "each stage has the name of the contract (§4.4)"
    assert tracking_id == f"automation-{run_id}-audit-{sale.fiche_id}-{run.config_id}"
