"""Recordings and transcripts of the original as ours (spec/fiches §3, §4). Pure.

Of a transcript the original has a list of words (older rows), or chunks, or nothing but text. Words are packed as ours
are; of chunks and text only what was said is known: no time of a word is made up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from conforme.legacy.errors import BadRow
from conforme.legacy.layout import CHUNKS
from conforme.legacy.mapping_people import stamps
from conforme.legacy.source import Bundle
from conforme.legacy.values import Row, amount, filled, flag, known, moment, real, text, texts, whole
from conforme.recordings.models import DONE, PENDING
from conforme.recordings.store import INT32_MAX
from conforme.transcriptions.words import Word, chunks_of, from_entries, pack, turns_of

TRANSCRIPT: Final = (
    "transcription_id",
    "transcription_text",
    "transcription_data",
    "transcription_language_code",
    "transcription_language_probability",
    "transcription_words",
    "transcription_state",
    "silent",
    "has_transcription",
    "transcribed_at",
)
_ABOVE_ONE: Final = Decimal("1.0001")
PLAIN: Final = (
    "recording_date",
    "recording_time",
    "from_number",
    "to_number",
    "uuid",
    "direction",
    "transcription_id",
    "transcription_text",
    "transcription_language_code",
)


@dataclass(frozen=True, slots=True)
class OldRecording:
    fiche_cache_id: int
    """The original's."""
    call_id: str
    columns: dict[str, Any]
    chunks: tuple[dict[str, Any], ...]

    @property
    def transcribed(self) -> bool:
        return bool(self.columns["has_transcription"])


def recording(bundle: Bundle) -> OldRecording:
    """A recording with its transcript."""
    row = bundle.row
    call_id = filled(row, "call_id")
    data = row.get("transcription_data")
    words = from_entries(data.get("words") if isinstance(data, dict) else data)
    stored = tuple(_chunk(each) for each in bundle.of(CHUNKS))
    heard = flag(row, "has_transcription", default=False)
    columns = {
        "call_id": call_id,
        "recording_url": text(row, "recording_url") or "",
        **{name: text(row, name) for name in PLAIN},
        "answered": None if row.get("answered") is None else flag(row, "answered", default=False),
        "start_time": moment(row, "start_time"),
        "duration_seconds": _seconds(row),
        "transcription_data": None if words else data,
        "transcription_words": pack(words) if words and heard else None,
        "transcription_language_probability": _probability(row),
        "transcription_state": DONE if heard else PENDING,
        "silent": heard and not _said(row, words, stored),
        "has_transcription": heard,
        "transcribed_at": moment(row, "transcribed_at"),
        **stamps(row),
    }
    chunks = stored or _chunks(words) if heard else ()
    return OldRecording(known(row, "fiche_cache_id"), call_id, columns, chunks)


def _probability(row: Row) -> Any:
    name = "transcription_language_probability"
    return None if row.get(name) is None else amount(row, name, _ABOVE_ONE, _ABOVE_ONE)


def _seconds(row: Row) -> int | None:
    value = whole(row, "duration_seconds")
    return value if value is not None and 0 <= value <= INT32_MAX else None


def _said(row: Row, words: Sequence[Word], chunks: Sequence[dict[str, Any]]) -> bool:
    """Whether anybody speaks in it."""
    return bool(
        words
        or any(chunk["full_text"].strip() for chunk in chunks)
        or (text(row, "transcription_text") or "").strip()
    )


def _chunk(row: Row) -> dict[str, Any]:
    try:
        return {
            "chunk_index": known(row, "chunk_index"),
            "start_timestamp": real(row, "start_timestamp"),
            "end_timestamp": real(row, "end_timestamp"),
            "message_count": whole(row, "message_count") or 0,
            "speakers": texts(row, "speakers"),
            "full_text": text(row, "full_text") or "",
        }
    except BadRow as bad:
        raise BadRow(f"{CHUNKS}.{bad.reason}") from None


def _chunks(words: Sequence[Word]) -> tuple[dict[str, Any], ...]:
    """Chunks of a transcript that has only words."""
    return tuple(
        {
            "chunk_index": chunk.chunk_index,
            "start_timestamp": chunk.start,
            "end_timestamp": chunk.end,
            "message_count": chunk.message_count,
            "speakers": list(chunk.speakers),
            "full_text": chunk.full_text,
        }
        for chunk in chunks_of(turns_of(words))
    )
