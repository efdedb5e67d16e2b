"""Audits say which schedule and run they belong to."""

from run_room import Room
from sqlalchemy import text


async def test_an_audit_of_a_run_names_its_schedule_and_run_wherever_it_is_shown(room: Room) -> None:
    run_id = await room.begun("1001", "1002", name="Chaque soir")
    for fiche_id in ("1001", "1002"):
        await room.fiche(fiche_id)
        await room.done(run_id, fiche_id)
    run = await room.run(run_id)
    [audit_id] = (await room.item(run_id, "1001")).audit_ids
    async with room.database.write() as session:  # as the audits' own work does
        await session.execute(
            text("update audits a set fiche_cache_id = f.id from fiche_cache f where f.fiche_id = a.fiche_id")
        )
    of_fiche = {"fiche_ids": "1001"}
    [group] = (await room.api.get("/api/audits/grouped-by-fiches", params=of_fiche)).json()["data"]
    answers = [
        (await room.api.get("/api/audits", params=of_fiche)).json()["data"],
        (await room.api.get("/api/audits/by-fiche/1001")).json()["data"],
        group["audits"],
        [(await room.api.get(f"/api/audits/{audit_id}")).json()["data"]],
    ]
    shown = [audit for answer in answers for audit in answer]
    assert len(shown) == len(answers)
    schedule = {"id": str(run.schedule_id), "name": "Chaque soir"}
    for audit in shown:
        assert audit["automationSchedule"] == schedule
        assert audit["automationRun"] | {"startedAt": None, "completedAt": None} == {
            "id": str(run_id),
            "status": "completed",
            "startedAt": None,
            "completedAt": None,
            "scheduleId": str(run.schedule_id),
        }
        assert audit["automationRun"]["startedAt"]
        assert audit["automationRun"]["completedAt"]
    [group] = (await room.api.get("/api/audits/grouped?group_by=automation_schedule")).json()["data"]
    assert (group["count"], group["automationSchedule"]) == (2, schedule)
    [group] = (await room.api.get("/api/audits/grouped?group_by=automation_run")).json()["data"]
    assert (group["automationRun"]["id"], group["automationRun"]["status"]) == (str(run_id), "completed")


async def test_what_was_deleted_is_named_by_its_id_alone(room: Room) -> None:
    run_id = await room.begun("1001")
    await room.fiche("1001")
    await room.done(run_id, "1001")
    schedule_id = (await room.run(run_id)).schedule_id
    assert (await room.api.delete(f"/api/automation/schedules/{schedule_id}")).status_code == 200
    [audit] = (await room.api.get("/api/audits")).json()["data"]
    assert (audit["automationScheduleId"], audit["automationSchedule"]) == (str(schedule_id), None)
    assert (audit["automationRunId"], audit["automationRun"]) == (str(run_id), None)
