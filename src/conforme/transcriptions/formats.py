"""Transcripts of other makers into words: ElevenLabs, Amazon Transcribe, lists of turns, WebVTT, SRT, plain text.

A file is taken for what it holds, and for what its suffix says where that leaves a doubt. Pure: bytes in, value out.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, Final

from conforme.transcriptions import amazon, written
from conforme.transcriptions.heard import (
    HeardCall,
    UnreadableCall,
    by_time,
    gathered,
    listed,
    speaker_of,
    spoken,
)
from conforme.transcriptions.words import Word, from_entries, one_line, seconds

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_CHARACTERS: Final = 8 * 1024 * 1024
"""Of captions and plain text, where every character is read; JSON says much beside the words."""
AUDIO_SUFFIXES: Final = frozenset({".mp3", ".wav", ".m4a", ".ogg", ".opus", ".flac", ".webm", ".mp4", ".aac"})
TRANSCRIPT_SUFFIXES: Final = frozenset({".json", ".vtt", ".srt", ".txt"})

TURN_LISTS: Final = (
    "turns",
    "message_list",
    "messages",
    "utterances",
    "segments",
    "transcript",
    "conversation",
    "dialogue",
)
"""Keys under which an object may hold its list of turns."""
_UNSPOKEN_ROLES: Final = frozenset({"system", "developer", "tool", "function"})
"""Entries of a chat that nobody said to anybody."""
_ENTRY_TYPES: Final = frozenset({"word", "spacing", "audio_event"})
_ENCODINGS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SRT: Final = re.compile(r"\s*\d{1,9}[ \t]*\r?\n[ \t]*[\d:.,]{4,20}[ \t]*-->")

Json = Mapping[str, Any]


def read_call(content: bytes, name: str) -> HeardCall:
    """The call that a file holds.

    Args:
        content: the whole file.
        name: its name; only the suffix counts.

    Raises:
        UnreadableCall: too large, not text, of no known shape, or without a word; the message names the field.
    """
    if len(content) > MAX_BYTES:
        raise UnreadableCall(f"larger than {MAX_BYTES // (1024 * 1024)} MiB")
    call = _read(_text(content), PurePath(name).suffix.lower())
    if not call.words:
        raise UnreadableCall("no spoken word found")
    return call


def _text(content: bytes) -> str:
    encoding = next((name for mark, name in _ENCODINGS if content.startswith(mark)), "utf-8-sig")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise UnreadableCall("not text in UTF-8, nor in UTF-16 with its byte-order mark") from None


def _read(text: str, suffix: str) -> HeardCall:
    if suffix == ".json":
        return _read_json(text)
    if text.lstrip()[:1] in {"{", "["} and (value := _parsed(text)) is not None:
        return _read_value(value)
    if len(text) > MAX_CHARACTERS:
        raise UnreadableCall(f"more than {MAX_CHARACTERS} characters of text")
    if text.startswith("WEBVTT") or suffix == ".vtt":
        return HeardCall(gathered(written.caption_words(text, webvtt=True)))
    if suffix == ".srt" or _SRT.match(text):
        return HeardCall(gathered(written.caption_words(text, webvtt=False)))
    return HeardCall(gathered(written.text_words(text)))


def _read_json(text: str) -> HeardCall:
    value = _parsed(text)
    if value is None:
        raise UnreadableCall("not valid JSON, or nothing in it")
    return _read_value(value)


def _parsed(text: str) -> Any:
    """The value, or `None` when the text is no JSON; a line break or tab inside a string is let through."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _read_value(value: Any) -> HeardCall:
    if isinstance(value, list):
        return _read_list(value, "")
    if isinstance(value, Mapping):
        return _read_object(value)
    raise UnreadableCall("expected an object or a list of turns")


def _read_object(value: Json) -> HeardCall:
    """The first shape that fits."""
    language, duration = _language(value), _duration(value)
    if isinstance(value.get("results"), Mapping):
        words = gathered(amazon.transcribed_words(value["results"]))
        return HeardCall(words, duration, _language(value["results"]) or language)
    if isinstance(value.get("Transcript"), list):
        words, openings = listed(amazon.analytics_turns(value["Transcript"]))
        return HeardCall(words, duration, language, openings)
    if isinstance(value.get("transcripts"), list):
        return HeardCall(gathered(_channels(value["transcripts"])), duration, language)
    if words := gathered(_entry_words(value.get("words"))):
        return HeardCall(words, duration, language)
    for key in TURN_LISTS:
        if isinstance(value.get(key), list):
            call = _read_list(value[key], f"{key}.")
            return HeardCall(call.words, duration, language, call.openings)
    if (text := next(_texts(value), None)) is not None:
        return HeardCall(gathered(written.text_words(text)), duration, language)
    raise UnreadableCall("no words, results, turns or text in it")


def _texts(value: Json) -> Iterator[str]:
    return (value[key] for key in ("text", "transcript") if isinstance(value.get(key), str))


def _language(value: Json) -> str | None:
    found = (value.get(key) for key in ("language_code", "LanguageCode", "language"))
    return next((one_line(each)[:20] for each in found if isinstance(each, str)), None)


def _duration(value: Json) -> int | None:
    found = (seconds(value.get(key)) for key in ("duration_seconds", "audio_duration_secs"))
    return next((int(each) for each in found if each is not None), None)


# ElevenLabs


def _entry_words(entries: object, channel: object = None) -> Iterator[Word]:
    """The words of a transcript by ElevenLabs; where roles were recognised they are the speakers."""
    labelled = [_with_channel(each, channel) for each in entries] if isinstance(entries, list) else []
    for each in from_entries(labelled):
        yield replace(each, speaker=speaker_of(each.speaker))


def _with_channel(entry: object, channel: object) -> object:
    """An entry without a speaker is spoken by its channel."""
    if not isinstance(entry, Mapping) or isinstance(entry.get("speaker_id"), str):
        return entry
    return {**entry, "speaker_id": speaker_of(entry.get("channel_index", channel))}


def _channels(transcripts: Sequence[Any]) -> list[Word]:
    """One transcript per channel, as answered with `use_multi_channel`."""
    return by_time(
        _entry_words(each.get("words"), each.get("channel_index", number))
        for number, each in enumerate(transcripts)
        if isinstance(each, Mapping)
    )


# Lists of turns


def _read_list(entries: list[Any], path: str) -> HeardCall:
    if any(isinstance(each, Mapping) and each.get("type") in _ENTRY_TYPES for each in entries[:1]):
        return HeardCall(gathered(_entry_words(entries)))
    words, openings = listed(_turns(entries, path))
    return HeardCall(words, openings=openings)


def _turns(turns: Iterable[Any], path: str) -> Iterator[Iterable[Word]]:
    for index, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise UnreadableCall(f"{path}{index} must be an object with a text", field=f"{path}{index}")
        role = turn.get("role")
        if isinstance(role, str) and role.strip().lower() in _UNSPOKEN_ROLES:
            yield ()
            continue
        speaker = speaker_of(turn.get("speaker", turn.get("speaker_id")), role)
        yield spoken(_said(turn, f"{path}{index}"), speaker, turn.get("start"), turn.get("end"))


def _said(turn: Json, path: str) -> str:
    """The text of a turn; null stands for silence, a list of parts for the texts in it."""
    key = "text" if "text" in turn else "content"
    said = turn.get(key, 0)
    if isinstance(said, list):
        parts = (part.get("text") for part in said if isinstance(part, Mapping))
        said = " ".join(part for part in parts if isinstance(part, str))
    if said is None or isinstance(said, str):
        return said or ""
    raise UnreadableCall(f"{path}.text must be a string", field=f"{path}.text")
