"""What an audit judges by: the content of one revision of a configuration. Pure and immutable.

A value of these types may be a draft that cannot run yet (blank prompt, no step): its shape and its bounds are
checked when it is built, and `Rules.problems` says what still stands in the way of a run.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Severity = Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"]
Proof = Literal["call", "crm", "document"]
Speaker = Literal["advisor", "client"]
CompliantFrom = Literal["EXCELLENT", "BON", "ACCEPTABLE", "INSUFFISANT"]
"""The lowest niveau that still counts as compliant; a REJET never does."""
CallOrigin = Literal["unsolicited", "requested", "client"]
"""`requested`: the person asked for the call or consented to it; `client`: a running contract."""
Origins = frozenset[CallOrigin]
"""Those that a call may have."""
ANY_ORIGIN: Final[Origins] = frozenset(get_args(CallOrigin))
"""Of a call of which nobody knows."""

WEIGHTS = range(1, 11)
"""Weights a run accepts, for a step and for a control point (spec/audits §2.2)."""

MAX_STEPS = 100

_CONTROL_CHARACTERS = frozenset(map(chr, range(32))) - set("\t\n\r")


def _without_control_characters(text: str) -> str:
    if not _CONTROL_CHARACTERS.isdisjoint(text):
        raise ValueError("must not hold control characters")
    return text


Line = Annotated[str, Field(max_length=300), AfterValidator(_without_control_characters)]
Paragraph = Annotated[str, Field(max_length=2_000), AfterValidator(_without_control_characters)]
Prose = Annotated[str, Field(max_length=30_000), AfterValidator(_without_control_characters)]
Examples = Annotated[tuple[Paragraph, ...], Field(max_length=20)]
Weight = Annotated[int, Field(ge=0, le=1_000)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _InForce(_Value):
    """A rule of law has its days and its calls; what is left unset does not restrict."""

    valid_from: date | None = None
    """First day of a call the rule applies to."""
    valid_to: date | None = None
    """Last day of a call the rule applies to, included."""
    call_origin: CallOrigin | None = None

    def applies(self, day: date | None, origins: Origins = ANY_ORIGIN) -> bool:
        """False only when the call is known to be outside: an unknown day or origin leaves the rule standing."""
        too_early = day is not None and self.valid_from is not None and day < self.valid_from
        too_late = day is not None and self.valid_to is not None and day > self.valid_to
        elsewhere = self.call_origin is not None and self.call_origin not in origins
        return not (too_early or too_late or elsewhere)

    @property
    def restricted(self) -> bool:
        """Whether there are calls it does not apply to."""
        return not (self.valid_from is self.valid_to is self.call_origin is None)

    @property
    def upside_down(self) -> bool:
        return self.valid_from is not None and self.valid_to is not None and self.valid_to < self.valid_from


class ControlPoint(_InForce):
    """One thing to check. A plain string stands for a point with that text and nothing else said."""

    text: Paragraph
    ref: Annotated[str, Field(max_length=40)] | None = None
    """Stable name of the rule across configurations, for example `O3`."""
    proof: Annotated[tuple[Proof, ...], Field(min_length=1, max_length=3)] = ("call",)
    """What can show that the point is met. Without `call`, silence on the recording shows nothing."""
    speaker: Speaker | None = None
    """Who must say it; None leaves it open."""
    weight: Weight = 1
    critical: bool = False
    """The audit fails when this point does (where it applies)."""
    forbidden: bool = False
    """The point names a fault: it fails only on words that were really spoken, and silence never fails it."""
    source: Paragraph | None = None
    """Where the rule comes from: article of law, recommendation, or house rule."""
    compliant_examples: Examples = ()
    non_compliant_examples: Examples = ()

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @property
    def audible(self) -> bool:
        """Whether the call alone can prove it. A point that is not audible is never ABSENT for want of words."""
        return "call" in self.proof

    @property
    def plain(self) -> bool:
        """Whether the text says all there is, so that a plain string can stand for the point."""
        return self == ControlPoint(text=self.text)

    def details(self) -> dict[str, Any]:
        """Everything but the text, as JSON, defaults left out; empty for a plain point."""
        return self.model_dump(mode="json", exclude={"text"}, exclude_defaults=True)


class StepRule(_Value):
    """One step of a configuration; `position` counts from 1."""

    position: Annotated[int, Field(ge=0, le=10_000)]
    name: Line
    description: Prose | None = None
    prompt: Prose
    severity: Severity
    is_critical: bool = False
    chronological_important: bool = False
    weight: Weight = 5
    verify_product_info: bool = False
    keywords: Annotated[tuple[Line, ...], Field(max_length=100)] = ()
    control_points: Annotated[tuple[ControlPoint, ...], Field(max_length=60)] = ()

    def problems(self) -> Iterator[str]:
        """What makes the step impossible to analyse, each line opening with the field."""
        if not self.name.strip():
            yield "name: must not be blank"
        if not self.prompt.strip():
            yield "prompt: must not be blank"
        if self.weight not in WEIGHTS:
            yield _weight_problem("weight")
        if not self.control_points:
            yield "control_points: at least one control point is needed"
        for index, point in enumerate(self.control_points):
            yield from _under(f"control_points.{index}", _point_problems(point))


class Rules(_InForce):
    """The whole content of a configuration, as one revision holds it."""

    name: Line
    description: Prose | None = None
    system_prompt: Prose | None = None
    compliant_from: CompliantFrom = "ACCEPTABLE"
    steps: Annotated[tuple[StepRule, ...], Field(max_length=MAX_STEPS)] = ()

    def problems(self) -> list[str]:
        """Everything that would make a run impossible, as `path.of.field: what is wrong`; empty when it can run.

        Paths count list entries from 0, as in `steps.0.control_points.2.text`.
        """
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        if not self.name.strip():
            yield "name: must not be blank"
        if self.upside_down:
            yield "valid_to: must not be before valid_from"
        if not self.steps:
            yield "steps: at least one step is needed"
        if sorted(step.position for step in self.steps) != list(range(1, len(self.steps) + 1)):
            yield f"steps: positions must be exactly 1 to {len(self.steps)}, each once"
        for index, step in enumerate(self.steps):
            yield from _under(f"steps.{index}", step.problems())

    def canonical(self) -> str:
        """One JSON text per content: same rules, same bytes."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":")
        )

    def sha256(self) -> str:
        """Hex digest of `canonical`."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def _point_problems(point: ControlPoint) -> Iterator[str]:
    if not point.text.strip():
        yield "text: must not be blank"
    if point.weight not in WEIGHTS:
        yield _weight_problem("weight")
    if point.upside_down:
        yield "valid_to: must not be before valid_from"


def _weight_problem(field: str) -> str:
    return f"{field}: must be between {WEIGHTS.start} and {WEIGHTS.stop - 1}"


def _under(path: str, problems: Iterator[str]) -> Iterator[str]:
    return (f"{path}.{problem}" for problem in problems)
