"""An audit always ends: whatever became of its job, the row says so, once."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from audit_rows import audit, configured, fiche, step
from conforme.audits import endings, queries
from conforme.audits.errors import AuditFailed
from conforme.audits.models import AuditRow, ControlPointRow
from conforme.audits.requests import AuditWish, create_audit
from conforme.foundation.database import Database, WriteSession, now
from conforme.foundation.durable import Durable
from conforme.foundation.events import EventRow
from conforme.foundation.resources import Resources


@pytest.fixture
def resources(api_app: FastAPI) -> Resources:
    return api_app.state.resources


async def age(database: Database, audit_id: int, minutes: int) -> None:
    async with database.write() as session:
        values = {"updated_at": now() - timedelta(minutes=minutes)}
        await session.execute(update(AuditRow).where(AuditRow.id == audit_id).values(values))


async def row(database: Database, audit_id: int) -> AuditRow:
    async with database.read() as session:
        return await queries.row(session, audit_id)


async def told(database: Database, name: str) -> list[dict[str, Any]]:
    async with database.read() as session:
        return [each.payload for each in await session.scalars(select(EventRow).where(EventRow.name == name))]


async def test_an_audit_whose_job_is_gone_ends_as_failed_and_says_so_once(
    database: Database, resources: Resources
) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        lost = await audit(session, pinned, 1, status="running", niveau="PENDING", is_compliant=False)
        await step(session, lost, 1)
    await age(database, lost, 10)
    assert await endings.reap(resources) == {"reaped": 1}
    assert await endings.reap(resources) == {"reaped": 0}
    found = await row(database, lost)
    assert (found.status, found.error_code, found.failed_phase) == ("failed", "AUDIT_TIMEOUT", "deadline")
    [event] = await told(database, "audit.failed")
    assert event["partial_results"] == {"completed_steps": 1, "total_steps": 2, "failed_steps": 0}
    assert event["fiche_id"] == found.fiche_id


async def test_a_young_or_working_audit_is_left_alone(database: Database, resources: Resources) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        young = await audit(session, pinned, 1, status="running")
    assert await endings.reap(resources) == {"reaped": 0}
    assert (await row(database, young)).status == "running"


async def test_audits_that_wait_for_their_turn_do_not_hide_those_that_lost_their_job(
    database: Database, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times as many wait as are looked at together, all of them for longer than those that are lost."""
    monkeypatch.setattr(endings, "REAP_PAGE", 4)
    pinned = await configured(database)
    async with database.write() as session:
        cache_id = await fiche(session, "1")
        wish = AuditWish("1", pinned.config_id, "batch")
        waiting = [
            await create_audit(
                session, resources.durable, wish, pinned, requested_by="test", tracking_id=f"waits-{number}"
            )
            for number in range(12)
        ]
        lost = [
            await audit(session, pinned, number, status="running", fiche_cache_id=cache_id)
            for number in (1, 2)
        ]
    for minutes, audit_ids in ((60, [each.id for each in waiting]), (10, lost)):
        for audit_id in audit_ids:
            await age(database, audit_id, minutes)
    assert await endings.reap(resources) == {"reaped": 2}
    assert {(await row(database, each)).status for each in lost} == {"failed"}
    async with database.read() as session:
        left = await session.scalars(select(AuditRow.tracking_id).where(AuditRow.status == "pending"))
        assert set(left) == {each.tracking_id for each in waiting}


async def test_one_audit_that_cannot_be_ended_does_not_keep_the_others_from_it(
    database: Database, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        stuck, lost = [await audit(session, pinned, number, status="running") for number in (1, 2)]
    for audit_id in (stuck, lost):
        await age(database, audit_id, 10)
    end = endings.end_as_failed

    async def refusing(
        session: WriteSession, durable: Durable, audit_id: int, *rest: Any, **named: Any
    ) -> bool:
        if audit_id == stuck:
            raise RuntimeError("cannot be ended")
        return await end(session, durable, audit_id, *rest, **named)

    monkeypatch.setattr(endings, "end_as_failed", refusing)
    assert await endings.reap(resources) == {"reaped": 1}
    assert (await row(database, lost)).status == "failed"


async def test_an_audit_that_has_ended_is_not_ended_again(database: Database, resources: Resources) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        done = await audit(session, pinned, 1)
        reason = AuditFailed("too late", phase="deadline")
        await endings.end_as_failed(session, resources.durable, done, reason)
    assert (await row(database, done)).status == "completed"
    assert await told(database, "audit.failed") == []


async def test_a_score_follows_from_what_is_stored_and_from_nothing_else(database: Database) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        audit_id = await audit(session, pinned, 1, score_percentage=Decimal(0))
        for position in (1, 2):
            await step(session, audit_id, position)
        assert (await endings.score_of(session, audit_id, pinned.rules)).percentage == Decimal(100)
        await session.execute(
            update(ControlPointRow).where(ControlPointRow.step_position == 2).values(statut="ABSENT")
        )
        assert (await endings.score_of(session, audit_id, pinned.rules)).percentage == Decimal(50)


async def test_a_step_without_verdict_leaves_the_audit_without_a_niveau(database: Database) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        audit_id = await audit(session, pinned, 1)
        await step(session, audit_id, 1)
        score = await endings.score_of(session, audit_id, pinned.rules)
    assert score.not_analysed == (2,)
    assert (score.niveau, score.is_compliant) == ("PENDING", False)
