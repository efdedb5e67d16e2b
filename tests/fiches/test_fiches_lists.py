"""Lists of cached fiches over HTTP, with how far their calls and audits are."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from audit_rows import audit, configured, fiche
from conforme.accounts.actor import Scope
from conforme.app import FICHE_PORTS
from conforme.fiches.ports import connect
from conforme.foundation.database import Database, now
from conforme.recordings.models import Recording
from people import everything_within, signed_in
from product_fixtures import SETTINGS

DAY = "2026-01-05"
GROUPE, OTHERS = "EQUIPE R1", "EQUIPE R2"
NOTHING = {
    "hasData": False,
    "transcription": {
        "total": 0,
        "transcribed": 0,
        "pending": 0,
        "percentage": 0.0,
        "isComplete": False,
        "lastTranscribedAt": None,
    },
    "audit": {
        "total": 0,
        "completed": 0,
        "pending": 0,
        "running": 0,
        "compliant": 0,
        "nonCompliant": 0,
        "averageScore": None,
        "latestAudit": None,
    },
}


@pytest.fixture(autouse=True)
def _application(_neighbours: None) -> None:
    """The neighbours that the application has."""
    connect(FICHE_PORTS)


async def sold(
    database: Database, *fiche_ids: str, day: str = DAY, groupe: str = GROUPE, advisor: str = "211"
) -> list[int]:
    """Fiches with two calls each, of which the first is transcribed; their cache ids."""
    async with database.write() as session:
        ids = [await fiche(session, fiche_id, groupe) for fiche_id in fiche_ids]
        await session.execute(
            text(
                "update fiche_cache set sales_date = :day, listed_at = now(), attribution_user_id = :advisor"
                " where id = any(:ids)"
            ),
            {"day": day, "ids": ids, "advisor": advisor},
        )
        for cache_id in ids:
            for rank in range(2):
                session.add(
                    Recording(
                        fiche_cache_id=cache_id,
                        call_id=f"call-{rank}",
                        recording_url="https://cdn.example.test/r/secret.mp3",
                        from_number="33199001234",
                        start_time=now() + timedelta(minutes=rank),
                        duration_seconds=300 + rank,
                        has_transcription=rank == 0,
                        transcription_text="Bonjour." if rank == 0 else None,
                        transcribed_at=now() if rank == 0 else None,
                    )
                )
    return ids


async def shown(api: httpx2.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    answer = await api.get(f"/api/fiches/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(answer: httpx2.Response) -> tuple[int, str, str | None]:
    body = answer.json()
    assert (body["success"], body["code"]) == (False, "VALIDATION_ERROR")
    return answer.status_code, body["error"], body["details"][0]["field"] if "details" in body else None


async def test_a_day_lists_its_fiches_newest_row_first(api: httpx2.AsyncClient, database: Database) -> None:
    await sold(database, "101", "102")
    await sold(database, "103", day="2026-01-06")
    body = await shown(api, "status/by-date", date=DAY)
    assert (body["success"], body["data"]["date"], body["data"]["total"]) == (True, DAY, 2)
    assert [each["ficheId"] for each in body["data"]["fiches"]] == ["102", "101"]
    first = body["data"]["fiches"][0]
    assert list(first) == [
        *("ficheId", "groupe", "agenceNom", "prospectNom", "prospectPrenom", "prospectEmail", "prospectTel"),
        *("fetchedAt", "createdAt", "transcription", "audit", "recordings"),
    ]
    assert (first["groupe"], first["prospectNom"]) == (GROUPE, "MARTEL")
    transcription = first["transcription"]
    assert (transcription["total"], transcription["transcribed"], transcription["pending"]) == (2, 1, 1)
    assert (transcription["percentage"], transcription["isComplete"]) == (50.0, False)


async def test_a_list_names_the_calls_and_neither_their_addresses_nor_their_words(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await sold(database, "101")
    body = await shown(api, "status/by-date", date=DAY)
    [listed] = body["data"]["fiches"]
    assert [(call["callId"], call["hasTranscription"]) for call in listed["recordings"]] == [
        ("call-0", True),
        ("call-1", False),
    ]
    assert list(listed["recordings"][0]) == [
        *("id", "callId", "hasTranscription", "transcribedAt", "startTime", "durationSeconds")
    ]
    assert "secret.mp3" not in str(body)
    assert "Bonjour" not in str(body)
    assert "33199001234" not in str(body)


async def test_audits_are_counted_over_the_latest_of_each_configuration(
    api: httpx2.AsyncClient, database: Database
) -> None:
    [cache_id] = await sold(database, "101")
    first, second = await configured(database, "Grille 1", 1), await configured(database, "Grille 2", 1)
    of = {"fiche_id": "101", "fiche_cache_id": cache_id}
    async with database.write() as session:
        await audit(session, first, 1, **of, is_latest=False, score_percentage=Decimal(1))
        await audit(session, first, 2, **of, score_percentage=Decimal("80.01"))
        await audit(session, second, 3, **of, score_percentage=Decimal("70.00"), is_compliant=False)
        newest = await audit(session, second, 4, **of, status="running")
        await audit(session, second, 5, **of, deleted_at=now())
    body = await shown(api, "status/by-date", date=DAY)
    counted = body["data"]["fiches"][0]["audit"]
    assert {name: counted[name] for name in ("total", "completed", "pending", "running")} == {
        "total": 3,
        "completed": 2,
        "pending": 0,
        "running": 1,
    }
    assert (counted["compliant"], counted["nonCompliant"]) == (1, 1)
    assert counted["averageScore"] == "75.01"  # 75.005, half up
    assert counted["latestAudit"]["id"] == str(newest)
    assert counted["audits"][0] == counted["latestAudit"]
    assert [each["auditConfig"]["name"] for each in counted["audits"]] == ["Grille 2", "Grille 2", "Grille 1"]


async def test_a_long_day_is_read_page_by_page_and_nothing_is_met_twice(
    api: httpx2.AsyncClient, database: Database
) -> None:
    ids = [str(number) for number in range(101, 108)]
    await sold(database, *ids)
    first = await shown(api, "status/by-date", date=DAY, limit=3)
    await sold(database, "999")  # what comes meanwhile moves no page
    after = first["pagination"]["next_after"]
    second = await shown(api, "status/by-date", date=DAY, limit=3, after=after)
    last = await shown(api, "status/by-date", date=DAY, limit=3, after=second["pagination"]["next_after"])
    pages = [first, second, last]
    assert [each["ficheId"] for page in pages for each in page["data"]["fiches"]] == ids[::-1]
    assert [page["data"]["total"] for page in pages] == [7, 8, 8]
    assert [page["pagination"]["has_next_page"] for page in pages] == [True, True, False]
    assert last["pagination"]["next_after"] is None
    by_offset = await shown(api, "status/by-date", date=DAY, limit=3, offset=6)
    assert [each["ficheId"] for each in by_offset["data"]["fiches"]] == ["102", "101"]
    assert (by_offset["pagination"]["total_pages"], by_offset["pagination"]["current_page"]) == (3, 3)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({}, ("Missing or invalid date parameter (YYYY-MM-DD required)", "date")),
        ({"date": "05/01/2026"}, ("Invalid date format. Use YYYY-MM-DD", "date")),
        ({"date": "2025-13-40"}, ("Invalid date format. Use YYYY-MM-DD", "date")),
    ],
)
async def test_a_day_that_is_none_is_refused_by_name(
    api: httpx2.AsyncClient, query: dict[str, str], told: tuple[str, str]
) -> None:
    assert refusal(await api.get("/api/fiches/status/by-date", params=query)) == (400, *told)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"offset": "-1"}, "offset"),
        ({"after": "x"}, "after"),
    ],
)
async def test_a_page_that_cannot_be_is_refused_by_name(
    api: httpx2.AsyncClient, query: dict[str, str], field: str
) -> None:
    answer = await api.get("/api/fiches/status/by-date", params={"date": DAY, **query})
    assert refusal(answer)[::2] == (400, field)


async def test_many_fiches_are_told_of_at_once_and_the_unknown_ones_are_zeros(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await sold(database, "101")
    answer = await api.post("/api/fiches/status/batch", json={"ficheIds": ["101", 102, "101"]})
    data = answer.json()["data"]
    assert list(data) == ["101", "102"]
    assert data["102"] == NOTHING
    assert (data["101"]["hasData"], data["101"]["transcription"]["transcribed"]) == (True, 1)
    assert "audits" not in data["101"]["audit"]
    assert (await api.post("/api/fiches/status/batch", json={"ficheIds": []})).json()["data"] == {}


@pytest.mark.parametrize("body", [None, {}, [], {"ficheIds": "101"}, {"ficheIds": {"0": "101"}}])
async def test_what_is_no_array_of_ids_is_refused(api: httpx2.AsyncClient, body: Any) -> None:
    answer = await api.post("/api/fiches/status/batch", json=body)
    assert refusal(answer) == (400, "ficheIds must be an array", "ficheIds")


@pytest.mark.parametrize("wrong", ["", "12a", "1" * 41, None, True, 1.5, ["101"], "1\0", "١٢", -3])
async def test_an_id_that_cannot_be_one_is_named_by_its_place(api: httpx2.AsyncClient, wrong: Any) -> None:
    answer = await api.post("/api/fiches/status/batch", json={"ficheIds": ["101", wrong]})
    assert refusal(answer)[::2] == (400, "ficheIds.1")


async def test_a_batch_is_bounded(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/api/fiches/status/batch", json={"ficheIds": [str(n) for n in range(1, 1002)]})
    assert refusal(answer) == (400, "ficheIds must hold at most 1000 ids", "ficheIds")


@pytest.mark.parametrize("scope", [Scope.GROUP, Scope.SELF])
async def test_fiches_of_others_are_neither_listed_nor_counted_nor_told_of(
    api: httpx2.AsyncClient, database: Database, scope: Scope
) -> None:
    await sold(database, "101")
    [theirs] = await sold(database, "102", groupe=OTHERS, advisor="212")
    pinned = await configured(database)
    async with database.write() as session:
        await audit(session, pinned, 1, fiche_id="102", fiche_cache_id=theirs)
    caller = await signed_in(
        database, SETTINGS, everything_within(scope), groupes=[GROUPE], crm_user_id="211"
    )
    api.headers.update(caller.headers)
    data = (await shown(api, "status/by-date", date=DAY))["data"]
    assert (data["total"], [each["ficheId"] for each in data["fiches"]]) == (1, ["101"])
    states = (await api.post("/api/fiches/status/batch", json={"ficheIds": ["101", "102"]})).json()["data"]
    assert states["101"]["hasData"]
    assert states["102"] == NOTHING
