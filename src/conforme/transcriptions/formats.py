"""Transcripts of other makers into words: ElevenLabs, Amazon Transcribe, lists of turns, WebVTT, SRT, plain text.

What a file does not say stays unknown. Where it times whole turns, each of their words carries the turn's span: it
was spoken somewhere inside.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from conforme.foundation.errors import Invalid
from conforme.transcriptions.words import Word, from_entries, seconds, word

MAX_BYTES: Final = 64 * 1024 * 1024
MAX_WORDS: Final = 500_000
AUDIO_SUFFIXES: Final = frozenset({".mp3", ".wav", ".m4a", ".ogg", ".opus", ".flac", ".webm", ".mp4", ".aac"})
TRANSCRIPT_SUFFIXES: Final = frozenset({".json", ".vtt", ".srt", ".txt"})

ROLES: Final = {
    "conseiller": (
        "assistant",
        "agent",
        "advisor",
        "adviser",
        "conseiller",
        "conseillère",
        "seller",
        "vendeur",
    ),
    "client": ("user", "customer", "client", "cliente", "caller", "prospect", "consumer"),
}
_ROLE_NAMES: Final = {alias: name for name, aliases in ROLES.items() for alias in aliases}
_TURN_LISTS: Final = (
    "turns",
    "message_list",
    "messages",
    "utterances",
    "segments",
    "transcript",
    "conversation",
)
_LABEL: Final = re.compile(r"\s*([^\s:][^:\n]{0,39}?)\s*:\s+(.*)", re.DOTALL)
_TIMING: Final = re.compile(r"\s*(\S+)\s+-->\s+(\S+)")
_CLOCK: Final = re.compile(r"(?:(\d{1,4}):)?(\d{1,3}):(\d{1,2})(?:[.,](\d{1,6}))?")
_VOICE: Final = re.compile(r"<v(?:\.[^ \t>]*)?[ \t]+([^>]{1,80})>")
_TAG: Final = re.compile(r"</?[a-z0-9][^>]{0,200}>", re.IGNORECASE)


class UnreadableCall(Invalid):
    """The call cannot be read"""


@dataclass(frozen=True, slots=True)
class HeardCall:
    """One call as its file tells it."""

    words: tuple[Word, ...]
    duration_seconds: int | None = None
    language: str | None = None


def read_call(content: bytes, name: str) -> HeardCall:
    """The call that a file holds; its kind follows from its suffix and content.

    Raises:
        UnreadableCall: too large, not text, of no known shape, or without a word; the message names the field.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableCall(f"{name}: larger than {MAX_BYTES // (1024 * 1024)} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableCall(f"{name}: not UTF-8 text") from None
    call = _read_text(text, PurePath(name).suffix.lower(), name)
    if not call.words:
        raise UnreadableCall(f"{name}: no spoken word found")
    if len(call.words) > MAX_WORDS:
        raise UnreadableCall(f"{name}: more than {MAX_WORDS} words")
    return call


def _read_text(text: str, suffix: str, name: str) -> HeardCall:
    if suffix == ".json" or text.lstrip()[:1] in {"{", "["}:
        return _read_json(text, name)
    if suffix in {".vtt", ".srt"} or text.startswith("WEBVTT"):
        return HeardCall(tuple(_cue_words(text)))
    return HeardCall(tuple(_line_words(text)))


def _read_json(text: str, name: str) -> HeardCall:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableCall(f"{name}: not valid JSON") from None
    if isinstance(value, list):
        return HeardCall(tuple(_turn_words(value, name, "")))
    if not isinstance(value, Mapping):
        raise UnreadableCall(f"{name}: expected an object or a list of turns")
    return _read_object(value, name)


def _read_object(value: Mapping[str, Any], name: str) -> HeardCall:
    if isinstance(value.get("results"), Mapping):
        return HeardCall(tuple(_amazon_words(value["results"], name)), language=_language(value["results"]))
    if isinstance(value.get("words"), list):
        return HeardCall(from_entries(value["words"]), language=_language(value))
    if isinstance(value.get("Transcript"), list):
        return HeardCall(tuple(_analytics_words(value["Transcript"], name)), language=_language(value))
    for key in _TURN_LISTS:
        if isinstance(value.get(key), list):
            return HeardCall(
                tuple(_turn_words(value[key], name, f"{key}.")), _duration(value), _language(value)
            )
    raise UnreadableCall(f"{name}: no words, results or turns in it")


def _language(value: Mapping[str, Any]) -> str | None:
    found = value.get("language_code") or value.get("LanguageCode") or value.get("language")
    return found[:20] if isinstance(found, str) else None


def _duration(value: Mapping[str, Any]) -> int | None:
    known = seconds(value.get("duration_seconds"))
    return None if known is None else int(known)


# Lists of turns


def _turn_words(turns: Iterable[Any], name: str, path: str) -> Iterator[Word]:
    for index, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise UnreadableCall(
                f"{name}: {path}{index} must be an object with a text", field=f"{path}{index}"
            )
        text = turn.get("text", turn.get("content"))
        if not isinstance(text, str):
            raise UnreadableCall(f"{name}: {path}{index}.text must be a string", field=f"{path}{index}.text")
        speaker = speaker_of(turn.get("speaker"), turn.get("role"))
        yield from _span_words(text, speaker, turn.get("start"), turn.get("end"))


def speaker_of(speaker: object, role: object = None) -> str | None:
    """The label of a turn: a known role in French, else the name given."""
    for each in (role, speaker):
        if isinstance(each, str) and each.strip().lower() in _ROLE_NAMES:
            return _ROLE_NAMES[each.strip().lower()]
    for each in (speaker, role):
        if isinstance(each, str) and each.strip():
            return each.strip()[:80]
    return f"speaker_{speaker}" if isinstance(speaker, int) and not isinstance(speaker, bool) else None


def _span_words(text: str, speaker: str | None, start: object = None, end: object = None) -> Iterator[Word]:
    made = (word(piece, start, end, speaker) for piece in text.split())
    return (each for each in made if each is not None)


# Amazon Transcribe


def _amazon_words(results: Mapping[str, Any], name: str) -> Iterator[Word]:
    items = results.get("items")
    if not isinstance(items, list):
        raise UnreadableCall(f"{name}: results.items must be a list", field="results.items")
    speakers = _amazon_speakers(results.get("speaker_labels"))
    pending: Word | None = None
    for item in items:
        if not isinstance(item, Mapping):
            continue
        text = _best_alternative(item.get("alternatives"))
        if item.get("type") == "punctuation":
            pending = _glued(pending, text)
            continue
        if pending is not None:
            yield pending
        label = item.get("speaker_label") or speakers.get(str(item.get("start_time")))
        pending = word(text, _number(item.get("start_time")), _number(item.get("end_time")), label)
    if pending is not None:
        yield pending


def _amazon_speakers(labels: object) -> dict[str, str]:
    """Start time of a word → who spoke it, for files that keep the two apart."""
    segments = labels.get("segments", []) if isinstance(labels, Mapping) else []
    return {
        str(item["start_time"]): str(item["speaker_label"])
        for segment in segments
        if isinstance(segment, Mapping)
        for item in segment.get("items", [])
        if isinstance(item, Mapping) and "start_time" in item and "speaker_label" in item
    }


def _best_alternative(alternatives: object) -> str:
    first = alternatives[0] if isinstance(alternatives, list) and alternatives else None
    content = first.get("content") if isinstance(first, Mapping) else None
    return content if isinstance(content, str) else ""


def _glued(previous: Word | None, mark: str) -> Word | None:
    if previous is None or not mark:
        return previous
    return Word(previous.text + mark, previous.start, previous.end, previous.speaker)


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except ValueError:
        return None


def _analytics_words(turns: Iterable[Any], name: str) -> Iterator[Word]:
    """Call Analytics: turns with a role and milliseconds."""
    for index, turn in enumerate(turns):
        content = turn.get("Content") if isinstance(turn, Mapping) else None
        if not isinstance(content, str):
            path = f"Transcript.{index}.Content"
            raise UnreadableCall(f"{name}: {path} must be a string", field=path)
        speaker = speaker_of(turn.get("ParticipantId"), turn.get("ParticipantRole"))
        yield from _span_words(
            content,
            speaker,
            _thousandth(turn.get("BeginOffsetMillis")),
            _thousandth(turn.get("EndOffsetMillis")),
        )


def _thousandth(value: object) -> float | None:
    number = _number(value)
    return None if number is None else number / 1000


# WebVTT, SRT and plain text


def _cue_words(text: str) -> Iterator[Word]:
    for block in re.split(r"\r?\n[ \t]*\r?\n", text.replace("\r\n", "\n")):
        lines = block.strip("\n").split("\n")
        at = next((index for index, line in enumerate(lines[:3]) if "-->" in line), None)
        timing = _TIMING.match(lines[at]) if at is not None else None
        if at is None or timing is None:
            continue
        start, end = _clock(timing[1]), _clock(timing[2])
        for speaker, spoken in _voices("\n".join(lines[at + 1 :])):
            yield from _span_words(_TAG.sub("", spoken), speaker, start, end)


def _voices(payload: str) -> Iterator[tuple[str | None, str]]:
    """`<v Name>` spans of a cue, or its `Name: …` lines."""
    pieces = _VOICE.split(payload)
    if len(pieces) == 1:
        yield from (_labelled(line) for line in payload.split("\n"))
        return
    yield None, pieces[0]
    for name, spoken in zip(pieces[1::2], pieces[2::2], strict=True):
        yield speaker_of(name), spoken


def _clock(text: str) -> float | None:
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    hours, minutes, whole, fraction = found.groups()
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(whole) + float(f"0.{fraction or 0}")


def _line_words(text: str) -> Iterator[Word]:
    """Lines `Label: words`; a line without a label goes on with the speaker before."""
    current: str | None = None
    for line in text.splitlines():
        speaker, spoken = _labelled(line)
        current = speaker or current
        yield from _span_words(spoken, current)


def _labelled(line: str) -> tuple[str | None, str]:
    found = _LABEL.fullmatch(line)
    return (speaker_of(found[1]), found[2]) if found else (None, line)
