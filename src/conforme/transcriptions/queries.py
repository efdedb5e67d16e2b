"""Reads of transcripts; all of them within the actor's scope."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from conforme.accounts.actor import Actor
from conforme.foundation.database import ReadSession, WriteSession
from conforme.recordings import queries as recordings
from conforme.recordings.models import Recording
from conforme.transcriptions.models import TranscriptionChunk
from conforme.transcriptions.words import (
    Chunk,
    Turn,
    Word,
    chunks_of,
    from_entries,
    from_lines,
    from_text,
    turns_of,
    unpack,
)

Session = ReadSession | WriteSession


@dataclass(frozen=True, slots=True)
class TranscribedRecording:
    """A recording and what is spoken in it; transcribed without words: it is silent. Unknown texts are ""."""

    recording_id: int
    call_id: str
    start_time: datetime | None
    duration_seconds: int | None
    recording_url: str
    recording_date: str
    recording_time: str
    from_number: str
    to_number: str
    has_transcription: bool
    error: str | None
    """Why it could not be transcribed, when the last run failed on it."""
    words: tuple[Word, ...]

    @property
    def turns(self) -> tuple[Turn, ...]:
        return turns_of(self.words)

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        return chunks_of(self.turns)


async def transcribed(
    session: Session, actor: Actor, fiche_cache_id: int, *, words: bool = True
) -> list[TranscribedRecording]:
    """All recordings of a fiche by start time (spec/audits §4), in at most two statements.

    Those without transcription come too, without words: who judges a fiche must know what was not heard. With
    `words=False` all of them come without words, which are the greater part of them.
    """
    if not words:
        return [_transcribed(row, ()) for row in await recordings.of_fiche(session, actor, fiche_cache_id)]
    rows = await recordings.of_fiche(session, actor, fiche_cache_id, also=recordings.TRANSCRIPT)
    chunks = await _chunks_of(session, [row.id for row in rows if _is_legacy(row)])
    return [_transcribed(row, _words(row, chunks.get(row.id, ()))) for row in rows]


async def words_of(session: Session, row: Recording) -> tuple[Word, ...]:
    """The words of a recording read with `recordings.queries.TRANSCRIPT`."""
    chunks = await _chunks_of(session, [row.id] if _is_legacy(row) else [])
    return _words(row, chunks.get(row.id, ()))


async def _chunks_of(
    session: Session, recording_ids: Sequence[int]
) -> Mapping[int, Sequence[TranscriptionChunk]]:
    """Stored chunks by recording, in order. Scope was applied to the recordings the ids come from."""
    found: dict[int, list[TranscriptionChunk]] = defaultdict(list)
    if recording_ids:
        query = (
            select(TranscriptionChunk)
            .where(TranscriptionChunk.recording_id.in_(recording_ids))
            .order_by(TranscriptionChunk.recording_id, TranscriptionChunk.chunk_index)
        )
        for chunk in await session.scalars(query):
            found[chunk.recording_id].append(chunk)
    return found


def _is_legacy(row: Recording) -> bool:
    return row.has_transcription and row.transcription_words is None


def _words(row: Recording, chunks: Iterable[TranscriptionChunk]) -> tuple[Word, ...]:
    """Rows of earlier systems have no packed words: their word list, chunks or text stand in, in that order."""
    if not row.has_transcription:
        return ()
    if row.transcription_words is not None:
        return unpack(row.transcription_words)
    return (
        _legacy_words(row.transcription_data)
        or tuple(word for chunk in chunks for word in from_lines(chunk.full_text, chunk.speakers))
        or from_text(row.transcription_text or "")
    )


def _legacy_words(data: Any) -> tuple[Word, ...]:
    return from_entries(data.get("words")) if isinstance(data, dict) else ()


def _transcribed(row: Recording, words: tuple[Word, ...]) -> TranscribedRecording:
    return TranscribedRecording(
        recording_id=row.id,
        call_id=row.call_id,
        start_time=row.start_time,
        duration_seconds=row.duration_seconds,
        recording_url=row.recording_url,
        recording_date=row.recording_date or "",
        recording_time=row.recording_time or "",
        from_number=row.from_number or "",
        to_number=row.to_number or "",
        has_transcription=row.has_transcription,
        error=row.transcription_error,
        words=words,
    )
