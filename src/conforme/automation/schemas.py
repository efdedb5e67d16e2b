"""The wire of schedules (spec/automation §1, §2): camelCase, ids as strings."""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt
from pydantic.alias_generators import to_camel

from conforme.automation.rules import (
    Budget,
    CatchUp,
    Expression,
    Overlap,
    ScheduleRules,
    ScheduleType,
    Selection,
    TimeOfDay,
    Timing,
    TranscriptionPriority,
    WorkRules,
    Zone,
    without_repeats,
)
from conforme.foundation.web import Pagination, Text, Wire, WireId, WireTime

MAX_EMAILS: Final = 50
_EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}", re.ASCII
)


def _address(value: str) -> str:
    if len(value) > 254 or not _EMAIL.fullmatch(value):
        raise ValueError("must be an e-mail address")
    return value


def _addresses(values: Any) -> Any:
    """Trimmed, blanks dropped; what is no list is an empty one, as the contract says."""
    if not isinstance(values, list):
        return ()
    trimmed = [value.strip() if isinstance(value, str) else value for value in values]
    return without_repeats(value for value in trimmed if value != "")


def _absent_when_blank(value: Any) -> Any:
    return (value.strip() or None) if isinstance(value, str) else value or None


Emails = Annotated[
    tuple[Annotated[Text, AfterValidator(_address)], ...],
    BeforeValidator(_addresses),
    Field(max_length=MAX_EMAILS),
]
Name = Annotated[
    Text,
    Field(min_length=1, max_length=255),
    BeforeValidator(lambda v: v.strip() if isinstance(v, str) else v),
]
Url = Annotated[Annotated[Text, Field(max_length=2000)] | None, BeforeValidator(_absent_when_blank)]
ApiKey = Annotated[Annotated[Text, Field(max_length=4000)] | None, BeforeValidator(_absent_when_blank)]

CLEARABLE: Final = frozenset(
    to_camel(name)
    for name in (
        "description", "created_by", "cron_expression", "external_api_key", "time_of_day", "day_of_week", "day_of_month",
        "specific_audit_configs", "webhook_url", "webhook_secret", "notify_emails", "budget",
    )
)  # fmt: skip
"""What null clears; null elsewhere is refused."""


class ScheduleBody(WorkRules):
    """A whole schedule as a body describes it; unknown keys are dropped.

    `webhookSecret` and `externalApiKey` are never shown again: what a change does not name of them stays as it is.
    """

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)

    name: Name
    description: Annotated[Text, Field(max_length=5000)] | None = None
    created_by: Annotated[Text, Field(max_length=200)] | None = None
    is_active: StrictBool = True
    schedule_type: ScheduleType
    timezone: Zone = "UTC"
    cron_expression: Expression | None = None
    time_of_day: TimeOfDay | None = None
    day_of_week: Annotated[StrictInt, Field(ge=0, le=6)] | None = None
    day_of_month: Annotated[StrictInt, Field(ge=1, le=31)] | None = None
    fiche_selection: Selection
    notify_on_complete: StrictBool = True
    notify_on_error: StrictBool = True
    webhook_url: Url = None
    webhook_secret: ApiKey = None
    notify_emails: Emails = ()
    external_api_key: ApiKey = None

    @property
    def timing(self) -> Timing:
        return Timing.model_construct(**{name: getattr(self, name) for name in Timing.model_fields})

    @property
    def rules(self) -> ScheduleRules:
        same = ScheduleRules.model_fields.keys() & type(self).model_fields.keys()
        values = {name: getattr(self, name) for name in same}
        return ScheduleRules.model_construct(**values, timing=self.timing, selection=self.fiche_selection)


class ScheduleOut(Wire):
    """A schedule as it stands (spec/automation §1.4)."""

    id: WireId
    name: str
    description: str | None
    created_by: str | None
    is_active: bool
    schedule_type: ScheduleType
    cron_expression: str | None
    """What its type, time and day amount to."""
    timezone: str
    time_of_day: str | None
    day_of_week: int | None
    day_of_month: int | None
    fiche_selection: dict[str, Any]
    run_transcription: bool
    skip_if_transcribed: bool
    transcription_priority: TranscriptionPriority
    run_audits: bool
    use_automatic_audits: bool
    specific_audit_configs: list[str]
    continue_on_error: bool
    retry_failed: bool
    max_retries: int
    notify_on_complete: bool
    notify_on_error: bool
    webhook_url: str | None
    webhook_signed: bool
    notify_emails: list[str]
    external_api_key: str | None
    """Masked."""
    overlap: Overlap
    catch_up: CatchUp
    budget: Budget
    next_run_at: WireTime | None
    """Its next due time; null while it is not active, or never due."""
    last_run_at: WireTime | None
    last_run_status: str | None
    total_runs: int
    successful_runs: int
    failed_runs: int
    created_at: WireTime
    updated_at: WireTime


class RunLine(Wire):
    """A run in the list of its schedule."""

    id: WireId
    status: str
    started_at: WireTime | None
    completed_at: WireTime | None
    duration_ms: int | None
    total_fiches: int
    successful_fiches: int
    failed_fiches: int


class ScheduleWithRuns(ScheduleOut):
    runs: list[RunLine]
    """The last ten, newest first."""


class Schedules(BaseModel):
    success: Literal[True] = True
    data: list[ScheduleOut]
    count: int
    pagination: Pagination


class Said(BaseModel):
    success: Literal[True] = True
    message: str


class DueTime(Wire):
    due_at: WireTime
    local: datetime
    """The same moment by the clock on the wall of the schedule's zone, with its offset."""


class DueTimes(Wire):
    success: Literal[True] = True
    data: list[DueTime]
    count: int
    timezone: str
    is_active: bool
    """A schedule that is not active is not fired at these times."""


class TriggerBody(BaseModel):
    """Which schedule to run now."""

    model_config = ConfigDict(extra="ignore")

    scheduleId: WireId  # noqa: N815 -- as the contract has it
    overrideFicheSelection: Selection | None = None  # noqa: N815


class Triggered(BaseModel):
    success: Literal[True] = True
    message: str = "Automation triggered successfully"
    schedule_id: int | str
    """As it was sent."""
    run_id: WireId
    event_ids: list[str]
    """The durable job of the run."""


class EngineConfiguration(Wire):
    is_dev: bool
    node_env: str
    base_url: str | None
    has_event_key: bool
    has_signing_key: bool


class EngineState(BaseModel):
    mode: str
    status: str
    configuration: EngineConfiguration
    recommendations: list[str]
    warnings: list[str]


class Endpoints(BaseModel):
    inngest_ui: str | None = None
    trigger: str = "POST /api/automation/trigger"


class ClockState(BaseModel):
    """How the look at the clock fares."""

    last_tick_at: WireTime | None
    overdue_schedules: int
    active_schedules: int
    live_replicas: int


class Diagnostic(BaseModel):
    success: Literal[True] = True
    inngest: EngineState
    """Named as the contract has it; what it tells is of the engine that this product runs on."""
    endpoints: Endpoints
    clock: ClockState


def body_of_request(model: type[BaseModel], *, partial: bool = False) -> dict[str, Any]:
    """What the API's document says of a body that its route reads in the words of the contract."""
    schema = model.model_json_schema()
    defined: dict[str, Any] = schema.pop("$defs", {})

    def inlined(part: Any) -> Any:
        if isinstance(part, list):
            return [inlined(each) for each in part]
        if not isinstance(part, dict):
            return part
        reference = str(part.get("$ref", ""))
        whole = part | defined[reference.removeprefix("#/$defs/")] if reference else part
        return {key: inlined(value) for key, value in whole.items() if key != "$ref"}

    if partial:
        schema = {key: value for key, value in schema.items() if key != "required"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(schema)}}}}
