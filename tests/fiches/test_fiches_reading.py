"""Fiches over HTTP, against a simulated CRM."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fiche_room import (
    DAY,
    Crm,
    details_of,
    fiche_id_of,
    found,
    fresh,
    informed,
    known,
    listing,
    shown,
    stored,
)
from sqlalchemy import text

from conforme.accounts import actor as accounts
from conforme.accounts.actor import Actor, Scope
from conforme.accounts.auth import current_caller
from conforme.accounts.grants import Grant, Grants
from conforme.crm.schemas import SalesFiche
from conforme.fiches import reading, store, waiting
from conforme.fiches.routes import router
from conforme.fiches.schemas import FetchFiche
from conforme.fiches.workflows import fetch_fiche
from conforme.foundation.database import Database, now
from conforme.foundation.resources import Resources
from conforme.foundation.web import install_error_handlers
from conforme.sandbox import dossier
from conforme.sandbox.weather import FaultPlan
from people import caller_like

TEAM = Actor("user:1", Scope.GROUP, groupes=frozenset({"EQUIPE R1"}))
STRANGER = Actor("user:2", Scope.GROUP, groupes=frozenset({"AILLEURS"}))


class Caller:
    """Asks the routes as one actor."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self.actor = Actor.system("test")
        self.caller: accounts.Caller | None = None
        """Who asks when it is not enough to say how far they see."""

    async def get(self, path: str, **query: Any) -> httpx2.Response:
        return await self._client.get(f"/api/fiches/{path}", params=query)

    async def fiche(self, fiche_id: str, **query: Any) -> dict[str, Any]:
        answer = await self.get(fiche_id, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def asking(resources: Resources) -> AsyncGenerator[Caller]:
    app = FastAPI()
    app.state.resources = resources
    app.include_router(router)
    install_error_handlers(app)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        caller = Caller(client)
        app.dependency_overrides[current_caller] = lambda: caller.caller or caller_like(caller.actor)
        yield caller


@pytest.fixture
async def caller(working: Resources) -> AsyncGenerator[Caller]:
    async with asking(working) as caller:
        yield caller


@pytest.fixture
async def idle(resources: Resources) -> AsyncGenerator[Caller]:
    """Asks where nobody carries jobs out."""
    async with asking(resources) as caller:
        yield caller


@pytest.fixture
def fiche_id(crm: Crm) -> str:
    return crm.fiche_ids[0]


async def reads_queued(database: Database) -> list[str]:
    """The ids of the fetches that readers asked for, as far as they are remembered."""
    query = text("select workflow_uuid from dbos.workflow_status where workflow_uuid like 'read-%'")
    async with database.read() as session:
        return list((await session.scalars(query)).all())


async def first_read_queued(database: Database) -> str:
    async with asyncio.timeout(60):
        while True:
            if asked := await reads_queued(database):
                return asked[0]
            await asyncio.sleep(0.01)


def refusal(answer: httpx2.Response) -> tuple[int, str, str]:
    body = answer.json()
    assert body["success"] is False
    return answer.status_code, body["code"], body["error"]


async def test_a_fiche_is_fetched_once_and_then_read_in_the_same_shape(
    caller: Caller, crm: Crm, fiche_id: str
) -> None:
    first = await caller.fiche(fiche_id)
    assert (first["success"], first["information"]["fiche_id"]) == (True, fiche_id)
    assert "mail_devis" not in first
    assert await caller.fiche(fiche_id) == first
    assert crm.asked == 1
    assert list(first["recordings"][0]) == [
        *("call_id", "recording_url", "direction", "answered", "start_time", "duration_seconds"),
        *("from_number", "to_number", "transcription", "parsed"),
    ]
    starts = [call["start_time"] for call in first["recordings"]]
    assert starts == sorted(starts, reverse=True)


async def test_the_quote_mail_is_fetched_when_first_asked_for(
    caller: Caller, crm: Crm, fiche_id: str
) -> None:
    await caller.fiche(fiche_id)
    with_mail = await caller.fiche(fiche_id, include_mail_devis="true")
    assert "mail_devis" in with_mail
    assert await caller.fiche(fiche_id, include_mail_devis="true") == with_mail
    assert crm.asked == 2


async def test_a_refresh_always_asks_the_crm_and_keeps_the_day_of_sale(
    caller: Caller, crm: Crm, database: Database, fiche_id: str
) -> None:
    await caller.fiche(fiche_id)
    async with database.write() as session:
        await session.execute(text("update fiche_cache set sales_date = '2026-11-01'"))
    await caller.fiche(fiche_id, refresh="true")
    assert crm.asked == 2
    assert (await found(database, fiche_id)).row.sales_date == "2026-11-01"


async def test_readers_of_one_fiche_make_one_fetch(caller: Caller, crm: Crm, fiche_id: str) -> None:
    answers = await asyncio.gather(*(caller.fiche(fiche_id) for _ in range(6)))
    assert all(answer == answers[0] for answer in answers)
    assert crm.asked == 1


async def test_readers_ask_the_crm_for_no_more_than_so_many_at_once(caller: Caller, crm: Crm) -> None:
    await asyncio.gather(*(caller.fiche(each) for each in crm.fiche_ids))
    assert crm.service.counts()["peak_in_flight"] <= 3


async def test_an_unknown_fiche_is_404_and_asked_for_once_while_the_denial_lives(
    caller: Caller, crm: Crm, fiche_id: str
) -> None:
    crm.gateway.faults.unsuccessful = frozenset({fiche_id})
    for _ in range(2):
        assert refusal(await caller.get(fiche_id)) == (404, "NOT_FOUND", f"Fiche {fiche_id} not found")
    assert crm.asked == 1
    assert refusal(await caller.get(f"{fiche_id}/cache")) == (404, "NOT_FOUND", "Fiche not cached")
    status = await caller.get(f"{fiche_id}/status")
    assert refusal(status) == (404, "NOT_FOUND", "Fiche not found in database")
    assert "message" in status.json()


async def test_a_gateway_that_is_down_is_502_in_our_own_words(
    caller: Caller, crm: Crm, fiche_id: str
) -> None:
    crm.gateway.token = "changed"
    answer = await caller.get(fiche_id)
    assert refusal(answer) == (
        502,
        "EXTERNAL_API_ERROR",
        f"Failed to fetch fiche details for {fiche_id}: status=401",
    )


async def test_an_expired_fiche_is_served_stale_while_the_crm_is_away_but_a_listed_one_is_not(
    caller: Caller, crm: Crm, database: Database, fiche_id: str
) -> None:
    served = await caller.fiche(fiche_id)
    async with database.write() as session:
        await session.execute(text("update fiche_cache set expires_at = now() - interval '1 hour'"))
        day = fresh(at=now())
        await store.write_summaries(session, listing(), day, sales_date=DAY, with_recordings=True)
    crm.gateway.token = "changed"
    assert await caller.fiche(fiche_id) == served
    assert (await caller.get(crm.fiche_ids[1])).status_code == 502
    assert (await caller.get(fiche_id, refresh="true")).status_code == 502


async def test_known_calls_outweigh_a_denial(
    caller: Caller, crm: Crm, database: Database, fiche_id: str
) -> None:
    await caller.fiche(fiche_id)
    crm.gateway.faults.unsuccessful = frozenset({fiche_id})
    assert (await caller.get(fiche_id, refresh="true")).status_code == 404
    assert not (await found(database, fiche_id)).facts.not_found
    assert (await caller.get(fiche_id)).status_code == 200


async def test_a_fiche_that_cannot_be_stored_is_shown_all_the_same(
    caller: Caller, database: Database, fiche_id: str
) -> None:
    async with database.write() as session:
        await session.execute(
            text("alter table fiche_cache_prospects add constraint broken check (false) not valid")
        )
    try:
        shown_anyway = await caller.fiche(fiche_id)
        assert await reads_queued(database) == []  # what was shown is kept nowhere
        assert (await caller.get(fiche_id, refresh="true")).status_code == 500
    finally:
        async with database.write() as session:
            await session.execute(text("alter table fiche_cache_prospects drop constraint broken"))
    assert await caller.fiche(fiche_id) == shown_anyway


async def test_a_fiche_without_information_is_shown_and_kept_nowhere(
    caller: Caller, crm: Crm, database: Database, fiche_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = details_of(information=None).payload()
    monkeypatch.setattr(dossier, "details", lambda *_, **__: bare)
    read = await caller.fiche(fiche_id)
    assert (read["information"], read["cle"], read["prospect"]) == (None, None, bare["prospect"])
    assert (await known(database, fiche_id), await reads_queued(database)) == (None, [])
    caller.actor = TEAM
    assert refusal(await caller.get(fiche_id))[:2] == (502, "EXTERNAL_API_ERROR")


async def test_a_fetch_that_does_not_end_in_time_is_503_and_wanted_no_more(
    idle: Caller, database: Database, resources: Resources, fiche_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "READ_SECONDS", 0.2)
    assert refusal(await idle.get(fiche_id)) == (
        503,
        "SERVICE_UNAVAILABLE",
        f"Fiche {fiche_id} could not be fetched within 0.2 seconds; try again later",
    )
    [asked] = await reads_queued(database)
    assert await resources.durable.state(asked) == "cancelled"
    details = details_of()
    await stored(database, details, fresh(hours=-1, at=now()))
    assert await idle.fiche(fiche_id_of(details)) == await shown(database, fiche_id_of(details))


async def test_a_fetch_that_is_cut_off_is_503(
    idle: Caller, database: Database, resources: Resources, fiche_id: str
) -> None:
    reader = asyncio.create_task(idle.get(fiche_id))
    await resources.durable.cancel(await first_read_queued(database))
    assert refusal(await reader)[:2] == (503, "SERVICE_UNAVAILABLE")


@pytest.mark.parametrize("working", [{"fiche_api_base_url": None}], indirect=True)
async def test_without_a_gateway_the_setting_is_named(caller: Caller, fiche_id: str) -> None:
    status, code, error = refusal(await caller.get(fiche_id))
    assert (status, code) == (500, "CONFIGURATION_ERROR")
    assert "FICHE_API_BASE_URL" in error


async def test_a_reader_waits_for_the_fetch_of_a_job_and_shares_its_fiche(
    caller: Caller, crm: Crm, working: Resources, fiche_id: str
) -> None:
    async with working.database.write() as session:
        await working.durable.dispatch(
            session, fetch_fiche, FetchFiche(fiche_id=fiche_id), id="job", key=fiche_id
        )
    assert (await caller.fiche(fiche_id))["information"]["fiche_id"] == fiche_id
    assert (await working.durable.wait("job", 60)).ok
    assert crm.asked == 1


async def test_scope_decides_who_reads_a_fiche(caller: Caller, database: Database) -> None:
    details = informed(details_of(), groupe="EQUIPE R1")
    fiche_id = fiche_id_of(details)
    await stored(database, details, fresh(at=now()))
    caller.actor = TEAM
    assert await caller.fiche(fiche_id) == await shown(database, fiche_id)
    assert (await caller.get(f"{fiche_id}/cache")).status_code == 200
    caller.actor = STRANGER
    assert refusal(await caller.get(fiche_id)) == (403, "AUTHORIZATION_ERROR", "Forbidden")
    assert refusal(await caller.get(f"{fiche_id}/cache")) == (403, "AUTHORIZATION_ERROR", "Forbidden")
    status = await caller.get(f"{fiche_id}/status")
    assert refusal(status) == (404, "NOT_FOUND", "Fiche not found in database")


async def answers(caller: Caller, fiche_id: str) -> list[tuple[int, str]]:
    paths = (fiche_id, f"{fiche_id}/cache", f"{fiche_id}/status", f"{fiche_id}?refresh=true")
    told = [await caller.get(path) for path in paths]
    return [(answer.status_code, answer.text.replace(fiche_id, "ID")) for answer in told]


async def test_a_fiche_of_others_and_one_that_does_not_exist_are_answered_alike(
    caller: Caller, crm: Crm, database: Database
) -> None:
    absent, uncached, cached, listed = crm.fiche_ids
    crm.gateway.faults.unsuccessful = frozenset({absent})
    await caller.fiche(cached)
    async with database.write() as session:
        line = next(line for line in listing() if line.id == listed)
        await store.write_summaries(session, [line], fresh(at=now()), sales_date=DAY, with_recordings=True)
    for caller.actor in (STRANGER, Actor("user:3", Scope.SELF, crm_user_id="none of these")):
        refused = await answers(caller, absent)
        assert [status for status, _ in refused] == [403, 403, 404, 403]
        for fiche_id in (absent, uncached, cached, listed):
            assert await answers(caller, fiche_id) == refused


async def test_whose_a_fiche_is_decides_also_when_it_was_never_fetched(
    caller: Caller, crm: Crm, fiche_id: str
) -> None:
    caller.actor = STRANGER
    assert (await caller.get(fiche_id)).status_code == 403
    assert crm.asked == 1
    caller.actor = Actor.system("test")
    told = (await caller.fiche(fiche_id))["information"]
    caller.actor = Actor("user:1", Scope.SELF, crm_user_id=told["attribution_user_id"])
    assert (await caller.get(fiche_id)).status_code == 200
    assert crm.asked == 1


async def test_a_fiche_whose_listing_says_that_it_is_not_theirs_costs_the_crm_nothing(
    caller: Caller, crm: Crm, database: Database, fiche_id: str
) -> None:
    line = SalesFiche.model_validate(listing()[0].model_dump() | {"groupe": "EQUIPE R7"})
    async with database.write() as session:
        await store.write_summaries(session, [line], fresh(at=now()), sales_date=DAY, with_recordings=True)
    caller.actor = STRANGER
    assert (await caller.get(fiche_id)).status_code == 403
    assert crm.asked == 0


async def test_who_tries_one_fiche_after_another_asks_the_crm_only_so_often(
    caller: Caller, crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "UNSEEN", replace(reading.UNSEEN, times=2))
    caller.actor = STRANGER
    for fiche_id in crm.fiche_ids:
        assert (await caller.get(fiche_id)).status_code == 403
    assert crm.asked == 2


async def test_opening_fiches_of_ones_own_uses_up_no_allowance(
    caller: Caller, crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "UNSEEN", replace(reading.UNSEEN, times=1))
    groupes = frozenset(advisor["groupe"] for advisor in map(_information, range(len(crm.fiche_ids))))
    caller.actor = Actor("user:1", Scope.GROUP, groupes=groupes)
    for fiche_id in crm.fiche_ids:
        assert (await caller.get(fiche_id)).status_code == 200


def _information(rank: int) -> dict[str, Any]:
    return details_of(rank).payload()["information"]


@pytest.mark.parametrize(
    ("hears", "addresses"),
    [
        (None, False),
        (Grant("recordings", read=Scope.SELF), False),
        (Grant("recordings", read=Scope.GROUP), True),
        (Grant("recordings", read=Scope.ALL), True),
    ],
)
async def test_addresses_of_recordings_are_for_who_may_hear_that_fiche(
    caller: Caller, database: Database, hears: Grant | None, addresses: bool
) -> None:
    details = informed(details_of(), groupe="EQUIPE R1", attribution_user_id="211")
    await stored(database, details, fresh(at=now()))
    grants = Grants.of([Grant("fiches", read=Scope.ALL), *([hears] if hears else [])])
    caller.caller = accounts.Caller(
        "user:1", grants, frozenset({"EQUIPE R1"}), crm_user_id="another", user_id=1
    )
    told = (await caller.fiche(fiche_id_of(details)))["recordings"]
    assert told
    assert {bool(call["recording_url"]) for call in told} == {addresses}


async def test_the_cache_entry_and_the_status_have_their_shapes(
    caller: Caller, database: Database, fiche_id: str
) -> None:
    read = await caller.fiche(fiche_id)
    row = (await found(database, fiche_id)).row
    entry = (await caller.get(f"{fiche_id}/cache")).json()
    assert entry["success"] is True
    assert entry["data"] | {"fetchedAt": None, "expiresAt": None} == {
        "ficheId": fiche_id,
        "groupe": read["information"]["groupe"],
        "prospectNom": read["prospect"]["nom"],
        "prospectPrenom": read["prospect"]["prenom"],
        "recordingsCount": len(read["recordings"]),
        "fetchedAt": None,
        "expiresAt": None,
    }
    assert row.expires_at - row.fetched_at == timedelta(hours=240)
    status = (await caller.get(f"{fiche_id}/status")).json()
    assert status["data"]["hasData"] is True
    assert status["data"]["transcription"]["percentage"] == 50
    assert status["data"]["audit"]["latestAudit"] is None


@pytest.mark.parametrize("path", ["abc", "1a", "-1", "9" * 41, "abc/cache", "1 2/status"])
async def test_what_is_not_a_number_is_no_route(caller: Caller, path: str) -> None:
    status, code, _ = refusal(await caller.get(path))
    assert (status, code) == (404, "NOT_FOUND")


async def test_a_flag_that_is_none_is_refused(caller: Caller, fiche_id: str) -> None:
    assert (await caller.get(fiche_id, refresh="perhaps")).status_code == 400


async def test_a_busy_gateway_is_asked_again(caller: Caller, crm: Crm, fiche_id: str) -> None:
    crm.gateway.faults.spurious_not_found = 1.0
    await caller.fiche(fiche_id)
    assert crm.asked == 2
    crm.service.faults = FaultPlan(down=True)
    assert (await caller.get(fiche_id, refresh="true")).status_code == 502
    assert crm.asked == 5
