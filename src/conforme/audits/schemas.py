"""The wire of the audits: requests in snake_case, rows in camelCase (spec/audits §3.1, §10.2)."""

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from conforme.foundation.web import Text, Wire, WireId, WireScore, WireTime


def _bare_id(value: Any) -> Any:
    """Config ids may come as number or text; anything else names the field."""
    return value.strip() if isinstance(value, str) else value


def _true_only(value: Any) -> bool:
    """Anything that is not a boolean is ignored, as the contract does with `use_rlm`."""
    return value if isinstance(value, bool) else False


def _fiche_id(value: Any) -> Any:
    text = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 20:
        raise ValueError("must be the digits of a fiche id")
    return text


FicheId = Annotated[str, BeforeValidator(_fiche_id)]
ConfigId = Annotated[WireId, BeforeValidator(_bare_id)]
UseRlm = Annotated[
    bool, BeforeValidator(_true_only), Field(validation_alias=AliasChoices("use_rlm", "useRlm"))
]
UserId = Annotated[Text, Field(max_length=200)] | None


class RunLatest(BaseModel):
    """Body of `run-latest`; unknown keys are dropped."""

    model_config = ConfigDict(extra="ignore")

    fiche_id: FicheId
    user_id: UserId = None
    use_rlm: UseRlm = False


class RunAudit(RunLatest):
    audit_config_id: ConfigId = Field(validation_alias=AliasChoices("audit_config_id", "audit_id"))


class CreateAudit(RunAudit):
    automation_schedule_id: WireId | None = None
    automation_run_id: WireId | None = None
    trigger_source: Annotated[Text, Field(max_length=50)] = "api"


class QueuedMetadata(BaseModel):
    timestamp: WireTime
    status: str = "queued"


class Queued(BaseModel):
    """What a run answers: `audit_id` is the tracking id, `audit_db_id` the row that exists already."""

    success: bool = True
    message: str
    event_id: str
    audit_id: str
    audit_db_id: str
    fiche_id: str
    audit_config_id: int
    audit_config_name: str | None = None
    metadata: QueuedMetadata


class ConfigBrief(Wire):
    id: WireId
    name: str
    description: str | None


class FicheBrief(Wire):
    fiche_id: str
    groupe: str | None
    prospect_nom: str | None
    prospect_prenom: str | None


class FicheContact(FicheBrief):
    agence_nom: str | None
    prospect_email: str | None
    prospect_tel: str | None


class ScheduleBrief(Wire):
    """A schedule of automation that an audit names."""

    id: WireId
    name: str


class RunBrief(Wire):
    """A run of automation that an audit names."""

    id: WireId
    status: str
    started_at: WireTime | None
    completed_at: WireTime | None
    schedule_id: WireId


class AuditItem(Wire):
    """One audit of a list."""

    id: WireId
    tracking_id: str
    fiche_id: str
    fiche_cache_id: WireId | None
    audit_config_id: WireId
    automation_schedule_id: WireId | None
    automation_run_id: WireId | None
    trigger_source: str | None
    trigger_user_id: str | None
    notes: str | None
    deleted_at: WireTime | None
    overall_score: WireScore
    score_percentage: WireScore
    niveau: str
    is_compliant: bool
    critical_passed: int
    critical_total: int
    status: str
    started_at: WireTime | None
    completed_at: WireTime | None
    duration_ms: int | None
    error_message: str | None
    error_code: str | None
    failed_phase: str | None
    total_tokens: int | None
    successful_steps: int | None
    failed_steps: int | None
    recordings_count: int | None
    timeline_chunks: int | None
    result_data: dict[str, Any]
    version: int
    is_latest: bool
    created_at: WireTime
    updated_at: WireTime
    audit_config: ConfigBrief
    automation_schedule: ScheduleBrief | None = None
    automation_run: RunBrief | None = None
    fiche_cache: FicheBrief | FicheContact | None = None


class StepResult(Wire):
    id: WireId
    audit_id: WireId
    step_position: int
    step_name: str
    severity_level: str
    is_critical: bool
    weight: int
    traite: bool
    conforme: str | None
    score: WireScore | None
    niveau_conformite: str | None
    commentaire_global: str
    mots_cles_trouves: list[str]
    minutages: list[str]
    erreurs_transcription_tolerees: int
    total_citations: int
    dropped_citations: int
    total_tokens: int
    error: str | None
    created_at: WireTime


class Cost(Wire):
    """The ledger's sum for one audit; `amount` in `currency` units, decimal text."""

    currency: str
    amount: str
    calls: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    audio_seconds: str
    milliseconds: int


class Revision(Wire):
    id: WireId
    number: int


class AuditDetail(AuditItem):
    step_results: list[StepResult]
    missing_steps: list[int]
    """Positions that were not analysed; `POST …/resume` analyses only those."""
    cost: Cost
    config_revision: Revision
    model: str | None
    prompt_version: str | None
    transcript_sha256: str | None


class AuditAnswer(BaseModel):
    success: bool = True
    data: AuditDetail
