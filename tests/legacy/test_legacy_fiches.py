"""Fiches of every age of the original, and their calls."""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any

import httpx2
from old_database import WORDS, OldDatabase
from sqlalchemy import select

from conforme.fiches.models import FicheCache
from conforme.foundation.database import Database
from conforme.legacy.report import Report
from conforme.recordings.models import Recording
from conforme.sandbox import dossier
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.population import Population
from conforme.transcriptions.models import TranscriptionChunk

Import = Callable[..., Awaitable[Report]]
DAY = date(2026, 11, 20)


def payload() -> dict[str, Any]:
    """What the gateway says of a fiche, whole."""
    population = Population(load_corpus(), sales_per_day=1)
    return dossier.details(
        population, population.sales(DAY)[0], recordings_at="http://crm.test", mail_devis=True
    )


async def rows(database: Database, *columns: Any) -> list[tuple[Any, ...]]:
    async with database.read() as session:
        return [tuple(row) for row in await session.execute(select(*columns).order_by(columns[0]))]


async def test_sections_are_shown_as_the_gateway_told_them(
    old: OldDatabase, bring: Import, api: httpx2.AsyncClient, database: Database
) -> None:
    fiche = old.detailed_fiche("900101")
    old.run("update fiche_cache set expires_at = now() + interval '1 day'")
    old.call(fiche)
    await bring()
    answer = await api.get("/api/fiches/900101")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["information"]["nombre_acces"] == 12
    assert told["information"]["etiquettes"][0]["nom"] == "Qualité confirmée"
    assert told["prospect"]["nom"] == "MARTEL"
    assert told["raw_sections"] == {"notes": "texte"}
    (formule,) = told["tarification"][0]["gammes"][0]["formules"]
    assert (formule["prix"], formule["details"]) == ("41,10", {"Assuré": "41,10"})
    assert [call["call_id"] for call in told["recordings"]] == ["77001"]


async def test_a_fiche_known_only_from_a_listing_stays_one(
    old: OldDatabase, bring: Import, database: Database
) -> None:
    old.fiche("900101", raw_data={"id": "900101", "_salesListOnly": True}, sales_date="2026-01-05")
    old.fiche("900102", details_success=False, details_message="NOT_FOUND")
    await bring()
    columns = (
        FicheCache.fiche_id,
        FicheCache.details_fetched_at,
        FicheCache.listed_at,
        FicheCache.sales_date,
    )
    assert await rows(database, *columns) == [
        ("900101", None, datetime(2026, 1, 5, 8, tzinfo=UTC), "2026-01-05"),
        ("900102", None, None, None),
    ]


async def test_a_payload_of_before_there_were_sections_is_taken_apart(
    old: OldDatabase, bring: Import, api: httpx2.AsyncClient, database: Database
) -> None:
    told = payload()
    fiche_id = told["information"]["fiche_id"]
    old.fiche(fiche_id, raw_data=told)
    old.run("update fiche_cache set expires_at = now() + interval '1 day'")
    await bring()
    shown = (await api.get(f"/api/fiches/{fiche_id}?include_mail_devis=true")).json()
    sections = [name for name in told if name not in {"recordings", "success", "message"}]
    assert {name: shown[name] for name in sections} == {name: told[name] for name in sections}
    assert await rows(database, Recording.call_id) == [
        (call,) for call in sorted(each["call_id"] for each in told["recordings"])
    ]
    assert await rows(database, FicheCache.groupe) == [(told["information"]["groupe"],)]


async def test_a_raw_payload_that_cannot_be_read_leaves_a_fiche_to_be_fetched(
    old: OldDatabase, bring: Import, database: Database
) -> None:
    fiche = old.fiche("900101", raw_data={"information": {"fiche_id": 12}})
    old.call(fiche)
    report = await bring()
    assert report.clean
    assert await rows(database, FicheCache.fiche_id, FicheCache.details_fetched_at) == [("900101", None)]
    assert await rows(database, Recording.call_id) == [("77001",)]
    assert (
        report.notes["Fiches whose JSON cannot be read came without details; they are fetched when needed"]
        == 1
    )


async def test_words_of_older_rows_keep_their_times_and_speakers(
    old: OldDatabase, bring: Import, database: Database, api: httpx2.AsyncClient
) -> None:
    fiche = old.fiche("900101")
    words = [
        {"text": "Bonjour", "start": 0.5, "end": 0.9, "type": "word", "speaker_id": "speaker_1"},
        {"text": " ", "start": 0.9, "end": 1.0, "type": "spacing"},
        {"text": "madame", "start": 1.0, "end": 1.4, "type": "word", "speaker_id": "speaker_1"},
    ]
    old.call(fiche, transcription_data={"words": words}, transcription_id="t-1")
    old.run("delete from recording_transcription_chunks")
    await bring()
    told = (await api.get("/api/transcriptions/900101/recordings/77001")).json()["data"]
    said = [(each["text"], each["start"], each["speaker_id"]) for each in told["transcription"]["words"]]
    assert [each for each in said if each[0].strip()] == [
        ("Bonjour", 0.5, "speaker_1"),
        ("madame", 1.0, "speaker_1"),
    ]
    assert await rows(database, TranscriptionChunk.full_text) == [("speaker_1: Bonjour madame",)]


async def test_what_was_fetched_and_transcribed_here_already_stays(
    old: OldDatabase, bring: Import, database: Database
) -> None:
    fiche = old.detailed_fiche("900101")
    old.call(fiche, "1")
    old.call(fiche, "2")
    at = datetime(2026, 2, 1, tzinfo=UTC)
    async with database.write() as session:
        row = FicheCache(fiche_id="900101", groupe="EQUIPE R9", expires_at=at, details_fetched_at=at)
        session.add(row)
        await session.flush()
        done = {"transcription_state": "done", "has_transcription": True, "transcription_text": "Allô"}
        session.add(Recording(fiche_cache_id=row.id, call_id="1", **done))
        session.add(Recording(fiche_cache_id=row.id, call_id="2"))
        session.add(FicheCache(fiche_id="900102", expires_at=at, raw_data={"_salesListOnly": True}))
    old.detailed_fiche("900102")
    report = await bring()
    assert await rows(database, FicheCache.fiche_id, FicheCache.groupe) == [
        ("900101", "EQUIPE R9"),
        ("900102", "EQUIPE R1"),
    ]
    assert await rows(
        database, Recording.call_id, Recording.transcription_text, Recording.has_transcription
    ) == [
        ("1", "Allô", True),
        ("2", WORDS, True),
    ]
    assert report.kinds["recordings"].already_here == 1
