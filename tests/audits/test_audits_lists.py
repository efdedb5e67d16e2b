"""Lists of audits: every filter of the contract, order, reading on by cursor, what a row carries."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from audit_rows import audit, configured, fiche, step
from conforme.audits.filters import SORTS, Cursor, Filters, cursor_text, parse_filters
from conforme.audits.models import AuditRow
from conforme.foundation.database import Database, now
from conforme.foundation.errors import Invalid

MARCH = datetime(2026, 3, 1, 9, tzinfo=UTC)


async def _numbers(api: httpx2.AsyncClient, query: str) -> list[int]:
    answer = await api.get(f"/api/audits?sort_order=asc&{query}")
    assert answer.status_code == 200, answer.text
    return [int(each["ficheCache"]["ficheId"]) for each in answer.json()["data"]]


@pytest.fixture
async def two(api: httpx2.AsyncClient, database: Database) -> httpx2.AsyncClient:
    """Fiches 1 and 2, whose audits differ in everything that can be asked."""
    first, second = await configured(database, "Grille santé"), await configured(database, "Grille auto")
    async with database.write() as session:
        one = await fiche(
            session,
            "1",
            "EQUIPE R1",
            sales_date="2026-02-01",
            has_recordings=True,
            recordings_count=4,
            fetched_at=MARCH,
            last_revalidated_at=MARCH,
        )
        two = await fiche(
            session,
            "2",
            "equipe_R2",
            agence_nom="7-NICE",
            prospect_nom="LÉGER",
            prospect_prenom="Anaïs",
            prospect_email="anais@example.test",
            prospect_tel="0199005678",
            sales_date="2026-02-03",
            recordings_count=0,
            fetched_at=MARCH + timedelta(days=2),
            last_revalidated_at=MARCH + timedelta(days=2),
        )
        await audit(
            session,
            first,
            1,
            fiche_id="1",
            fiche_cache_id=one,
            created_at=MARCH,
            duration_ms=1000,
            total_tokens=10,
            failed_steps=0,
            automation_schedule_id=5,
            automation_run_id=50,
        )
        await audit(
            session,
            second,
            2,
            fiche_id="2",
            fiche_cache_id=two,
            created_at=MARCH + timedelta(days=2),
            status="failed",
            niveau="PENDING",
            is_compliant=False,
            score_percentage=Decimal("12.5"),
            duration_ms=9000,
            total_tokens=90,
            failed_steps=1,
            error_message="Le modèle n'a pas répondu",
            trigger_source="batch",
        )
    return api


@pytest.mark.parametrize(
    ("only_first", "only_second"),
    [
        ("fiche_ids=1,9", "fiche_ids=2"),
        ("status=completed,nonsense", "status=failed"),
        ("groupes=EQUIPE R1", "groupes=equipe_R2"),
        ("sales_dates=2026-02-01", "sales_dates=2026-02-03"),
        ("niveau=BON", "niveau=PENDING"),
        ("trigger_source=api", "trigger_source=batch"),
        ("groupe_query=pe r1", "groupe_query=E_r2"),
        ("agence_query=lyon", "agence_query=nice"),
        ("prospect_query=odile martel", "prospect_query=léger"),
        ("prospect_query=martel odile", "prospect_query=ANAIS@example"),
        ("prospect_query=1234", "prospect_query=5678"),
        ("q=martel", "q=LÉGER"),
        ("q=GRILLE SANTÉ", "q=grille auto"),
        ("q=santé", "q=répondu"),
        ("date_to=2026-03-02", "date_from=2026-03-02T00:00:00Z"),
        ("fetched_at_to=2026-03-02", "fetched_at_from=2026-03-02"),
        ("last_revalidated_to=2026-03-02", "last_revalidated_from=2026-03-02"),
        ("sales_date_to=2026-02-02", "sales_date_from=2026-02-02"),
        ("is_compliant=true", "is_compliant=false"),
        ("has_recordings=true", "has_recordings=false"),
        ("has_failed_steps=false", "has_failed_steps=true"),
        ("recordings_count_min=1", "recordings_count_max=1"),
        ("score_min=12.51", "score_max=12.5"),
        ("duration_max_ms=1000", "duration_min_ms=1001"),
        ("tokens_max=89", "tokens_min=11"),
        ("automation_schedule_ids=5", "fiche_ids=2&automation_schedule_ids=x"),
        ("automation_run_ids=50,x", "fiche_ids=2&automation_run_ids="),
    ],
)
async def test_a_filter_keeps_what_it_names(
    two: httpx2.AsyncClient, only_first: str, only_second: str
) -> None:
    assert await _numbers(two, only_first) == [1]
    assert await _numbers(two, only_second) == [2]


async def test_what_is_asked_of_fiches_leaves_out_an_audit_whose_fiche_is_not_known(
    api: httpx2.AsyncClient, database: Database
) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        known = await audit(session, pinned, 1)
        unknown = await audit(session, pinned, 2)
        await session.execute(update(AuditRow).where(AuditRow.id == unknown).values(fiche_cache_id=None))
    every = (await api.get("/api/audits")).json()["data"]
    assert {each["id"] for each in every} == {str(known), str(unknown)}
    for query in (
        "fetched_at_from=2000-01-01",
        "has_recordings=false",
        "agence_query=lyon",
        "groupes=EQUIPE R1",
    ):
        body = (await api.get(f"/api/audits?{query}")).json()
        assert ([each["id"] for each in body["data"]], body["pagination"]["total"]) == ([str(known)], 1), (
            query
        )


@pytest.mark.parametrize(
    "query",
    [
        "status=nonsense",
        "niveau=SUPERBE",
        "audit_config_ids=x,-1",
        "score_min=many",
        "tokens_max=NaN",
        "duration_min_ms=1e999999",
        "recordings_count_min=",
        "sort_by=password",
        "q=e",
        "groupe_query=  ",
    ],
)
async def test_what_cannot_be_read_narrows_nothing(two: httpx2.AsyncClient, query: str) -> None:
    assert await _numbers(two, query) == [1, 2]


@pytest.mark.parametrize(
    "query", ["prospect_query=%25", "q=_", "agence_query=/", "q=m%25l", "q=example.test"]
)
async def test_signs_of_a_pattern_are_looked_for_as_they_are(two: httpx2.AsyncClient, query: str) -> None:
    assert await _numbers(two, query) == []


async def test_digits_also_find_an_audit_by_its_own_id(two: httpx2.AsyncClient) -> None:
    items = (await two.get("/api/audits?sort_order=asc")).json()["data"]
    numbers = [int(each["id"]) for each in items]
    assert 2 in numbers
    assert await _numbers(two, "q=2") == [2]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=ten", "Invalid query parameters"),
        ("fetched_at_from=soon", "Invalid fetched_at_from (expected ISO 8601 date-time)"),
        ("last_revalidated_to=2026-02-30", "Invalid last_revalidated_to (expected ISO 8601 date-time)"),
        ("cursor=abc", "Invalid cursor"),
        (f"q={'x' * 201}", "q must have at most 200 characters"),
    ],
)
@pytest.mark.parametrize("path", ["/api/audits", "/api/audits/grouped-by-fiches", "/api/audits/export.csv"])
async def test_what_is_refused_is_named(api: httpx2.AsyncClient, path: str, query: str, message: str) -> None:
    answer = await api.get(f"{path}?{query}")
    assert (answer.status_code, answer.json()["code"], answer.json()["error"]) == (
        400,
        "VALIDATION_ERROR",
        message,
    )


async def test_a_list_carries_a_short_result_and_the_stored_one_where_asked(
    api: httpx2.AsyncClient, database: Database
) -> None:
    pinned = await configured(database)
    stored = {"audit": {"fiche": {"prospect_name": "Odile MARTEL"}, "results": {}}}
    async with database.write() as session:
        await audit(session, pinned, 1, result_data=stored, critical_passed=2, critical_total=3)
    [short] = (await api.get("/api/audits")).json()["data"]
    assert short["resultData"]["audit"]["compliance"] == {
        "score": 85.5,
        "niveau": "BON",
        "points_critiques": "2/3",
        "poids_obtenu": None,
        "poids_total": None,
    }
    assert "prospect_name" not in str(short)
    [full] = (await api.get("/api/audits?include_result_data=true")).json()["data"]
    assert full["resultData"] == stored


async def test_the_audits_of_a_fiche_come_with_their_steps(
    api: httpx2.AsyncClient, database: Database
) -> None:
    pinned, other = await configured(database), await configured(database, "Autre")
    async with database.write() as session:
        cache_id = await fiche(session, "7")
        old = await audit(session, pinned, 1, fiche_id="7", fiche_cache_id=cache_id, created_at=MARCH)
        new = await audit(session, other, 2, fiche_id="7", fiche_cache_id=cache_id)
        await audit(session, pinned, 3, fiche_id="7", fiche_cache_id=cache_id, is_latest=False)
        await step(session, old, 1)
    body = (await api.get("/api/audits/by-fiche/7")).json()
    assert ([each["id"] for each in body["data"]], body["count"]) == ([str(new), str(old)], 2)
    detail = (await api.get(f"/api/audits/{old}")).json()["data"]
    assert body["data"][1]["resultData"] == detail["resultData"]
    second = (await api.get("/api/audits/by-fiche/7?limit=1&offset=1")).json()
    assert ([each["id"] for each in second["data"]], second["pagination"]["total"]) == ([str(old)], 2)


async def _pages(api: httpx2.AsyncClient, query: str) -> list[str]:
    """Everything, read on by cursor."""
    seen: list[str] = []
    cursor = ""
    while True:
        body = (await api.get(f"/api/audits?limit=3&{query}&cursor={cursor}")).json()
        seen += [each["id"] for each in body["data"]]
        cursor = body["pagination"].get("next_cursor", "")
        assert body["pagination"]["has_next_page"] is bool(cursor)
        if not cursor:
            return seen


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort_by", SORTS)
async def test_reading_on_by_cursor_shows_each_audit_once_in_the_order_of_the_list(
    api: httpx2.AsyncClient, database: Database, sort_by: str, order: str
) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        cache_id = await fiche(session, "7")
        for number in range(8):
            ended = number % 3 != 0
            await audit(
                session,
                pinned,
                number,
                fiche_cache_id=cache_id,
                created_at=MARCH + timedelta(microseconds=number // 2),
                completed_at=MARCH + timedelta(microseconds=number // 4) if ended else None,
                duration_ms=number // 4 if ended else None,
                score_percentage=Decimal(number // 4),
            )
    query = f"sort_by={sort_by}&sort_order={order}"
    whole = [each["id"] for each in (await api.get(f"/api/audits?{query}")).json()["data"]]
    assert len(whole) == 8
    assert await _pages(api, query) == whole


async def test_a_cursor_skips_nothing_when_audits_are_added_before_it(
    api: httpx2.AsyncClient, database: Database
) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        known = [str(await audit(session, pinned, number)) for number in range(4)]
    first = (await api.get("/api/audits?limit=2")).json()
    async with database.write() as session:
        await audit(session, pinned, 9, created_at=now() + timedelta(hours=1))
    rest = (await api.get(f"/api/audits?limit=2&cursor={first['pagination']['next_cursor']}")).json()
    assert [each["id"] for each in first["data"] + rest["data"]] == known[::-1]


def _query(sort_by: str, *, descending: bool, cursor: str) -> Mapping[str, str]:
    return {"sort_by": sort_by, "sort_order": "desc" if descending else "asc", "cursor": cursor}


_VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "created_at": st.datetimes(timezones=st.just(UTC)),
    "completed_at": st.none() | st.datetimes(timezones=st.just(UTC)),
    "score_percentage": st.decimals(0, 100, places=2),
    "duration_ms": st.none() | st.integers(0, 2**62),
}


@given(st.data(), st.sampled_from(SORTS), st.booleans(), st.integers(1, 2**63 - 1))
def test_a_cursor_comes_back_as_it_was(
    data: st.DataObject, sort_by: str, descending: bool, number: int
) -> None:
    cursor = Cursor(data.draw(_VALUES[sort_by]), number)
    text = cursor_text(sort_by, cursor, descending=descending)
    assert parse_filters(_query(sort_by, descending=descending, cursor=text)).cursor == cursor
    with pytest.raises(Invalid, match="another order"):
        parse_filters(_query(sort_by, descending=not descending, cursor=text))


def _read(query: Mapping[str, str]) -> Filters | Invalid:
    try:
        return parse_filters(query)
    except Invalid as error:
        return error


@given(st.text(max_size=200), st.sampled_from(SORTS))
def test_a_cursor_that_nobody_gave_is_refused_and_nothing_else(text: str, sort_by: str) -> None:
    read = _read(_query(sort_by, descending=True, cursor=text))
    assert not isinstance(read, Invalid) or read.field == "cursor"


@given(
    st.dictionaries(st.sampled_from(["limit", "offset", "score_min", "status", "q", "date_from"]), st.text())
)
def test_no_query_breaks_the_reading_of_filters(query: dict[str, str]) -> None:
    read = _read(query)
    if isinstance(read, Invalid):
        assert read.field in query
    else:
        assert 1 <= read.page.limit <= 500
        assert read.page.offset >= 0
