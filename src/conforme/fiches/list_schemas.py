"""Lists of fiches on the wire (spec/fiches §2.5)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from conforme.fiches.schemas import AuditStatus, LatestAudit, TranscriptionStatus
from conforme.foundation.web import Pagination, Text, Wire, WireId, WireTime

MAX_FICHES_PER_PAGE = 1000
MAX_FICHES_PER_BATCH = 1000


class AuditsOfFiche(AuditStatus):
    """The counts, and what they were counted over."""

    audits: list[LatestAudit] = Field(default_factory=list[LatestAudit])
    """Newest first."""


class ListedCall(Wire):
    id: WireId
    call_id: str
    has_transcription: bool
    transcribed_at: WireTime | None
    start_time: WireTime | None
    duration_seconds: int | None


class ListedFiche(Wire):
    """A fiche of a list, with how far its calls and audits are."""

    fiche_id: str
    groupe: str | None
    agence_nom: str | None
    prospect_nom: str | None
    prospect_prenom: str | None
    prospect_email: str | None
    prospect_tel: str | None
    fetched_at: WireTime
    created_at: WireTime
    transcription: TranscriptionStatus
    audit: AuditsOfFiche
    recordings: list[ListedCall]
    """Oldest first."""


class FicheState(Wire):
    """How far a fiche is; zeros when it is not cached, or not the caller's."""

    has_data: bool = False
    transcription: TranscriptionStatus = Field(default_factory=TranscriptionStatus)
    audit: AuditStatus = Field(default_factory=AuditStatus)


class StatesAnswer(BaseModel):
    success: Literal[True] = True
    data: dict[str, FicheState]
    """By fiche id, each that was asked for."""


class PageOfFiches(Pagination):
    next_after: str | None
    """What `after` is to be for the next page; null on the last one."""


class FichesOfDay(BaseModel):
    date: str
    total: int
    fiches: list[ListedFiche]


class FichesOfDayAnswer(BaseModel):
    success: Literal[True] = True
    data: FichesOfDay
    pagination: PageOfFiches


class FichesFound(BaseModel):
    """A day's listing as the CRM gives it; each fiche with its `status` when that is wanted."""

    fiches: list[dict[str, Any]]
    total: int


FicheIdText = Annotated[Text, Field(max_length=40)]
