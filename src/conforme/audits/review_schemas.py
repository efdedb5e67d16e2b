"""The wire of reruns, reviews and the review queue (spec/audits §9)."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)

from conforme.audits.doubts import DoubtReason
from conforme.audits.prompting import MAX_CUSTOM_PROMPT
from conforme.audits.reruns import RerunWish
from conforme.audits.reviews import PointReview, StepReview
from conforme.audits.schemas import StepResult
from conforme.audits.verdicts import Conforme, Niveau, Statut
from conforme.foundation.errors import Invalid
from conforme.foundation.web import Text, Wire, WireId, WireTime

M = TypeVar("M", bound=BaseModel)
Reason = Annotated[Text, Field(min_length=1, max_length=5000)] | None


def parsed(model: type[M], body: Any, what: str) -> M:
    """The body as a model; one that is missing is empty.

    Raises:
        Invalid: `Invalid <what> input`, as the contract words it, with the first field to blame.
    """
    try:
        return model.model_validate({} if body is None else body)
    except ValidationError as error:
        issue = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in issue["loc"]) or "body"
        raise Invalid(f"Invalid {what} input: {field}: {issue['msg']}", field=field) from None


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class ReviewPoint(_Body):
    """Body of a point's review; whoever reviews is known from their session."""

    statut: Statut | None = None
    commentaire: Annotated[Text, Field(max_length=20_000)] | None = None
    reason: Reason = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.statut is None and self.commentaire is None:
            raise ValueError("statut or commentaire is required")
        return self

    @property
    def review(self) -> PointReview:
        return PointReview(self.statut, self.commentaire, self.reason)


class ReviewStep(_Body):
    """Body of a step's review."""

    conforme: Conforme
    traite: StrictBool = True
    score: Annotated[StrictInt, Field(ge=0, le=1_000_000)] | None = None
    niveau: Annotated[
        Literal[Niveau.EXCELLENT, Niveau.BON, Niveau.ACCEPTABLE, Niveau.INSUFFISANT, Niveau.REJET] | None,
        Field(alias="niveauConformite"),
    ] = None
    reason: Reason = None

    @property
    def review(self) -> StepReview:
        return StepReview(self.conforme, self.traite, self.score, self.niveau, self.reason)


class RerunBody(_Body):
    """Body of a rerun; may be missing."""

    custom_prompt: Annotated[
        Annotated[Text, Field(max_length=MAX_CUSTOM_PROMPT)] | None,
        Field(validation_alias=AliasChoices("customPrompt", "customInstructions")),
    ] = None
    use_current: Annotated[StrictBool, Field(alias="useCurrent")] = False
    replace_reviews: Annotated[StrictBool, Field(alias="replaceReviews")] = False

    def wish(self, position: int, point: int | None = None) -> RerunWish:
        asked = (self.custom_prompt or "").strip() or None
        return RerunWish(position, point, asked, self.use_current, self.replace_reviews)


class RerunQueued(BaseModel):
    """What asking for a rerun answers."""

    success: Literal[True] = True
    message: str
    event_id: str
    audit_id: str
    step_position: int
    control_point_index: int | None = None


class Rerun(Wire):
    """How far a rerun is."""

    event_id: str
    rerun_id: str
    audit_id: WireId
    step_position: int
    control_point_index: int | None
    status: Literal["queued", "running", "completed", "failed"]
    error: str | None
    error_code: str | None
    created_at: WireTime
    updated_at: WireTime


class RerunAnswer(BaseModel):
    success: Literal[True] = True
    data: Rerun


class DoubtOut(Wire):
    reason: DoubtReason
    certainty: float


class Point(Wire):
    """One control point as it is reviewed."""

    audit_id: WireId
    step_position: int
    control_point_index: int
    point: str
    statut: str
    commentaire: str
    doubts: list[DoubtOut]


class PointAnswer(BaseModel):
    success: Literal[True] = True
    data: Point


class StepAnswer(BaseModel):
    success: Literal[True] = True
    data: StepResult


class UnsurePoint(Point):
    """A point of the review queue with what a reviewer looks for first."""

    tracking_id: str
    fiche_id: str
    audit_config_id: WireId
    audit_config_name: str
    step_name: str
    is_critical: bool
    certainty: float
    completed_at: WireTime | None


class Queue(BaseModel):
    """One page of the queue; `next_cursor` is null on the last."""

    success: Literal[True] = True
    data: list[UnsurePoint]
    next_cursor: str | None
