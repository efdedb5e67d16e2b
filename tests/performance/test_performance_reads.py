"""Hot reads: their statements are counted, do not grow with rows, and leave out what a list does not show."""

from datetime import date, timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sql_statements import sent_to
from sqlalchemy import text

from audit_rows import audit, configured, fiche, step
from conforme.crm.schemas import FicheDetails
from conforme.fiches import service
from conforme.fiches.store import Freshness
from conforme.foundation.database import Database, now
from conforme.foundation.events import record
from conforme.realtime.stream import Listener, Pace, stream
from conforme.recordings.fiche_calls import FicheCalls
from conforme.recordings.models import Recording
from conforme.sandbox import dossier
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.population import Population

FEW, MANY = 5, 50
NOT_FOR_LISTS = ("raw_data", "system_prompt", "raw_result")
OF_A_RUN = {"automation_schedule_id": 1, "automation_run_id": 1}
"""What names them is one statement more than audits that somebody asked for take."""


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
            await audit(session, pinned, number, **OF_A_RUN)


async def test_a_list_of_audits_takes_three_statements_however_long_it_is(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    await _audits(database, range(FEW))
    few = await _statements(api, served, "/api/audits")
    await _audits(database, range(FEW, MANY))
    many = await _statements(api, served, "/api/audits")
    assert (len(few), len(many)) == (3, 3)


async def test_a_list_of_audits_reads_no_large_column(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    await _audits(database, range(FEW))
    sent = " ".join(await _statements(api, served, "/api/audits"))
    assert [name for name in NOT_FOR_LISTS if name in sent] == []


READS = {
    "/api/audits?q=martel&prospect_query=odile&groupe_query=equipe&sort_by=score_percentage": 3,
    "/api/audits?include_result_data=true&latest_only=false": 3,
    "/api/audits/grouped?group_by=status": 1,
    "/api/audits/grouped?group_by=score_bucket": 1,
    "/api/audits/grouped?group_by=groupe": 1,
    "/api/audits/grouped?group_by=audit_config": 2,
    "/api/audits/grouped?group_by=automation_schedule": 2,
    "/api/audits/grouped?group_by=automation_run": 2,
    "/api/audits/grouped?group_by=fiche": 3,
    "/api/audits/grouped-by-fiches": 3,
    "/api/audits/export.csv": 1,
    "/api/audit-configs/1/stats": 3,
    "/api/audit-configs?include_stats=true": 2,
}
"""Statements of each; who signed in costs one more."""


async def test_lists_groups_and_exports_take_few_statements_however_much_there_is(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    counts: list[dict[str, int]] = []
    for numbers in (range(FEW), range(FEW, MANY)):
        await _audits(database, numbers)
        counts.append({path: len(await _statements(api, served, path)) for path in READS})
    assert counts == [READS, READS]


async def test_a_list_reads_what_an_audit_stored_only_where_it_is_asked_for(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    await _audits(database, range(FEW))
    for path, read in {
        "/api/audits": False,
        "/api/audits/grouped-by-fiches": False,
        "/api/audits?include_result_data=true": True,
    }.items():
        assert ("result_data" in " ".join(await _statements(api, served, path))) is read


async def test_a_list_of_audits_tells_neither_mail_nor_telephone_of_a_prospect(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await _audits(database, range(FEW))
    text = (await api.get("/api/audits")).text
    assert "MARTEL" in text
    assert "odile@example.test" not in text
    assert "0199001234" not in text


async def test_the_audits_of_a_fiche_take_five_statements_however_many_there_are(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    async with database.write() as session:
        cache_id = await fiche(session, "777")
    counts: list[int] = []
    for configurations in (range(FEW), range(FEW, MANY)):
        for number in configurations:
            pinned = await configured(database, f"Grille {number}", 1)
            async with database.write() as session:
                await audit(session, pinned, number, fiche_id="777", fiche_cache_id=cache_id, **OF_A_RUN)
        counts.append(len(await _statements(api, served, "/api/audits/by-fiche/777")))
    assert counts == [5, 5]


async def test_an_audit_takes_eight_statements_however_many_steps_it_has(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    pinned = await configured(database)
    counts: list[int] = []
    for number, steps in enumerate((2, 20)):
        async with database.write() as session:
            audit_id = await audit(session, pinned, number, **OF_A_RUN)
            for position in range(1, steps + 1):
                await step(session, audit_id, position)
        counts.append(len(await _statements(api, served, f"/api/audits/{audit_id}")))
    assert counts == [8, 8]


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


async def _fiches_of_a_day(database: Database, numbers: range) -> None:
    """Fiches of one day, each with a call and an audit."""
    pinned = await configured(database, f"Grille {numbers.start}")
    async with database.write() as session:
        for number in numbers:
            cache_id = await fiche(session, str(700_000 + number))
            session.add(Recording(fiche_cache_id=cache_id, call_id="1", recording_url=""))
            await audit(session, pinned, number, fiche_id=str(700_000 + number), fiche_cache_id=cache_id)
        await session.execute(text("update fiche_cache set sales_date = '2026-01-05', listed_at = now()"))


async def test_the_fiches_of_a_day_take_five_statements_however_many_there_are(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    path, counts = "/api/fiches/status/by-date?date=2026-01-05", list[int]()
    for numbers in (range(FEW), range(FEW, MANY)):
        await _fiches_of_a_day(database, numbers)
        sent = await _statements(api, served, path)
        assert [name for name in (*NOT_FOR_LISTS, "transcription_text") if name in " ".join(sent)] == []
        counts.append(len(sent))
    assert counts == [5, 5]
    assert (await api.get(path)).json()["data"]["total"] == MANY


async def test_the_states_of_a_batch_take_three_statements_however_many_fiches_it_names(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    counts: list[int] = []
    for numbers in (range(FEW), range(FEW, MANY)):
        await _fiches_of_a_day(database, numbers)
        ids = [str(700_000 + number) for number in range(numbers.stop)]
        with sent_to(served) as sent:
            answer = await api.post("/api/fiches/status/batch", json={"ficheIds": ids})
        assert sum(each["hasData"] for each in answer.json()["data"].values()) == len(ids)
        counts.append(len(sent))
    assert counts == [3, 3]


async def test_a_range_takes_as_many_statements_for_twenty_thousand_fiches_as_for_five(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    path = "/api/fiches/status/by-date-range?startDate=2026-01-05&endDate=2026-01-07&limit=50"
    await _fiches_of_a_day(database, range(FEW))
    await _statements(api, served, path)  # the fetch of what is missing begins
    few = await _statements(api, served, path)
    await _fiches_of_a_day(database, range(FEW, MANY))
    async with database.write() as session:
        await session.execute(
            text(
                "insert into fiche_cache (fiche_id, sales_date, listed_at, expires_at)"
                " select (800000 + n)::text, '2026-01-06', now(), now() from generate_series(1, 20000) n"
            )
        )
    many = await _statements(api, served, path)
    assert (len(few), len(many)) == (8, 8)
    body = (await api.get(path)).json()
    assert (body["total"], len(body["fiches"])) == (20_000 + MANY, 50)
    assert body["pagination"]["total_pages"] == 401
