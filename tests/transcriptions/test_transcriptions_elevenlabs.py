"""The speech adapter: what it sends, what it reads, and what it never repeats."""

import json
from collections.abc import AsyncIterator, Callable
from math import exp
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from conforme.foundation.errors import Misconfigured
from conforme.foundation.outbound import Outbound
from conforme.settings import Settings
from conforme.transcriptions.elevenlabs import SUBJECT, ElevenLabs
from conforme.transcriptions.speech import SpeechFailed, Transcript
from conforme.transcriptions.words import Word

KEY = "sk_0123456789abcdef"
Answer = Callable[[httpx2.Request], httpx2.Response]

SPOKEN: dict[str, Any] = {
    "transcription_id": "tr-1",
    "language_code": "fra",
    "language_probability": 0.98,
    "text": "Bonjour Madame",
    "words": [
        {
            "text": "Bonjour",
            "start": 0.1,
            "end": 0.5,
            "type": "word",
            "speaker_id": "speaker_0",
            "logprob": -0.1,
        },
        {"text": " ", "start": 0.5, "end": 0.6, "type": "spacing", "speaker_id": "speaker_0"},
        {"text": "Madame", "start": 0.6, "end": 1.1, "type": "word", "speaker_id": "speaker_0"},
    ],
}


class Canned(Outbound):
    """An outside world of one answer."""

    def __init__(self, settings: Settings, answer: Answer) -> None:
        super().__init__(settings)
        self._answer = answer

    def provider(self, **options: Any) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            transport=httpx2.MockTransport(self._answer),
            base_url=options["base_url"],
            headers=options["headers"],
        )


async def _audio(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _settings(key: str | None = KEY) -> Settings:
    return Settings(elevenlabs_api_key=SecretStr(key) if key is not None else None)


async def _transcribe(answer: Answer | httpx2.Response, *pieces: bytes, key: str | None = KEY) -> Transcript:
    settings = _settings(key)
    respond = answer if callable(answer) else lambda _: answer
    speech = ElevenLabs(settings, Canned(settings, respond))
    return await speech.transcribe(_audio(*(pieces or (b"ID3",))), language="fra")


async def _failure(answer: Answer | httpx2.Response) -> SpeechFailed:
    with pytest.raises(SpeechFailed) as caught:
        await _transcribe(answer)
    return caught.value


async def test_the_request_is_the_multipart_form_of_the_contract() -> None:
    asked: list[tuple[httpx2.Request, bytes]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append((request, request.content))
        return httpx2.Response(200, json=SPOKEN)

    await _transcribe(answer, b"ID3", b"\x00audio")
    request, body = asked[0]
    assert str(request.url) == "https://api.elevenlabs.io/v1/speech-to-text"
    assert request.headers["xi-api-key"] == KEY
    for field, value in {
        "model_id": "scribe_v2",
        "language_code": "fra",
        "timestamps_granularity": "word",
        "diarize": "true",
    }.items():
        assert f'name="{field}"\r\n\r\n{value}\r\n'.encode() in body
    assert b'name="file"; filename="audio.mp3"\r\nContent-Type: audio/mpeg\r\n\r\nID3\x00audio\r\n' in body


async def test_words_language_and_length_are_read() -> None:
    transcript = await _transcribe(httpx2.Response(200, json=SPOKEN))
    assert transcript == Transcript(
        transcription_id="tr-1",
        text="Bonjour Madame",
        language_code="fra",
        language_probability=0.98,
        words=(Word("Bonjour", 0.1, 0.5, "speaker_0", exp(-0.1)), Word("Madame", 0.6, 1.1, "speaker_0")),
        audio_seconds=1.1,
    )


async def test_the_length_the_provider_gives_beats_the_last_word() -> None:
    assert (
        await _transcribe(httpx2.Response(200, json=SPOKEN | {"audio_duration_secs": 62.5}))
    ).audio_seconds == 62.5


async def test_a_recording_in_which_nobody_speaks_is_silent() -> None:
    transcript = await _transcribe(
        httpx2.Response(200, json={"transcription_id": "tr-2", "text": "", "words": []})
    )
    assert transcript.silent
    assert transcript.audio_seconds is None


async def test_what_cannot_be_stored_is_dropped_from_the_text() -> None:
    body = {
        "transcription_id": "tr\0-3",
        "text": "oui\0 \ud800non",
        "language_code": 3,
        "language_probability": 7,
    }
    transcript = await _transcribe(httpx2.Response(200, content=json.dumps(body)))
    assert (transcript.transcription_id, transcript.text) == ("tr-3", "oui non")
    assert (transcript.language_code, transcript.language_probability) == (None, None)


@pytest.mark.parametrize(
    "body", [{}, {"transcription_id": None}, {"transcription_id": " "}, {"transcription_id": 5}]
)
async def test_an_answer_without_id_is_refused(body: dict[str, Any]) -> None:
    failed = await _failure(httpx2.Response(200, json=SPOKEN | {"transcription_id": None} | body))
    assert failed.message == "Missing transcription_id from provider"
    assert not failed.retryable


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"oui"', b"[" * 100_000])
async def test_an_answer_that_is_not_json_may_be_asked_for_again(content: bytes) -> None:
    failed = await _failure(httpx2.Response(200, content=content))
    assert failed.retryable


@pytest.mark.parametrize("key", [None, "", "  ", '""'])
async def test_without_a_key_nothing_is_sent(key: str | None) -> None:
    with pytest.raises(Misconfigured, match=r"ElevenLabs API key not configured \(set ELEVENLABS_API_KEY\)"):
        await _transcribe(httpx2.Response(200, json=SPOKEN), key=key)


async def test_an_unusable_key_is_never_repeated() -> None:
    with pytest.raises(Misconfigured) as caught:
        await _transcribe(httpx2.Response(200, json=SPOKEN), key="clé\u2028secrète")
    assert "secr" not in str(caught.value)


async def test_quotes_around_the_key_are_taken_off() -> None:
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers["xi-api-key"])
        return httpx2.Response(200, json=SPOKEN)

    await _transcribe(answer, key=f' "{KEY}" ')
    assert seen == [KEY]


async def test_an_empty_file_is_not_sent() -> None:
    with pytest.raises(SpeechFailed, match="the file is empty"):
        await _transcribe(httpx2.Response(200, json=SPOKEN), b"")


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            400,
            {"detail": {"status": "invalid_audio", "message": "The audio is not readable."}},
            "ElevenLabs speech-to-text failed status=400 code=invalid_audio provider_message=The audio is not readable.",
        ),
        (
            401,
            {
                "detail": {
                    "type": "authentication_error",
                    "code": "invalid_api_key",
                    "message": "Invalid API key",
                }
            },
            f"{SUBJECT} status=401 code=invalid_api_key provider_message=Invalid API key (check ELEVENLABS_API_KEY)",
        ),
        (
            422,
            {
                "detail": [
                    {
                        "loc": ["body", "model_id"],
                        "msg": "Field required",
                        "type": "missing",
                        "input": "Mme M.",
                    }
                ]
            },
            f"{SUBJECT} status=422 provider_message=model_id: Field required",
        ),
        (
            403,
            {"detail": "Forbidden"},
            "ElevenLabs speech-to-text failed status=403 provider_message=Forbidden",
        ),
        (404, {"reason": "gone"}, "ElevenLabs speech-to-text failed status=404 provider_message=gone"),
        (
            400,
            {"error": {"message": "no"}},
            "ElevenLabs speech-to-text failed status=400 provider_message=no",
        ),
        (400, ["?"], "ElevenLabs speech-to-text failed status=400"),
        (307, None, "ElevenLabs speech-to-text failed status=307"),
    ],
)
async def test_a_refusal_is_told_in_the_words_of_the_contract(status: int, body: Any, message: str) -> None:
    failed = await _failure(httpx2.Response(status, json=body))
    assert failed.message == message
    assert not failed.retryable


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
async def test_trouble_that_passes_is_worth_another_try(status: int) -> None:
    failed = await _failure(httpx2.Response(status, headers={"retry-after": "7"}, text="<html>busy</html>"))
    assert failed.retryable
    assert failed.retry_after == 7


async def test_a_status_told_only_in_the_text_counts() -> None:
    assert (await _failure(httpx2.Response(424, json={"error": "upstream answered status=503"}))).retryable


@pytest.mark.parametrize(
    ("raised", "code"),
    [(httpx2.ReadTimeout("x"), "timed_out"), (httpx2.ConnectError("x"), "connection_failed")],
)
async def test_an_exchange_that_broke_is_worth_another_try(raised: httpx2.HTTPError, code: str) -> None:
    def answer(_: httpx2.Request) -> httpx2.Response:
        raise raised

    failed = await _failure(answer)
    assert failed.message == f"ElevenLabs speech-to-text failed code={code}"
    assert failed.retryable


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        "sk_another_key_1234",
        "Bearer abcdefgh",
        "odile@example.test",
        "06 39 98 11 22",
        "33639981122",
        "2 58 12 69 123 456 78",
        "X-Signature=abcdef",
    ],
)
async def test_secrets_and_personal_data_quoted_by_the_provider_are_withheld(secret: str) -> None:
    detail = f"cannot read https://cdn.example.test/a.mp3?{secret.replace(' ', '-')} of {secret}"
    quoted = detail if secret != "X-Signature=abcdef" else detail.partition(" of ")[0]
    failed = await _failure(httpx2.Response(400, json={"detail": {"message": quoted, "status": secret}}))
    shown = failed.message.replace("code=X-Signature=abcdef", "")
    assert secret not in shown
    assert "https://cdn.example.test/a.mp3" in shown


async def test_a_long_provider_message_is_cut() -> None:
    failed = await _failure(httpx2.Response(400, json={"detail": "é" * 5000}))
    assert failed.message.count("é") == 500
