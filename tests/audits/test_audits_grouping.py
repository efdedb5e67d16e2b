"""Audits counted by what they have in common, and by fiche."""

import random
import statistics
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from audit_rows import audit, configured, fiche
from conforme.accounts.grants import Scope
from conforme.audits import fiche_groups
from conforme.audits.list_schemas import AuditList, FichesOfAudits
from conforme.audits.models import STATUSES
from conforme.foundation.database import Database
from conforme.foundation.web import iso
from people import everything_within, signed_in
from product_fixtures import SETTINGS

ALLOWED = "fiche, audit_config, status, niveau, automation_schedule, automation_run, groupe, created_day, score_bucket"
DAY = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)


@pytest.fixture
async def ground(api: httpx2.AsyncClient, database: Database) -> dict[str, int]:
    """Three audits of one fiche, one of another without a groupe; one of them has not ended."""
    first, second = await configured(database, "Grille A"), await configured(database, "Grille B")
    async with database.write() as session:
        one, two = await fiche(session, "1"), await fiche(session, "2", None)
        known = {"fiche_id": "1", "fiche_cache_id": one}
        await audit(session, first, 1, **known, created_at=DAY, score_percentage=Decimal(90))
        await audit(
            session,
            second,
            2,
            **known,
            created_at=DAY + timedelta(hours=1),
            is_compliant=False,
            niveau="REJET",
            score_percentage=Decimal("40.5"),
        )
        await audit(
            session,
            await configured_third(database),
            3,
            **known,
            created_at=DAY,
            status="running",
            niveau="PENDING",
            is_compliant=False,
            score_percentage=Decimal(0),
        )
        await audit(session, first, 4, fiche_id="2", fiche_cache_id=two, created_at=DAY - timedelta(days=9))
    return {"one": one, "two": two, "first": first.config_id, "second": second.config_id}


async def configured_third(database: Database) -> Any:
    return await configured(database, "Grille C")


async def _grouped(api: httpx2.AsyncClient, query: str) -> list[dict[str, Any]]:
    answer = await api.get(f"/api/audits/grouped?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_groups_have_the_shape_of_the_contract(api: httpx2.AsyncClient, ground: dict[str, int]) -> None:
    body = (await api.get("/api/audits/grouped?group_by=fiche")).json()
    assert body["data"] == [
        {
            "key": str(ground["one"]),
            "count": 3,
            "compliantCount": 1,
            "nonCompliantCount": 1,
            "avgScore": 65.25,
            "minScore": 40.5,
            "maxScore": 90.0,
            "statusCounts": {"pending": 0, "running": 1, "completed": 2, "failed": 0},
            "fiche": {
                "ficheId": "1",
                "groupe": "EQUIPE R1",
                "prospectNom": "MARTEL",
                "prospectPrenom": "Odile",
                "id": str(ground["one"]),
            },
        },
        {
            "key": str(ground["two"]),
            "count": 1,
            "compliantCount": 1,
            "nonCompliantCount": 0,
            "avgScore": 85.5,
            "minScore": 85.5,
            "maxScore": 85.5,
            "statusCounts": {"pending": 0, "running": 0, "completed": 1, "failed": 0},
            "fiche": {
                "ficheId": "2",
                "groupe": None,
                "prospectNom": "MARTEL",
                "prospectPrenom": "Odile",
                "id": str(ground["two"]),
            },
        },
    ]
    assert body["pagination"]["total"] == 2
    assert body["meta"] == {"group_by": "fiche", "bucket_size": 10, "truncated": False}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("group_by=status", {"completed": 3, "running": 1}),
        ("group_by=niveau", {"BON": 2, "REJET": 1, "PENDING": 1}),
        ("group_by=groupe", {"EQUIPE R1": 3, "UNKNOWN": 1}),
        ("group_by=created_day", {"2026-03-01": 2, "2026-03-02": 1, "2026-02-20": 1}),
        ("group_by=score_bucket", {"90-100": 1, "40-50": 1, "80-90": 1, None: 1}),
        ("group_by=score_bucket&bucket_size=50", {"50-100": 2, "0-50": 1, None: 1}),
        ("group_by=automation_schedule", {None: 4}),
        ("group_by=automation_run&status=completed", {None: 3}),
        ("group_by=status&q=grille b", {"completed": 1}),
    ],
)
async def test_a_key_is_what_its_audits_share(
    api: httpx2.AsyncClient, ground: dict[str, int], query: str, expected: dict[str | None, int]
) -> None:
    groups = await _grouped(api, query)
    assert {group["key"]: group["count"] for group in groups} == expected
    assert [group["count"] for group in groups] == sorted(expected.values(), reverse=True)
    assert all(
        ("statusCounts" in group) is ("status&" not in f"{query}&" and "niveau" not in query)
        for group in groups
    )


async def test_groups_come_to_what_their_audits_come_to(api: httpx2.AsyncClient, database: Database) -> None:
    pinned, chance = await configured(database, "Grille A"), random.Random(7)  # noqa: S311
    rows: list[dict[str, Any]] = [
        {
            "fiche_id": str(number % 7),
            "status": (status := chance.choice([*STATUSES, "completed", "completed"])),
            "niveau": chance.choice(["BON", "REJET"]) if status == "completed" else "PENDING",
            "is_compliant": chance.random() < 0.5,
            "score_percentage": Decimal(chance.randrange(10_001)) / 100,
            "created_at": DAY - timedelta(minutes=chance.randrange(9_000)),
        }
        for number in range(120)
    ]
    async with database.write() as session:
        fiches = [await fiche(session, str(number)) for number in range(7)]
        for number, row in enumerate(rows):
            await audit(session, pinned, number, fiche_cache_id=fiches[int(row["fiche_id"])], **row)
    for by, key_of in {
        "status": lambda row: row["status"],
        "niveau": lambda row: row["niveau"],
        "created_day": lambda row: row["created_at"].date().isoformat(),
        "fiche": lambda row: str(fiches[int(row["fiche_id"])]),
        "score_bucket&bucket_size=25": lambda row: _bucket(row, 25),
    }.items():
        expected = defaultdict[str | None, list[dict[str, Any]]](list)
        for row in rows:
            expected[key_of(row)].append(row)
        groups = await _grouped(api, f"group_by={by}&limit=500")
        assert {group["key"]: _told(group) for group in groups} == {
            key: _computed(alike) for key, alike in expected.items()
        }, by
    latest = defaultdict[str, list[datetime]](list)
    for row in rows:
        latest[row["fiche_id"]].append(row["created_at"])
    body = (await api.get("/api/audits/grouped-by-fiches")).json()
    assert [each["fiche"]["ficheId"] for each in body["data"]] == sorted(
        latest, key=lambda number: max(latest[number]), reverse=True
    )
    assert [each["summary"]["latestAuditDate"] for each in body["data"]] == [
        iso(max(latest[each["fiche"]["ficheId"]])) for each in body["data"]
    ]


def _bucket(row: dict[str, Any], size: int) -> str | None:
    low = int(row["score_percentage"]) // size * size
    return f"{low}-{low + size}" if row["status"] == "completed" else None


def _told(group: dict[str, Any]) -> list[Any]:
    names = ("count", "compliantCount", "nonCompliantCount", "avgScore", "minScore", "maxScore")
    return [None if group[name] is None else round(group[name], 9) for name in names]


def _computed(alike: list[dict[str, Any]]) -> list[Any]:
    done = [row for row in alike if row["status"] == "completed"]
    scores = [row["score_percentage"] for row in done]
    good = sum(row["is_compliant"] for row in done)
    told = [statistics.mean(scores), min(scores), max(scores)] if done else [None] * 3
    return [
        len(alike),
        good,
        len(done) - good,
        *(None if each is None else round(float(each), 9) for each in told),
    ]


async def test_an_audit_that_has_not_ended_lowers_no_average(
    api: httpx2.AsyncClient, ground: dict[str, int]
) -> None:
    [running] = await _grouped(api, "group_by=status&status=running")
    assert (running["avgScore"], running["minScore"], running["nonCompliantCount"]) == (None, None, 0)


async def test_a_group_by_configuration_names_it(api: httpx2.AsyncClient, ground: dict[str, int]) -> None:
    groups = await _grouped(api, "group_by=audit_config&limit=1")
    assert [(group["key"], group["auditConfig"]["name"]) for group in groups] == [
        (str(ground["first"]), "Grille A")
    ]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "group_by is required"),
        (
            "group_by=month",
            f"Invalid group_by. Allowed: {ALLOWED}",
        ),
        ("group_by=score_bucket&bucket_size=x", "Invalid query parameters"),
    ],
)
async def test_a_grouping_that_cannot_be_is_refused(
    api: httpx2.AsyncClient, query: str, message: str
) -> None:
    answer = await api.get(f"/api/audits/grouped?{query}")
    assert (answer.status_code, answer.json()["error"]) == (400, message)


async def test_a_page_behind_the_last_group_is_empty_and_still_counts(
    api: httpx2.AsyncClient, ground: dict[str, int]
) -> None:
    for kind, total in (("niveau", 3), ("fiche", 2)):
        body = (await api.get(f"/api/audits/grouped?group_by={kind}&offset=9")).json()
        assert (body["data"], body["pagination"]["total"]) == ([], total)
    body = (await api.get("/api/audits/grouped-by-fiches?offset=9")).json()
    assert (body["data"], body["pagination"]["total"]) == ([], 2)


async def test_fiches_come_with_their_newest_audits_and_a_summary_of_all(
    api: httpx2.AsyncClient, ground: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fiche_groups, "AUDITS_SHOWN", 2)
    body = (await api.get("/api/audits/grouped-by-fiches")).json()
    first, second = body["data"]
    assert [first["fiche"]["ficheId"], second["fiche"]["ficheId"]] == ["1", "2"]
    assert [each["auditConfig"]["name"] for each in first["audits"]] == ["Grille B", "Grille C"]
    assert first["summary"] == {
        "totalAudits": 3,
        "compliantCount": 1,
        "averageScore": 65.25,
        "latestAuditDate": "2026-03-02T00:30:00.000Z",
    }
    assert set(first["fiche"]) == {
        "id", "ficheId", "groupe", "agenceNom", "prospectNom", "prospectPrenom", "prospectEmail", "prospectTel",
        "hasRecordings", "recordingsCount", "fetchedAt", "createdAt", "updatedAt",
    }  # fmt: skip
    only = (await api.get("/api/audits/grouped-by-fiches?niveau=REJET")).json()["data"]
    assert [(each["summary"]["totalAudits"], len(each["audits"])) for each in only] == [(1, 1)]


async def test_what_is_written_by_hand_is_what_the_document_of_the_api_says(
    api: httpx2.AsyncClient, ground: dict[str, int]
) -> None:
    for path, model in (("/api/audits", AuditList), ("/api/audits/grouped-by-fiches", FichesOfAudits)):
        body = (await api.get(path)).json()
        assert model.model_validate(body).model_dump(mode="json", by_alias=True) == body


@pytest.mark.attack("filter override")
async def test_a_groupe_that_is_asked_for_never_widens_what_is_seen(
    api: httpx2.AsyncClient, api_app: FastAPI, database: Database, ground: dict[str, int]
) -> None:
    caller = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R9"])
    for path in ("/api/audits?", "/api/audits/grouped?group_by=groupe&", "/api/audits/grouped-by-fiches?"):
        for query in ("groupes=EQUIPE R1", "groupe_query=EQUIPE", "q=martel", "q=1", "agence_query=lyon"):
            answer = await api.get(f"{path}{query}", headers=caller.headers)
            assert (answer.json()["data"], answer.json()["pagination"]["total"]) == ([], 0)
