"""`/api/transcriptions`: queue, status and transcripts (spec/fiches §4)."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response

from conforme.accounts.actor import Actor
from conforme.accounts.auth import may
from conforme.foundation import workflow_logs
from conforme.foundation.errors import NotFound
from conforme.foundation.web import ERRORS, ResourcesDep, json_answer, ok, route_not_found
from conforme.foundation.workflow_logs import LogLines
from conforme.recordings import queries as recordings
from conforme.recordings.models import Recording
from conforme.transcriptions.queries import words_of
from conforme.transcriptions.requests import (
    FICHE_ID,
    Wish,
    read_batch,
    read_priority,
    request_batch,
    request_one,
)
from conforme.transcriptions.schemas import (
    BatchQueued,
    FicheStatus,
    FicheStatusAnswer,
    Queued,
    RecordingStatus,
    RecordingTranscriptAnswer,
)
from conforme.transcriptions.words import Word

router = APIRouter(prefix="/api/transcriptions", tags=["transcriptions"], responses=ERRORS)

Reader = Annotated[Actor, may("transcriptions.read")]
Writer = Annotated[Actor, may("transcriptions.write")]


@router.post("/batch")
async def queue_batch(
    actor: Writer, resources: ResourcesDep, body: Annotated[Any, Body()] = None
) -> BatchQueued:
    """Queues the transcription of several fiches."""
    wish = read_batch(body)
    async with resources.database.write() as session:
        run_ids = await request_batch(session, resources.durable, actor, wish)
    count = len(wish.fiche_ids)
    return BatchQueued(
        message=f"{count} transcription jobs queued", fiche_ids=list(wish.fiche_ids), event_ids=list(run_ids)
    )


@router.post("/{fiche_id}")
async def queue_one(
    request: Request,
    fiche_id: str,
    actor: Writer,
    resources: ResourcesDep,
    priority: Annotated[str | None, Query()] = None,
) -> Queued:
    """Queues the transcription of what a fiche lacks; nothing is awaited."""
    if not FICHE_ID.fullmatch(fiche_id):
        raise route_not_found(request)
    wish = Wish((fiche_id,), read_priority(priority))
    async with resources.database.write() as session:
        run_id = await request_one(session, resources.durable, actor, wish)
    return Queued(message="Transcription job queued", fiche_id=fiche_id, event_id=run_id)


@router.get("/{fiche_id}/status")
async def read_status(fiche_id: str, actor: Reader, resources: ResourcesDep) -> FicheStatusAnswer:
    """How far a fiche is, recording by recording, with the reason where one failed."""
    async with resources.database.read() as session:
        cache_id = await recordings.cached_fiche(session, actor, fiche_id)
        rows = await recordings.of_fiche(session, actor, cache_id)
    counts = recordings.Counts.of(rows)
    status = FicheStatus(
        fiche_id=fiche_id,
        total=counts.total,
        transcribed=counts.transcribed,
        pending=counts.pending,
        percentage=counts.percentage,
        recordings=[_status(row) for row in rows],
    )
    return FicheStatusAnswer(data=status)


@router.get("/{fiche_id}/logs", response_model_exclude_unset=True)
async def read_logs(request: Request, fiche_id: str, actor: Reader, resources: ResourcesDep) -> LogLines:
    """The lines of a fiche's transcription runs, or of one of them, oldest first."""
    wanted = workflow_logs.wanted_of(request.query_params)
    async with resources.database.read() as session:
        await recordings.cached_fiche(session, actor, fiche_id)
        rows = await workflow_logs.lines_of(session, "transcription", ("fiche", fiche_id), wanted)
    return workflow_logs.page_of(rows, wanted)


@router.get("/{fiche_id}/recordings/{call_id}", response_model=RecordingTranscriptAnswer)
async def read_transcript(fiche_id: str, call_id: str, actor: Reader, resources: ResourcesDep) -> Response:
    """The transcript of one recording; a silent one has no words and an empty text."""
    async with resources.database.read() as session:
        cache_id = await recordings.cached_fiche(session, actor, fiche_id)
        row = await recordings.one(session, actor, cache_id, call_id, also=recordings.TRANSCRIPT)
        if row is None:
            raise NotFound("Recording not found")
        if not row.has_transcription:
            raise NotFound("No transcription available for this recording")
        words = await words_of(session, row)
    if not words and not row.silent and row.transcription_text is None:
        raise NotFound("Transcription data not found in DB")
    # Tens of thousands of words: answered as they are, without a second validation.
    return json_answer(ok(_transcript(row, words)))


def _status(row: Recording) -> RecordingStatus:
    return RecordingStatus(
        call_id=row.call_id,
        has_transcription=row.has_transcription,
        transcription_id=row.transcription_id,
        transcribed_at=row.transcribed_at,
        recording_date=row.recording_date,
        recording_time=row.recording_time,
        duration_seconds=row.duration_seconds,
        state=row.transcription_state,
        error=row.transcription_error,
        silent=row.silent,
    )


def _transcript(row: Recording, words: tuple[Word, ...]) -> dict[str, Any]:
    probability = row.transcription_language_probability
    known = {} if probability is None else {"language_probability": float(probability)}
    return {
        "call_id": row.call_id,
        "recording_url": row.recording_url,
        "duration_seconds": row.duration_seconds,
        "transcription_id": row.transcription_id,
        "transcription": {
            "text": row.transcription_text or "",
            "language_code": row.transcription_language_code or "fr",
            **known,
            "words": [_word(word) for word in words],
        },
        "has_transcription": True,
    }


def _word(word: Word) -> dict[str, Any]:
    spoken = {"text": word.text, "start": word.start, "end": word.end, "type": "word"}
    return spoken if word.speaker is None else spoken | {"speaker_id": word.speaker}
