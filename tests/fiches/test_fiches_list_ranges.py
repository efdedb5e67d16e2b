"""A range of days over HTTP: what is known at once, the rest in the background."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from test_fiches_lists import GROUPE, refusal, shown, sold

from conforme.accounts.actor import Scope
from conforme.accounts.grants import Grant, Grants
from conforme.app import FICHE_PORTS
from conforme.fiches.coverage import DayFacts, Span, end_of, judged, known_days, today
from conforme.fiches.list_ranges import meta_of
from conforme.fiches.list_schemas import FetchedRangeMeta
from conforme.fiches.ports import connect
from conforme.fiches.range_fetch import FetchJob
from conforme.foundation.database import Database
from people import everything_within, signed_in
from product_fixtures import SETTINGS

RANGE = "status/by-date-range"
FIRST = date(2026, 1, 5)
THREE = {"startDate": "2026-01-05", "endDate": "2026-01-07"}


@pytest.fixture(autouse=True)
def _application(_neighbours: None) -> None:
    """The neighbours that the application has."""
    connect(FICHE_PORTS)


async def searched(database: Database, *days: str) -> None:
    """Days that were searched alone, after their end."""
    async with database.write() as session:
        for day in days:
            await session.execute(
                text(
                    "insert into fiche_days (day, fetched_at, attempted_at, searched_from, searched_to)"
                    " values (:day, now(), now(), :day, :day)"
                ),
                {"day": date.fromisoformat(day)},
            )


async def jobs(database: Database) -> int:
    async with database.read() as session:
        return (await session.execute(text("select count(*) from progressive_fetch_jobs"))).scalar_one()


async def test_a_range_answers_what_is_known_and_has_the_rest_fetched(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await searched(database, "2026-01-05")
    await sold(database, "101", "102")
    body = await shown(api, RANGE, **THREE)
    assert list(body) == ["success", "startDate", "endDate", "total", "fiches", "meta", "pagination"]
    assert (body["startDate"], body["endDate"], body["total"]) == ("2026-01-05", "2026-01-07", 2)
    assert [each["ficheId"] for each in body["fiches"]] == ["102", "101"]
    meta = body["meta"]
    job_id = meta.pop("backgroundJobId")
    assert meta == {
        "complete": False,
        "partial": True,
        "totalDaysRequested": 3,
        "daysFetched": 1,
        "daysRemaining": 2,
        "daysCached": 1,
        "cacheCoverage": {"datesWithData": ["2026-01-05"], "datesMissing": ["2026-01-06", "2026-01-07"]},
    }
    job = (await api.get(f"/api/fiches/jobs/{job_id}")).json()["job"]
    assert (job["status"], job["datesRemaining"]) == ("processing", ["2026-01-06", "2026-01-07"])


async def test_whoever_asks_again_is_given_the_fetch_that_runs(
    api: httpx2.AsyncClient, database: Database
) -> None:
    first = await shown(api, RANGE, **THREE)
    again = await shown(api, RANGE, **THREE)
    assert again["meta"]["backgroundJobId"] == first["meta"]["backgroundJobId"]
    assert await jobs(database) == 1


async def test_a_known_range_is_complete_and_has_no_fetch_though_nothing_was_sold(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await searched(database, "2026-01-05", "2026-01-06", "2026-01-07")
    body = await shown(api, RANGE, **THREE)
    assert (body["total"], body["fiches"], await jobs(database)) == (0, [], 0)
    assert "backgroundJobId" not in body["meta"]
    assert (body["meta"]["complete"], body["meta"]["partial"]) == (True, False)
    assert (body["meta"]["daysFetched"], body["meta"]["daysRemaining"]) == (3, 0)


async def test_a_refresh_begins_anew_and_shows_what_is_known_meanwhile(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await searched(database, "2026-01-05", "2026-01-06", "2026-01-07")
    await sold(database, "101", "102")
    body = await shown(api, RANGE, **THREE, refresh="true", limit=1)
    meta = body["meta"]
    assert (body["total"], meta["complete"], meta["daysFetched"], meta["daysRemaining"]) == (2, False, 0, 3)
    assert (meta["daysCached"], await jobs(database)) == (3, 1)
    async with database.write() as session:
        await session.execute(text("update progressive_fetch_jobs set status = 'complete'"))
    rest = await shown(api, RANGE, **THREE, refresh="true", after=body["pagination"]["next_after"])
    assert [each["ficheId"] for each in rest["fiches"]] == ["101"]
    assert await jobs(database) == 1  # the second page refreshes nothing


async def test_a_webhook_is_told_of_a_known_range_by_its_first_page_alone(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await searched(database, "2026-01-05", "2026-01-06", "2026-01-07")
    await sold(database, "101", "102")
    hooked = THREE | {"webhookUrl": "https://hooks.example.test/fiches"}
    body = await shown(api, RANGE, **hooked, limit=1)
    async with database.write() as session:  # whoever reads on does so later than a fetch is given again
        await session.execute(
            text("update progressive_fetch_jobs set created_at = created_at - interval '6 minutes'")
        )
    await shown(api, RANGE, **hooked, limit=1, after=body["pagination"]["next_after"])
    assert await jobs(database) == 1


async def test_a_refresh_needs_the_permission_to_fetch(api: httpx2.AsyncClient, database: Database) -> None:
    reader = await signed_in(database, SETTINGS, Grants.of([Grant("fiches", read=Scope.ALL)]))
    api.headers.update(reader.headers)
    answer = await api.get(f"/api/fiches/{RANGE}", params=THREE | {"refresh": "true"})
    assert (answer.status_code, answer.json()["error"]) == (403, "Missing permission")
    assert await jobs(database) == 0
    await shown(api, RANGE, **THREE)


async def test_days_to_come_are_left_out(api: httpx2.AsyncClient, database: Database) -> None:
    tomorrow = today() + timedelta(days=1)
    body = await shown(api, RANGE, startDate=today().isoformat(), endDate=tomorrow.isoformat())
    assert (body["endDate"], body["meta"]["totalDaysRequested"]) == (today().isoformat(), 1)
    later = tomorrow + timedelta(days=3)
    assert await shown(api, RANGE, startDate=tomorrow.isoformat(), endDate=later.isoformat()) == {
        "startDate": tomorrow.isoformat(),
        "endDate": later.isoformat(),
        "total": 0,
        "fiches": [],
        "meta": {
            "complete": True,
            "partial": False,
            "backgroundJobId": None,
            "totalDaysRequested": 0,
            "daysFetched": 0,
            "daysRemaining": 0,
            "daysCached": 0,
            "cacheCoverage": {"datesWithData": [], "datesMissing": []},
        },
    }


@pytest.mark.parametrize(
    ("changed", "message", "field"),
    [
        ({"startDate": ""}, "Missing or invalid startDate parameter (YYYY-MM-DD required)", "startDate"),
        ({"endDate": ""}, "Missing or invalid endDate parameter (YYYY-MM-DD required)", "endDate"),
        ({"startDate": "2025-13-40"}, "Invalid date format. Use YYYY-MM-DD", "startDate"),
        ({"endDate": "07/01/2026"}, "Invalid date format. Use YYYY-MM-DD", "endDate"),
        ({"endDate": "2026-01-04"}, "startDate must be before or equal to endDate", "startDate"),
        ({"startDate": "2025-01-01"}, "The range has 372 days; the most is 92", "endDate"),
        ({"webhookUrl": "ftp://hooks.example.test"}, "webhookUrl must use http or https protocol", None),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_begun(
    api: httpx2.AsyncClient, database: Database, changed: dict[str, str], message: str, field: str | None
) -> None:
    answer = await api.get(f"/api/fiches/{RANGE}", params=THREE | changed)
    status, error, named = refusal(answer)
    assert (status, error) == (400, message)
    assert field in {None, named}
    assert await jobs(database) == 0


async def test_a_webhook_is_noted_with_the_secret_of_the_header(
    api: httpx2.AsyncClient, database: Database
) -> None:
    answer = await api.get(
        f"/api/fiches/{RANGE}",
        params=THREE | {"webhookUrl": "https://hooks.example.test/fiches"},
        headers={"X-Webhook-Secret": "a secret of the test suite"},
    )
    assert answer.status_code == 200, answer.text
    assert "a secret" not in answer.text
    [endpoint] = (await api.get("/api/webhooks/endpoints")).json()["data"]
    assert endpoint["signed"] is True


async def test_fiches_of_others_are_neither_listed_nor_counted(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await sold(database, "101")
    await sold(database, "102", groupe="EQUIPE R2")
    caller = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=[GROUPE])
    api.headers.update(caller.headers)
    body = await shown(api, RANGE, **THREE)
    assert (body["total"], [each["ficheId"] for each in body["fiches"]]) == (1, ["101"])


DAYS = st.lists(st.booleans(), min_size=1, max_size=20)
"""Of each day in turn whether it is known."""


def _meta(known: Sequence[bool], job: FetchJob | None) -> Any:
    span = Span(FIRST, FIRST + timedelta(days=len(known) - 1))
    at = end_of(span.end)
    days = [FIRST + timedelta(days=rank) for rank in range(len(known))]
    facts = [
        DayFacts(day, fetched_at=at if is_known else None) for day, is_known in zip(days, known, strict=True)
    ]
    covered = judged(facts, span)
    return meta_of(covered, known_days(covered, at, running_holds=timedelta(0)), job)


@given(DAYS)
def test_the_days_of_a_range_add_up(known: list[bool]) -> None:
    meta = _meta(known, None)
    assert (meta.complete, meta.partial) == (all(known), not all(known))
    assert meta.days_fetched + meta.days_remaining == meta.total_days_requested == len(known)
    coverage = meta.cache_coverage
    assert len(coverage.dates_with_data) + len(coverage.dates_missing) == len(known)
    assert meta.days_cached == len(coverage.dates_with_data) == sum(known)


@given(DAYS, st.sampled_from(["processing", "failed"]))
def test_a_range_with_a_fetch_that_is_not_through_is_never_complete(known: list[bool], status: str) -> None:
    last = FIRST + timedelta(days=len(known) - 1)
    meta = _meta(known, FetchJob("j", status, 0, len(known), 0, 0, FIRST, last))
    assert isinstance(meta, FetchedRangeMeta)
    assert (meta.complete, meta.background_job_id, meta.days_remaining) == (False, "j", len(known))
