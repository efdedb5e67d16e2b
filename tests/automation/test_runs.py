"""A run of automation: every fiche has exactly one outcome, and the counters are always those of the outcomes."""

from run_room import Room

from audit_rows import configured
from conforme.accounts.actor import Actor, Scope
from conforme.automation.outcomes import AFTER_ERROR, OVER_BUDGET
from conforme.automation.rules import Budget, Selection
from conforme.automation.selection import NO_RECORDINGS, NOT_FOUND, OTHER_GROUP, OUT_OF_SCOPE
from conforme.settings import Settings


async def test_a_run_audits_its_fiches_and_ends_by_itself(room: Room) -> None:
    run_id = await room.begun("1001", "1002")
    for fiche_id in ("1001", "1002"):
        await room.fiche(fiche_id)
        await room.audit(run_id, fiche_id)
    await room.complete(run_id, "1002")
    assert (await room.check(run_id)).status == "running"
    await room.complete(run_id, "1001")
    run = await room.check(run_id)
    assert (run.status, run.total_fiches, run.audits_run, run.duration_ms is not None) == (
        "completed",
        2,
        2,
        True,
    )
    [ended] = await room.told("automation.run.completed")
    assert ended == {
        "job_id": f"automation-run-{run_id}",
        "schedule_id": str(run.schedule_id),
        "run_id": str(run_id),
        "status": "completed",
        "total_fiches": 2,
        "successful_fiches": 2,
        "failed_fiches": 0,
        "ignored_fiches": 0,
        "transcriptions_run": 0,
        "audits_run": 2,
        "duration_ms": run.duration_ms,
    }
    [domain] = await room.told("automation/completed")
    assert (domain["status"], domain["total_fiches"]) == ("completed", 2)
    assert [told["successful"] for told in await room.told("automation.run.progress")] == [0, 1, 2]


async def test_weakness_1_one_bad_fiche_does_not_end_the_run(room: Room) -> None:
    run_id = await room.begun("1001", "1002", "1003")
    for fiche_id in ("1001", "1002", "1003"):
        await room.fiche(fiche_id)
    await room.judge(
        run_id, "1001", error="Failed to fetch fiche details for 1001: status=500", code="EXTERNAL_API_ERROR"
    )
    await room.audit(run_id, "1002")
    await room.fail(run_id, "1002")
    await room.done(run_id, "1003")
    run = await room.check(run_id)
    assert (run.status, run.successful_fiches, run.failed_fiches) == ("partial", 1, 2)
    assert (await room.item(run_id, "1001")).error == "Failed to fetch fiche details for 1001: status=500"
    assert (await room.item(run_id, "1002")).error == "The model does not answer"


async def test_weakness_2_ignored_fiches_are_ignored_and_leave_the_total(room: Room) -> None:
    selection = Selection(
        mode="manual", fiche_ids=("1001", "1002", "1003", "1004"), groupes=("R1",), only_with_recordings=True
    )
    run_id = await room.begun(selection=selection)
    await room.fiche("1001")
    await room.fiche("1002", groupe="R2")
    await room.fiche("1003", recordings=0)
    await room.judge(run_id, "1002")
    await room.judge(run_id, "1003")
    await room.judge(run_id, "1004", not_found=True)
    await room.done(run_id, "1001")
    run = await room.check(run_id)
    assert (run.status, run.total_fiches, run.ignored_fiches) == ("completed", 1, 3)
    reasons = {each.fiche_id: each.ignore_reason for each in await room.items(run_id)}
    assert reasons == {"1001": None, "1002": OTHER_GROUP, "1003": NO_RECORDINGS, "1004": NOT_FOUND}


async def test_weakness_3_counters_count_real_work_alone(room: Room) -> None:
    run_id = await room.begun("1001", run_audits=False)
    await room.fiche("1001")
    await room.audit(run_id, "1001")
    run = await room.check(run_id)
    assert (run.status, run.successful_fiches, run.audits_run, run.transcriptions_run) == (
        "completed",
        1,
        0,
        0,
    )


async def test_weaknesses_4_and_5_each_configuration_audits_each_fiche_in_the_name_of_the_run(
    room: Room,
) -> None:
    other = (await configured(room.database, name="Seconde grille", steps=1)).config_id
    selection = Selection(mode="manual", fiche_ids=("1001",), use_rlm=True)
    run_id = await room.begun(
        selection=selection, specific_audit_configs=(room.config_id, other), use_automatic_audits=False
    )
    await room.fiche("1001")
    assert (await room.audit(run_id, "1001"))["audits"] == 2
    await room.complete(run_id, "1001")
    run = await room.check(run_id)
    assert (run.status, run.audits_run) == ("completed", 2)
    for audit_id in (await room.item(run_id, "1001")).audit_ids:
        audit = (await room.api.get(f"/api/audits/{audit_id}")).json()["data"]
        assert (audit["automationRunId"], audit["automationScheduleId"], audit["triggerSource"]) == (
            str(run_id),
            str(run.schedule_id),
            "automation",
        )
        assert (await room.audit_row(int(audit_id))).use_rlm


async def test_without_a_configuration_nothing_is_begun_and_the_run_says_why(room: Room) -> None:
    from conforme.automation import run_work
    from conforme.automation.run_work import NoAuditConfigs

    run_id = await room.launch(
        await room.schedule("1001", specific_audit_configs=(), use_automatic_audits=False)
    )
    try:
        await run_work.begin(room.resources, run_id)
    except NoAuditConfigs as error:
        await run_work.fail(room.resources, run_id, error)
    run = await room.check(run_id)
    assert (run.status, run.error_message, run.error_code) == (
        "failed",
        "No audit configs resolved",
        "NO_AUDIT_CONFIGS",
    )
    [told] = await room.told("automation.run.failed")
    assert told["error"] == "No audit configs resolved"


async def test_only_so_many_fiches_are_in_work_and_each_end_begins_the_next(room: Room) -> None:
    many = [str(2000 + number) for number in range(30)]
    run_id = await room.begun(*many)
    window = Settings().automation_fiches_in_work
    assert sum(each.queued for each in await room.items(run_id)) == window
    await room.fiche(many[0])
    await room.audit(run_id, many[0])
    assert sum(each.queued for each in await room.items(run_id)) == window, "its audits are still in work"
    await room.complete(run_id, many[0])
    begun = [each.fiche_id for each in await room.items(run_id) if each.begun]
    assert begun == many[: window + 1]
    assert len(await room.jobs(f"automation-{run_id}-fiche-%")) == window + 1


async def test_a_failed_fiche_is_tried_again_as_often_as_the_schedule_says(room: Room) -> None:
    run_id = await room.begun("1001", retry_failed=True, max_retries=1)
    await room.fiche("1001")
    await room.audit(run_id, "1001")
    await room.fail(run_id, "1001")
    item = await room.item(run_id, "1001")
    assert (item.outcome, item.attempt, item.begun) == (None, 1, 2)
    assert await room.jobs(f"automation-{run_id}-fiche-%") == [
        f"automation-{run_id}-fiche-1001",
        f"automation-{run_id}-fiche-1001-retry-1",
    ]
    first = item.audit_ids
    await room.audit(run_id, "1001")
    assert (await room.item(run_id, "1001")).audit_ids == first, "the audit goes on with what it lacks"
    await room.fail(run_id, "1001")
    assert (await room.check(run_id)).status == "failed"


async def test_where_errors_stop_it_no_other_fiche_is_begun(room: Room) -> None:
    many = [str(2000 + number) for number in range(20)]
    run_id = await room.begun(*many, continue_on_error=False)
    await room.fiche(many[0])
    await room.judge(run_id, many[0], error="The CRM does not answer")
    await room.fiche(many[1])
    await room.judge(run_id, many[1])
    reasons = {each.ignore_reason for each in await room.items(run_id) if each.outcome == "ignored"}
    assert reasons == {AFTER_ERROR}
    for fiche_id in many[2:]:
        if (await room.item(run_id, fiche_id)).outcome is None:
            await room.fiche(fiche_id)
            await room.judge(run_id, fiche_id)
    run = await room.check(run_id)
    assert (run.status, run.failed_fiches, run.ignored_fiches) == ("failed", 1, 19)


async def test_what_does_not_fit_into_the_budget_is_not_begun(room: Room) -> None:
    run_id = await room.begun("1001", "1002", "1003", budget=Budget(max_audio_minutes=15))
    for fiche_id in ("1001", "1002", "1003"):
        await room.fiche(fiche_id, heard=False)
    assert (await room.judge(run_id, "1001")) == {"go": True, "transcribe": True}
    assert (await room.judge(run_id, "1002"))["go"] is False
    assert (await room.item(run_id, "1002")).ignore_reason == OVER_BUDGET
    assert (await room.run(run_id)).exhausted == "audio_minutes"


async def test_a_manual_selection_without_ids_is_told_as_the_contract_says(room: Room) -> None:
    run_id = await room.begun()
    run = await room.check(run_id)
    assert (run.status, run.result_summary) == ("completed", {"message": "No fiches found", "ficheIds": []})
    [told] = await room.told("automation.run.completed")
    assert (told["reason"], told["total_fiches"]) == ("no_fiches_manual", 0)


async def test_what_failed_when_the_budget_is_used_up_stays_failed(room: Room) -> None:
    run_id = await room.begun(
        "1001", "1002", budget=Budget(max_audio_minutes=15), retry_failed=True, max_retries=3
    )
    await room.fiche("1001", heard=False)
    await room.fiche("1002", heard=False)
    await room.judge(run_id, "1001")
    await room.judge(run_id, "1002")
    await room.audit_unheard(run_id, "1001")
    run = await room.check(run_id)
    assert (run.status, await room.outcomes(run_id)) == ("failed", {"1001": "failed", "1002": "ignored"})
    assert (await room.item(run_id, "1001")).error == "The speech service does not answer"


async def test_transcribed_fiches_are_passed_by_unless_the_schedule_says_otherwise(room: Room) -> None:
    for skips, transcribes in ((True, False), (False, True)):
        run_id = await room.begun("1001", skip_if_transcribed=skips)
        if skips:
            await room.fiche("1001")
        assert (await room.judge(run_id, "1001")) == {"go": True, "transcribe": transcribes}


async def test_without_transcription_what_cannot_be_heard_is_ignored(room: Room) -> None:
    run_id = await room.begun("1001", run_transcription=False)
    await room.fiche("1001", heard=False)
    assert await room.judge(run_id, "1001") == {"go": True, "transcribe": False}
    await room.audit_unheard(run_id, "1001", error=None)
    run = await room.check(run_id)
    assert (run.status, (await room.item(run_id, "1001")).ignore_reason) == (
        "completed",
        "No transcribed recordings (empty timeline)",
    )


async def test_fiches_that_the_owner_does_not_see_are_ignored_and_not_lost(room: Room) -> None:
    await room.fiche("1001", groupe="R1")
    await room.fiche("1002", groupe="R2")
    owner = Actor(name="chef@example.test", scope=Scope.GROUP, groupes=frozenset({"R1"}))
    run_id = await room.begun("1001", "1002", "1003", owner=owner)
    run = await room.check(run_id)
    assert (run.total_fiches, run.ignored_fiches) == (1, 2)
    reasons = {each.fiche_id: each.ignore_reason for each in await room.items(run_id)}
    assert reasons == {"1001": None, "1002": OUT_OF_SCOPE, "1003": OUT_OF_SCOPE}, "unknown or denied is one"
