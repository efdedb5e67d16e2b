"""A transcription run on the real engine, against a speech service on loopback."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from pydantic import SecretStr
from sqlalchemy import select, text, update
from starlette.responses import JSONResponse, Response
from transcriptions_provider import Provider

from conforme.accounts.actor import Actor
from conforme.fiches.models import FicheCache
from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable, Outcome
from conforme.foundation.ledger import LlmCall
from conforme.foundation.llm import LanguageModel
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.recordings import queries as recordings
from conforme.recordings import store
from conforme.recordings.models import RUNNING, Recording
from conforme.recordings.names import CallFacts
from conforme.sandbox.chassis import Service
from conforme.sandbox.weather import Latency
from conforme.settings import Settings
from conforme.transcriptions.models import TranscriptionChunk
from conforme.transcriptions.queries import TranscribedRecording, transcribed
from conforme.transcriptions.runs import FicheRun, RecordingRun
from conforme.transcriptions.workflows import release, transcribe_fiche, transcribe_once

ACTOR = Actor.system("test")
FICHE = "900101"
PATIENCE = 30


@dataclass
class Bench:
    """A fiche, the services its calls live on, and the engine."""

    database: Database
    durable: Durable
    resources: Resources
    provider: Provider
    speech: Service
    fiche_cache_id: int

    async def give(self, *spoken: str, **without_url: str) -> None:
        """Calls c1, c2… with what is spoken in them."""
        calls = {f"c{number}": words for number, words in enumerate(spoken, start=1)}
        self.provider.calls |= calls
        facts = [
            CallFacts(call_id, f"{self.speech.url}/audio/{call_id}.mp3", f"2026-01-05T08:{place:02}:00Z", 60)
            for place, call_id in enumerate(calls)
        ]
        async with self.database.write() as session:
            await store.upsert(session, self.fiche_cache_id, [*facts, *map(CallFacts, without_url)])

    async def queue(self, run_id: str = "run-1", fiche_id: str = FICHE) -> None:
        async with self.database.write() as session:
            await self.durable.dispatch(
                session, transcribe_fiche, FicheRun(fiche_id=fiche_id, run_id=run_id), id=run_id, key=fiche_id
            )

    async def run(self, run_id: str = "run-1", fiche_id: str = FICHE) -> Outcome:
        await self.queue(run_id, fiche_id)
        return await self.durable.wait(run_id, PATIENCE)

    async def rows(self) -> dict[str, Recording]:
        async with self.database.read() as session:
            found = await recordings.of_fiche(session, ACTOR, self.fiche_cache_id, also=recordings.TRANSCRIPT)
        return {row.call_id: row for row in found}

    async def told(self, name: str | None = None) -> list[dict[str, Any]]:
        async with self.database.read() as session:
            found = await events.after(session, 0, limit=1000)
        return [event.payload | {"name": event.name} for event in found if name in {None, event.name}]

    async def ledger(self) -> list[LlmCall]:
        async with self.database.read() as session:
            return list(await session.scalars(select(LlmCall).order_by(LlmCall.id)))

    async def timeline(self) -> list[TranscribedRecording]:
        async with self.database.read() as session:
            return await transcribed(session, ACTOR, self.fiche_cache_id)

    @property
    def asked(self) -> int:
        routes = self.speech.counts()["routes"]
        return routes.get("POST /v1/speech-to-text", {}).get("requests", 0)


def _settings(speech: Service, **given: Any) -> Settings:
    options: dict[str, Any] = {
        "elevenlabs_api_key": SecretStr("sk_test_0123456789"),
        "elevenlabs_base_url": speech.url,
        "outbound_allowed_origins": (speech.url,),
        "transcription_elevenlabs_rate_limit_per_minute": 1000,
        "transcription_elevenlabs_max_attempts": 3,
        "transcription_elevenlabs_backoff_base_seconds": 0.01,
        "transcription_elevenlabs_backoff_max_seconds": 0.05,
        "drain_seconds": 0,
    }
    return Settings(**(options | given))


async def _until(happened: Callable[[], bool]) -> None:
    """Waits for what only another task can bring about."""
    async with asyncio.timeout(PATIENCE):
        while not happened():  # noqa: ASYNC110 -- the service counts, it does not signal
            await asyncio.sleep(0.02)


@pytest.fixture
def given() -> dict[str, Any]:
    """Settings a test changes, by `pytest.mark.parametrize("given", …)`."""
    return {}


@pytest.fixture
async def bench(database: Database, given: dict[str, Any]) -> AsyncGenerator[Bench]:
    provider = Provider()
    async with provider.service() as speech:
        settings = _settings(speech, **given)
        outbound, durable = Outbound(settings), Durable(settings, database)
        resources = Resources(settings, database, durable, outbound, cast("LanguageModel", None))
        async with database.write() as session:
            row = FicheCache(fiche_id=FICHE, groupe="EQUIPE R1", expires_at=datetime(2099, 1, 1, tzinfo=UTC))
            session.add(row)
            await session.flush()
        await durable.start(resources)
        try:
            yield Bench(database, durable, resources, provider, speech, row.id)
        finally:
            await durable.stop()
            await outbound.aclose()


async def test_every_recording_of_a_fiche_is_transcribed(bench: Bench) -> None:
    await bench.give("bonjour madame je suis courtier oui bonjour", "au revoir")
    outcome = await bench.run()
    assert outcome.value == {"fiche_id": FICHE, "total": 2, "transcribed": 2, "failed": 0, "cached": 0}
    row = (await bench.rows())["c1"]
    assert (row.transcription_id, row.transcription_state, row.has_transcription) == ("tr-c1", "done", True)
    assert (row.transcription_text, row.transcription_language_code) == (
        "bonjour madame je suis courtier oui bonjour",
        "fra",
    )
    first, second = await bench.timeline()
    assert [turn.text for turn in first.turns] == ["bonjour madame je suis courtier", "oui bonjour"]
    assert (first.words[1].start, first.words[1].end, first.words[1].speaker) == (0.5, 0.9, "speaker_0")
    assert (first.call_id, second.call_id) == ("c1", "c2")
    assert bench.provider.keys == {"sk_test_0123456789"}


async def test_chunks_are_stored_beside_the_words(bench: Bench) -> None:
    await bench.give(" ".join(f"mot{n}" for n in range(60)))
    await bench.run()
    async with bench.database.read() as session:
        chunks = list(
            await session.scalars(select(TranscriptionChunk).order_by(TranscriptionChunk.chunk_index))
        )
    assert [(chunk.chunk_index, chunk.message_count) for chunk in chunks] == [(0, 10), (1, 2)]
    assert chunks[0].speakers == ["speaker_0", "speaker_1"]
    assert chunks[0].full_text.startswith("speaker_0: mot0 mot1 mot2 mot3 mot4\nspeaker_1: mot5")
    assert (chunks[0].start_timestamp, chunks[1].end_timestamp) == (0.0, 29.9)


async def test_what_is_transcribed_is_not_paid_again(bench: Bench) -> None:
    await bench.give("bonjour")
    await bench.run("run-1")
    outcome = await bench.run("run-2")
    assert outcome.value == {"fiche_id": FICHE, "total": 1, "transcribed": 1, "failed": 0, "cached": 1}
    assert bench.asked == 1
    [line] = await bench.ledger()
    assert (line.kind, line.provider, line.model) == ("speech", "elevenlabs", "scribe_v2")
    assert line.audio_seconds is not None
    assert line.cost_micros > 0


async def test_a_failed_recording_keeps_its_reason_and_does_not_sink_the_others(bench: Bench) -> None:
    await bench.give("bonjour", "oui", "non")
    del bench.provider.calls["c2"]
    refusal = {"detail": {"status": "invalid_audio", "message": "no speech of odile@example.test"}}
    bench.provider.replies["c3"] = [JSONResponse(refusal, status_code=400)]
    outcome = await bench.run()
    assert (outcome.ok, outcome.value["transcribed"], outcome.value["failed"]) == (True, 1, 2)
    rows = await bench.rows()
    assert {call: row.transcription_state for call, row in rows.items()} == {
        "c1": "done",
        "c2": "failed",
        "c3": "failed",
    }
    assert rows["c2"].transcription_error == "Audio download failed status=404"
    assert rows["c3"].transcription_error == (
        "ElevenLabs speech-to-text failed status=400 code=invalid_audio provider_message=no speech of [redacted]"
    )


async def test_a_failed_recording_is_tried_again_by_the_next_run(bench: Bench) -> None:
    await bench.give("bonjour")
    bench.provider.replies["c1"] = [Response(status_code=400)]
    await bench.run("run-1")
    await bench.run("run-2")
    row = (await bench.rows())["c1"]
    assert (row.transcription_state, row.transcription_error) == ("done", None)


async def test_trouble_that_passes_is_waited_out(bench: Bench) -> None:
    await bench.give("bonjour")
    bench.provider.replies["c1"] = [
        Response(status_code=429, headers={"retry-after": "0"}),
        Response("<html>", status_code=502),
    ]
    await bench.run()
    assert (await bench.rows())["c1"].transcription_state == "done"
    assert bench.asked == 3


async def test_attempts_are_bounded_and_the_last_reason_is_kept(bench: Bench) -> None:
    await bench.give("bonjour")
    bench.provider.replies["c1"] = [Response(status_code=503)] * 9
    await bench.run()
    row = (await bench.rows())["c1"]
    assert row.transcription_error == "ElevenLabs speech-to-text failed status=503"
    assert bench.asked == 3


@pytest.mark.parametrize("given", [{"elevenlabs_api_key": None}])
async def test_without_a_key_nothing_is_asked_and_the_reason_says_so(bench: Bench) -> None:
    await bench.give("bonjour")
    await bench.run()
    row = (await bench.rows())["c1"]
    assert row.transcription_error == "ElevenLabs API key not configured (set ELEVENLABS_API_KEY)"
    assert bench.speech.counts()["routes"] == {}


@pytest.mark.parametrize("given", [{"outbound_allowed_origins": ()}])
async def test_a_recording_on_a_private_address_is_not_fetched(bench: Bench) -> None:
    await bench.give("bonjour")
    await bench.run()
    row = (await bench.rows())["c1"]
    assert row.transcription_error == "Audio download failed: recording URL IP not allowed"
    assert bench.speech.counts()["routes"] == {}


@pytest.mark.parametrize("given", [{"audio_max_bytes": 1024}])
async def test_a_recording_that_is_too_large_is_not_sent(bench: Bench) -> None:
    await bench.give("x")
    async with bench.database.write() as session:
        await session.execute(
            update(Recording).values(recording_url=f"{bench.speech.url}/audio/{'9' * 2000}.mp3")
        )
    bench.provider.calls["9" * 2000] = "x"
    await bench.run()
    assert (await bench.rows())["c1"].transcription_error == "Audio download failed answer too large"
    assert bench.asked == 0


async def test_a_recording_without_url_fails_with_that_reason(bench: Bench) -> None:
    await bench.give(c9="")
    await bench.run()
    assert (await bench.rows())["c9"].transcription_error == "No recording URL available"


async def test_a_silent_recording_is_done_and_silent(bench: Bench) -> None:
    await bench.give("")
    outcome = await bench.run()
    assert outcome.value["transcribed"] == 1
    row = (await bench.rows())["c1"]
    assert (row.silent, row.has_transcription, row.transcription_text) == (True, True, "")
    assert (await bench.timeline())[0].words == ()


async def test_each_change_is_told_once_and_in_order(bench: Bench) -> None:
    await bench.give("un", "deux", "trois", "quatre")
    bench.provider.replies["c4"] = [Response(status_code=400)]
    await bench.run()
    told = await bench.told()
    names = [event["name"].removeprefix("transcription.") for event in told]
    assert names[:2] == ["status_check", "started"]
    assert names[-1] == "completed"
    assert {
        name: names.count(name) for name in ("recording_started", "recording_completed", "recording_failed")
    } == {
        "recording_started": 4,
        "recording_completed": 3,
        "recording_failed": 1,
    }
    assert all(event["fiche_id"] == FICHE for event in told)
    check = (await bench.told("transcription.status_check"))[0]
    assert (check["total_recordings"], check["needs_transcription"], check["is_complete"]) == (4, 4, False)
    completed = told[-1]
    assert (completed["status"], completed["transcribed"], completed["failed"]) == ("completed", 3, 1)
    assert completed["duration_seconds"] >= 0


async def test_progress_is_told_every_third_recording_and_at_the_end(bench: Bench) -> None:
    await bench.give(*(["oui"] * 7))
    await bench.run()
    progress = await bench.told("transcription.progress")
    assert [event["transcribed"] for event in progress] == [3, 6, 7]
    assert [event["pending"] for event in progress] == [4, 1, 0]
    assert [event["progress_percentage"] for event in progress] == [43, 86, 100]


async def test_events_carry_no_url_and_nothing_spoken(bench: Bench) -> None:
    await bench.give("confidentiel")
    await bench.run()
    told = str(await bench.told())
    assert "confidentiel" not in told
    assert bench.speech.url not in told


async def test_nothing_to_do_is_told_as_completed(bench: Bench) -> None:
    outcome = await bench.run()
    assert outcome.value["total"] == 0
    names = [event["name"] for event in await bench.told()]
    assert names == ["transcription.status_check", "transcription.started", "transcription.completed"]


async def test_a_fiche_with_more_than_fifty_recordings_is_skipped_and_says_so(bench: Bench) -> None:
    await bench.give(*(["oui"] * 51))
    outcome = await bench.run()
    assert (outcome.value["skipped"], outcome.value["reason"]) == (True, "too_many_recordings")
    assert bench.asked == 0
    assert (await bench.told())[-1]["name"] == "transcription.completed"


async def test_a_fiche_nobody_knows_is_told_as_failed(bench: Bench) -> None:
    outcome = await bench.run("run-1", "1")
    assert outcome.value["not_found"]
    [event] = await bench.told()
    assert (event["name"], event["error"]) == ("transcription.failed", "Fiche not found (404)")
    assert event["partial_results"] == {"total": 0, "transcribed": 0, "failed": 0}


async def test_two_runs_of_one_fiche_pay_each_recording_once(bench: Bench) -> None:
    await bench.give("un", "deux", "trois")
    await asyncio.gather(bench.queue("run-1"), bench.queue("run-2"))
    outcomes = [await bench.durable.wait(run_id, PATIENCE) for run_id in ("run-1", "run-2")]
    assert all(outcome.value["transcribed"] == 3 for outcome in outcomes)
    assert bench.asked == 3


async def test_the_engine_keeps_ids_and_no_words(bench: Bench) -> None:
    await bench.give("confidentiel")
    await bench.run()
    async with bench.database.read() as session:
        outputs = (await session.execute(text("select output from dbos.operation_outputs"))).scalars().all()
    assert outputs
    assert not any("confidentiel" in (output or "") for output in outputs)


async def test_a_step_that_is_run_again_after_a_crash_pays_nothing(bench: Bench) -> None:
    await bench.give("bonjour")
    await bench.run()
    row = (await bench.rows())["c1"]
    again = RecordingRun(
        run_id="run-1",
        fiche_id=FICHE,
        fiche_cache_id=bench.fiche_cache_id,
        recording_id=row.id,
        call_id="c1",
        recording_index=1,
        total_to_transcribe=1,
    )
    assert (await transcribe_once(bench.resources, again))["cached"]
    assert (bench.asked, len(await bench.ledger())) == (1, 1)


async def test_a_cancelled_run_cuts_the_call_in_flight_and_leaves_nothing_running(bench: Bench) -> None:
    await bench.give("bonjour")
    bench.speech.latency = Latency(base_ms=60_000)
    await bench.queue()
    await _until(lambda: bench.speech.counts()["in_flight"] == 1)
    await bench.durable.cancel("run-1")
    await _until(lambda: bench.speech.counts()["in_flight"] == 0)
    assert (await bench.durable.wait("run-1", PATIENCE)).cancelled
    await release(bench.resources, after=timedelta(seconds=-1))
    assert (await bench.rows())["c1"].transcription_state == "pending"


async def test_a_recording_whose_job_is_gone_is_put_back_to_pending(bench: Bench) -> None:
    await bench.give("bonjour")
    async with bench.database.write() as session:
        await session.execute(update(Recording).values(transcription_state=RUNNING, transcription_run="lost"))
    found = await release(bench.resources, after=timedelta(seconds=-1))
    assert found == {"running": 1, "released": 1}
    assert (await bench.rows())["c1"].transcription_state == "pending"


async def test_call_ids_may_be_of_any_shape(bench: Bench) -> None:
    strange = ["é/../?#", "x" * 500]
    async with bench.database.write() as session:
        calls = [CallFacts(call_id, f"{bench.speech.url}/audio/a.mp3") for call_id in strange]
        await store.upsert(session, bench.fiche_cache_id, calls)
    bench.provider.calls["a"] = "oui"
    outcome = await bench.run()
    assert outcome.value["transcribed"] == 2
