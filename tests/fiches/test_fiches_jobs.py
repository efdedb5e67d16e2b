"""Durable fetches, run by the engine against a simulated CRM."""

from typing import Any

import pytest
from fiche_room import ANYBODY, DAY, Crm, details_of, found, fresh, known, listing, stored
from sqlalchemy import select, text

from conforme.fiches import queries, service, store
from conforme.fiches.schemas import FetchFiche, FetchSalesDay
from conforme.fiches.workflows import fetch_fiche, fetch_sales_day
from conforme.foundation.database import Database, now
from conforme.foundation.durable import Outcome
from conforme.foundation.events import EventRow
from conforme.foundation.resources import Resources
from conforme.sandbox.weather import Fault, FaultPlan

NEVER = {"fiche_force_refresh_cooldown_ms": 0}


class Engine:
    """Runs jobs to their end, one dispatch after the other."""

    def __init__(self, resources: Resources) -> None:
        self.durable = resources.durable
        self.resources = resources
        self._dispatched = 0

    async def outcome(self, job: Any, payload: Any, key: str | None = None) -> Outcome:
        self._dispatched += 1
        identifier = f"job-{self._dispatched}"
        async with self.resources.database.write() as session:
            await self.durable.dispatch(session, job, payload, id=identifier, key=key)
        return await self.durable.wait(identifier, 60)

    async def fetch(self, fiche_id: str, *, force: bool = False) -> dict[str, Any]:
        payload = FetchFiche(fiche_id=fiche_id, force_refresh=force)
        outcome = await self.outcome(fetch_fiche, payload, key=fiche_id)
        assert outcome.ok, outcome
        return outcome.value


@pytest.fixture
def engine(working: Resources) -> Engine:
    return Engine(working)


@pytest.fixture
def fiche_id(crm: Crm) -> str:
    return crm.fiche_ids[0]


async def told(database: Database) -> list[dict[str, Any]]:
    async with database.read() as session:
        rows = await session.scalars(select(EventRow).order_by(EventRow.id))
        return [row.payload for row in rows if row.name == service.FETCHED]


async def test_a_fiche_is_fetched_stored_and_told_of_and_then_found_valid(
    engine: Engine, crm: Crm, database: Database, fiche_id: str
) -> None:
    first = await engine.fetch(fiche_id)
    cached = await found(database, fiche_id)
    count = cached.facts.recordings_stored
    assert count > 0
    assert first == {
        "success": True,
        "not_found": False,
        "cached": False,
        "cache_id": cached.row.id,
        "recordings_count": count,
    }
    assert await engine.fetch(fiche_id) == {**first, "cached": True}
    # Forced, but fetched a moment ago.
    assert await engine.fetch(fiche_id, force=True) == {**first, "cached": True}
    assert crm.asked == 1
    assert [(event["cached"], event["recordings_count"]) for event in await told(database)] == [
        (False, count),
        (True, count),
        (True, count),
    ]


async def test_a_fiche_that_was_only_listed_is_fetched(
    engine: Engine, crm: Crm, database: Database, fiche_id: str
) -> None:
    async with database.write() as session:
        await store.write_summaries(session, listing(), fresh(at=now()), sales_date=DAY, with_recordings=True)
    assert not (await engine.fetch(fiche_id))["cached"]
    assert (await found(database, fiche_id)).row.sales_date == DAY.isoformat()
    assert crm.asked == 1


async def test_a_missing_fiche_is_denied_after_its_attempts_and_the_denial_is_remembered(
    engine: Engine, crm: Crm, database: Database, fiche_id: str
) -> None:
    crm.gateway.faults.missing = frozenset({fiche_id})
    answer = await engine.fetch(fiche_id)
    assert (answer["success"], answer["not_found"], answer["cached"]) == (False, True, False)
    assert crm.asked == 3
    cached = await found(database, fiche_id)
    assert cached.facts.not_found
    assert not cached.is_listed_or_detailed
    assert await engine.fetch(fiche_id) == {**answer, "cached": True}
    assert crm.asked == 3
    assert await told(database) == []


@pytest.mark.parametrize("working", [NEVER], indirect=True)
async def test_a_forced_refresh_does_not_lose_known_calls_to_a_denial(
    engine: Engine, crm: Crm, database: Database, fiche_id: str
) -> None:
    first = await engine.fetch(fiche_id)
    crm.gateway.faults.unsuccessful = frozenset({fiche_id})
    assert await engine.fetch(fiche_id, force=True) == {**first, "cached": True}
    assert crm.asked == 2
    assert not (await found(database, fiche_id)).facts.not_found


async def test_an_expired_fiche_that_nobody_forces_is_denied(
    engine: Engine, crm: Crm, database: Database, fiche_id: str
) -> None:
    await stored(database, details_of(), fresh(hours=-1, at=now()))
    crm.gateway.faults.unsuccessful = frozenset({fiche_id})
    assert (await engine.fetch(fiche_id))["not_found"]
    assert (await found(database, fiche_id)).facts.not_found


async def test_spurious_404s_are_outlasted(engine: Engine, crm: Crm, fiche_id: str) -> None:
    crm.gateway.faults.spurious_not_found = 1.0
    assert (await engine.fetch(fiche_id))["success"]
    assert crm.asked == 2


async def test_a_gateway_that_stays_down_fails_the_job_and_leaves_the_cache_alone(
    engine: Engine, crm: Crm, database: Database, fiche_id: str
) -> None:
    crm.service.faults = FaultPlan(down=True)
    outcome = await engine.outcome(fetch_fiche, FetchFiche(fiche_id=fiche_id), key=fiche_id)
    assert (outcome.ok, outcome.code) == (False, "EXTERNAL_API_ERROR")
    assert outcome.error == f"Failed to fetch fiche details for {fiche_id}: status=503"
    assert crm.asked == 3
    assert await known(database, fiche_id) is None


async def test_a_refused_token_is_not_tried_twice(engine: Engine, crm: Crm, fiche_id: str) -> None:
    crm.gateway.token = "changed"
    outcome = await engine.outcome(fetch_fiche, FetchFiche(fiche_id=fiche_id), key=fiche_id)
    assert not outcome.ok
    assert crm.asked == 1


async def test_the_gateway_s_wish_to_wait_is_honoured(engine: Engine, crm: Crm, fiche_id: str) -> None:
    crm.service.faults = FaultPlan(shares={Fault.RATE_LIMITED: 1.0}, retry_after_seconds=1.5)
    await engine.outcome(fetch_fiche, FetchFiche(fiche_id=fiche_id), key=fiche_id)
    routes = crm.service.counts()["routes"]
    assert sum(route["requests"] for route in routes.values()) == 3
    assert sum(route["early"] for route in routes.values()) == 0


async def test_a_day_of_sales_is_noted_with_what_could_not_be_read(
    engine: Engine, crm: Crm, database: Database
) -> None:
    crm.gateway.faults.malformed_items = 0.5
    outcome = await engine.outcome(fetch_sales_day, FetchSalesDay(day=DAY))
    assert outcome.ok, outcome
    answer = outcome.value
    assert answer["expected"] == 4 == answer["stored"] + answer["quarantined"]
    assert answer["quarantined"] > 0
    async with database.read() as session:
        rows = await queries.of_day(session, ANYBODY, DAY)
        day = await queries.day_fetched(session, DAY)
    assert len(rows) == answer["stored"]
    assert day
    assert (day.expected, day.quarantined, day.error) == (4, answer["quarantined"], None)


async def test_a_day_that_cannot_be_fetched_says_why(engine: Engine, crm: Crm, database: Database) -> None:
    crm.gateway.token = "changed"
    outcome = await engine.outcome(fetch_sales_day, FetchSalesDay(day=DAY))
    assert not outcome.ok
    async with database.read() as session:
        day = await queries.day_fetched(session, DAY)
        rows = await session.scalar(text("select count(*) from fiche_cache"))
    assert day
    assert day.fetched_at is None
    assert day.error == "Failed to fetch sales with calls for 2026-11-20..2026-11-20: status=401"
    assert rows == 0


async def test_a_day_of_which_the_crm_sends_a_part_fails_with_what_came_noted(
    engine: Engine, crm: Crm, database: Database
) -> None:
    crm.gateway.faults.longest_listing = 3
    outcome = await engine.outcome(fetch_sales_day, FetchSalesDay(day=DAY))
    assert (outcome.ok, outcome.error) == (False, "The CRM sent fewer sales than it announced")
    assert len(crm.gateway.searches) == 3, "an answer that was cut short once is no reason to lose the day"
    async with database.read() as session:
        day = await queries.day_fetched(session, DAY)
        rows = await queries.of_day(session, ANYBODY, DAY)
    assert day
    assert (day.fetched_at, day.error, len(rows)) == (None, outcome.error, 3)
    crm.gateway.faults.longest_listing = None
    assert (await engine.outcome(fetch_sales_day, FetchSalesDay(day=DAY))).value["stored"] == 4
