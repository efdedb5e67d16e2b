"""Speech-to-text by ElevenLabs (spec/fiches §4)."""

import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from http import HTTPStatus
from tempfile import TemporaryFile
from typing import IO, Any, Final

import httpx2

from conforme.foundation.database import now
from conforme.foundation.errors import Misconfigured
from conforme.foundation.outbound import Outbound, exchange_failure, retry_after_seconds
from conforme.foundation.redaction import REDACTED, redact_text
from conforme.settings import Settings
from conforme.transcriptions.speech import SpeechFailed, Transcript
from conforme.transcriptions.words import from_entries, from_text, one_line, seconds

SUBJECT: Final = "ElevenLabs speech-to-text failed"
MAX_PROVIDER_MESSAGE: Final = 500
MESSAGE_KEYS: Final = ("detail", "message", "error", "error_message", "reason")

_STATUS_IN_TEXT = re.compile(r"\bstatus=(\d{3})\b")
_URL_QUERY = re.compile(r"(https?://[^\s?#\"'<>]{1,2000})[?#][^\s\"'<>]*", re.IGNORECASE)


class ElevenLabs:
    """One request per recording; the audio passes through a temporary file, never whole through memory.

    Raises `Misconfigured` when it is made without a usable key.
    """

    provider = "elevenlabs"

    def __init__(self, settings: Settings, outbound: Outbound) -> None:
        self.model = settings.elevenlabs_model
        self._key = _key(settings)
        self._settings = settings
        self._outbound = outbound

    async def transcribe(self, audio: AsyncIterator[bytes], *, language: str) -> Transcript:
        with TemporaryFile() as file:
            async for piece in audio:
                file.write(piece)
            if not file.tell():
                raise SpeechFailed("Audio download failed: the file is empty")
            file.seek(0)
            return _transcript(await self._ask(file, language))

    async def _ask(self, file: IO[bytes], language: str) -> Mapping[str, Any]:
        client = self._outbound.provider(
            base_url=self._settings.elevenlabs_base_url,
            headers={"xi-api-key": self._key},
            timeout=self._settings.transcription_timeout_seconds,
        )
        fields = {
            "model_id": self.model,
            "language_code": language,
            "timestamps_granularity": "word",
            "diarize": "true",
        }
        async with client:
            try:
                answer = await client.post(
                    "/v1/speech-to-text", data=fields, files={"file": ("audio.mp3", file, "audio/mpeg")}
                )
            except httpx2.HTTPError as error:
                broken = exchange_failure(SUBJECT, error)
                reason = broken.reason.replace(" ", "_")
                raise SpeechFailed(f"{SUBJECT} code={reason}", retryable=broken.retryable) from None
        if not answer.is_success:
            raise _refusal(answer, self._key)
        return _body(answer)


def _key(settings: Settings) -> str:
    if settings.elevenlabs_api_key is None:
        raise Misconfigured("ElevenLabs API key not configured (set ELEVENLABS_API_KEY)")
    key = settings.elevenlabs_api_key.get_secret_value()
    if not key.isascii() or not key.isprintable():
        raise Misconfigured("ElevenLabs API key not valid (check ELEVENLABS_API_KEY)")
    return key


def _body(answer: httpx2.Response) -> Mapping[str, Any]:
    body = _json(answer)
    if not isinstance(body, dict):
        # The provider's own trouble: another try may well be answered.
        raise SpeechFailed(
            f"{SUBJECT} status={answer.status_code} provider_message=the answer is not JSON", retryable=True
        )
    return body


def _json(answer: httpx2.Response) -> Any:
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):
        return None


def _transcript(body: Mapping[str, Any]) -> Transcript:
    identifier = body.get("transcription_id")
    if not isinstance(identifier, str) or not one_line(identifier):
        raise SpeechFailed("Missing transcription_id from provider")
    said, code = body.get("text"), body.get("language_code")
    timed = from_entries(body.get("words"))
    text = _storable(said) if isinstance(said, str) else " ".join(word.text for word in timed)
    words = timed or from_text(text)
    probability = seconds(body.get("language_probability"))
    return Transcript(
        transcription_id=one_line(identifier),
        text=text,
        language_code=one_line(code) or None if isinstance(code, str) else None,
        language_probability=probability if probability is not None and probability <= 1 else None,
        words=words,
        audio_seconds=seconds(body.get("audio_duration_secs"))
        or max((word.end for word in words if word.end is not None), default=None),
    )


def _storable(text: str) -> str:
    return "\n".join(one_line(line) for line in text.split("\n")).strip()


def _refusal(answer: httpx2.Response, key: str) -> SpeechFailed:
    """The error of an answer that is no success, in the words of spec/fiches §4."""
    body = _json(answer)
    message, code = _provider_message(body), _provider_code(body)
    hint = " (check ELEVENLABS_API_KEY)" if answer.status_code == HTTPStatus.UNAUTHORIZED else ""
    parts = [
        SUBJECT,
        f"status={answer.status_code}",
        *([f"code={_shown(code, key)}"] if code else []),
        *([f"provider_message={_shown(message, key)}"] if message else []),
    ]
    return SpeechFailed(
        " ".join(parts) + hint,
        retryable=_worth_retrying(answer.status_code, message),
        retry_after=retry_after_seconds(answer.headers, now()),
    )


def _worth_retrying(status: int, message: str) -> bool:
    """Also when a gateway in between reports the real status in its text alone."""
    told = {int(found) for found in _STATUS_IN_TEXT.findall(message)}
    return any(each in {408, 429} or 500 <= each <= 599 for each in {status, *told})


def _shown(text: str, key: str) -> str:
    """What a provider says, without our key, queries of URLs, and personal data it may quote of the request."""
    cleaned = _URL_QUERY.sub(r"\1", one_line(text).replace(key, REDACTED))
    return redact_text(cleaned, len(cleaned))[:MAX_PROVIDER_MESSAGE]


def _provider_message(body: Any) -> str:
    """The first readable text among the keys providers use; a structured `detail` is read, not dropped."""
    if not isinstance(body, Mapping):
        return ""
    readable = (_readable(body.get(key)) for key in MESSAGE_KEYS)
    return next((text for text in readable if text), "")


def _readable(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Mapping):
        return next(_strings(value, ("message", "msg", "detail", "error")), "")
    if isinstance(value, list):
        return "; ".join(_issue(item) for item in value[:5] if isinstance(item, Mapping))
    return ""


def _issue(item: Mapping[str, Any]) -> str:
    """A validation issue `{loc: [...], msg}` as `model_id: field required`; its `input` is left out."""
    where = item.get("loc")
    path = ".".join(str(part) for part in where if part != "body") if isinstance(where, list) else ""
    said = next(_strings(item, ("msg", "message")), "not valid")
    return f"{path}: {said}" if path else said


def _provider_code(body: Any) -> str:
    if not isinstance(body, Mapping):
        return ""
    detail = body.get("detail")
    places = [detail, body] if isinstance(detail, Mapping) else [body]
    return next((code for place in places for code in _strings(place, ("code", "status", "type"))), "")


def _strings(value: Mapping[str, Any], keys: Iterable[str]) -> Iterator[str]:
    return (found.strip() for key in keys if isinstance(found := value.get(key), str) and found.strip())
