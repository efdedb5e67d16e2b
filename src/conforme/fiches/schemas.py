"""Fiches on the wire (spec/fiches §2.5)."""

from datetime import date
from typing import Any, Self

from pydantic import BaseModel

from conforme.fiches.models import FicheCache
from conforme.foundation.web import Wire, WireId, WireScore, WireTime


class CachedFicheSummary(Wire):
    fiche_id: str
    groupe: str | None
    prospect_nom: str | None
    prospect_prenom: str | None
    recordings_count: int | None
    fetched_at: WireTime
    expires_at: WireTime


class CachedFicheAnswer(BaseModel):
    success: bool = True
    data: CachedFicheSummary

    @classmethod
    def of(cls, row: FicheCache) -> Self:
        return cls(data=CachedFicheSummary.model_validate(row))


class TranscriptionStatus(Wire):
    """How far a fiche's calls are transcribed."""

    total: int = 0
    transcribed: int = 0
    pending: int = 0
    percentage: float = 0.0
    """0 to 100, not rounded."""
    is_complete: bool = False
    """There are calls and all of them are transcribed."""
    last_transcribed_at: WireTime | None = None


class AuditConfigBrief(Wire):
    id: WireId
    name: str


class LatestAudit(Wire):
    id: WireId
    status: str
    overall_score: WireScore | None
    score_percentage: WireScore | None
    niveau: str | None
    is_compliant: bool | None
    completed_at: WireTime | None
    audit_config: AuditConfigBrief


class AuditStatus(Wire):
    """How the latest audits of a fiche stand, one per configuration."""

    total: int = 0
    completed: int = 0
    pending: int = 0
    running: int = 0
    compliant: int = 0
    non_compliant: int = 0
    average_score: WireScore | None = None
    """Mean percentage of those completed."""
    latest_audit: LatestAudit | None = None


class FicheStatus(Wire):
    fiche_id: str
    has_data: bool = True
    transcription: TranscriptionStatus
    audit: AuditStatus


class FicheStatusAnswer(BaseModel):
    success: bool = True
    data: FicheStatus


class ReaderWants(BaseModel):
    """What somebody who reads a fiche over HTTP waits for."""

    refresh: bool = False
    """The CRM is asked, however fresh the cache is."""
    mail_devis: bool = False
    """The quote mail belongs to it."""
    even_unstored: bool = False
    """A fiche that cannot be stored is of use too: it comes with the job's answer."""


class FetchFiche(BaseModel):
    """Payload of the job `fiche/fetch`."""

    fiche_id: str
    force_refresh: bool = False
    """Fetch a fiche that is fresh, unless it was fetched within the cooldown. Readers have their own word for it."""
    reader: ReaderWants | None = None
    """None for work in the background."""
    schedule_id: int | None = None
    """The schedule of automation whose own token the CRM is asked with, where it has one."""


class FetchSalesDay(BaseModel):
    """Payload of the job `fiches/fetch-sales-day`."""

    day: date
    schedule_id: int | None = None
    """As in `FetchFiche`; the answer then tells the `fiche_ids` that were listed."""


FicheObject = dict[str, Any]
"""A fiche in the gateway's shape (`crm.schemas.FicheDetails`), with its key `cle` and its calls as stored."""
