"""Reading audits: shapes of the contract, filters, paging, scope."""

from datetime import timedelta
from decimal import Decimal

import httpx2
import pytest
from sqlalchemy import select, update

from audit_rows import audit, configured, step
from conforme.accounts.actor import Actor, Scope
from conforme.audits import queries
from conforme.audits.details import verdicts_of
from conforme.audits.filters import Filters
from conforme.audits.list_queries import ListPage, listed
from conforme.audits.models import AuditRow, CitationRow
from conforme.audits.views import CITATION_FIELDS
from conforme.foundation.database import Database, now

CITATION = {
    "texte": "je suis votre conseiller",
    "minutage": "00:03",
    "minutage_secondes": 3.2,
    "speaker": "speaker_0",
    "recording_index": 0,
    "chunk_index": 0,
    "recording_date": "05/01/2026",
    "recording_time": "08:14",
    "recording_url": "N/A",
}
AUDIT_KEYS = {
    "id",
    "ficheCacheId",
    "auditConfigId",
    "automationScheduleId",
    "automationRunId",
    "triggerSource",
    "triggerUserId",
    "notes",
    "deletedAt",
    "overallScore",
    "scorePercentage",
    "niveau",
    "isCompliant",
    "criticalPassed",
    "criticalTotal",
    "status",
    "startedAt",
    "completedAt",
    "durationMs",
    "errorMessage",
    "totalTokens",
    "successfulSteps",
    "failedSteps",
    "recordingsCount",
    "timelineChunks",
    "resultData",
    "version",
    "isLatest",
    "createdAt",
    "updatedAt",
    "auditConfig",
    "automationSchedule",
    "automationRun",
}
STEP_KEYS = {
    "id",
    "auditId",
    "stepPosition",
    "stepName",
    "severityLevel",
    "isCritical",
    "weight",
    "traite",
    "conforme",
    "score",
    "niveauConformite",
    "commentaireGlobal",
    "motsClesTrouves",
    "minutages",
    "erreursTranscriptionTolerees",
    "totalCitations",
    "totalTokens",
    "createdAt",
}


async def test_a_list_has_the_shape_of_the_contract(api: httpx2.AsyncClient, database: Database) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        await audit(session, pinned, 1)
    body = (await api.get("/api/audits")).json()
    [item] = body["data"]
    assert set(item) >= AUDIT_KEYS
    assert (item["overallScore"], item["scorePercentage"]) == ("85.5", "85.5")
    assert isinstance(item["id"], str)
    assert item["createdAt"].endswith("Z")
    assert item["auditConfig"]["name"] == "Grille d'essai"
    assert item["ficheCache"] == {
        "ficheId": "900001",
        "groupe": "EQUIPE R1",
        "prospectNom": "MARTEL",
        "prospectPrenom": "Odile",
    }
    assert body["pagination"] == {
        "total": 1,
        "limit": 100,
        "offset": 0,
        "current_page": 1,
        "total_pages": 1,
        "has_next_page": False,
        "has_prev_page": False,
    }


async def test_a_detail_has_its_steps_points_and_quotes(api: httpx2.AsyncClient, database: Database) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        audit_id = await audit(session, pinned, 1)
        await step(session, audit_id, 1)
    data = (await api.get(f"/api/audits/{audit_id}")).json()["data"]
    assert set(data["stepResults"][0]) >= STEP_KEYS
    assert data["ficheCache"]["prospectEmail"] == "odile@example.test"
    [shown] = data["resultData"]["audit"]["results"]["steps"]
    assert shown["points_controle"][0]["statut"] == "PRESENT"
    assert CITATION.items() <= shown["points_controle"][0]["citations"][0].items()
    assert shown["step_metadata"] == {"position": 1}
    assert data["missingSteps"] == []
    assert data["configRevision"]["number"] == 1
    assert data["cost"]["calls"] == 0


async def test_an_unknown_audit_is_not_found_and_a_bad_id_is_named(api: httpx2.AsyncClient) -> None:
    unknown = await api.get("/api/audits/123456")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "Audit not found")
    for bad in ("abc", "0", "99999999999999999999"):
        answer = await api.get(f"/api/audits/{bad}")
        assert (answer.status_code, answer.json()["error"]) == (400, "Invalid audit_id")


async def test_filters_narrow_and_junk_members_are_dropped(
    api: httpx2.AsyncClient, database: Database
) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        good = await audit(session, pinned, 1)
        bad = await audit(session, pinned, 2, niveau="REJET", is_compliant=False)
        await audit(session, pinned, 3, status="failed", niveau="PENDING", is_compliant=False)

    async def ids(query: str) -> list[str]:
        return [each["id"] for each in (await api.get(f"/api/audits?{query}")).json()["data"]]

    assert await ids("niveau=REJET") == [str(bad)]
    assert await ids("is_compliant=true") == [str(good)]
    assert await ids("fiche_ids=900001,900009") == [str(good)]
    assert await ids(
        f"audit_config_ids=x,{pinned.config_id}&status=failed,completed&sort_order=asc&limit=1"
    ) == [str(good)]
    assert await ids("audit_config_ids=999999") == []
    assert len(await ids("audit_config_ids=,,")) == 3
    tomorrow = (now() + timedelta(days=1)).date()
    assert await ids(f"date_from={tomorrow}") == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=x", "Invalid query parameters"),
        ("offset=1.5", "Invalid query parameters"),
        ("date_from=2025-13-40", "Invalid date_from (expected ISO 8601 date-time)"),
        ("date_to=yesterday", "Invalid date_to (expected ISO 8601 date-time)"),
    ],
)
async def test_a_page_or_date_that_cannot_be_is_refused(
    api: httpx2.AsyncClient, query: str, message: str
) -> None:
    answer = await api.get(f"/api/audits?{query}")
    assert (answer.status_code, answer.json()["error"]) == (400, message)


async def test_pages_follow_each_other(api: httpx2.AsyncClient, database: Database) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        expected = [str(await audit(session, pinned, number)) for number in range(1, 8)]
    seen: list[str] = []
    for offset in (0, 3, 6):
        body = (await api.get(f"/api/audits?limit=3&offset={offset}&sort_order=asc")).json()
        seen += [each["id"] for each in body["data"]]
        assert body["pagination"]["has_next_page"] is (offset < 6)
    assert seen == expected
    assert (await api.get("/api/audits?limit=100000")).json()["pagination"]["limit"] == 500


async def test_a_deleted_audit_is_listed_only_when_asked_for(
    api: httpx2.AsyncClient, database: Database
) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        audit_id = await audit(session, pinned, 1, deleted_at=now())
    assert (await api.get("/api/audits")).json()["data"] == []
    assert (await api.get("/api/audits?include_deleted=true")).json()["pagination"]["total"] == 1
    assert (await api.get(f"/api/audits/{audit_id}")).status_code == 200


async def test_out_of_scope_audits_are_not_there(database: Database) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        audit_id = await audit(session, pinned, 1)
        session.add(
            AuditRow(
                tracking_id="audit-1-1-1",
                job_id="audit-1-1-1",
                fiche_id="1",
                audit_config_id=pinned.config_id,
                config_revision_id=pinned.id,
                requested_by="test",
                score_percentage=Decimal(0),
            )
        )
    mine = Actor("user:1", Scope.GROUP, groupes=frozenset({"EQUIPE R1"}))
    foreign = Actor("user:2", Scope.GROUP, groupes=frozenset({"EQUIPE R2"}))
    nobody = Actor("user:3", Scope.SELF, crm_user_id="211")
    async with database.read() as session:
        assert (await listed(session, mine, Filters())).total == 1
        assert await queries.one(session, mine, audit_id) is not None
        for actor in (foreign, nobody):
            assert await listed(session, actor, Filters()) == ListPage([], 0, None)
            assert await queries.one(session, actor, audit_id) is None
        assert (await listed(session, Actor.system("test"), Filters())).total == 2


async def test_quotes_are_read_beside_their_points_as_they_are_stored(database: Database) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        numbers = [await audit(session, pinned, number) for number in (1, 2)]
        for audit_id, position in ((numbers[0], 1), (numbers[0], 2), (numbers[1], 1)):
            await step(session, audit_id, position)
        whole = update(CitationRow).where(CitationRow.step_position == 2)
        await session.execute(whole.values(minutage_secondes=3, start_ms=None))
    async with database.read() as session:
        stored = list(await session.scalars(select(CitationRow).order_by(CitationRow.id)))
        found = await verdicts_of(session, numbers)
    read = [quote for number in numbers for quote in found[number].citations]
    names = ("audit_id", "step_position", "control_point_index", *CITATION_FIELDS)
    for name in names:
        assert [repr(getattr(each, name)) for each in read] == [repr(getattr(each, name)) for each in stored]
