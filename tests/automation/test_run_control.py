"""Runs that are stopped, taken up again, or lost: what is told of them is consistent, and only what is missing is done."""

import asyncio
from collections import Counter

import pytest
from run_room import API, Room
from sqlalchemy import text, update

from audit_rows import configured
from conforme.accounts.grants import Scope
from conforme.audits import endings
from conforme.audits.errors import AuditFailed
from conforme.automation import run_work, stopping
from conforme.automation.models import AutomationRunFiche
from conforme.automation.outcomes import RUN_CANCELLED
from conforme.automation.rules import Selection
from conforme.automation.run_work import Listed
from people import granting, signed_in
from product_fixtures import SETTINGS


async def test_a_cancelled_run_begins_nothing_ends_what_it_began_and_gives_every_fiche_its_outcome(
    room: Room,
) -> None:
    many = [str(2000 + number) for number in range(20)]
    run_id = await room.begun(*many)
    for fiche_id in many[:3]:
        await room.fiche(fiche_id)
    await room.done(run_id, many[0])
    await room.audit(run_id, many[1])
    await room.judge(run_id, many[2])
    answer = await room.api.post(f"{API}/runs/{run_id}/cancel")
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["status"] == "running"
    waiting = [each for each in await room.items(run_id) if each.outcome is None]
    assert all(each.queued for each in waiting), "what was not begun is closed at once"
    await room.stop(run_id)
    run = await room.check(run_id)
    assert (run.status, run.successful_fiches, run.ignored_fiches, run.total_fiches) == (
        "cancelled",
        1,
        19,
        1,
    )
    assert {each.ignore_reason for each in await room.items(run_id)} == {None, RUN_CANCELLED}
    audits = [await room.audit_row(each) for each in (await room.item(run_id, many[1])).audit_ids]
    assert [each.error_code for each in audits] == ["CANCELLED"]
    late = await room.judge(run_id, many[2])
    assert late == {"go": False}, "a stage that comes late does nothing"
    assert len(await room.told("automation.run.completed")) == 1
    over = await room.api.post(f"{API}/runs/{run_id}/cancel")
    assert (over.status_code, over.json()["code"]) == (409, "RUN_OVER")


async def test_a_run_that_was_not_begun_ends_at_once(room: Room) -> None:
    run_id = await room.launch(await room.schedule("1001"))
    answer = await room.api.post(f"{API}/runs/{run_id}/cancel")
    assert answer.json()["data"]["status"] == "cancelled"


async def test_taken_up_again_only_what_failed_is_done(room: Room) -> None:
    run_id = await room.begun("1001", "1002", "1003")
    early = await room.api.post(f"{API}/runs/{run_id}/retry-failed")
    assert (early.status_code, early.json()["code"]) == (409, "RUN_RUNNING")
    for fiche_id in ("1001", "1002", "1003"):
        await room.fiche(fiche_id)
        await room.audit(run_id, fiche_id)
    await room.complete(run_id, "1001")
    await room.fail(run_id, "1002")
    await room.complete(run_id, "1003")
    assert (await room.check(run_id)).status == "partial"
    again = await room.api.post(f"{API}/runs/{run_id}/retry-failed")
    assert (again.json()["data"]["status"], again.json()["data"]["failedFiches"]) == ("running", 0)
    assert Counter((await room.outcomes(run_id)).values()) == {"successful": 2, None: 1}
    before = (await room.item(run_id, "1002")).audit_ids
    await room.done(run_id, "1002")
    assert (await room.item(run_id, "1002")).audit_ids == before
    run = await room.check(run_id)
    assert (run.status, run.attempt, run.audits_run) == ("completed", 2, 3)
    assert len(await room.told("automation.run.completed")) == 2
    over = await room.api.post(f"{API}/runs/{run_id}/retry-failed")
    assert (over.status_code, over.json()["code"]) == (409, "NOTHING_TO_RETRY")


async def test_what_a_cancellation_left_undone_is_taken_up_again(room: Room) -> None:
    run_id = await room.begun("1001", "1002")
    await room.fiche("1001")
    await room.fiche("1002")
    await room.done(run_id, "1001")
    await room.api.post(f"{API}/runs/{run_id}/cancel")
    await room.stop(run_id)
    again = await room.api.post(f"{API}/runs/{run_id}/retry-failed")
    assert again.json()["data"]["status"] == "running"
    await room.done(run_id, "1002")
    run = await room.check(run_id)
    assert (run.status, run.successful_fiches, run.ignored_fiches) == ("completed", 2, 0)


async def test_an_audit_resumed_by_itself_changes_the_report_of_its_run(room: Room) -> None:
    run_id = await room.begun("1001")
    await room.fiche("1001")
    await room.audit(run_id, "1001")
    await room.fail(run_id, "1001")
    assert (await room.check(run_id)).status == "failed"
    [audit_id] = (await room.item(run_id, "1001")).audit_ids
    assert (await room.api.post(f"/api/audits/{audit_id}/resume")).status_code == 200
    await room.complete(run_id, "1001")
    run = await room.check(run_id)
    assert (run.status, run.successful_fiches, run.failed_fiches) == ("completed", 1, 0)
    assert len(await room.told("automation.run.completed")) == 1


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("details", "Fiche details not fetched (cache incomplete)"),
        ("transcription", "Transcription incomplete (timeout/stall)"),
    ],
)
async def test_a_fiche_whose_job_is_gone_ends_with_the_words_of_the_contract(
    room: Room, stage: str, error: str
) -> None:
    run_id = await room.begun("1001")
    async with room.database.write() as session:
        await session.execute(text("delete from dbos.workflow_status"))
        await session.execute(
            update(AutomationRunFiche).values(stage=stage, updated_at=text("now() - interval '10 minutes'"))
        )
    assert await stopping.reap(room.resources) == {"silent": 1, "reaped": 1}
    run = await room.check(run_id)
    assert (run.status, (await room.item(run_id, "1001")).error) == ("failed", error)
    assert await stopping.reap(room.resources) == {"silent": 0, "reaped": 0}


async def test_a_fiche_whose_job_works_is_left_alone(room: Room) -> None:
    run_id = await room.begun("1001")
    async with room.database.write() as session:
        old = text("now() - interval '10 minutes'")
        await session.execute(update(AutomationRunFiche).values(updated_at=old))
    assert await stopping.reap(room.resources) == {"silent": 1, "reaped": 0}
    assert (await room.run(run_id)).status == "running"


async def test_whoever_does_not_own_the_schedule_stops_nothing_and_sees_their_fiches_alone(
    room: Room,
) -> None:
    run_id = await room.begun("1001", "1002")
    await room.fiche("1001", groupe="R1")
    await room.fiche("1002", groupe="R2")
    for fiche_id in ("1001", "1002"):
        await room.judge(run_id, fiche_id, error="The CRM does not answer")
    grants = granting(["automation"], Scope.GROUP, write=True)
    person = await signed_in(room.database, SETTINGS, grants, groupes=["R1"])
    mine = person.headers
    seen = (await room.api.get(f"{API}/runs/{run_id}", headers=mine)).json()["data"]
    assert (seen["failedFiches"], [each["ficheId"] for each in seen["resultSummary"]["failed"]]) == (
        2,
        ["1001"],
    )
    assert {line["metadata"].get("fiche_id") for line in seen["logs"]} == {None, "1001"}
    listed = (await room.api.get(f"{API}/runs/{run_id}/fiches", headers=mine)).json()
    assert [each["ficheId"] for each in listed["data"]] == ["1001"]
    refused = await room.api.post(f"{API}/runs/{run_id}/retry-failed", headers=mine)
    assert refused.status_code == 403


async def test_ends_that_come_together_are_each_counted_once_and_the_run_ends_once(room: Room) -> None:
    other = (await configured(room.database, name="Seconde grille", steps=1)).config_id
    many = [str(2000 + number) for number in range(8)]
    run_id = await room.begun(*many, specific_audit_configs=(room.config_id, other))
    for fiche_id in many:
        await room.fiche(fiche_id)
        await room.audit(run_id, fiche_id)
    audits = [each for item in await room.items(run_id) for each in item.audit_ids]
    reason = AuditFailed("The model does not answer", phase="analysis")
    await asyncio.gather(*(endings.fail(room.resources, each, reason) for each in audits))
    run = await room.check(run_id)
    assert (run.status, run.failed_fiches) == ("failed", 8)
    assert len(await room.told("automation.run.completed")) == 1
    assert len(await room.jobs(f"automation-{run_id}-end-%")) == 1


async def test_a_run_of_another_system_is_not_taken_up_again(room: Room) -> None:
    run_id = await room.begun("1001")
    await room.judge(run_id, "1001", error="The CRM does not answer")
    mark = text("update automation_runs set config_snapshot = config_snapshot || '{\"imported\": {}}'")
    async with room.database.write() as session:
        await session.execute(mark)
    again = await room.api.post(f"{API}/runs/{run_id}/retry-failed")
    assert (again.status_code, again.json()["code"]) == (409, "NOTHING_TO_RETRY")


async def test_a_night_of_which_no_day_could_be_listed_begins_anew_and_tells_of_it_again(room: Room) -> None:
    wanted = Selection(mode="date_range", date_range="yesterday")
    run_id = await room.launch(await room.schedule(selection=wanted))
    down = {"2026-01-05": Listed(why="The CRM does not answer")}
    for attempt in (1, 2):
        assert (await run_work.begin(room.resources, run_id))["go"]
        for _ in ("noted", "noted again after a crash"):
            assert (await run_work.note_days(room.resources, run_id, down, done=1, failed=1))["go"]
        await run_work.select_fiches(room.resources, run_id)
        run = await room.run(run_id)
        assert (run.status, run.error_code, run.days_done, run.days_failed) == (
            "failed",
            "DAYS_NOT_LISTED",
            1,
            1,
        )
        again = await room.api.post(f"{API}/runs/{run_id}/retry-failed")
        assert again.status_code == 200, again.text
        told = again.json()["data"]
        assert (told["status"], told["daysDone"], told["daysFailed"]) == ("pending", 0, 0)
        assert await room.jobs(f"automation-run-{run_id}-{attempt + 1}")
    lines = (await room.api.get(f"{API}/runs/{run_id}/logs")).json()["data"]
    said = Counter(line["message"] for line in lines)
    assert {name: said[name] for name in ("Automation started", "Day not listed", "Fiches selected")} == {
        "Automation started": 2,
        "Day not listed": 2,
        "Fiches selected": 2,
    }
