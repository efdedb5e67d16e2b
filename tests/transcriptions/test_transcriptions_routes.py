"""The HTTP surface of recordings and transcriptions."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import update

from conforme.accounts.actor import Actor, Scope
from conforme.accounts.auth import current_caller
from conforme.fiches.models import FicheCache
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable
from conforme.foundation.ledger import PriceTable
from conforme.foundation.llm import LanguageModel
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.foundation.web import install_error_handlers
from conforme.recordings import store
from conforme.recordings.models import Recording
from conforme.recordings.names import CallFacts
from conforme.recordings.queries import of_fiche
from conforme.recordings.routes import router as recordings
from conforme.settings import Settings
from conforme.transcriptions import service
from conforme.transcriptions.models import TranscriptionChunk
from conforme.transcriptions.queries import transcribed
from conforme.transcriptions.routes import router as transcriptions
from conforme.transcriptions.runs import FicheRun
from conforme.transcriptions.speech import Transcript
from conforme.transcriptions.words import Word
from people import caller_like

FICHE = "900101"
TOKEN = "token-of-the-tests"
TEAM = Actor("user:1", Scope.GROUP, groupes=frozenset({"EQUIPE R1"}))
OTHERS = Actor("user:2", Scope.GROUP, groupes=frozenset({"EQUIPE R2"}))
SPOKEN = Transcript(
    "tr-1",
    "bonjour madame",
    "fra",
    0.97,
    (Word("bonjour", 0.1, 0.5, "speaker_0"), Word("madame", None, None, None)),
    2,
)
SILENT = Transcript("tr-2", "", "fra", None, (), 12)


@dataclass
class Desk:
    """An application on a database with one fiche of three calls."""

    app: FastAPI
    client: httpx2.AsyncClient
    database: Database
    durable: Durable
    fiche_cache_id: int

    def act_as(self, actor: Actor) -> None:
        self.app.dependency_overrides[current_caller] = lambda: caller_like(actor)

    async def get(self, path: str, status: int = 200) -> dict[str, Any]:
        answer = await self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None, status: int = 200) -> dict[str, Any]:
        answer = await self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def keep(self, call_id: str, transcript: Transcript) -> None:
        paid = service.Paid("elevenlabs", "scribe_v2", transcript.audio_seconds, 900)
        run = FicheRun(fiche_id=FICHE, run_id="run-1")
        async with self.database.write() as session:
            plan = await service.plan(session, run, self.fiche_cache_id, at=datetime.now(UTC))
            [recording] = [each for each in plan.todo if each.call_id == call_id]
            await service.keep(session, recording, transcript, paid, every=3, prices=PriceTable.load())

    async def change(self, call_id: str, **values: Any) -> None:
        async with self.database.write() as session:
            await session.execute(update(Recording).where(Recording.call_id == call_id).values(**values))


@pytest.fixture
async def desk(database: Database) -> AsyncGenerator[Desk]:
    settings = Settings(api_auth_tokens=SecretStr(TOKEN))
    outbound, durable = Outbound(settings), Durable(settings, database)
    app = FastAPI()
    app.include_router(recordings)
    app.include_router(transcriptions)
    install_error_handlers(app)
    resources = Resources(settings, database, durable, outbound, cast("LanguageModel", None))
    app.state.resources = resources
    async with database.write() as session:
        fiche = FicheCache(fiche_id=FICHE, groupe="EQUIPE R1", expires_at=datetime(2099, 1, 1, tzinfo=UTC))
        session.add(fiche)
        await session.flush()
        calls = [
            CallFacts(
                call_id, f"https://cdn.example.test/{call_id}.mp3", f"2026-01-05T08:1{place}:00Z", 60 + place
            )
            for place, call_id in enumerate(("c1", "c2", "c3"))
        ]
        await store.upsert(session, fiche.id, calls)
    await durable.start(resources, works=False)
    transport = httpx2.ASGITransport(app=app)
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://conforme.test", headers=headers
    ) as client:
        yield Desk(app, client, database, durable, fiche.id)
    await durable.stop()
    await outbound.aclose()


async def test_recordings_are_listed_oldest_first_with_whole_rows(desk: Desk) -> None:
    await desk.keep("c1", SPOKEN)
    body = await desk.get(f"/api/recordings/{FICHE}")
    assert (body["success"], body["count"]) == (True, 3)
    assert [row["callId"] for row in body["data"]] == ["c1", "c2", "c3"]
    first: Mapping[str, Any] = body["data"][0]
    assert isinstance(first["id"], str)
    assert first["ficheCacheId"] == str(desk.fiche_cache_id)
    assert first["startTime"] == "2026-01-05T08:10:00.000Z"
    assert (first["recordingDate"], first["recordingTime"]) == ("05/01/2026", "08:10")
    assert (first["transcriptionText"], first["transcriptionLanguageProbability"]) == (
        "bonjour madame",
        "0.97",
    )
    assert (first["hasTranscription"], first["transcriptionState"]) == (True, "done")
    assert "transcriptionWords" not in first


@pytest.mark.parametrize("path", ["/api/recordings/1", "/api/transcriptions/1/status"])
async def test_an_unknown_fiche_is_404(desk: Desk, path: str) -> None:
    body = await desk.get(path, 404)
    assert body == {"success": False, "error": "Fiche 1 not found in cache", "code": "NOT_FOUND"}


@pytest.mark.parametrize(
    "path",
    [
        "/api/recordings/{fiche}",
        "/api/transcriptions/{fiche}/status",
        "/api/transcriptions/{fiche}/recordings/c1",
    ],
)
@pytest.mark.parametrize("fiche", [FICHE, "1"])
async def test_a_fiche_out_of_scope_is_403(desk: Desk, path: str, fiche: str) -> None:
    desk.act_as(OTHERS)
    body = await desk.get(path.format(fiche=fiche), 403)
    assert (body["error"], body["code"]) == ("Forbidden", "AUTHORIZATION_ERROR")


async def test_a_fiche_in_scope_is_read(desk: Desk) -> None:
    desk.act_as(TEAM)
    assert (await desk.get(f"/api/recordings/{FICHE}"))["count"] == 3


@pytest.mark.parametrize("path", ["/api/recordings/1", "/api/transcriptions/1/status"])
async def test_strangers_are_refused(desk: Desk, path: str) -> None:
    desk.client.headers.pop("authorization")
    assert (await desk.get(path, 401))["code"] == "AUTHENTICATION_ERROR"


async def test_the_status_tells_how_far_each_recording_is(desk: Desk) -> None:
    await desk.keep("c1", SPOKEN)
    await desk.keep("c2", SILENT)
    await desk.change(
        "c3", transcription_state="failed", transcription_error="Audio download failed status=404"
    )
    data = (await desk.get(f"/api/transcriptions/{FICHE}/status"))["data"]
    assert (data["ficheId"], data["total"], data["transcribed"], data["pending"]) == (FICHE, 3, 2, 1)
    assert data["percentage"] == 67
    heard, silent, failed = data["recordings"]
    assert (heard["callId"], heard["hasTranscription"], heard["transcriptionId"]) == ("c1", True, "tr-1")
    assert (heard["recordingDate"], heard["durationSeconds"]) == ("05/01/2026", 60)
    assert heard["transcribedAt"].endswith("Z")
    assert (silent["state"], silent["silent"]) == ("done", True)
    assert (failed["state"], failed["error"]) == ("failed", "Audio download failed status=404")


async def test_a_transcript_has_its_words_with_their_times(desk: Desk) -> None:
    await desk.keep("c1", SPOKEN)
    body = await desk.get(f"/api/transcriptions/{FICHE}/recordings/c1")
    assert body == {
        "success": True,
        "data": {
            "call_id": "c1",
            "recording_url": "https://cdn.example.test/c1.mp3",
            "duration_seconds": 60,
            "transcription_id": "tr-1",
            "transcription": {
                "text": "bonjour madame",
                "language_code": "fra",
                "language_probability": 0.97,
                "words": [
                    {"text": "bonjour", "start": 0.1, "end": 0.5, "type": "word", "speaker_id": "speaker_0"},
                    {"text": "madame", "start": None, "end": None, "type": "word"},
                ],
            },
            "has_transcription": True,
        },
    }


async def test_a_silent_recording_answers_with_an_empty_text(desk: Desk) -> None:
    await desk.keep("c2", SILENT)
    data = (await desk.get(f"/api/transcriptions/{FICHE}/recordings/c2"))["data"]
    assert data["transcription"] == {"text": "", "language_code": "fra", "words": []}


async def test_a_transcript_that_is_not_there_is_404_and_says_which_way(desk: Desk) -> None:
    await desk.change("c3", has_transcription=True)
    for call_id, error in {
        "nope": "Recording not found",
        "c1": "No transcription available for this recording",
        "c3": "Transcription data not found in DB",
    }.items():
        body = await desk.get(f"/api/transcriptions/{FICHE}/recordings/{call_id}", 404)
        assert body["error"] == error


async def test_rows_of_earlier_systems_are_read_from_what_they_have(desk: Desk) -> None:
    await desk.change("c1", has_transcription=True, transcription_text="bonjour madame oui")
    await desk.change(
        "c2",
        has_transcription=True,
        transcription_text="x",
        transcription_data={
            "words": [{"text": "oui", "start": 1, "end": 2, "type": "word", "speaker_id": "s"}]
        },
    )
    await desk.change("c3", has_transcription=True, transcription_text="x")
    async with desk.database.write() as session:
        [*_, third] = await of_fiche(session, TEAM, desk.fiche_cache_id)
        session.add(
            TranscriptionChunk(
                recording_id=third.id,
                chunk_index=0,
                message_count=2,
                speakers=["speaker_0", "unknown"],
                full_text="speaker_0: un deux\nunknown: trois",
            )
        )
    async with desk.database.read() as session:
        plain, listed, chunked = await transcribed(session, TEAM, desk.fiche_cache_id)
    assert plain.words == tuple(Word(each, None, None, None) for each in ("bonjour", "madame", "oui"))
    assert listed.words == (Word("oui", 1, 2, "s"),)
    assert [(turn.speaker, turn.text) for turn in chunked.turns] == [
        ("speaker_0", "un deux"),
        (None, "trois"),
    ]


async def test_recordings_nobody_heard_come_with_their_reason(desk: Desk) -> None:
    await desk.change("c2", transcription_state="failed", transcription_error="silence")
    async with desk.database.read() as session:
        found = await transcribed(session, TEAM, desk.fiche_cache_id)
        assert await transcribed(session, OTHERS, desk.fiche_cache_id) == []
    assert [(each.has_transcription, each.error) for each in found] == [
        (False, None),
        (False, "silence"),
        (False, None),
    ]


async def test_one_fiche_is_queued(desk: Desk) -> None:
    body = await desk.post(f"/api/transcriptions/{FICHE}?priority=high")
    assert (body["success"], body["message"], body["fiche_id"]) == (True, "Transcription job queued", FICHE)
    assert body["event_id"].startswith(f"transcribe-{FICHE}-")
    assert await desk.durable.state(body["event_id"]) == "queued"


async def test_several_fiches_are_queued_each_once(desk: Desk) -> None:
    body = await desk.post("/api/transcriptions/batch", {"fiche_ids": [FICHE, "2", FICHE], "priority": "low"})
    assert body["message"] == "2 transcription jobs queued"
    assert body["fiche_ids"] == [FICHE, "2"]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert body["event_ids"] == [f"transcribe-{FICHE}-{today}", f"transcribe-2-{today}"]


async def test_a_batch_asked_again_while_it_waits_is_the_same_one(desk: Desk) -> None:
    first = await desk.post("/api/transcriptions/batch", {"fiche_ids": [FICHE]})
    assert (await desk.post("/api/transcriptions/batch", {"fiche_ids": [FICHE]}))["event_ids"] == first[
        "event_ids"
    ]


async def test_a_batch_asked_again_after_its_end_is_queued_anew(desk: Desk) -> None:
    [first] = (await desk.post("/api/transcriptions/batch", {"fiche_ids": [FICHE]}))["event_ids"]
    await desk.durable.cancel(first)
    [second] = (await desk.post("/api/transcriptions/batch", {"fiche_ids": [FICHE]}))["event_ids"]
    assert second.startswith(f"{first}-")
    assert await desk.durable.state(second) == "queued"


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"fiche_ids": "1"},
        {"fiche_ids": []},
        {"fiche_ids": [1]},
        {"fiche_ids": ["a"]},
        {"fiche_ids": ["\0"]},
    ],
)
async def test_a_batch_without_fiches_is_refused(desk: Desk, body: Any) -> None:
    answer = await desk.post("/api/transcriptions/batch", body, 400)
    assert (answer["error"], answer["code"]) == (
        "Invalid request - fiche_ids array required",
        "VALIDATION_ERROR",
    )


async def test_too_large_a_batch_is_refused(desk: Desk) -> None:
    answer = await desk.post("/api/transcriptions/batch", {"fiche_ids": [str(n) for n in range(1001)]}, 400)
    assert answer["code"] == "VALIDATION_ERROR"


async def test_an_unknown_priority_is_refused(desk: Desk) -> None:
    assert (await desk.post(f"/api/transcriptions/{FICHE}?priority=urgent", status=400))[
        "code"
    ] == "VALIDATION_ERROR"


async def test_a_fiche_id_that_is_no_number_is_no_route(desk: Desk) -> None:
    answer = await desk.post("/api/transcriptions/abc", status=404)
    assert answer["error"] == "Route with ID '/api/transcriptions/abc' not found"


async def test_one_fiche_out_of_scope_refuses_the_whole_batch(desk: Desk) -> None:
    desk.act_as(TEAM)
    await desk.post("/api/transcriptions/batch", {"fiche_ids": [FICHE]})
    await desk.post("/api/transcriptions/batch", {"fiche_ids": [FICHE, "2"]}, 403)
    desk.act_as(OTHERS)
    await desk.post(f"/api/transcriptions/{FICHE}", status=403)
