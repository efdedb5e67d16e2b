"""The wire of configurations (spec/audits §2): camelCase, ids as strings, control points as plain strings.

A control point that says more than its text is still a string in `controlPoints`; the rest stands beside it, at the
same place of `controlPointDetails`. Going in, a control point may be a string or an object with both.
"""

from datetime import date
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from conforme.audit_configs.changes import Kind
from conforme.audit_configs.rules import (
    MAX_STEPS,
    CallOrigin,
    CompliantFrom,
    ControlPoint,
    Line,
    Prose,
    Rules,
    Severity,
    StepRule,
)
from conforme.foundation.web import Answer, Pagination, Wire, WireId, WireTime

T = TypeVar("T")

Name = Annotated[Line, Field(min_length=1)]
Instructions = Annotated[Prose, Field(min_length=1)]
Points = Annotated[tuple[ControlPoint, ...], Field(min_length=1, max_length=60)]
Keywords = Annotated[tuple[Line, ...], Field(max_length=100)]
Position = Annotated[int, Field(ge=1, le=10_000)]
StepWeight = Annotated[int, Field(ge=1, le=10)]


class Listing(Answer[list[T]], Generic[T]):
    count: int


class Said(BaseModel):
    success: Literal[True] = True
    message: str


class Reference(Wire):
    id: WireId
    name: str


class Counted(Reference):
    steps_count: int


class Validation(BaseModel):
    valid: bool
    errors: list[str]


class StepOut(Wire):
    id: WireId
    audit_config_id: WireId
    position: int
    name: str
    description: str | None
    prompt: str
    control_points: list[str]
    control_point_details: list[dict[str, Any]]
    keywords: list[str]
    severity_level: Severity
    is_critical: bool
    chronological_important: bool
    weight: int
    verify_product_info: bool
    created_at: WireTime
    updated_at: WireTime


class ConfigScalars(Wire):
    id: WireId
    name: str
    description: str | None
    system_prompt: str | None
    compliant_from: CompliantFrom
    valid_from: date | None
    valid_to: date | None
    call_origin: CallOrigin | None
    is_active: bool
    run_automatically: bool
    created_by: str | None
    created_at: WireTime
    updated_at: WireTime


class ConfigStats(Reference):
    """How a configuration was used (spec/audits §2.3): not rounded, deleted audits included."""

    total_audits: int
    completed_audits: int
    failed_audits: int
    average_score: float | None
    """Of completed audits, as the duration and the rate."""
    average_duration_ms: float | None
    last_used_at: WireTime | None
    compliance_rate: float
    """0 to 100; 0 while none is completed."""


class ConfigLine(ConfigScalars):
    """A configuration in a list."""

    steps_count: int = 0


class ConfigOut(ConfigScalars):
    """A configuration with its steps by position."""

    steps: list[StepOut]


class ConfigWithStats(ConfigOut):
    stats: ConfigStats


class _Incoming(Wire):
    """Unknown keys are dropped, as the contract says; who did it comes from the credentials, never from the body."""

    model_config = ConfigDict(extra="ignore")


class CreateStep(_Incoming):
    name: Name
    description: Prose | None = None
    prompt: Instructions
    control_points: Points
    keywords: Keywords = ()
    severity_level: Severity
    is_critical: bool = False
    position: Position
    chronological_important: bool = False
    weight: StepWeight = 5
    verify_product_info: bool = False

    def rule(self) -> StepRule:
        content = {name: getattr(self, name) for name in StepRule.model_fields if name != "severity"}
        return StepRule.model_validate(content | {"severity": self.severity_level})

    @property
    def blank(self) -> bool:
        return not (self.name.strip() and self.prompt.strip())


class CreateConfig(_Incoming):
    name: Name
    description: Prose | None = None
    system_prompt: Prose | None = None
    compliant_from: CompliantFrom = "ACCEPTABLE"
    valid_from: date | None = None
    valid_to: date | None = None
    call_origin: CallOrigin | None = None
    is_active: bool = True
    run_automatically: bool = False
    steps: Annotated[tuple[CreateStep, ...], Field(max_length=MAX_STEPS)] = ()

    def rules(self) -> Rules:
        content = {name: getattr(self, name) for name in Rules.model_fields if name != "steps"}
        return Rules.model_validate(content | {"steps": [step.rule() for step in self.steps]})


class _Changes(_Incoming):
    """Only what the body names is changed; null clears what may be empty and is refused elsewhere."""

    def changes(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


class UpdateConfig(_Changes):
    name: Name = "unset"
    description: Prose | None = None
    system_prompt: Prose | None = None
    compliant_from: CompliantFrom = "ACCEPTABLE"
    valid_from: date | None = None
    valid_to: date | None = None
    call_origin: CallOrigin | None = None
    is_active: bool = True
    run_automatically: bool = False


class UpdateStep(_Changes):
    name: Name = "unset"
    description: Prose | None = None
    prompt: Instructions = "unset"
    control_points: Points = ()
    keywords: Keywords = ()
    severity_level: Severity = "MEDIUM"
    is_critical: bool = False
    position: Position = 1
    chronological_important: bool = False
    weight: StepWeight = 5
    verify_product_info: bool = False


class _Revision(Wire):
    number: int
    sha256: str
    created_by: str | None
    created_at: WireTime


class RevisionLine(_Revision):
    """A revision in a list, without what it says."""

    is_draft: bool = False
    """The draft says the same now."""


class RevisionOut(_Revision):
    content: Rules
    """Field names as in files."""


class Revisions(Answer[list[RevisionLine]]):
    pagination: Pagination


class ChangeOut(Wire):
    kind: Kind
    path: str
    before: Any
    after: Any


class Difference(Wire):
    before: Annotated[str, Field(serialization_alias="from")]
    after: Annotated[str, Field(serialization_alias="to")]
    changes: list[ChangeOut]
