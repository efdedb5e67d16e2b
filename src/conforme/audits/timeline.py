"""The calls of a fiche in order of time: what an audit judges, frozen as its snapshot and shown to the model.

Pure: recordings in, value out. The rendering is what the prompt fences as data (spec/audits §4): one numbered line
per turn, so that the model points instead of retyping, and nothing spoken can end a line or open a fence.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from conforme.audits.verdicts import UNKNOWN
from conforme.transcriptions.words import Chunk, Turn, Word, chunks_of, pack, turns_of, unpack

SNAPSHOT_VERSION: Final = 1
_LONGEST_SPEAKER: Final = 40


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of one call before it takes its place in the timeline; "" or `None` = unknown."""

    call_id: str
    words: tuple[Word, ...]
    start_time: datetime | None = None
    duration_seconds: int | None = None
    recording_url: str = ""
    recording_date: str = ""
    """DD/MM/YYYY; taken from `start_time` (UTC) when empty."""
    recording_time: str = ""
    """HH:MM; likewise."""
    from_number: str = ""
    to_number: str = ""


@dataclass(frozen=True)
class Recording:
    """One call of the timeline; `recording_index` counts from 0, unknown dates, times and links read "N/A"."""

    recording_index: int
    call_id: str
    start_time: datetime | None
    duration_seconds: int | None
    recording_url: str
    recording_date: str
    recording_time: str
    from_number: str
    to_number: str
    words: tuple[Word, ...]
    turns: tuple[Turn, ...]
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Timeline:
    recordings: tuple[Recording, ...]

    @property
    def chunk_count(self) -> int:
        return sum(len(recording.chunks) for recording in self.recordings)

    @property
    def has_words(self) -> bool:
        return any(recording.words for recording in self.recordings)


def build(calls: Iterable[Call]) -> Timeline:
    """The calls by ascending start time, those without one last, in the order given."""
    ordered = sorted(calls, key=lambda call: (call.start_time is None, _utc(call.start_time)))
    return Timeline(tuple(_recording(index, call) for index, call in enumerate(ordered)))


def _utc(moment: datetime | None) -> datetime:
    """A time without a zone is read as UTC, so that all can be compared."""
    if moment is None:
        return datetime.max.replace(tzinfo=UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _recording(index: int, call: Call) -> Recording:
    moment = None if call.start_time is None else _utc(call.start_time)
    turns = turns_of(call.words)
    return Recording(
        recording_index=index,
        call_id=call.call_id,
        start_time=moment,
        duration_seconds=call.duration_seconds,
        recording_url=call.recording_url or UNKNOWN,
        recording_date=call.recording_date or (f"{moment:%d/%m/%Y}" if moment else UNKNOWN),
        recording_time=call.recording_time or (f"{moment:%H:%M}" if moment else UNKNOWN),
        from_number=call.from_number,
        to_number=call.to_number,
        words=call.words,
        turns=turns,
        chunks=chunks_of(turns),
    )


# The frozen snapshot

_FACTS: Final = (
    "call_id",
    "duration_seconds",
    "recording_url",
    "recording_date",
    "recording_time",
    "from_number",
    "to_number",
)


def to_json(timeline: Timeline) -> str:
    """The timeline as compact canonical JSON; turns and chunks follow from the words and are left out.

    Times of words are kept to the millisecond.
    """
    recordings = [
        {
            **{name: getattr(recording, name) for name in _FACTS},
            "start_time": recording.start_time and recording.start_time.isoformat(),
            "words": pack(recording.words),
        }
        for recording in timeline.recordings
    ]
    value = {"version": SNAPSHOT_VERSION, "recordings": recordings}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def from_json(text: str) -> Timeline:
    """The timeline of `to_json`; raises `ValueError` on a snapshot of another version."""
    value = json.loads(text)
    if value.get("version") != SNAPSHOT_VERSION:
        raise ValueError("this snapshot was made by another version")
    return Timeline(tuple(_thawed(index, each) for index, each in enumerate(value["recordings"])))


def _thawed(index: int, value: Mapping[str, Any]) -> Recording:
    moment = value["start_time"]
    facts = {name: value[name] for name in _FACTS}
    start_time = datetime.fromisoformat(moment) if moment else None
    return _recording(index, Call(words=unpack(value["words"]), start_time=start_time, **facts))


def sha256(frozen: str) -> str:
    """Names the exact words and facts judged: the digest of a snapshot's JSON, in hexadecimal."""
    return hashlib.sha256(frozen.encode()).hexdigest()


# What the model reads


class _Harmless(dict[int, str | None]):
    """What each character of a transcript becomes in a prompt; filled as characters are met.

    Invisible ones go (controls, zero-width, direction and tag characters, variation selectors), all blank ones are
    a space, angle brackets become quotation marks so that no fence can be closed.
    """

    _SEEN_AS_NOTHING: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")

    def __missing__(self, code: int) -> str | None:
        self[code] = made = self._made(chr(code))
        return made

    def _made(self, character: str) -> str | None:
        if character.isspace():
            return " "
        if character in self._SEEN_AS_NOTHING or 0xFE00 <= ord(character) <= 0xFE0F:
            return None
        if 0xE0000 <= ord(character) <= 0xE0FFF or unicodedata.category(character) in {
            "Cc",
            "Cf",
            "Cs",
            "Co",
            "Cn",
        }:
            return None
        return {"<": "‹", ">": "›"}.get(unicodedata.normalize("NFKC", character), character)


_HARMLESS: Final = _Harmless()


def harmless(text: str) -> str:
    """The text as one line of visible characters that cannot open or close a fence."""
    return " ".join(text.translate(_HARMLESS).split())


def clock(seconds: float | None, unknown: str = UNKNOWN) -> str:
    """MM:SS, minutes beyond 59 going on; `unknown` for a time nobody knows."""
    if seconds is None:
        return unknown
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"


def render(timeline: Timeline) -> str:
    """The transcript block of the prompt, one line per turn; `[recording.turn]` count from 1. Linear time."""
    return "\n".join(line for recording in timeline.recordings for line in _lines(recording))


def overview(timeline: Timeline) -> str:
    """What there is to ask for in tools mode: one line per recording, no words."""
    return "\n".join(
        f"Enregistrement {recording.recording_index + 1} (recording_index {recording.recording_index}) · "
        f"{_when(recording)} · {_how_long(recording.duration_seconds)} · "
        f"{len(recording.chunks)} extraits · {len(recording.turns)} tours"
        for recording in timeline.recordings
    )


def _lines(recording: Recording) -> Iterator[str]:
    number = recording.recording_index + 1
    yield f"## Enregistrement {number} · {_when(recording)} · {_how_long(recording.duration_seconds)}"
    if not recording.turns:
        yield "(aucune parole)"
    yield from (turn_line(recording, index) for index in range(len(recording.turns)))


def turn_line(recording: Recording, index: int) -> str:
    """One turn (counted from 0) as the model reads it: `[recording.turn] speaker clock | words`."""
    turn = recording.turns[index]
    speaker = harmless(turn.speaker or "").replace(" ", "_")[:_LONGEST_SPEAKER] or "?"
    place = f"[{recording.recording_index + 1}.{index + 1}]"
    return f"{place} {speaker} {clock(turn.start, '--:--')} | {harmless(turn.text)}"


def _when(recording: Recording) -> str:
    known = [part for part in (recording.recording_date, recording.recording_time) if part != UNKNOWN]
    return harmless(" ".join(known)) or "date inconnue"


def _how_long(seconds: int | None) -> str:
    return "durée inconnue" if seconds is None else f"{seconds} s"
