"""Hot reads: their statements are counted, do not grow with rows, and leave out what a list does not show."""

from datetime import date, timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sql_statements import sent_to

from audit_rows import audit, configured, fiche, step
from conforme.crm.schemas import FicheDetails
from conforme.fiches import service
from conforme.fiches.store import Freshness
from conforme.foundation.database import Database, now
from conforme.foundation.events import record
from conforme.realtime.stream import Listener, Pace, stream
from conforme.recordings.fiche_calls import FicheCalls
from conforme.sandbox import dossier
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.population import Population

FEW, MANY = 5, 50
NOT_FOR_LISTS = ("raw_data", "system_prompt", "raw_result")


@pytest.fixture
def served(api_app: FastAPI) -> Database:
    """The database as the application holds it."""
    return api_app.state.resources.database


async def _statements(api: httpx2.AsyncClient, served: Database, path: str) -> list[str]:
    with sent_to(served) as sent:
        answer = await api.get(path)
    assert answer.status_code == 200, answer.text
    return sent.statements


async def _audits(database: Database, numbers: range) -> None:
    pinned = await configured(database, f"Grille {numbers.start}")
    async with database.write() as session:
        for number in numbers:
            await audit(session, pinned, number)


async def test_a_list_of_audits_takes_two_statements_however_long_it_is(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    await _audits(database, range(FEW))
    few = await _statements(api, served, "/api/audits")
    await _audits(database, range(FEW, MANY))
    many = await _statements(api, served, "/api/audits")
    assert (len(few), len(many)) == (2, 2)


async def test_a_list_of_audits_reads_no_large_column(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    await _audits(database, range(FEW))
    sent = " ".join(await _statements(api, served, "/api/audits"))
    assert [name for name in NOT_FOR_LISTS if name in sent] == []


async def test_a_list_of_audits_tells_neither_mail_nor_telephone_of_a_prospect(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await _audits(database, range(FEW))
    text = (await api.get("/api/audits")).text
    assert "MARTEL" in text
    assert "odile@example.test" not in text
    assert "0199001234" not in text


async def test_the_audits_of_a_fiche_take_one_statement_however_many_there_are(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    async with database.write() as session:
        cache_id = await fiche(session, "777")
    counts: list[int] = []
    for configurations in (range(FEW), range(FEW, MANY)):
        for number in configurations:
            pinned = await configured(database, f"Grille {number}", 1)
            async with database.write() as session:
                await audit(session, pinned, number, fiche_id="777", fiche_cache_id=cache_id)
        counts.append(len(await _statements(api, served, "/api/audits/by-fiche/777")))
    assert counts == [1, 1]


async def test_an_audit_takes_nine_statements_however_many_steps_it_has(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    pinned = await configured(database)
    counts: list[int] = []
    for number, steps in enumerate((2, 20)):
        async with database.write() as session:
            audit_id = await audit(session, pinned, number)
            for position in range(1, steps + 1):
                await step(session, audit_id, position)
        counts.append(len(await _statements(api, served, f"/api/audits/{audit_id}")))
    assert counts == [9, 9]


def _sold(times: int) -> dict[str, Any]:
    """One of the sandbox's fiches, its lists made longer."""
    population = Population(load_corpus(), sales_per_day=1)
    [sale] = population.sales(date(2026, 11, 20))
    payload = dossier.details(population, sale, recordings_at="http://crm.test", mail_devis=False)
    return {key: value * times if isinstance(value, list) else value for key, value in payload.items()}


async def test_a_cached_fiche_takes_four_statements_however_long_its_lists_are(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    counts: list[int] = []
    for times in (1, 20):
        details = FicheDetails.model_validate(_sold(times))
        async with database.write() as session:
            kept = Freshness(now(), timedelta(days=1))
            await service.store_details(session, FicheCalls(), details, kept)
        assert details.information is not None
        counts.append(len(await _statements(api, served, f"/api/fiches/{details.information.fiche_id}")))
    assert counts == [4, 4]


async def test_a_stream_replays_a_page_of_events_by_one_statement(
    api_app: FastAPI, database: Database, served: Database
) -> None:
    counts: list[int] = []
    for events in (FEW, MANY):
        channel = f"private-audit-{events}"
        async with database.write() as session:
            for number in range(events):
                await record(session, "audit.progress", {"number": number}, [channel])
        pace = Pace(heartbeat=0.2, life=0.2)
        with sent_to(served) as sent:
            parts = [
                part
                async for part in stream(api_app.state.hub, served, Listener(frozenset({channel})), 0, pace)
            ]
        assert sum(part.startswith("id:") for part in parts) == events
        counts.append(len([text for text in sent.statements if "&&" in text]))
    assert counts == [1, 1]
