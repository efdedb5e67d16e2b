"""The calls of a fiche as its document shows them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from conforme.accounts.actor import Actor
from conforme.crm.schemas import GatewayRecording
from conforme.fiches.models import FicheCache
from conforme.foundation.database import Database
from conforme.recordings import queries, store
from conforme.recordings.fiche_calls import FicheCalls

ACTOR = Actor.system("test")
CALLS = FicheCalls()
NAMED = "https://cdn.example.test/r/0a1b2c3d-1111-4222-8333-444455556666-05-01-26-08h14-33199001234-33639981122.mp3"


def _call(call_id: str, start_time: str, url: str | None = None, **more: Any) -> GatewayRecording:
    told = {
        "call_id": call_id,
        "start_time": start_time,
        "duration_seconds": 312,
        "direction": "out",
        "from_number": "33199001234",
        "to_number": "33639981122",
        "answered": True,
        "recording_url": url,
    }
    return GatewayRecording.model_validate({**told, **more})


@pytest.fixture
async def fiche(database: Database) -> int:
    """The cache id of a fiche without calls."""
    async with database.write() as session:
        row = FicheCache(fiche_id="900101", expires_at=datetime(2099, 1, 1, tzinfo=UTC))
        session.add(row)
        await session.flush()
        return row.id


async def _told(database: Database, fiche: int, *calls: GatewayRecording) -> list[dict[str, Any]]:
    """What the fiche shows after the gateway told of these calls."""
    async with database.write() as session:
        await CALLS.upsert(session, fiche, "900101", calls)
    async with database.read() as session:
        return await CALLS.listed(session, ACTOR, fiche)


async def test_calls_are_shown_alike_whether_stored_or_fresh(database: Database, fiche: int) -> None:
    told = [
        _call("a", "2026-01-05T08:14:03.120+00:00", NAMED),
        _call("b", "jamais"),
        _call("c", "2026-01-06T08:14:03"),
        _call("d", "jamais", NAMED, from_number=""),
    ]
    listed = await _told(database, fiche, *told)
    async with database.read() as session:
        facts = await CALLS.facts(session, ACTOR, fiche)
    assert listed == CALLS.shown(told)
    assert [call["call_id"] for call in listed] == ["c", "a", "d", "b"]
    assert (facts.stored, facts.blank_urls) == (4, 2)
    assert listed[1]["start_time"] == "2026-01-05T08:14:03.120+00:00"
    assert listed[1]["parsed"]["timestamp"] == "2026-01-05T08:14:00.000Z"
    assert listed[1]["parsed"]["from_number"] == "+33 1 99 00 12 34"
    assert (listed[2]["from_number"], listed[2]["parsed"]["from_number_raw"]) == ("", "33199001234")


async def test_keys_that_nobody_knows_and_a_transcription_of_the_gateway_are_shown(
    database: Database, fiche: int
) -> None:
    heard = {"conversation": "bonjour", "duration_formatted": "5:12"}
    listed = await _told(
        database, fiche, _call("a", "2026-01-05T08:14:03", agent={"poste": 1e2}, transcription=heard)
    )
    assert (listed[0]["agent"], listed[0]["transcription"]) == ({"poste": 100.0}, heard)


async def test_what_was_heard_takes_the_place_of_what_the_gateway_told(
    database: Database, fiche: int
) -> None:
    call = _call("a", "2026-01-05T08:14:03", transcription={"conversation": "bonjour"})
    await _told(database, fiche, call)
    transcript = store.StoredTranscript("tr", "au revoir", {"v": 1}, False, "fra", 0.9)
    async with database.write() as session:
        [row] = await queries.of_fiche(session, ACTOR, fiche)
        await store.keep_transcript(session, row.id, "run", transcript)
    assert (await _told(database, fiche, call))[0]["transcription"] == {"conversation": "au revoir"}


async def test_the_last_word_on_a_call_is_shown_but_a_known_address_is_never_blanked(
    database: Database, fiche: int
) -> None:
    await _told(database, fiche, _call("a", "2026-01-05T08:14:03", NAMED, vu="oui"))
    [call] = await _told(database, fiche, _call("a", "jamais", "", duration_seconds=-1))
    assert (call["start_time"], call["duration_seconds"], call["recording_url"]) == ("jamais", -1, NAMED)
    assert "vu" not in call
    assert call["parsed"]["uuid"] == "0a1b2c3d-1111-4222-8333-444455556666"


async def test_a_call_told_of_twice_is_one_with_all_that_was_said(database: Database, fiche: int) -> None:
    [call] = await _told(
        database, fiche, _call("a", "2026-01-05T08:14:03", NAMED, vu="oui"), _call(" a ", "", vu="non", lu=1)
    )
    assert (call["call_id"], call["start_time"], call["recording_url"]) == ("a", "2026-01-05T08:14:03", NAMED)
    assert (call["vu"], call["lu"]) == ("non", 1)
