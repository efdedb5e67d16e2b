"""The simulated recogniser: the provider's shapes, noise within its share, the same audio always heard the same."""

import io
import itertools
import wave
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from conforme.sandbox import audio
from conforme.sandbox.chassis import Service
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.noise import is_protected, mishear
from conforme.sandbox.speaking import SpokenWord, speak
from conforme.sandbox.speech import DEFAULT_KEY, Hearing, SpeechDesk, heard, speech_app

CORPUS = load_corpus()
CALL = CORPUS.call("retraitee-dentaire")
CLEAR = Hearing(noise_share=0.0, swap_share=0.0)
FORM = {
    "model_id": "scribe_v2",
    "language_code": "fra",
    "timestamps_granularity": "word",
    "diarize": "true",
}
scenarios = st.sampled_from(sorted(CORPUS.scenarios))
shares = st.floats(0, 0.5)
seeds = st.text(max_size=8)


@asynccontextmanager
async def _speech(
    hearing: Hearing = CLEAR, **options: Any
) -> AsyncGenerator[tuple[SpeechDesk, httpx2.AsyncClient]]:
    app = speech_app(CORPUS, hearing=hearing)
    async with (
        Service("speech", app, **options) as service,
        httpx2.AsyncClient(base_url=service.url, headers={"xi-api-key": DEFAULT_KEY}) as client,
    ):
        yield app.state.desk, client


async def _ask(client: httpx2.AsyncClient, sound: bytes, **fields: str) -> httpx2.Response:
    file = {"file": ("audio.mp3", sound, "audio/mpeg")}
    return await client.post("/v1/speech-to-text", data=FORM | fields, files=file)


def _wav(seconds: float) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * int(8000 * seconds))
    return out.getvalue()


# Audio


@pytest.mark.parametrize("call", CORPUS.calls, ids=lambda call: call.id)
def test_a_recording_is_a_chain_of_whole_mp3_frames_as_long_as_the_call(call: Any) -> None:
    sound = audio.render(call)
    assert sound[:3] == b"ID3"
    start = 10 + int.from_bytes(sound[8:10], "big") - (int.from_bytes(sound[8:10], "big") >> 8) * 128
    frames = [sound[at : at + audio.FRAME_BYTES] for at in range(start, len(sound), audio.FRAME_BYTES)]
    assert {frame[:4] for frame in frames} == {b"\xff\xf3\x18\xc4"}
    assert len(frames[-1]) == audio.FRAME_BYTES
    assert len(frames) * audio.FRAME_SECONDS == pytest.approx(speak(call).seconds, abs=audio.FRAME_SECONDS)
    assert audio.seconds_of(sound) == pytest.approx(len(frames) * audio.FRAME_SECONDS, abs=0.001)
    assert audio.reference_in(sound) == call.reference


def test_each_voice_has_its_own_tone_and_pauses_are_silent() -> None:
    words = speak(CALL).words
    sound = audio.render(CALL)
    body = sound[len(sound) % audio.FRAME_BYTES :] if len(sound) % audio.FRAME_BYTES else sound
    frames = {body[at : at + audio.FRAME_BYTES] for at in range(0, len(body), audio.FRAME_BYTES)}
    assert {word.role for word in words} == {"conseiller", "client"}
    assert 3 <= len(frames) <= 12


def test_a_wav_file_has_its_own_length_and_names_no_call() -> None:
    assert audio.seconds_of(_wav(2.5)) == 2.5
    assert audio.reference_in(_wav(2.5)) is None


@given(st.binary(max_size=400))
def test_any_bytes_are_measured_or_refused(data: bytes) -> None:
    for sound in (data, b"RIFF" + data, b"ID3\x03\x00\x00" + data, b"\xff\xf3\x18\xc4" + data):
        seconds = audio.seconds_of(sound)
        assert seconds is None or seconds >= 0
        audio.reference_in(sound)


# Noise


@given(scenarios, shares, seeds)
def test_noise_alters_no_more_than_its_share(scenario: str, share: float, seed: str) -> None:
    words = speak(CORPUS.call(scenario)).words
    noisy = mishear(words, share, seed)
    assert noisy.altered <= share * len(words)
    before, after = ([word.text for word in some] for some in (words, noisy.words))
    assert Levenshtein.distance(before, after) <= 2 * noisy.altered
    assert noisy == mishear(words, share, seed)


@given(scenarios, shares, seeds)
def test_noise_keeps_negations_numbers_and_the_order_of_time(scenario: str, share: float, seed: str) -> None:
    words = speak(CORPUS.call(scenario)).words
    noisy = mishear(words, share, seed).words
    kept = [word.text for word in words if is_protected(word.text)]
    assert [word.text for word in noisy if is_protected(word.text)] == kept
    assert all(one.start <= other.start for one, other in itertools.pairwise(noisy))
    assert all(word.text and word.start <= word.end for word in noisy)


def test_noise_uses_most_of_its_share() -> None:
    words = speak(CALL).words
    assert mishear(words, 0.1, "x").altered >= 0.09 * len(words)
    assert mishear(words, 0.0, "x").words == words


@pytest.mark.parametrize(
    "word", ["n'est", "Pas,", "1200", "58", "euros", "jamais.", "quatre-vingt", "qu'aucun"]
)
def test_words_of_meaning_are_protected(word: str) -> None:
    assert is_protected(word)
    spoken = SpokenWord(word, 0.0, 1.0, "client", 1)
    assert mishear((spoken,), 1.0, "s").words == (spoken,)


# Transcripts


async def test_a_clear_call_comes_back_word_for_word_in_the_provider_s_shape() -> None:
    async with _speech() as (_, client):
        answer = (await _ask(client, audio.render(CALL))).json()
    spoken = speak(CALL)
    words = [entry for entry in answer["words"] if entry["type"] == "word"]
    assert answer["language_code"] == "fra"
    assert answer["text"] == " ".join(entry["text"] for entry in words)
    assert [entry["text"] for entry in words] == [word.text for word in spoken.words]
    assert [entry["start"] for entry in words] == [word.start for word in spoken.words]
    assert answer["transcription_id"]
    assert answer["audio_duration_secs"] == pytest.approx(spoken.seconds, abs=0.04)
    assert set(words[0]) == {"text", "start", "end", "type", "speaker_id", "logprob"}
    assert all(entry["logprob"] <= 0 for entry in words)


async def test_spacing_entries_stand_between_words_and_cover_the_pauses() -> None:
    async with _speech() as (_, client):
        entries = (await _ask(client, audio.render(CALL))).json()["words"]
    assert [entry["type"] for entry in entries[:5]] == ["word", "spacing", "word", "spacing", "word"]
    assert entries[-1]["type"] == "word"
    for before, space, after in zip(entries[::2], entries[1::2], entries[2::2], strict=False):
        assert (space["text"], space["start"], space["end"]) == (" ", before["end"], after["start"])


async def test_speakers_are_numbered_as_they_are_first_heard_and_follow_the_turns() -> None:
    async with _speech() as (_, client):
        entries = (await _ask(client, audio.render(CORPUS.call("veuve-accompagnee")))).json()["words"]
    assert entries[0]["speaker_id"] == "speaker_0"
    assert {entry["speaker_id"] for entry in entries} == {"speaker_0", "speaker_1", "speaker_2"}


async def test_the_same_audio_is_always_heard_the_same_and_other_audio_otherwise() -> None:
    sound, other = audio.render(CALL), audio.render(CORPUS.call("couple-audition"))
    async with _speech(Hearing(noise_share=0.1, swap_share=1.0)) as (_, client):
        first, again, third = [(await _ask(client, one)).json() for one in (sound, sound, other)]
    assert first == again
    assert first["transcription_id"] != third["transcription_id"]
    assert first["text"] != speak(CALL)


async def test_a_silent_call_is_answered_with_nothing_heard() -> None:
    async with _speech() as (desk, client):
        answer = (await _ask(client, audio.render(CORPUS.call("appel-silencieux")))).json()
        assert (answer["text"], answer["words"]) == ("", [])
        assert answer["transcription_id"]
        assert desk.audio_seconds == pytest.approx(27, abs=0.04)


async def test_audio_from_elsewhere_is_answered_as_silence_and_not_invented() -> None:
    async with _speech() as (desk, client):
        answer = (await _ask(client, _wav(3.0))).json()
        sound = audio.render(CALL).replace(b"retraitee-dentaire", b"retraitee-inconnue")
        other = (await _ask(client, sound)).json()
    assert answer["text"] == other["text"] == ""
    assert desk.transcribed == 2


async def test_without_times_or_speakers_wanted_none_are_given() -> None:
    async with _speech() as (_, client):
        sound = audio.render(CORPUS.call("faux-numero"))
        plain = (await _ask(client, sound, timestamps_granularity="none", diarize="false")).json()
        letters = (await _ask(client, sound, timestamps_granularity="character")).json()
    assert set(plain["words"][0]) == {"text", "type", "logprob"}
    assert "".join(one["text"] for one in letters["words"][0]["characters"]) == letters["words"][0]["text"]


async def test_seconds_of_audio_are_counted_once_answered() -> None:
    async with _speech() as (desk, client):
        await _ask(client, _wav(2.0))
        await _ask(client, _wav(1.5))
        await _ask(client, b"not audio")
    assert desk.report() == {"transcribed": 2, "audio_seconds": 3.5}


# Hearing


def test_a_cut_call_keeps_only_its_beginning() -> None:
    whole = heard(CORPUS, CALL.reference, CLEAR)
    cut = heard(CORPUS, CALL.reference, replace(CLEAR, cut_share=1.0))
    assert 0.3 * len(whole) < len(cut) < 0.8 * len(whole)
    assert cut == whole[: len(cut)]


def test_swapped_speakers_are_swapped_for_a_part_of_the_call_only() -> None:
    whole = heard(CORPUS, CALL.reference, CLEAR)
    swapped = heard(CORPUS, CALL.reference, replace(CLEAR, swap_share=1.0))
    differing = sum(one.role != other.role for one, other in zip(whole, swapped, strict=True))
    assert 0.08 * len(whole) < differing < 0.36 * len(whole)
    assert [word.text for word in whole] == [word.text for word in swapped]


def test_nothing_is_heard_of_a_call_that_the_recogniser_misses() -> None:
    assert heard(CORPUS, CALL.reference, replace(CLEAR, silent_share=1.0)) == ()


# Refusals


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model_id": "scribe_v9"}, 400, "invalid_model_id"),
        ({"language_code": "zz"}, 400, "invalid_language_code"),
    ],
)
async def test_parameters_the_provider_does_not_know_are_refused(
    fields: dict[str, str], status: int, code: str
) -> None:
    async with _speech() as (_, client):
        answer = await _ask(client, _wav(1), **fields)
    detail = answer.json()["detail"]
    assert answer.status_code == status
    assert detail["status"] == detail["code"] == code
    assert isinstance(detail["message"], str)


async def test_a_field_that_does_not_validate_is_answered_with_a_list() -> None:
    async with _speech() as (_, client):
        bad = await _ask(client, _wav(1), timestamps_granularity="segment")
        absent = await client.post("/v1/speech-to-text", files={"file": ("a.mp3", _wav(1), "audio/mpeg")})
    assert (bad.status_code, absent.status_code) == (422, 422)
    assert absent.json()["detail"][0]["loc"] == ["body", "model_id"]


@pytest.mark.parametrize(
    ("sound", "code"), [(b"", "empty_file"), (b"{}", "invalid_content"), (b"\0" * 99, "invalid_content")]
)
async def test_what_is_no_audio_is_refused(sound: bytes, code: str) -> None:
    async with _speech() as (_, client):
        answer = await _ask(client, sound)
    assert (answer.status_code, answer.json()["detail"]["status"]) == (400, code)


async def test_a_form_without_a_file_is_refused() -> None:
    async with _speech() as (_, client):
        answer = await client.post("/v1/speech-to-text", data=FORM)
    assert (answer.status_code, answer.json()["detail"]["param"]) == (400, "file")


async def test_the_key_is_asked_for_and_checked() -> None:
    async with _speech() as (desk, client):
        wrong = await client.post("/v1/speech-to-text", data=FORM, headers={"xi-api-key": "wrong"})
        async with httpx2.AsyncClient(base_url=client.base_url) as stranger:
            none = await stranger.post("/v1/speech-to-text", data=FORM)
    assert (wrong.status_code, wrong.json()["detail"]["status"]) == (401, "invalid_api_key")
    assert (none.status_code, none.json()["detail"]["status"]) == (401, "needs_authorization")
    assert desk.transcribed == 0
