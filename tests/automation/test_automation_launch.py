"""Firing: each due time once over all replicas, by policy after an outage and under a run, and by hand with its run's id."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from automation_room import (
    SCHEDULES,
    Clock,
    created,
    due_next,
    ended,
    queued_jobs,
    runs,
    stored,
    told,
    utc,
)
from fastapi import FastAPI
from sqlalchemy import text

from conforme.automation import run_work
from conforme.automation.launch import MAX_WAITING, release
from conforme.automation.run_work import NoAuditConfigs
from conforme.automation.snapshots import plan_of
from conforme.automation.ticking import tick
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable
from conforme.foundation.resources import Resources

TRIGGER = "/api/automation/trigger"
DUE = utc("2026-01-05T06:00")
AT_SIX: dict[str, Any] = {"timeOfDay": "06:00", "timezone": "UTC"}


@pytest.fixture
def resources(api_app: FastAPI, database: Database) -> Resources:
    return api_app.state.resources


@pytest.fixture
def clock() -> Clock:
    return Clock(DUE)


async def due_schedule(api: httpx2.AsyncClient, database: Database, **fields: Any) -> str:
    """A schedule that is due at `DUE`."""
    made = await created(api, **AT_SIX, **fields)
    await due_next(database, made["id"], DUE)
    return made["id"]


async def test_a_due_time_fires_one_run_with_its_job_in_one_transaction(
    api: httpx2.AsyncClient, database: Database, resources: Resources, clock: Clock
) -> None:
    schedule = await due_schedule(api, database)
    clock.forward(minutes=-1)
    assert await tick(resources, clock) == {"fired": 0, "missed": 0, "failed": 0}
    clock.forward(minutes=1)
    assert await tick(resources, clock) == {"fired": 1, "missed": 0, "failed": 0}
    assert await tick(resources, clock) == {"fired": 0, "missed": 0, "failed": 0}
    [run] = await runs(database, schedule)
    job = f"automation-schedule-{schedule}-{int(DUE.timestamp() * 1000)}"
    assert (run.job_id, run.due_at, run.trigger, run.status) == (job, DUE, "schedule", "pending")
    assert run.requested_by == "system:automation-clock"
    assert await queued_jobs(database) == [job]
    row = await stored(database, schedule)
    assert row.next_due_at == DUE + timedelta(days=1)
    assert (row.last_run_at, row.last_run_status) == (DUE, "running")


async def test_looks_of_many_replicas_at_once_fire_a_due_time_once(
    api: httpx2.AsyncClient, database: Database, resources: Resources, clock: Clock
) -> None:
    """Weakness 11 of spec/automation §12: exclusion rests on a held row and a unique due time."""
    schedules = [await due_schedule(api, database, name=f"number {number}") for number in range(4)]
    counts = await asyncio.gather(*(tick(resources, clock) for _ in range(4)))
    assert sum(each["fired"] for each in counts) == 4
    assert sum(each["failed"] for each in counts) == 0
    assert [len(await runs(database, schedule)) for schedule in schedules] == [1, 1, 1, 1]
    assert len(await queued_jobs(database)) == 4


async def test_a_job_that_cannot_be_queued_leaves_no_run_and_is_queued_at_the_next_look(
    api: httpx2.AsyncClient,
    database: Database,
    resources: Resources,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schedule = await due_schedule(api, database)

    async def lost(*_: object, **__: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(Durable, "dispatch", lost)
        assert await tick(resources, clock) == {"fired": 0, "missed": 0, "failed": 1}
    assert await runs(database, schedule) == []
    assert (await stored(database, schedule)).last_run_at is None
    clock.forward(minutes=1)
    assert await tick(resources, clock) == {"fired": 1, "missed": 0, "failed": 0}
    assert [run.due_at for run in await runs(database, schedule)] == [DUE]


async def test_a_due_time_that_was_fired_is_not_fired_again_whatever_the_schedule_remembers(
    api: httpx2.AsyncClient, database: Database, resources: Resources, clock: Clock
) -> None:
    schedule = await due_schedule(api, database)
    await tick(resources, clock)
    [run] = await runs(database, schedule)
    await ended(database, run.id)
    await due_next(database, schedule, DUE)
    await tick(resources, clock)
    assert [each.id for each in await runs(database, schedule)] == [run.id]


async def test_after_an_outage_the_last_missed_time_runs_and_one_event_tells_of_the_others(
    api: httpx2.AsyncClient, database: Database, resources: Resources, clock: Clock
) -> None:
    """Weakness 9 of spec/automation §12: no run is lost to a downtime beyond the window."""
    schedule = await due_schedule(api, database)
    clock.forward(days=3, hours=2)
    assert await tick(resources, clock) == {"fired": 1, "missed": 3, "failed": 0}
    [run] = await runs(database, schedule)
    assert (run.due_at, run.trigger) == (DUE + timedelta(days=3), "catch_up")
    [event] = await told(database, "automation.schedule.missed")
    assert event == {
        "job_id": f"automation-schedule-{schedule}",
        "schedule_id": schedule,
        "reason": "outage",
        "missed": 3,
        "first_due_at": "2026-01-05T06:00:00.000Z",
        "last_due_at": "2026-01-07T06:00:00.000Z",
        "next_due_at": "2026-01-09T06:00:00.000Z",
    }


async def test_where_nothing_is_caught_up_on_the_event_alone_tells_that_nothing_ran(
    api: httpx2.AsyncClient, database: Database, resources: Resources, clock: Clock
) -> None:
    schedule = await due_schedule(api, database, catchUp="none")
    clock.forward(hours=2)
    assert await tick(resources, clock) == {"fired": 0, "missed": 1, "failed": 0}
    assert await runs(database, schedule) == []
    assert [each["missed"] for each in await told(database, "automation.schedule.missed")] == [1]
    assert (await stored(database, schedule)).next_due_at == DUE + timedelta(days=1)


async def test_a_due_time_under_a_run_is_refused_and_told_of(
    api: httpx2.AsyncClient, database: Database, resources: Resources, clock: Clock
) -> None:
    """Weakness 11 of spec/automation §12: runs of one schedule do not overlap unasked."""
    schedule = await due_schedule(api, database)
    await tick(resources, clock)
    clock.forward(days=1)
    assert await tick(resources, clock) == {"fired": 0, "missed": 1, "failed": 0}
    assert len(await runs(database, schedule)) == 1
    assert [each["reason"] for each in await told(database, "automation.schedule.missed")] == ["overlap"]


async def test_runs_that_may_wait_follow_one_another(
    api: httpx2.AsyncClient, database: Database, resources: Resources, clock: Clock
) -> None:
    schedule = await due_schedule(api, database, overlap="queue")
    for _ in range(3):
        await tick(resources, clock)
        clock.forward(days=1)
    first, second, third = await runs(database, schedule)
    assert [first.waiting, second.waiting, third.waiting] == [False, True, True]
    assert await queued_jobs(database) == [first.job_id]
    async with database.write() as session:
        assert await release(session, resources, int(schedule)) is None
    await ended(database, first.id)
    async with database.write() as session:
        released = await release(session, resources, int(schedule))
        assert released is not None
        assert released.id == second.id
    assert await queued_jobs(database) == sorted([first.job_id, second.job_id])
    await ended(database, second.id, "failed")
    await due_next(database, schedule, clock.now + timedelta(days=9))
    await tick(resources, clock)  # whoever ended it died before it could call the next one
    assert await queued_jobs(database) == sorted([first.job_id, second.job_id, third.job_id])


async def test_runs_that_wait_for_a_schedule_that_is_deactivated_are_cancelled(
    api: httpx2.AsyncClient, database: Database, resources: Resources, clock: Clock
) -> None:
    schedule = await due_schedule(api, database, overlap="queue")
    await tick(resources, clock)
    await api.post(TRIGGER, json={"scheduleId": schedule})
    await api.patch(f"{SCHEDULES}/{schedule}", json={"isActive": False})
    first, _ = await runs(database, schedule)
    await ended(database, first.id)
    await tick(resources, clock)
    _, second = await runs(database, schedule)
    assert second.status == "cancelled"
    assert "deactivated" in (second.error_message or "")
    assert await queued_jobs(database) == [first.job_id]


async def test_no_more_than_a_few_runs_of_a_schedule_wait(
    api: httpx2.AsyncClient, database: Database, resources: Resources, clock: Clock
) -> None:
    schedule = await due_schedule(api, database, overlap="queue")
    for _ in range(MAX_WAITING + 1):
        assert (await api.post(TRIGGER, json={"scheduleId": schedule})).status_code == 200
    full = await api.post(TRIGGER, json={"scheduleId": schedule})
    assert (full.status_code, full.json()["code"]) == (409, "RUN_UNDER_WAY")
    await tick(resources, clock)
    assert [each["reason"] for each in await told(database, "automation.schedule.missed")] == ["queue_full"]


async def test_a_schedule_that_cannot_be_read_keeps_no_other_from_running(
    api: httpx2.AsyncClient, database: Database, resources: Resources, clock: Clock
) -> None:
    broken = await due_schedule(api, database)
    sound = await due_schedule(api, database)
    async with database.write() as session:
        statement = text("update automation_schedules set timezone = 'Gone/Zone' where id = :id")
        await session.execute(statement, {"id": int(broken)})
    assert await tick(resources, clock) == {"fired": 1, "missed": 0, "failed": 1}
    assert len(await runs(database, sound)) == 1
    assert await runs(database, broken) == []
    assert len((await api.get(SCHEDULES)).json()["data"]) == 2
    mended = await api.patch(f"{SCHEDULES}/{broken}", json={"timezone": "UTC"})
    assert mended.json()["data"]["nextRunAt"] is not None


async def test_an_edit_that_is_not_about_time_loses_no_due_time_and_one_that_is_fires_nothing_past(
    api: httpx2.AsyncClient, database: Database
) -> None:
    """Weakness 9 of spec/automation §12: nothing is fired for a time just past."""
    schedule = await due_schedule(api, database)
    await api.patch(f"{SCHEDULES}/{schedule}", json={"name": "Renamed"})
    assert (await stored(database, schedule)).next_due_at == DUE
    await api.patch(f"{SCHEDULES}/{schedule}", json={"isActive": False})
    assert (await stored(database, schedule)).next_due_at is None
    answer = await api.patch(f"{SCHEDULES}/{schedule}", json={"isActive": True, "timeOfDay": "00:00"})
    data = answer.json()["data"]
    assert data["nextRunAt"] > data["updatedAt"]


async def test_a_trigger_answers_with_the_run_that_it_made(
    api: httpx2.AsyncClient, database: Database
) -> None:
    """Weakness 15 of spec/automation §12."""
    schedule = (await created(api, scheduleType="MANUAL"))["id"]
    override = {"mode": "manual", "ficheIds": ["12", "13"]}
    answer = await api.post(TRIGGER, json={"scheduleId": int(schedule), "overrideFicheSelection": override})
    [run] = await runs(database, schedule)
    assert answer.json() == {
        "success": True,
        "message": "Automation triggered successfully",
        "schedule_id": int(schedule),
        "run_id": str(run.id),
        "event_ids": [run.job_id],
    }
    assert await queued_jobs(database) == [run.job_id]
    assert run.config_snapshot["schedule"] == {"name": "Every night", "scheduleType": "MANUAL"}
    assert run.config_snapshot["overrides"]["ficheIds"] == ["12", "13"]
    assert plan_of(run).selection.fiche_ids == ("12", "13")
    page = (await api.get(f"{SCHEDULES}/{schedule}/runs")).json()["data"]
    listed = (await api.get("/api/automation/runs")).json()["data"]
    for shown in (*page, *listed, (await api.get(f"/api/automation/runs/{run.id}")).json()["data"]):
        overrides = shown["configSnapshot"]["overrides"]
        assert (overrides.get("ficheIds"), overrides["ficheIdsCount"]) == (None, 2), (
            "fiches are for their scope"
        )
        assert "fiche_ids" not in shown["configSnapshot"]["rules"]["selection"]
    again = await api.post(TRIGGER, json={"scheduleId": schedule})
    assert (again.status_code, again.json()["code"]) == (409, "RUN_UNDER_WAY")
    await ended(database, run.id)
    echoed = await api.post(TRIGGER, json={"scheduleId": schedule})
    assert echoed.json()["schedule_id"] == schedule


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        ({}, "scheduleId"),
        ({"scheduleId": 0}, "scheduleId"),
        ({"scheduleId": "one"}, "scheduleId"),
        ({"scheduleId": 1, "overrideFicheSelection": {"mode": "all"}}, "overrideFicheSelection.mode"),
    ],
)
async def test_a_malformed_trigger_names_the_field(api: httpx2.AsyncClient, body: Any, field: str) -> None:
    answer = await api.post(TRIGGER, json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "Invalid trigger automation data")
    assert answer.json()["details"][0]["field"] == field


async def test_an_unknown_or_inactive_schedule_is_an_error_and_makes_no_run(
    api: httpx2.AsyncClient, database: Database
) -> None:
    """Weakness 15 of spec/automation §12."""
    unknown = await api.post(TRIGGER, json={"scheduleId": 99})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "NOT_FOUND")
    schedule = (await created(api, isActive=False))["id"]
    inactive = await api.post(TRIGGER, json={"scheduleId": schedule})
    assert (inactive.status_code, inactive.json()["code"]) == (409, "SCHEDULE_INACTIVE")
    assert await runs(database, schedule) == []


async def test_what_a_run_goes_by_is_frozen_when_it_is_asked_for(
    api: httpx2.AsyncClient, database: Database
) -> None:
    """Weakness 16 of spec/automation §12: a snapshot holds neither keys nor addresses."""
    schedule = (
        await created(api, externalApiKey="an-invented-gateway-key", notifyEmails=["q@example.test"])
    )["id"]
    await api.post(TRIGGER, json={"scheduleId": schedule})
    await api.patch(f"{SCHEDULES}/{schedule}", json={"maxRetries": 3, "runAudits": False})
    [run] = await runs(database, schedule)
    plan = plan_of(run)
    assert (plan.rules.max_retries, plan.rules.run_audits) == (0, True)
    assert plan.selection.date_range == "yesterday"
    assert "gateway" not in str(run.config_snapshot)
    assert "example.test" not in str(run.config_snapshot)


async def test_the_diagnostic_tells_when_the_clock_was_last_looked_at(
    api: httpx2.AsyncClient, resources: Resources, clock: Clock
) -> None:
    await tick(resources, clock)
    answer = (await api.get("/api/automation/diagnostic")).json()
    assert answer["clock"]["last_tick_at"] == "2026-01-05T06:00:00.000Z"


async def test_a_run_begins_once_and_tells_of_it(
    api: httpx2.AsyncClient, database: Database, resources: Resources
) -> None:
    schedule = (await created(api))["id"]
    run = int((await api.post(TRIGGER, json={"scheduleId": schedule})).json()["run_id"])
    for _ in range(2):
        with suppress(NoAuditConfigs):
            await run_work.begin(resources, run)
    [event] = await told(database, "automation.run.started")
    assert event == {
        "job_id": f"automation-run-{run}",
        "schedule_id": schedule,
        "run_id": str(run),
        "due_at": None,
        "status": "running",
    }
