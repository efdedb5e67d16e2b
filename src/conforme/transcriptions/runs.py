"""What a transcription run is told: ids and numbers, small enough for the engine's table."""

from typing import Literal

from pydantic import BaseModel

PriorityName = Literal["high", "normal", "low"]


class FicheRun(BaseModel):
    """Transcribe what a fiche lacks."""

    fiche_id: str
    run_id: str
    priority: PriorityName = "normal"
    refresh: bool = False
    """Fetch the fiche from the CRM first; false when the caller has just done so."""
    audit_id: int | None = None
    """The audit that needs the words: what they cost is written on its account."""


class RecordingRun(BaseModel):
    """Transcribe one recording of a run."""

    run_id: str
    fiche_id: str
    fiche_cache_id: int
    recording_id: int
    call_id: str
    recording_index: int
    """From 1, among those this run transcribes."""
    total_to_transcribe: int
    audit_id: int | None = None
