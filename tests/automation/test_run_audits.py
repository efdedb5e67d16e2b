"""Audits say which schedule and run they belong to."""

from decimal import Decimal

from run_room import Room
from sqlalchemy import select, text, update

from conforme.accounts.actor import Actor
from conforme.automation import run_queries
from conforme.automation.run_queries import Paid
from conforme.foundation.ledger import LlmCall
from conforme.recordings.models import Recording


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


async def test_a_call_that_is_paid_for_an_audit_and_for_speech_counts_once(room: Room) -> None:
    run_id = await room.begun("1001")
    await room.fiche("1001", recordings=2)
    await room.done(run_id, "1001")
    item = await room.item(run_id, "1001")
    [audit_id] = item.audit_ids
    async with room.database.write() as session:
        heard, other = await session.scalars(select(Recording.id).order_by(Recording.id))
        mine = update(Recording).where(Recording.id == heard)
        await session.execute(mine.values(transcription_run=f"automation-{run_id}-transcribe-1001"))
        for kind, audit, recording, cost in (
            ("model", audit_id, None, 1),
            ("speech", None, heard, 20),
            ("speech", audit_id, heard, 300),
            ("speech", audit_id, other, 4000),
            ("speech", None, other, 50_000),
            ("model", None, heard, 600_000),
        ):
            call = LlmCall(
                kind=kind,
                audit_id=audit,
                recording_id=recording,
                cost_micros=cost,
                audio_seconds=Decimal(cost),
                provider="p",
                model="m",
                purpose="test",
                currency="EUR",
                milliseconds=1,
            )
            session.add(call)
        await session.flush()
        assert await run_queries.paid_for(session, item) == Paid(4321, Decimal(320), 1)


async def test_more_fiches_than_a_statement_has_parameters_are_asked_about_at_once(room: Room) -> None:
    many = [str(number) for number in range(70_000)]
    async with room.database.read() as session:
        assert await run_queries.audited_by_all(session, many, [room.config_id]) == set()
        owner = Actor.system("test")
        assert len(await run_queries.named(session, owner, many)) == len(many)
