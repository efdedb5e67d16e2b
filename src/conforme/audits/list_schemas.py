"""The wire of lists and groups of audits, and of what is written on one (spec/audits §10.2)."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from conforme.audits.schemas import AuditItem, ConfigBrief, FicheBrief, RunBrief, ScheduleBrief
from conforme.foundation.web import Text, Wire, WireId, WireTime

Name = Annotated[Text, Field(max_length=200)]


class UpdateAudit(BaseModel):
    """Body of `PATCH`; unknown keys are dropped, null clears."""

    model_config = ConfigDict(extra="ignore")

    notes: Annotated[Text, Field(max_length=20_000)] | None = None
    deleted: Annotated[bool, Field(strict=True)] = False
    automation_schedule_id: WireId | None = None
    automation_run_id: WireId | None = None
    trigger_source: Annotated[Text, Field(max_length=50)] | None = None
    trigger_user_id: Name | None = None

    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class ListedAudit(AuditItem):
    """An audit of a list: `resultData` is short unless it was asked for."""


class AuditList(BaseModel):
    """`pagination` holds `next_cursor`, too; of a page read from a cursor no total is counted."""

    success: bool = True
    data: list[ListedAudit]
    pagination: dict[str, Any]


class FicheAudits(AuditList):
    count: int
    """How many this page has."""


class GroupedFiche(FicheBrief):
    id: WireId


class Group(Wire):
    """What audits of one key have in common. Scores are those of completed audits; null where there is none."""

    key: str | None
    count: int
    compliant_count: int
    non_compliant_count: int
    avg_score: float | None
    min_score: float | None
    max_score: float | None
    status_counts: dict[str, int] | None = None
    fiche: GroupedFiche | None = None
    audit_config: ConfigBrief | None = None
    automation_schedule: ScheduleBrief | None = None
    automation_run: RunBrief | None = None


class GroupMeta(BaseModel):
    group_by: str
    bucket_size: int
    truncated: bool = False
    """Never: all audits that match are counted."""


class Groups(BaseModel):
    success: bool = True
    data: list[Group]
    pagination: dict[str, Any]
    meta: GroupMeta


class FicheOfAudits(Wire):
    id: WireId
    fiche_id: str
    groupe: str | None
    agence_nom: str | None
    prospect_nom: str | None
    prospect_prenom: str | None
    prospect_email: str | None
    prospect_tel: str | None
    has_recordings: bool
    recordings_count: int | None
    fetched_at: WireTime
    created_at: WireTime
    updated_at: WireTime


class FicheSummary(Wire):
    """Over all audits of the fiche that match, shown or not."""

    total_audits: int
    compliant_count: int
    average_score: float | None
    latest_audit_date: WireTime | None


class AuditsOfOneFiche(Wire):
    fiche: FicheOfAudits
    audits: list[ListedAudit]
    """The newest of them."""
    summary: FicheSummary


class FichesOfAudits(BaseModel):
    success: bool = True
    data: list[AuditsOfOneFiche]
    pagination: dict[str, Any]
