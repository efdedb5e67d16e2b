"""ElevenLabs' speech to text on loopback: `POST /v1/speech-to-text`, with its form, its answers and its errors.

The audio of the sandbox's CRM names the call it stands for; the answer is that call as a recogniser would hear it
over the telephone: words with times, probabilities and speakers, some misheard, some calls with their speakers
confused for a while, cut short or not heard at all (`Hearing`). The same audio always gives the same transcript.
Audio from elsewhere is answered as silence: this service cannot hear, and invents nothing.
"""

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conforme.sandbox import audio
from conforme.sandbox.corpus import CallReference, Corpus, Role
from conforme.sandbox.noise import mishear
from conforme.sandbox.speaking import SpokenWord, speak

Json = dict[str, Any]
DEFAULT_KEY = "sandbox-speech"
MODELS = frozenset({"scribe_v1", "scribe_v1_experimental", "scribe_v2"})
LANGUAGES = frozenset({"fr", "fra", "fre"})
GRANULARITIES = ("none", "word", "character")
SWAPPED: dict[Role, Role] = {"conseiller": "client", "client": "conseiller", "tiers": "tiers"}


@dataclass(frozen=True, slots=True)
class Hearing:
    """How well the recogniser hears; shares from 0 to 1, drawn anew for each call by its seed."""

    noise_share: float = 0.04
    """Most of the words of a call that may be altered."""
    swap_share: float = 0.1
    """Share of calls in which advisor and client are taken for each other during a part of the call."""
    cut_share: float = 0.0
    """Share of calls heard only up to some point."""
    silent_share: float = 0.0
    """Share of calls in which nothing is heard."""
    seed: int = 1


@dataclass(frozen=True, slots=True)
class _Asked:
    audio: bytes
    granularity: str
    diarize: bool


class _Refused(Exception):
    """The request does not fit; carries the provider's answer."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class SpeechDesk:
    """The service over one corpus; `app` is the ASGI application, `report()` what it heard so far."""

    def __init__(self, corpus: Corpus, *, api_key: str = DEFAULT_KEY, hearing: Hearing | None = None) -> None:
        self.corpus = corpus
        self.api_key = api_key
        self.hearing = hearing or Hearing()
        """May be replaced at any time."""
        self.transcribed = 0
        self.audio_seconds = 0.0
        """Seconds of audio answered for, each time it was answered."""
        self.app = Starlette(routes=[Route("/v1/speech-to-text", self._convert, methods=["POST"])])
        self.app.state.desk = self

    def report(self) -> dict[str, float]:
        return {"transcribed": self.transcribed, "audio_seconds": round(self.audio_seconds, 3)}

    async def _convert(self, request: Request) -> Response:
        try:
            self._authorise(request)
            async with request.form() as form:
                asked = await _asked(form)
        except _Refused as refused:
            return refused.answer
        seconds = audio.seconds_of(asked.audio)
        if seconds is None:
            return _error(
                400,
                "invalid_audio",
                "invalid_content",
                "File is corrupted. Please ensure it is playable audio.",
            )
        self._charge(request, seconds)
        return JSONResponse(self._transcript(asked, seconds))

    def _authorise(self, request: Request) -> None:
        key = request.headers.get("xi-api-key")
        if key is None:
            raise _Refused(
                _error(
                    401, "authentication_error", "needs_authorization", "No xi-api-key header was received."
                )
            )
        if key != self.api_key:
            raise _Refused(_error(401, "authentication_error", "invalid_api_key", "Invalid API key"))

    def _charge(self, request: Request, seconds: float) -> None:
        """Counts the audio once the answer has left; alone, without the chassis, at once."""
        exchange = request.scope.get("conforme.sandbox.exchange")
        if exchange is None:
            self._count(seconds)
            return
        exchange.units = seconds
        exchange.on_answered.append(lambda: self._count(seconds))

    def _count(self, seconds: float) -> None:
        self.transcribed += 1
        self.audio_seconds += seconds

    def _transcript(self, asked: _Asked, seconds: float) -> Json:
        reference = audio.reference_in(asked.audio)
        known = reference is not None and {reference.scenario, reference.cast} <= self.corpus.scenarios.keys()
        words = heard(self.corpus, reference, self.hearing) if reference and known else ()
        identifier = hashlib.blake2b(asked.audio, digest_size=10).hexdigest()
        return answer(words, identifier, seconds, asked.granularity, diarize=asked.diarize)


def speech_app(corpus: Corpus, *, api_key: str = DEFAULT_KEY, hearing: Hearing | None = None) -> Starlette:
    """The service as an ASGI application; `app.state.desk` is the `SpeechDesk` behind it."""
    return SpeechDesk(corpus, api_key=api_key, hearing=hearing).app


def heard(corpus: Corpus, reference: CallReference, hearing: Hearing) -> tuple[SpokenWord, ...]:
    """The words of a call as recognised; `role` is who is taken to say them."""
    seed = f"{hearing.seed}:{reference}"
    dice = random.Random(f"hearing:{seed}")
    silent, cut, swap = (dice.random() for _ in range(3))
    words = speak(corpus.play(reference)).words
    if silent < hearing.silent_share:
        return ()
    if cut < hearing.cut_share:
        words = words[: int(len(words) * dice.uniform(0.35, 0.75))]
    words = mishear(words, hearing.noise_share, seed).words
    return _confused(words, dice) if swap < hearing.swap_share else words


def answer(
    words: Sequence[SpokenWord], identifier: str, seconds: float, granularity: str, *, diarize: bool
) -> Json:
    """The provider's JSON. Where nothing was heard it gives neither a duration nor a certainty, as the provider does."""
    dice = random.Random(f"logprob:{identifier}")
    labels = _labels(words)
    entries = [_entry(entry, labels, granularity, dice, diarize=diarize) for entry in _with_spacing(words)]
    body: Json = {
        "language_code": "fra",
        "language_probability": 0.98 if words else 0,
        "text": " ".join(word.text for word in words),
        "words": entries,
        "transcription_id": identifier,
    }
    return body | {"audio_duration_secs": seconds} if words else body


def _confused(words: tuple[SpokenWord, ...], dice: random.Random) -> tuple[SpokenWord, ...]:
    """Advisor and client take each other's place for a tenth to a third of the call."""
    first = int(len(words) * dice.uniform(0.2, 0.6))
    last = first + int(len(words) * dice.uniform(0.1, 0.33))
    return tuple(
        SpokenWord(word.text, word.start, word.end, SWAPPED[word.role], word.turn)
        if first <= rank < last
        else word
        for rank, word in enumerate(words)
    )


def _labels(words: Iterable[SpokenWord]) -> dict[Role, str]:
    """Speakers are numbered in the order in which they are first heard."""
    labels: dict[Role, str] = {}
    for word in words:
        labels.setdefault(word.role, f"speaker_{len(labels)}")
    return labels


def _with_spacing(words: Sequence[SpokenWord]) -> Iterable[tuple[SpokenWord, str]]:
    """Each word, and between two of them the silence that parts them, the first one's."""
    for rank, word in enumerate(words):
        yield word, "word"
        if rank + 1 < len(words):
            until = max(word.end, words[rank + 1].start)
            yield SpokenWord(" ", word.end, until, word.role, word.turn), "spacing"


def _entry(
    entry: tuple[SpokenWord, str],
    labels: dict[Role, str],
    granularity: str,
    dice: random.Random,
    *,
    diarize: bool,
) -> Json:
    word, kind = entry
    shown: Json = {
        "text": word.text,
        "type": kind,
        "logprob": round(-dice.expovariate(8), 4) if kind == "word" else 0.0,
    }
    if granularity != "none":
        shown |= {"start": word.start, "end": word.end}
    if diarize:
        shown["speaker_id"] = labels[word.role]
    if granularity == "character":
        shown["characters"] = _characters(word)
    return shown


def _characters(word: SpokenWord) -> list[Json]:
    step = (word.end - word.start) / len(word.text)
    return [
        {
            "text": letter,
            "start": round(word.start + rank * step, 3),
            "end": round(word.start + (rank + 1) * step, 3),
        }
        for rank, letter in enumerate(word.text)
    ]


async def _asked(form: FormData) -> _Asked:
    """What the form asks for; fields this service does not know are ignored, as the provider ignores them."""
    model = form.get("model_id")
    if not isinstance(model, str):
        raise _Refused(_invalid("model_id", "Field required", "missing"))
    if model not in MODELS:
        raise _Refused(
            _error(
                400,
                "unsupported_model",
                "invalid_model_id",
                f"'{model[:60]}' is not a valid model_id.",
                "model_id",
            )
        )
    language = form.get("language_code")
    if isinstance(language, str) and language and language not in LANGUAGES:
        message = f"Language {language[:20]} is not spoken in this sandbox."
        raise _Refused(_error(400, "invalid_parameters", "invalid_language_code", message, "language_code"))
    granularity = form.get("timestamps_granularity", "word")
    if not isinstance(granularity, str) or granularity not in GRANULARITIES:
        raise _Refused(
            _invalid(
                "timestamps_granularity", "Input should be 'none', 'word' or 'character'", "literal_error"
            )
        )
    return _Asked(
        await _file(form), granularity, diarize=str(form.get("diarize", "false")).lower() in {"true", "1"}
    )


async def _file(form: FormData) -> bytes:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        message = "Must provide either file or a URL parameter."
        raise _Refused(_error(400, "invalid_parameters", "invalid_parameters", message, "file"))
    data = await file.read()
    if not data:
        raise _Refused(_error(400, "bad_request", "empty_file", "The file is empty.", "file"))
    return data


def _error(status: int, kind: str, code: str, message: str, param: str | None = None) -> Response:
    """The provider's error object: `code` says what, `status` is its older name for the same."""
    detail = {"type": kind, "code": code, "status": code, "message": message, "param": param}
    return JSONResponse({"detail": detail}, status_code=status)


def _invalid(field: str, message: str, kind: str) -> Response:
    """The other error shape, for a field that does not validate: a list."""
    return JSONResponse({"detail": [{"loc": ["body", field], "msg": message, "type": kind}]}, status_code=422)
