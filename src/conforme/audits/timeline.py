"""The calls of a fiche in order of time: what an audit judges, frozen as its snapshot and shown to the model.

Pure: recordings in, value out. The rendering is what the prompt fences as data (spec/audits §4): one numbered line
per turn, so that the model points instead of retyping, and nothing spoken can end a line or open a fence.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from conforme.audit_configs.rules import ANY_ORIGIN, Origins
from conforme.audits.harmless import harmless
from conforme.audits.injections import masked
from conforme.audits.roles import Role, Roles, SpeakerRole, role_at
from conforme.audits.roles import from_json as from_json_stretches
from conforme.audits.roles import to_json as stretches_to_json
from conforme.audits.verdicts import UNKNOWN
from conforme.transcriptions.words import Chunk, Turn, Word, chunks_of, pack, turns_of, unpack

SNAPSHOT_VERSION: Final = 1
_LONGEST_SPEAKER: Final = 40
SHOWN_FROM: Final = 0.9
"""How sure it must be who speaks for the model to be told."""
NAMES: Final[Mapping[Role, str]] = {"advisor": "conseiller", "client": "client", "other": "tiers"}


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
    roles: Roles = field(default_factory=dict[str, SpeakerRole])
    """Who each label is, as far as it was resolved."""


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
    roles: Roles = field(default_factory=dict[str, SpeakerRole])

    def role_at(self, turn: int) -> tuple[Role, float]:
        """Who speaks in a turn, and how sure that is."""
        return role_at(self.roles, self.turns[turn].speaker, turn)


@dataclass(frozen=True)
class Timeline:
    recordings: tuple[Recording, ...]
    origins: Origins = ANY_ORIGIN
    """Those that the calls may have."""

    @property
    def chunk_count(self) -> int:
        return sum(len(recording.chunks) for recording in self.recordings)

    @property
    def has_words(self) -> bool:
        return any(recording.words for recording in self.recordings)


def build(calls: Iterable[Call], origins: Origins = ANY_ORIGIN) -> Timeline:
    """The calls by ascending start time, those without one last, in the order given."""
    ordered = sorted(calls, key=lambda call: (call.start_time is None, _utc(call.start_time)))
    return Timeline(tuple(_recording(index, call) for index, call in enumerate(ordered)), origins)


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
        roles=call.roles,
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
            **({"roles": _roles_json(recording.roles)} if recording.roles else {}),
        }
        for recording in timeline.recordings
    ]
    known = {} if timeline.origins == ANY_ORIGIN else {"origins": sorted(timeline.origins)}
    value = {"version": SNAPSHOT_VERSION, "recordings": recordings, **known}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def from_json(text: str) -> Timeline:
    """The timeline of `to_json`; raises `ValueError` on a snapshot of another version."""
    value = json.loads(text)
    if value.get("version") != SNAPSHOT_VERSION:
        raise ValueError("this snapshot was made by another version")
    recordings = tuple(_thawed(index, each) for index, each in enumerate(value["recordings"]))
    return Timeline(recordings, frozenset(value.get("origins", ANY_ORIGIN)))


def _thawed(index: int, value: Mapping[str, Any]) -> Recording:
    moment = value["start_time"]
    facts = {name: value[name] for name in _FACTS}
    start_time = datetime.fromisoformat(moment) if moment else None
    roles = {
        speaker: SpeakerRole(speaker, role, sure, from_json_stretches(stretches))
        for speaker, role, sure, stretches in value.get("roles", ())
    }
    return _recording(index, Call(words=unpack(value["words"]), start_time=start_time, roles=roles, **facts))


def _roles_json(roles: Roles) -> list[list[Any]]:
    return [
        [each.speaker, each.role, each.confidence, stretches_to_json(each.stretches)]
        for each in roles.values()
    ]


def sha256(frozen: str) -> str:
    """Names the exact words and facts judged: the digest of a snapshot's JSON, in hexadecimal."""
    return hashlib.sha256(frozen.encode()).hexdigest()


# What the model reads


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
    speaker = speaker_shown(turn.speaker or "")
    role, sure = recording.role_at(index)
    named = f"={NAMES[role]}" if role in NAMES and sure >= SHOWN_FROM else ""
    place = f"[{recording.recording_index + 1}.{index + 1}]"
    return f"{place} {speaker}{named} {clock(turn.start, '--:--')} | {harmless(masked(turn.text))}"


def speaker_shown(label: str) -> str:
    """A speaker's label as the model reads it: one harmless word."""
    return harmless(masked(label)).replace(" ", "_")[:_LONGEST_SPEAKER] or "?"


def _when(recording: Recording) -> str:
    known = [part for part in (recording.recording_date, recording.recording_time) if part != UNKNOWN]
    return harmless(masked(" ".join(known))) or "date inconnue"


def _how_long(seconds: int | None) -> str:
    return "durée inconnue" if seconds is None else f"{seconds} s"
