"""Weaknesses of spec/automation §12, and promises of its §4.4, that no other test of this room is about."""

from datetime import timedelta

from run_room import API, OWNER, Room
from sqlalchemy import text

from audit_rows import fiche as fiche_row
from conforme.audits import endings
from conforme.audits.errors import AuditFailed
from conforme.automation import run_work
from conforme.automation.rules import Selection, Timing
from conforme.automation.selection import NOT_FOUND
from conforme.foundation.database import now
from conforme.foundation.errors import ConformeError
from conforme.webhooks import outbox

DAYS = ("2026-01-05", "2026-01-06", "2026-01-07")


async def test_promise_an_audit_that_came_to_a_halt_is_told_in_the_words_of_the_contract(room: Room) -> None:
    """§4.4: the gate of audits. A deadline ends the audit, the audit its fiche, and that is a failure of the fiche."""
    run_id = await room.begun("1001")
    await room.fiche("1001")
    await room.audit(run_id, "1001")
    [audit_id] = (await room.item(run_id, "1001")).audit_ids
    late = AuditFailed("The audit did not end in time", phase="deadline", code="AUDIT_TIMEOUT")
    await endings.fail(room.resources, audit_id, late)
    run = await room.check(run_id)
    assert (run.status, (await room.item(run_id, "1001")).error) == (
        "failed",
        "Audit incomplete (timeout/stall)",
    )


async def test_promise_a_fiche_is_tried_again_as_often_as_max_retries_and_not_without_retry_failed(
    room: Room,
) -> None:
    for retry_failed, most, tries in ((False, 5, 1), (True, 0, 1), (True, 3, 4)):
        run_id = await room.begun("1001", retry_failed=retry_failed, max_retries=most)
        made = 0
        while (await room.item(run_id, "1001")).outcome is None:
            await room.judge(run_id, "1001", error="The CRM does not answer", code="EXTERNAL_API_ERROR")
            made += 1
        assert made == tries
        assert len(await room.jobs(f"automation-{run_id}-fiche-1001%")) == tries
        assert (await room.check(run_id)).status == "failed"


async def test_weakness_7_that_there_is_no_fiche_is_told_by_the_status_and_not_by_digits_in_a_message(
    room: Room,
) -> None:
    run_id = await room.begun("1404123", "1404124")
    failed = "Failed to fetch fiche details for 1404123: status=500: upstream not found"
    await room.judge(run_id, "1404123", error=failed, code="EXTERNAL_API_ERROR")
    await room.judge(run_id, "1404124", not_found=True)
    assert await room.outcomes(run_id) == {"1404123": "failed", "1404124": "ignored"}
    assert (await room.item(run_id, "1404123")).error == failed
    assert (await room.item(run_id, "1404124")).ignore_reason == NOT_FOUND


async def test_weakness_8_the_cut_is_of_the_run_and_not_of_each_day(room: Room) -> None:
    async with room.database.write() as session:
        for rank, day in enumerate(DAYS):
            for number in range(4):
                await fiche_row(session, f"{2000 + 10 * rank + number}", sales_date=day)
    selection = Selection(
        mode="date_range",
        date_range="custom",
        custom_start_date=DAYS[0],
        custom_end_date=DAYS[-1],
        max_fiches=5,
    )
    run_id = await room.begun(selection=selection)
    assert [each.fiche_id for each in await room.items(run_id)] == ["2000", "2001", "2002", "2003", "2010"]
    assert (await room.run(run_id)).left_fiches == 7


async def test_weakness_8_an_id_that_is_named_twice_is_one_fiche(room: Room) -> None:
    body = {
        "name": "Deux fois",
        "scheduleType": "MANUAL",
        "ficheSelection": {"mode": "manual", "ficheIds": ["1001, 1002", "1001", "1003 1002"]},
        "specificAuditConfigs": [room.config_id],
    }
    schedule = (await room.api.post(f"{API}/schedules", json=body)).json()["data"]["id"]
    run_id = await room.launch(int(schedule))
    await run_work.begin(room.resources, run_id)
    await run_work.select_fiches(room.resources, run_id)
    assert list(await room.outcomes(run_id)) == ["1001", "1002", "1003"]
    assert (await room.run(run_id)).total_fiches == 3


async def test_weakness_9_yesterday_is_that_of_the_schedules_zone_at_the_time_it_was_due(room: Room) -> None:
    """Ten in the evening of the 6th in UTC is the 7th in Tokyo, and the 6th in New York, whatever the server's clock."""
    selection = Selection(mode="date_range", date_range="yesterday")
    seen: dict[str, tuple[str, ...]] = {}
    for zone in ("Asia/Tokyo", "America/New_York"):
        schedule_id = await room.schedule(
            selection=selection, timing=Timing(schedule_type="MANUAL", timezone=zone)
        )
        run_id = await room.launch(schedule_id)
        async with room.database.write() as session:
            due = text("update automation_runs set due_at = '2026-01-06T22:00:00Z' where id = :id")
            await session.execute(due, {"id": run_id})
        seen[zone] = tuple((await run_work.begin(room.resources, run_id))["days"])
    assert seen == {"Asia/Tokyo": ("2026-01-06",), "America/New_York": ("2026-01-05",)}


async def test_weakness_11_a_long_run_swallows_no_due_time_and_counts_are_added_once(room: Room) -> None:
    """The end of a run moves neither the next due time nor, when several end at once, what another has counted."""
    due = now() + timedelta(hours=1)
    schedule_id = await room.schedule("1001", next_due_at=due)
    for _ in range(2):
        run_id = await room.launch(schedule_id)
        await run_work.begin(room.resources, run_id)
        await run_work.select_fiches(room.resources, run_id)
        await room.judge(run_id, "1001", error="The CRM does not answer")
    shown = (await room.api.get(f"{API}/schedules/{schedule_id}")).json()["data"]
    assert (shown["totalRuns"], shown["failedRuns"], shown["lastRunStatus"]) == (2, 2, "failed")
    async with room.database.read() as session:
        kept = await session.scalar(
            text("select next_due_at from automation_schedules where id = :id"), {"id": schedule_id}
        )
    assert kept == due


async def test_weakness_16_neither_secrets_nor_stacks_are_shown_or_carried_in_events(room: Room) -> None:
    secret = "a secret nobody is shown"
    async with room.database.write() as session:
        endpoint_id = await outbox.register(
            session,
            room.resources.outbound,
            subject="schedule:of-this-test",
            url="https://hooks.example.test/night",
            secret=secret,
            actor=OWNER,
        )
    schedule_id = await room.schedule("1001", webhook_endpoint_id=endpoint_id)
    run_id = await room.launch(schedule_id)
    await run_work.begin(room.resources, run_id)
    await run_work.fail(room.resources, run_id, ConformeError("Unexpected error (KeyError)"))
    run = (await room.api.get(f"{API}/runs/{run_id}")).json()["data"]
    assert set(run["errorDetails"]) == {"name"}
    shown = (await room.api.get(f"{API}/schedules/{schedule_id}")).text
    told = str(await room.told("automation.run.failed")) + str(await room.told("automation/failed"))
    assert secret not in shown + str(run) + told
    assert "Traceback" not in str(run) + told
