"""Asking for an audit over HTTP: what is refused, and what is one audit however often it is asked for."""

import asyncio
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select, text

from audit_rows import audit, configured
from conforme.audit_configs.models import AuditConfig
from conforme.audit_configs.service import create
from conforme.audits.models import AuditRow
from conforme.foundation.database import Database
from rubrics import rules


async def count(database: Database, column: Any = AuditRow.id) -> int:
    async with database.read() as session:
        return (await session.scalars(select(func.count(column)))).one()


async def jobs(database: Database) -> list[str]:
    async with database.read() as session:
        rows = await session.execute(text("select workflow_uuid from dbos.workflow_status order by 1"))
        return [row[0] for row in rows]


async def test_the_row_and_its_job_exist_before_the_answer_leaves(
    api: httpx2.AsyncClient, database: Database
) -> None:
    config = await configured(database)
    answer = await api.post("/api/audits/run", json={"fiche_id": 900101, "audit_config_id": config.config_id})
    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] is True
    assert body["message"] == "Audit queued for processing"
    assert body["audit_id"].startswith(f"audit-900101-{config.config_id}-")
    assert body["event_id"] == body["audit_id"]
    assert body["fiche_id"] == "900101"
    assert body["audit_config_id"] == config.config_id
    assert body["metadata"]["status"] == "queued"
    read = await api.get(f"/api/audits/{body['audit_db_id']}")
    assert read.json()["data"]["status"] == "pending"
    assert read.json()["data"]["niveau"] == "PENDING"
    assert await jobs(database) == [body["audit_id"]]


@pytest.mark.parametrize(
    "body",
    [{}, {"fiche_id": "1"}, {"audit_config_id": 1}, {"fiche_id": "", "audit_config_id": 1}, [], ["a"]],
)
async def test_missing_parameters_are_told_in_the_words_of_the_contract(
    api: httpx2.AsyncClient, body: Any
) -> None:
    answer = await api.post("/api/audits/run", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"] == "Missing required parameters"
    assert answer.json()["message"] == "Both audit_config_id (or audit_id) and fiche_id are required"


async def test_run_latest_asks_for_the_fiche_alone(api: httpx2.AsyncClient, database: Database) -> None:
    missing = await api.post("/api/audits/run-latest", json={})
    assert (missing.status_code, missing.json()["error"]) == (400, "Missing required parameter")
    assert missing.json()["message"] == "fiche_id is required"
    none = await api.post("/api/audits/run-latest", json={"fiche_id": "1"})
    assert (none.status_code, none.json()["error"]) == (404, "No active audit configuration found")
    await configured(database, "Ancienne")
    newest = await configured(database, "Nouvelle")
    answer = await api.post("/api/audits/run-latest", json={"fiche_id": "1"})
    assert answer.json()["audit_config_id"] == newest.config_id
    assert answer.json()["audit_config_name"] == "Nouvelle"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"fiche_id": "12a", "audit_config_id": 1}, "fiche_id"),
        ({"fiche_id": "1" * 21, "audit_config_id": 1}, "fiche_id"),
        ({"fiche_id": {"a": 1}, "audit_config_id": 1}, "fiche_id"),
        ({"fiche_id": True, "audit_config_id": 1}, "fiche_id"),
        ({"fiche_id": "1", "audit_config_id": "x"}, "audit_config_id"),
        ({"fiche_id": "1", "audit_config_id": 2**63}, "audit_config_id"),
        ({"fiche_id": "1", "audit_config_id": -1}, "audit_config_id"),
        ({"fiche_id": "1", "audit_config_id": 1.5}, "audit_config_id"),
        ({"fiche_id": "1", "audit_config_id": 1, "user_id": "a\0b"}, "user_id"),
        ({"fiche_id": "1", "audit_config_id": 1, "user_id": "u" * 201}, "user_id"),
    ],
)
async def test_hostile_values_name_their_field(
    api: httpx2.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await api.post("/api/audits/run", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert answer.json()["error"].startswith("Invalid run audit input")
    assert field in answer.json()["details"][0]["field"]


async def test_a_run_that_cannot_work_is_refused_before_anything_is_queued(
    api: httpx2.AsyncClient, database: Database
) -> None:
    async with database.write() as session:
        empty = await create(session, rules(count=0), created_by="test")
        idle = await create(session, rules("Inactive"), created_by="test")
        (await session.get_one(AuditConfig, idle.id)).is_active = False
        empty_id, idle_id = empty.id, idle.id
    for config_id, status, word in (
        (404_404, 404, "not found"),
        (empty_id, 400, "steps"),
        (idle_id, 400, "inactive"),
    ):
        answer = await api.post("/api/audits/run", json={"fiche_id": "1", "audit_config_id": config_id})
        assert answer.status_code == status
        assert word in answer.json()["error"]
    assert await count(database) == 0
    assert await jobs(database) == []


async def test_a_double_click_is_one_audit(api: httpx2.AsyncClient, database: Database) -> None:
    config = await configured(database)
    body = {"fiche_id": "900101", "audit_config_id": config.config_id}
    answers = await asyncio.gather(*(api.post("/api/audits/run", json=body) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["audit_id"] for answer in answers}) == 1
    assert await count(database) == 1
    assert len(await jobs(database)) == 1


async def test_an_idempotency_key_stands_for_one_wish(api: httpx2.AsyncClient, database: Database) -> None:
    config = await configured(database)
    body = {"fiche_id": "900101", "audit_config_id": config.config_id}
    headers = {"Idempotency-Key": "nightly-1"}
    answers = await asyncio.gather(
        *(api.post("/api/audits/run", json=body, headers=headers) for _ in range(6))
    )
    assert len({answer.json()["audit_id"] for answer in answers}) == 1
    other = await api.post("/api/audits/run", json=body | {"fiche_id": "900102"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert await count(database) == 1


async def test_a_refused_wish_leaves_its_key_free(api: httpx2.AsyncClient, database: Database) -> None:
    headers = {"Idempotency-Key": "again"}
    refused = await api.post("/api/audits/run", json={"fiche_id": "1", "audit_config_id": 7}, headers=headers)
    assert refused.status_code == 404
    config = await configured(database)
    body = {"fiche_id": "1", "audit_config_id": config.config_id}
    assert (await api.post("/api/audits/run", json=body, headers=headers)).status_code == 200


async def test_a_new_audit_supersedes_the_one_before(api: httpx2.AsyncClient, database: Database) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        first = await audit(session, pinned, 1)
    answer = await api.post(
        "/api/audits/run", json={"fiche_id": "900001", "audit_config_id": pinned.config_id}
    )
    latest = (await api.get("/api/audits/by-fiche/900001")).json()
    assert [each["id"] for each in latest["data"]] == [answer.json()["audit_db_id"]]
    assert latest["data"][0]["version"] == 2
    everything = (await api.get("/api/audits?fiche_ids=900001&latest_only=false")).json()
    assert {each["id"]: each["isLatest"] for each in everything["data"]}[str(first)] is False


async def test_only_a_failed_audit_is_resumed(api: httpx2.AsyncClient, database: Database) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        running = await audit(session, pinned, 1, status="running")
        complete = await audit(session, pinned, 2)
        failed = await audit(session, pinned, 3, status="failed", error_message="down", error_code="X")
    assert (await api.post(f"/api/audits/{running}/resume")).json()["code"] == "AUDIT_RUNNING"
    assert (await api.post(f"/api/audits/{complete}/resume")).json()["code"] == "AUDIT_COMPLETE"
    assert (await api.post("/api/audits/404/resume")).status_code == 404
    assert (await api.post("/api/audits/x/resume")).json()["error"] == "Invalid audit_id"
    answer = await api.post(f"/api/audits/{failed}/resume")
    assert answer.status_code == 200
    assert answer.json()["event_id"].endswith("-resume-1")
    again = await api.get(f"/api/audits/{failed}")
    assert (again.json()["data"]["status"], again.json()["data"]["errorMessage"]) == ("pending", None)
