"""Fetches of ranges on the wire (spec/automation §6)."""

from datetime import date
from typing import Literal

from pydantic import BaseModel

from conforme.foundation.web import Wire, WireTime

JobStatus = Literal["pending", "processing", "complete", "failed"]


class PartialFicheOut(Wire):
    """A fiche of the range, as far as a listing tells of it."""

    fiche_id: str
    groupe: str | None
    prospect_nom: str | None
    prospect_prenom: str | None
    recordings_count: int | None
    created_at: WireTime


class ProgressData(Wire):
    status: JobStatus
    progress: int
    """Per cent of the days that have ended."""
    completed_days: int
    total_days: int
    total_fiches: int
    """Fiches sold in the range that the caller may see."""
    current_fiches_count: int
    dates_completed: list[date]
    dates_remaining: list[date]
    dates_failed: list[date]
    error: str | None
    partial_data: list[PartialFicheOut]
    """A page of them, newest first."""
    data_url: str | None = None
    """Where the fiches of the range are read; once the fetch has ended."""


class ProgressAnswer(BaseModel):
    """How far a fetch is, in the shape of its webhook."""

    success: Literal[True] = True
    jobId: str  # noqa: N815 -- the name on the wire, beside `success`
    event: Literal["progress", "complete", "failed"]
    timestamp: WireTime
    """When the fetch last got on."""
    data: ProgressData


class JobDelivery(Wire):
    id: str
    event: str
    status: str
    status_code: int | None
    attempt: int
    sent_at: WireTime | None
    created_at: WireTime


class JobLine(Wire):
    """One fetch in a list."""

    id: str
    status: JobStatus
    progress: int
    start_date: date
    end_date: date
    completed_days: int
    total_days: int
    total_fiches: int
    dates_failed: list[date]
    created_at: WireTime
    completed_at: WireTime | None
    webhook_deliveries_count: int


class JobOut(Wire):
    id: str
    status: JobStatus
    progress: int
    completed_days: int
    total_days: int
    total_fiches: int
    start_date: date
    end_date: date
    dates_already_fetched: list[date]
    dates_remaining: list[date]
    dates_failed: list[date]
    date_errors: dict[str, str]
    """Why each of the failed days did."""
    error: str | None
    created_at: WireTime
    updated_at: WireTime
    completed_at: WireTime | None
    last_webhook_sent_at: WireTime | None
    webhook_attempts: int
    webhook_last_error: str | None
    webhook_deliveries: list[JobDelivery]
    """The last ten that the caller may see."""


class JobAnswer(BaseModel):
    success: Literal[True] = True
    job: JobOut


class JobsAnswer(BaseModel):
    success: Literal[True] = True
    jobs: list[JobLine]
    total: int
    limit: int
    offset: int
