"""The sales of a day as the CRM lists them now, over HTTP, against a simulated CRM."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fiche_room import ANYBODY, DAY, Crm, details_of, stored
from sqlalchemy import text

from conforme.accounts.actor import Actor, Caller, Scope
from conforme.accounts.auth import current_caller
from conforme.accounts.grants import Grant, Grants
from conforme.fiches import queries, waiting
from conforme.fiches.list_routes import router
from conforme.fiches.schemas import FetchSalesDay
from conforme.fiches.search import search_sales_day
from conforme.foundation.database import Database
from conforme.foundation.resources import Resources
from conforme.foundation.web import install_error_handlers
from conforme.sandbox.weather import Latency
from people import caller_like

QUERY = {"date": DAY.isoformat()}


@dataclass
class Asker:
    client: httpx2.AsyncClient
    caller: Caller

    async def search(self, **query: Any) -> httpx2.Response:
        return await self.client.get("/api/fiches/search", params=QUERY | query)


async def asking(resources: Resources) -> AsyncGenerator[Asker]:
    app = FastAPI()
    app.state.resources = resources
    app.include_router(router)
    install_error_handlers(app)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        asker = Asker(client, caller_like(ANYBODY))
        app.dependency_overrides[current_caller] = lambda: asker.caller
        yield asker


@pytest.fixture
async def asker(working: Resources) -> AsyncGenerator[Asker]:
    async for one in asking(working):
        yield one


@pytest.fixture
async def idle(resources: Resources) -> AsyncGenerator[Asker]:
    """Asks where nobody carries jobs out."""
    async for one in asking(resources):
        yield one


async def remembered(database: Database) -> int:
    """Searches whose answers the engine still holds."""
    async with database.read() as session:
        found = text("select count(*) from dbos.workflow_status where workflow_uuid like 'search-%'")
        return (await session.execute(found)).scalar_one()


async def test_a_search_answers_the_crms_listing_with_the_state_of_each_fiche(
    asker: Asker, crm: Crm, database: Database
) -> None:
    body = (await asker.search()).json()
    assert list(body) == ["fiches", "total"]
    assert [each["id"] for each in body["fiches"]] == crm.fiche_ids
    assert body["total"] == len(crm.fiche_ids)
    first = body["fiches"][0]
    assert set(first) >= {
        "cle",
        "nom",
        "prenom",
        "telephone",
        "email",
        "statut",
        "date_insertion",
        "recordings",
    }
    assert list(first["status"]) == ["hasData", "transcription", "audit"]
    assert first["status"]["hasData"]
    assert await remembered(database) == 0  # whom it tells of is kept in the cache alone


async def test_a_search_without_status_is_the_bare_listing(asker: Asker) -> None:
    body = (await asker.search(includeStatus="false")).json()
    assert all("status" not in each for each in body["fiches"])


async def test_a_search_is_noted_in_the_cache_and_in_the_ledger_of_days(
    asker: Asker, crm: Crm, database: Database
) -> None:
    await asker.search()
    async with database.read() as session:
        rows = await queries.of_day(session, ANYBODY, DAY)
        day = await queries.day_fetched(session, DAY)
    assert sorted(row.fiche_id for row in rows) == crm.fiche_ids
    assert day is not None
    assert (day.expected, day.stored, day.error) == (4, 4, None)


async def test_only_fiches_within_scope_are_found(asker: Asker, database: Database) -> None:
    mine = details_of(0)
    await stored(database, mine)
    assert mine.information is not None
    groupe = mine.information.groupe
    async with database.write() as session:
        await session.execute(text("update fiche_cache set groupe = 'EQUIPE A PART'"))
    asker.caller = caller_like(Actor("user:1", Scope.GROUP, groupes=frozenset({"EQUIPE A PART"})))
    body = (await asker.search()).json()
    assert ([each["id"] for each in body["fiches"]], body["total"]) == ([mine.information.fiche_id], 1)
    asker.caller = caller_like(Actor("user:2", Scope.GROUP, groupes=frozenset({f"{groupe} ailleurs"})))
    assert (await asker.search()).json() == {"fiches": [], "total": 0}


@pytest.mark.parametrize("working", [{"fiche_sales_include_recordings": True}], indirect=True)
async def test_addresses_of_recordings_are_for_who_may_hear_them(asker: Asker) -> None:
    def addresses(body: dict[str, Any]) -> set[bool]:
        return {bool(call["recording_url"]) for each in body["fiches"] for call in each["recordings"]}

    assert addresses((await asker.search()).json()) == {True}
    asker.caller = Caller("user:3", Grants.of([Grant("fiches", read=Scope.ALL)]))
    assert addresses((await asker.search()).json()) == {False}


@pytest.mark.parametrize("date", [None, "", "2025-13-40", "20/11/2026", "2026-11-20\0"])
async def test_a_day_that_is_none_is_refused_before_the_crm_is_asked(
    idle: Asker, crm: Crm, date: str | None
) -> None:
    answer = await idle.client.get("/api/fiches/search", params={} if date is None else {"date": date})
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert answer.json()["details"][0]["field"] == "date"
    if date is None or "\0" not in date:
        assert answer.json()["error"] == "Missing or invalid date parameter (YYYY-MM-DD required)"
    assert not any(route["requests"] for route in crm.service.counts()["routes"].values())


async def test_a_crm_that_fails_is_502_and_noted_for_the_day(
    asker: Asker, crm: Crm, database: Database
) -> None:
    crm.gateway.token = "another one"
    answer = await asker.search()
    assert (answer.status_code, answer.json()["code"]) == (502, "EXTERNAL_API_ERROR")
    assert answer.json()["error"].startswith(f"Failed to fetch sales with calls for {DAY}..{DAY}")
    async with database.read() as session:
        day = await queries.day_fetched(session, DAY)
    assert day is not None
    assert (day.fetched_at, day.error is None) == (None, False)
    assert await remembered(database) == 0


async def test_a_search_that_does_not_end_in_time_is_503_and_wanted_no_more(
    idle: Asker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "READ_SECONDS", 0.2)
    answer = await idle.search()
    assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert answer.json()["error"].startswith("The sales of 2026-11-20 could not be fetched")
    assert await remembered(database) == 0


async def test_a_search_under_way_ends_though_nobody_waits_for_it_any_more(
    working: Resources, crm: Crm, database: Database
) -> None:
    crm.service.latency = Latency(base_ms=1000)
    identifier = f"{waiting.SEARCH}{DAY.isoformat()}-0"
    async with database.write() as session:
        await working.durable.dispatch(session, search_sales_day, FetchSalesDay(day=DAY), id=identifier)
    async with asyncio.timeout(20):
        while await working.durable.state(identifier) != "running":  # noqa: ASYNC110 -- as a reader looks
            await asyncio.sleep(0.02)
        await waiting.let_go(working.durable, identifier)
        while await noted_sales(database) == 0:  # noqa: ASYNC110 -- as a reader looks
            await asyncio.sleep(0.02)
    assert await remembered(database) == 1
    await forgotten(working, database)


async def noted_sales(database: Database) -> int:
    async with database.read() as session:
        return (await session.execute(text("select count(*) from fiche_cache"))).scalar_one()


async def forgotten(working: Resources, database: Database) -> None:
    """Waits until the search has ended, and has its answer forgotten."""
    async with asyncio.timeout(20):
        while not (await waiting.forget_unread(working, after=0))["answers"]:  # noqa: ASYNC110 -- as the schedule does
            await asyncio.sleep(0.02)
    assert await remembered(database) == 0


async def test_what_was_found_for_a_reader_whose_process_died_is_forgotten(
    working: Resources, crm: Crm, database: Database
) -> None:
    identifier = f"{waiting.SEARCH}{DAY.isoformat()}-0"
    async with database.write() as session:
        for each in (identifier, "kept"):
            await working.durable.dispatch(session, search_sales_day, FetchSalesDay(day=DAY), id=each)
    assert (await working.durable.wait("kept", 20)).ok
    assert (await working.durable.wait(identifier, 20)).ok
    assert await waiting.forget_unread(working) == {"answers": 0}, "somebody may still come for it"
    await forgotten(working, database)
    assert await working.durable.state("kept") == "done"
