"""Fetches of ranges over HTTP: who asked for one looks at it, and sees of its fiches what they may see."""

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from range_room import FIRST, asked, begun, day, job_of
from sqlalchemy import text

from audit_rows import fiche
from conforme.accounts.actor import Scope
from conforme.fiches import progress
from conforme.fiches.job_queries import held
from conforme.fiches.progress import DayEnd
from conforme.foundation.database import Database
from conforme.foundation.errors import Forbidden
from conforme.foundation.events import job_channel
from conforme.foundation.resources import Resources
from conforme.realtime.channels import authorise
from people import SignedIn, everything_within, signed_in
from product_fixtures import SETTINGS

MINE, THEIRS = "EQUIPE R1", "EQUIPE R2"


@pytest.fixture
def product(api_app: FastAPI) -> Resources:
    return api_app.state.resources


@pytest.fixture
async def colleague(database: Database, api: httpx2.AsyncClient) -> SignedIn:
    return await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=[MINE])


@pytest.fixture
async def fiches(database: Database, api: httpx2.AsyncClient) -> None:
    """Three sales of the first day: two of one groupe, one of another."""
    async with database.write() as session:
        for number, groupe in (("900001", MINE), ("900002", MINE), ("900003", THEIRS)):
            await fiche(session, number, groupe)
        await session.execute(text("update fiche_cache set sales_date = :day"), {"day": FIRST.isoformat()})


async def end(product: Resources, job_id: str, *ended: DayEnd) -> None:
    async with product.database.write() as session:
        job = await held(session, job_id)
        assert job is not None
        for each in ended:
            await progress.end_day(session, product.durable, job, each)


async def body_of(api: httpx2.AsyncClient, path: str, **more: Any) -> dict[str, Any]:
    answer = await api.get(path, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_polling_tells_what_a_webhook_would(
    api: httpx2.AsyncClient, product: Resources, fiches: None
) -> None:
    job = await begun(product, asked(0, 3))
    await end(product, job.id, DayEnd(day(0)))
    told = await body_of(api, f"/api/fiches/webhooks/fiches?jobId={job.id}")
    listed = told["data"].pop("partialData")
    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "success": True,
        "jobId": job.id,
        "event": "progress",
        "data": {
            "status": "processing",
            "progress": 25,
            "completedDays": 1,
            "totalDays": 4,
            "totalFiches": 3,
            "currentFichesCount": 3,
            "datesCompleted": ["2026-01-05"],
            "datesRemaining": ["2026-01-06", "2026-01-07", "2026-01-08"],
            "datesFailed": [],
            "error": None,
        },
    }
    assert [line["ficheId"] for line in listed] == ["900003", "900002", "900001"]
    assert list(listed[0]) == [
        *("ficheId", "groupe", "prospectNom", "prospectPrenom", "recordingsCount", "createdAt")
    ]
    page = await body_of(api, f"/api/fiches/webhooks/fiches?jobId={job.id}&limit=1&offset=1")
    assert [line["ficheId"] for line in page["data"]["partialData"]] == ["900002"]


async def test_a_fetch_that_has_ended_says_where_its_fiches_are_and_why_days_failed(
    api: httpx2.AsyncClient, product: Resources, fiches: None
) -> None:
    job = await begun(product, asked(0, 1))
    await end(product, job.id, DayEnd(day(0)), DayEnd(day(1), "the CRM is away"))
    told = await body_of(api, f"/api/fiches/webhooks/fiches?jobId={job.id}")
    assert (told["event"], told["data"]["status"], told["data"]["progress"]) == ("failed", "failed", 100)
    assert told["data"]["error"] == "1 date(s) failed during progressive fetch"
    assert told["data"]["dataUrl"].endswith("by-date-range?startDate=2026-01-05&endDate=2026-01-06")
    one = (await body_of(api, f"/api/fiches/jobs/{job.id}"))["job"]
    assert one["dateErrors"] == {"2026-01-06": "the CRM is away"}
    assert (one["status"], one["datesAlreadyFetched"], one["datesFailed"]) == (
        "failed",
        ["2026-01-05"],
        ["2026-01-06"],
    )
    assert one["completedAt"] is not None


async def test_who_sees_a_part_counts_and_lists_that_part(
    api: httpx2.AsyncClient, product: Resources, colleague: SignedIn, fiches: None
) -> None:
    actor = colleague.caller.acting(["fiches.read"])
    job = await begun(product, asked(0, 3), actor)
    await end(product, job.id, DayEnd(day(0)))
    told = await body_of(api, f"/api/fiches/webhooks/fiches?jobId={job.id}", headers=colleague.headers)
    assert (told["data"]["totalFiches"], told["data"]["currentFichesCount"]) == (2, 2)
    assert {line["groupe"] for line in told["data"]["partialData"]} == {MINE}
    [line] = (await body_of(api, "/api/fiches/jobs", headers=colleague.headers))["jobs"]
    one = (await body_of(api, f"/api/fiches/jobs/{job.id}", headers=colleague.headers))["job"]
    assert (line["totalFiches"], one["totalFiches"]) == (2, 2)
    [everything] = (await body_of(api, "/api/fiches/jobs"))["jobs"]
    assert everything["totalFiches"] == 3


@pytest.mark.attack("horizontal access")
async def test_a_fetch_is_for_those_who_asked_for_it_and_for_who_sees_everything(
    api: httpx2.AsyncClient, product: Resources, database: Database, colleague: SignedIn
) -> None:
    job = await begun(product, asked(0, 3))
    for path, error in (
        (f"/api/fiches/jobs/{job.id}", "Job not found"),
        (f"/api/fiches/webhooks/fiches?jobId={job.id}", "Notification not found"),
    ):
        refused = await api.get(path, headers=colleague.headers)
        unknown = await api.get(path.replace(job.id, "c0"), headers=colleague.headers)
        assert refused.status_code == unknown.status_code == 404
        assert refused.json()["error"] == unknown.json()["error"] == error
        assert (await api.get(path)).status_code == 200
    none = await body_of(api, "/api/fiches/jobs", headers=colleague.headers)
    assert (none["jobs"], none["total"]) == ([], 0)
    assert not await _hears(database, colleague, job.id)
    joined = await begun(product, asked(0, 3), colleague.caller.acting(["fiches.read"]))
    assert joined.id == job.id
    assert await _hears(database, colleague, job.id)
    assert (await body_of(api, "/api/fiches/jobs", headers=colleague.headers))["total"] == 1


async def _hears(database: Database, person: SignedIn, job_id: str) -> bool:
    async with database.read() as session:
        try:
            await authorise(session, person.caller, [job_channel(job_id)])
        except Forbidden:
            return False
    return True


async def test_fetches_are_listed_newest_first_in_pages(
    api: httpx2.AsyncClient, product: Resources, database: Database
) -> None:
    jobs = [await begun(product, asked(0, last)) for last in range(5)]
    await end(product, jobs[0].id, DayEnd(day(0)))
    listed = await body_of(api, "/api/fiches/jobs?limit=2&offset=1")
    assert ([line["id"] for line in listed["jobs"]], listed["total"]) == ([jobs[3].id, jobs[2].id], 5)
    assert list(listed["jobs"][0]) == [
        *("id", "status", "progress", "startDate", "endDate", "completedDays", "totalDays", "totalFiches"),
        *("datesFailed", "createdAt", "completedAt", "webhookDeliveriesCount"),
    ]
    complete = await body_of(api, "/api/fiches/jobs?status=complete")
    assert [line["id"] for line in complete["jobs"]] == [jobs[0].id]


async def test_a_fetch_shows_what_became_of_the_webhooks_that_one_may_see(
    api: httpx2.AsyncClient, product: Resources, colleague: SignedIn
) -> None:
    hook = {"webhook_url": "http://localhost:9/a", "webhook_secret": SecretStr("not to be shown")}
    job = await begun(product, asked(0, 0, **hook))
    await begun(product, asked(0, 0), colleague.caller.acting(["fiches.read"]))
    await end(product, job.id, DayEnd(day(0)))
    answer = await api.get(f"/api/fiches/jobs/{job.id}")
    one = answer.json()["job"]
    assert [each["event"] for each in one["webhookDeliveries"]] == ["complete", "progress"]
    assert set(one["webhookDeliveries"][0]) == {
        *("id", "event", "status", "statusCode", "attempt", "sentAt", "createdAt")
    }
    assert (one["lastWebhookSentAt"], one["webhookAttempts"], one["webhookLastError"]) == (None, 0, None)
    assert "not to be shown" not in answer.text
    assert "localhost:9" not in answer.text
    hers = await body_of(api, f"/api/fiches/jobs/{job.id}", headers=colleague.headers)
    assert hers["job"]["webhookDeliveries"] == []
    [mine] = (await body_of(api, "/api/fiches/jobs"))["jobs"]
    [hers] = (await body_of(api, "/api/fiches/jobs", headers=colleague.headers))["jobs"]
    assert (mine["webhookDeliveriesCount"], hers["webhookDeliveriesCount"]) == (2, 0)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/api/fiches/webhooks/fiches", "Missing jobId parameter"),
        ("/api/fiches/webhooks/fiches?jobId=", "Missing jobId parameter"),
        ("/api/fiches/webhooks/fiches?jobId=a&limit=0", "limit"),
        ("/api/fiches/jobs?status=open", "status"),
        ("/api/fiches/jobs?limit=1000", "limit"),
        ("/api/fiches/jobs/%00", "NUL"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(api: httpx2.AsyncClient, path: str, message: str) -> None:
    answer = await api.get(path)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert message in answer.json()["error"]


async def test_an_end_is_told_once_however_often_it_is_said(
    api: httpx2.AsyncClient, product: Resources
) -> None:
    job = await begun(product, asked(0, 0))
    await end(product, job.id, DayEnd(day(0)))
    async with product.database.write() as session:
        assert await held(session, job.id) is None
    assert (await job_of(product.database, job.id)).status == "complete"
