"""Transcriptions on the wire (spec/fiches §4)."""

from pydantic import BaseModel

from conforme.foundation.web import Wire, WireTime
from conforme.recordings.models import TranscriptionState


class Queued(BaseModel):
    success: bool = True
    message: str
    fiche_id: str
    event_id: str


class BatchQueued(BaseModel):
    success: bool = True
    message: str
    fiche_ids: list[str]
    event_ids: list[str]


class RecordingStatus(Wire):
    call_id: str
    has_transcription: bool
    transcription_id: str | None
    transcribed_at: WireTime | None
    recording_date: str | None
    recording_time: str | None
    duration_seconds: int | None
    state: TranscriptionState
    error: str | None
    """Why the last run could not transcribe it."""
    silent: bool


class FicheStatus(Wire):
    fiche_id: str
    total: int
    transcribed: int
    pending: int
    percentage: int
    recordings: list[RecordingStatus]


class FicheStatusAnswer(BaseModel):
    success: bool = True
    data: FicheStatus


class SpokenWord(BaseModel):
    """`start` and `end` in seconds; null where nobody measured them."""

    text: str
    start: float | None
    end: float | None
    type: str
    speaker_id: str | None = None


class TranscriptBody(BaseModel):
    text: str
    language_code: str
    language_probability: float | None = None
    words: list[SpokenWord]


class RecordingTranscript(BaseModel):
    call_id: str
    recording_url: str
    duration_seconds: int | None
    transcription_id: str | None
    transcription: TranscriptBody
    has_transcription: bool


class RecordingTranscriptAnswer(BaseModel):
    success: bool = True
    data: RecordingTranscript
