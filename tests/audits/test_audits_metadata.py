"""Notes, links, deletion and restoration; which audit is the latest; how configurations were used."""

import asyncio
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from sqlalchemy import select, text

from audit_rows import audit, configured, fiche
from conforme.accounts.grants import Grant, Grants, Scope
from conforme.audits.models import AuditRow
from conforme.foundation.database import Database, now
from people import everything_within, signed_in
from product_fixtures import SETTINGS


async def _latest(database: Database) -> list[int]:
    async with database.read() as session:
        return list(
            await session.scalars(select(AuditRow.id).where(AuditRow.is_latest).order_by(AuditRow.id))
        )


@pytest.fixture
async def three(api: httpx2.AsyncClient, database: Database) -> list[int]:
    """Three versions of one audit, the last of them the latest."""
    pinned = await configured(database)
    async with database.write() as session:
        cache_id = await fiche(session, "1")
        return [
            await audit(
                session,
                pinned,
                version,
                fiche_id="1",
                fiche_cache_id=cache_id,
                version=version,
                is_latest=version == 3,
            )
            for version in (1, 2, 3)
        ]


async def test_deleting_the_latest_makes_the_one_before_it_the_latest_and_restoring_puts_it_back(
    api: httpx2.AsyncClient, database: Database, three: list[int]
) -> None:
    first, second, third = three
    deleted = await api.delete(f"/api/audits/{third}")
    assert deleted.status_code == 200
    assert deleted.json()["data"]["deletedAt"].endswith("Z")
    assert deleted.json()["data"]["isLatest"] is False
    assert await _latest(database) == [second]
    [listed] = (await api.get("/api/audits")).json()["data"]
    assert listed["id"] == str(second)
    await api.delete(f"/api/audits/{first}")
    await api.delete(f"/api/audits/{second}")
    assert await _latest(database) == [third]
    assert (await api.get("/api/audits")).json()["data"] == []
    restored = await api.patch(f"/api/audits/{first}", json={"deleted": False})
    assert (restored.json()["data"]["deletedAt"], restored.json()["data"]["isLatest"]) == (None, True)
    await api.patch(f"/api/audits/{third}", json={"deleted": False})
    assert await _latest(database) == [third]


async def test_however_many_delete_and_restore_at_once_one_is_the_latest(
    api: httpx2.AsyncClient, database: Database, three: list[int]
) -> None:
    bodies = [{"deleted": True}, {"deleted": False}]
    await asyncio.gather(*(api.patch(f"/api/audits/{each}", json=body) for each in three for body in bodies))
    async with database.read() as session:
        alive = list(
            await session.scalars(
                select(AuditRow.id).where(AuditRow.deleted_at.is_(None)).order_by(AuditRow.id)
            )
        )
    assert await _latest(database) == [(alive or three)[-1]]


async def test_deletion_is_written_to_the_log_of_changes_once(
    api: httpx2.AsyncClient, database: Database, three: list[int]
) -> None:
    for _ in range(2):
        await api.delete(f"/api/audits/{three[0]}")
    entries = (await api.get("/api/admin/audit-log?action=audit.deleted")).json()["data"]["entries"]
    assert [entry["target"] for entry in entries] == [f"audit:{three[0]}"]


async def test_notes_and_links_are_set_and_null_clears_them(
    api: httpx2.AsyncClient, three: list[int]
) -> None:
    path = f"/api/audits/{three[2]}"
    given: dict[str, Any] = {
        "notes": "Réclamation du client.",
        "automation_schedule_id": "7",
        "automation_run_id": 9,
        "trigger_source": "console",
        "trigger_user_id": "u-1",
        "status": "failed",
    }
    data = (await api.patch(path, json=given)).json()["data"]
    shown = ("notes", "automationScheduleId", "automationRunId", "triggerSource", "triggerUserId", "status")
    assert [data[name] for name in shown] == [
        "Réclamation du client.",
        "7",
        "9",
        "console",
        "u-1",
        "completed",
    ]
    assert (await api.patch(path, json={})).json()["data"]["notes"] == "Réclamation du client."
    cleared = (await api.patch(path, json=dict.fromkeys(given))).json()["data"]
    assert [cleared[name] for name in shown] == [None, None, None, None, None, "completed"]


@pytest.mark.parametrize(
    "body",
    [
        {"notes": "x" * 20_001},
        {"notes": "a\0b"},
        {"notes": 5},
        {"deleted": None},
        {"deleted": "true"},
        {"automation_run_id": "x"},
        {"trigger_source": "x" * 51},
        {"trigger_user_id": "x" * 201},
        [],
    ],
)
async def test_a_change_that_cannot_be_is_refused_in_one_sentence_and_changes_nothing(
    api: httpx2.AsyncClient, three: list[int], body: Any
) -> None:
    sent = {"notes": "neu"} | body if isinstance(body, dict) else body
    answer = await api.patch(f"/api/audits/{three[0]}", json=sent)
    assert (answer.status_code, answer.json()["error"]) == (400, "Invalid update audit input")
    assert (await api.get(f"/api/audits/{three[0]}")).json()["data"]["notes"] is None


async def test_changing_or_deleting_an_audit_that_there_is_not_is_not_found(api: httpx2.AsyncClient) -> None:
    for answer in (
        await api.patch("/api/audits/77", json={"notes": "x"}),
        await api.delete("/api/audits/77"),
    ):
        assert (answer.status_code, answer.json()["error"]) == (404, "Audit not found")
    refused = await api.delete("/api/audits/x")
    assert (refused.status_code, refused.json()["error"]) == (400, "Invalid audit_id")


STATS_KEYS = {
    "id",
    "name",
    "totalAudits",
    "completedAudits",
    "failedAudits",
    "averageScore",
    "averageDurationMs",
    "lastUsedAt",
    "complianceRate",
}


async def test_the_use_of_a_configuration_is_counted_over_all_its_audits(
    api: httpx2.AsyncClient, database: Database
) -> None:
    pinned, unused = await configured(database), await configured(database, "Jamais")
    async with database.write() as session:
        at = now()
        await audit(session, pinned, 1, score_percentage=Decimal(80), duration_ms=1000, created_at=at)
        await audit(
            session,
            pinned,
            2,
            score_percentage=Decimal("50.5"),
            duration_ms=2001,
            is_compliant=False,
            deleted_at=at,
        )
        await audit(session, pinned, 3, score_percentage=Decimal("50.5"), duration_ms=3000, is_latest=False)
        await audit(session, pinned, 4, status="failed", score_percentage=Decimal(0), is_compliant=False)
        await audit(session, pinned, 5, status="running", score_percentage=Decimal(0), is_compliant=False)
        await session.execute(
            text("update audit_configs set is_active = false where id = :id"), {"id": unused.config_id}
        )
    used = (await api.get(f"/api/audit-configs/{pinned.config_id}/stats")).json()["data"]
    assert set(used) == STATS_KEYS
    counts = (used["totalAudits"], used["completedAudits"], used["failedAudits"])
    assert counts == (5, 3, 1)
    assert used["averageScore"] == pytest.approx(181 / 3)
    assert used["averageDurationMs"] == pytest.approx(6001 / 3)
    assert used["complianceRate"] == pytest.approx(200 / 3)
    never = (await api.get(f"/api/audit-configs/{unused.config_id}/stats")).json()["data"]
    assert (never["totalAudits"], never["averageScore"], never["lastUsedAt"], never["complianceRate"]) == (
        0,
        None,
        None,
        0,
    )
    every = (await api.get("/api/audit-configs?include_stats=true")).json()
    assert (every["data"], every["count"]) == ([never, used], 2)
    one = (await api.get(f"/api/audit-configs/{pinned.config_id}?include_stats=true")).json()["data"]
    assert (one["stats"], len(one["steps"])) == (used, 2)
    assert (await api.get("/api/audit-configs/99/stats")).status_code == 404


@pytest.mark.attack("horizontal access")
async def test_the_use_of_a_configuration_counts_no_audit_out_of_scope(
    api: httpx2.AsyncClient, database: Database
) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        await audit(session, pinned, 1)
        other = await fiche(session, "2", "EQUIPE R2")
        await audit(session, pinned, 2, fiche_id="2", fiche_cache_id=other)
    caller = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R2"])
    path = f"/api/audit-configs/{pinned.config_id}/stats"
    assert (await api.get(path, headers=caller.headers)).json()["data"]["totalAudits"] == 1
    assert (await api.get(path)).json()["data"]["totalAudits"] == 2


@pytest.mark.attack("vertical access")
async def test_deleted_audits_are_grouped_and_exported_for_who_may_delete_them_alone(
    api: httpx2.AsyncClient, database: Database
) -> None:
    reader = await signed_in(database, SETTINGS, Grants.of([Grant("audits", read=Scope.ALL)]))
    for path in ("grouped?group_by=status&", "grouped-by-fiches?", "export.csv?", "export.xlsx?"):
        asked = f"/api/audits/{path}include_deleted=true"
        assert (await api.get(asked, headers=reader.headers)).status_code == 403
        assert (await api.get(asked)).status_code == 200
