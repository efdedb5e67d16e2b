"""The lines of workflows: written with the event they tell of, once, under one id; shown redacted, forgotten in time."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from audit_rows import audit, configured
from conforme.audits import telling
from conforme.audits.models import AuditRow
from conforme.foundation import events
from conforme.foundation.database import Database, WriteSession
from conforme.foundation.events import Draft
from conforme.foundation.retention import TRIM_LOGS

AT = "2026-03-01T09:00:00Z"


@pytest.fixture
async def logging(database_url: str, database: Database) -> AsyncGenerator[Database]:
    """The same database on connections that keep lines."""
    kept = Database(database_url, pool_size=2, workflow_log=True)
    yield kept
    await kept.dispose()


async def _audit(database: Database) -> int:
    pinned = await configured(database)
    async with database.write() as session:
        return await audit(session, pinned, 1)


async def _tell(database: Database, audit_id: int, *names: str, **fields: Any) -> None:
    async with database.write() as session:
        row = await session.get_one(AuditRow, audit_id)
        await events.record_all(session, [telling.told(row, name, "told", **fields) for name in names])


async def _lines(api: httpx2.AsyncClient, audit_id: int, query: str = "") -> list[dict[str, Any]]:
    answer = await api.get(f"/api/audits/{audit_id}/logs?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_a_line_has_the_shape_of_the_contract_and_the_id_of_the_run(
    api: httpx2.AsyncClient, logging: Database
) -> None:
    audit_id = await _audit(logging)
    await _tell(logging, audit_id, "step_failed", step_name="Accueil", step_position=3, error="No answer")
    body = (await api.get(f"/api/audits/{audit_id}/logs")).json()
    [line] = body["data"]
    async with logging.read() as session:
        tracking_id = (await session.get_one(AuditRow, audit_id)).tracking_id
        told = (await session.execute(text("select id, payload ->> 'event_id' from events"))).one()
    assert line | {"id": "", "createdAt": "", "data": {}} == {
        "id": "",
        "workflow": "audit",
        "level": "error",
        "entityType": "audit",
        "entityId": str(audit_id),
        "traceId": tracking_id,
        "inngestEventId": tracking_id,
        "functionId": None,
        "stepName": "Accueil",
        "message": "audit.step_failed: No answer",
        "data": {},
        "createdAt": "",
    }
    assert (line["data"]["event_uid"], told[1]) == (str(told[0]), tracking_id)
    assert (body["count"], body["limit"], body["offset"]) == (1, 200, 0)


async def test_what_is_rolled_back_leaves_no_line_and_what_is_not_asked_for_is_not_kept(
    api: httpx2.AsyncClient, database: Database, logging: Database
) -> None:
    audit_id = await _audit(logging)
    async with AsyncSession(logging.engine) as session:
        row = await session.get_one(AuditRow, audit_id)
        await events.record_all(WriteSession(session), [telling.told(row, "started", "started")])
        await session.rollback()
    await _tell(database, audit_id, "started")
    assert await _lines(api, audit_id) == []


async def test_lines_are_narrowed_and_paged_oldest_first(api: httpx2.AsyncClient, logging: Database) -> None:
    audit_id = await _audit(logging)
    await _tell(logging, audit_id, "started", "step_failed", "completed")
    async with logging.write() as session:
        await session.execute(
            text("update workflow_logs set created_at = :at where level = 'error'"), {"at": AT}
        )

    async def messages(query: str) -> list[str]:
        return [line["message"] for line in await _lines(api, audit_id, query)]

    assert await messages("") == ["audit.started", "audit.step_failed", "audit.completed"]
    assert await messages("level=error") == ["audit.step_failed"]
    assert await messages("until=2026-03-02") == ["audit.step_failed"]
    assert await messages("since=2026-03-02T00:00:00Z") == ["audit.started", "audit.completed"]
    assert await messages("limit=1&offset=2") == ["audit.completed"]
    for name in ("since", "until"):
        answer = await api.get(f"/api/audits/{audit_id}/logs?{name}=soon")
        expected = f"Invalid {name} (expected ISO 8601 date-time)"
        assert (answer.status_code, answer.json()["error"]) == (400, expected)


async def test_lines_of_a_fiche_tell_of_its_transcription_alone_and_of_one_run_where_asked(
    api: httpx2.AsyncClient, logging: Database
) -> None:
    await _audit(logging)
    drafts = [
        Draft(name, {"fiche_id": fiche_id, "run_id": run_id}, [])
        for name, fiche_id, run_id in (
            ("transcription.started", "900001", "run-1"),
            ("transcription.started", "900001", "run-2"),
            ("transcription.started", "900002", "run-3"),
            ("fiche/fetched", "900001", "run-1"),
            ("account.changed", "900001", "run-1"),
        )
    ]
    async with logging.write() as session:
        await events.record_all(session, drafts)
    path = "/api/transcriptions/900001/logs"
    assert [line["traceId"] for line in (await api.get(path)).json()["data"]] == ["run-1", "run-2"]
    one = (await api.get(f"{path}?run_id=run-2")).json()
    assert ([line["traceId"] for line in one["data"]], one["trace_id"]) == (["run-2"], "run-2")


async def test_a_line_shows_no_personal_data_whoever_wrote_it(
    api: httpx2.AsyncClient, logging: Database
) -> None:
    audit_id = await _audit(logging)
    await _tell(
        logging, audit_id, "failed", error="odile@example.test did not answer", email="odile@example.test"
    )
    shown = str(await _lines(api, audit_id))
    assert "did not answer" in shown
    assert "odile" not in shown


async def test_old_lines_are_forgotten(api: httpx2.AsyncClient, logging: Database) -> None:
    audit_id = await _audit(logging)
    await _tell(logging, audit_id, "started", "completed")
    async with logging.write() as session:
        await session.execute(
            text(
                "update workflow_logs set created_at = now() - interval '31 days' where message = 'audit.started'"
            )
        )
        await session.execute(TRIM_LOGS, {"days": 30, "batch": 10})
    assert [line["message"] for line in await _lines(api, audit_id)] == ["audit.completed"]
