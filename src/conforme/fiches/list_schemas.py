"""Lists of fiches on the wire (spec/fiches §2.5)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from conforme.fiches.schemas import AuditStatus, LatestAudit, TranscriptionStatus
from conforme.foundation.web import Pagination, Text, Wire, WireId, WireTime

MAX_FICHES_PER_PAGE = 1000
MAX_FICHES_PER_BATCH = 1000


class AuditsOfFiche(AuditStatus):
    """The counts, and what they were counted over."""

    audits: list[LatestAudit] = Field(default_factory=list[LatestAudit])
    """Newest first."""


DayText = Annotated[Text, Field(max_length=40, description="YYYY-MM-DD")]
WebhookSecret = Annotated[Text, Field(max_length=500)]


class PageQuery(BaseModel):
    """Which part of a list is asked for."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    limit: Annotated[int, Field(ge=1, le=MAX_FICHES_PER_PAGE)] = MAX_FICHES_PER_PAGE
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    after: Annotated[WireId | None, Field(description="`pagination.next_after` of the page before")] = None


class DayQuery(PageQuery):
    date: DayText | None = None


class RangeQuery(PageQuery):
    start_date: DayText | None = None
    end_date: DayText | None = None
    refresh: bool = False
    webhook_url: Annotated[Text | None, Field(max_length=2000)] = None
    """Told of the fetch, when there is one."""
    webhook_secret: WebhookSecret | None = None
    """Signs what it is told; better sent as the header `X-Webhook-Secret`."""


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


class CacheCoverage(Wire):
    dates_with_data: list[str]
    """Days that are known, were it that nothing was sold on them."""
    dates_missing: list[str]


class RangeMeta(Wire):
    """How much of a range the answer rests on."""

    complete: bool
    """Every day is known, and none of them is being fetched."""
    partial: bool
    total_days_requested: int
    days_fetched: int
    """Days that the fetch in the background is through with, those known before included; without one, all known days."""
    days_remaining: int
    days_cached: int
    cache_coverage: CacheCoverage


class FetchedRangeMeta(RangeMeta):
    background_job_id: str | None
    """The fetch of what is missing: see `GET /api/fiches/jobs/{job_id}`."""


class NothingOfRange(Wire):
    """The answer for days that are all to come."""

    start_date: str
    end_date: str
    total: int = 0
    fiches: list[ListedFiche] = Field(default_factory=list[ListedFiche])
    meta: FetchedRangeMeta


class FichesOfRange(Wire):
    success: Literal[True] = True
    start_date: str
    end_date: str
    """Today at the latest (UTC)."""
    total: int
    fiches: list[ListedFiche]
    meta: FetchedRangeMeta | RangeMeta
    pagination: PageOfFiches
