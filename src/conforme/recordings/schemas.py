"""Recordings on the wire (spec/fiches §3)."""

from typing import Any

from conforme.foundation.web import Wire, WireId, WireScore, WireTime
from conforme.recordings.models import TranscriptionState


class RecordingRow(Wire):
    """The whole row, in camelCase; words and chunks are asked for by recording."""

    id: WireId
    fiche_cache_id: WireId
    call_id: str
    recording_url: str
    recording_date: str | None
    recording_time: str | None
    from_number: str | None
    to_number: str | None
    uuid: str | None
    direction: str | None
    answered: bool | None
    start_time: WireTime | None
    duration_seconds: int | None
    transcription_id: str | None
    transcription_text: str | None
    transcription_data: Any | None
    transcription_language_code: str | None
    transcription_language_probability: WireScore | None
    transcription_state: TranscriptionState
    transcription_error: str | None
    silent: bool
    has_transcription: bool
    transcribed_at: WireTime | None
    created_at: WireTime
    updated_at: WireTime


class RecordingList(Wire):
    success: bool = True
    data: list[RecordingRow]
    count: int
