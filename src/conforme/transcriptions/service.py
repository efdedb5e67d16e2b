"""The rules of a transcription run, each in one transaction of its caller."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from sqlalchemy import delete, func, insert, select

from conforme.accounts.actor import Actor
from conforme.foundation.database import WriteSession
from conforme.foundation.ledger import Call, PriceTable, record_call
from conforme.recordings import queries as recordings
from conforme.recordings import store
from conforme.recordings.models import Recording
from conforme.settings import MAX_RECORDINGS_PER_FICHE
from conforme.transcriptions import announcements
from conforme.transcriptions.models import TranscriptionChunk
from conforme.transcriptions.runs import FicheRun, RecordingRun
from conforme.transcriptions.speech import Transcript
from conforme.transcriptions.words import chunks_of, pack, turns_of

ACTOR: Final = Actor.system("transcription")
TOO_MANY_RECORDINGS: Final = "too_many_recordings"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do; `skipped` is the reason why it does nothing."""

    total: int
    todo: tuple[RecordingRun, ...]
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Paid:
    """What the provider's answer took."""

    provider: str
    model: str
    audio_seconds: float | None
    milliseconds: int


async def plan(session: WriteSession, run: FicheRun, fiche_cache_id: int, *, at: datetime) -> Plan:
    """What the fiche lacks, and the events that open the run. Recordings that failed before are tried again."""
    rows = await recordings.of_fiche(session, ACTOR, fiche_cache_id)
    missing = [row for row in rows if not row.has_transcription]
    await announcements.checked(session, run, total=len(rows), todo=len(missing))
    await announcements.started(session, run, total=len(rows), at=at)
    if len(rows) > MAX_RECORDINGS_PER_FICHE:
        return Plan(len(rows), (), TOO_MANY_RECORDINGS)
    return Plan(len(rows), tuple(_recording_runs(run, missing)))


def _recording_runs(run: FicheRun, missing: list[Recording]) -> list[RecordingRun]:
    return [
        RecordingRun(
            run_id=run.run_id,
            fiche_id=run.fiche_id,
            fiche_cache_id=row.fiche_cache_id,
            recording_id=row.id,
            call_id=row.call_id,
            recording_index=index,
            total_to_transcribe=len(missing),
            audit_id=run.audit_id,
        )
        for index, row in enumerate(missing, start=1)
    ]


async def begin(session: WriteSession, run: RecordingRun) -> None:
    """Marks the recording as running; told once per run."""
    if await store.take_up(session, run.recording_id, run.run_id):
        await announcements.recording_started(session, run)


async def keep(
    session: WriteSession,
    run: RecordingRun,
    transcript: Transcript,
    paid: Paid,
    *,
    every: int,
    prices: PriceTable,
) -> None:
    """Stores a transcript with all that hangs on it: chunks, words, what it cost, and the events.

    A transcript that is already there stays; what was paid is written down all the same.
    """
    await record_call(session, _call(run, transcript, paid), prices)
    words = pack(transcript.words)
    kept = await store.keep_transcript(
        session,
        run.recording_id,
        run.run_id,
        store.StoredTranscript(
            transcription_id=transcript.transcription_id,
            text=transcript.text,
            words=words,
            silent=transcript.silent,
            language_code=transcript.language_code,
            language_probability=transcript.language_probability,
        ),
    )
    if kept:
        await _rewrite_chunks(session, run.recording_id, transcript)
        await announcements.recording_completed(session, run, transcript.transcription_id)
        await _tell_progress(session, run, every)


def _call(run: RecordingRun, transcript: Transcript, paid: Paid) -> Call:
    return Call(
        kind="speech",
        provider=paid.provider,
        model=paid.model,
        purpose="transcription",
        milliseconds=paid.milliseconds,
        audio_seconds=None if paid.audio_seconds is None else Decimal(str(paid.audio_seconds)),
        audit_id=run.audit_id,
        recording_id=run.recording_id,
        reference=f"transcription-{run.recording_id}-{transcript.transcription_id}",
    )


async def _rewrite_chunks(session: WriteSession, recording_id: int, transcript: Transcript) -> None:
    await session.execute(delete(TranscriptionChunk).where(TranscriptionChunk.recording_id == recording_id))
    rows = [
        {
            "recording_id": recording_id,
            "chunk_index": chunk.chunk_index,
            "start_timestamp": chunk.start,
            "end_timestamp": chunk.end,
            "message_count": chunk.message_count,
            "speakers": list(chunk.speakers),
            "full_text": chunk.full_text,
        }
        for chunk in chunks_of(turns_of(transcript.words))
    ]
    if rows:
        await session.execute(insert(TranscriptionChunk), rows)


async def fail(session: WriteSession, run: RecordingRun, reason: str, *, every: int) -> None:
    """Stores why a recording could not be transcribed, and tells of it once per run."""
    if await store.mark_failed(session, run.recording_id, run.run_id, reason):
        await announcements.recording_failed(session, run, reason)
        await _tell_progress(session, run, every)


async def _tell_progress(session: WriteSession, run: RecordingRun, every: int) -> None:
    """Tells of every `every`th recording of the run that has ended, and of the last one."""
    # One at a time per fiche: two that end together must not both miss the other, nor both be the last.
    await session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"transcription:{run.fiche_cache_id}", 0)))
    )
    counts = await recordings.counts(session, ACTOR, run.fiche_cache_id, run.run_id)
    if counts.settled % every == 0 or counts.settled == run.total_to_transcribe:
        await announcements.progress(session, run, counts)


async def finish(
    session: WriteSession, run: FicheRun, fiche_cache_id: int, *, started_at: datetime, at: datetime
) -> recordings.Counts:
    """The counts a run ends with, and the event that tells of them."""
    counts = await recordings.counts(session, ACTOR, fiche_cache_id, run.run_id)
    await announcements.completed(session, run, counts, started_at=started_at, at=at)
    return counts
