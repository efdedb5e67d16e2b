"""The question put to the model about one step (pure).

Stable bytes come first (rules, configuration, transcript) and the step last, so that all steps of an audit share one
prefix in the provider's cache.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined

from conforme.audit_configs.rules import ANY_ORIGIN, ControlPoint, Origins, Rules, StepRule
from conforme.audits.desk import TOOLS
from conforme.audits.errors import PointNotInForce
from conforme.audits.harmless import harmless
from conforme.audits.verdicts import StepVerdict
from conforme.foundation.llm import Consultation, ModelRequest

PROOFS = {"call": "appel", "crm": "CRM", "document": "document"}
SPEAKERS = {"advisor": "conseiller", "client": "client"}
STEP_FENCE = "<step>"
_INSTRUCTIONS = {False: "instructions.md", True: "instructions-tools.md"}
_PROMPTS = {False: "prompt.md.j2", True: "prompt-tools.md.j2"}
_STEP = "step.md.j2"
_AGAIN = "again.md.j2"
MAX_CUSTOM_PROMPT = 4000
MAX_PREVIOUS_COMMENT = 1200


def _text(name: str) -> str:
    return (files("conforme.audits") / "prompts" / name).read_text(encoding="utf-8")


@cache
def instructions(*, tools: bool = False) -> str:
    return _text(_INSTRUCTIONS[tools]).strip()


def _fenced(value: object) -> object:
    """What is filled in. A rubric is written by people we trust more than callers: a stray fence would still cut it."""
    return value.replace("<", "‹").replace(">", "›") if isinstance(value, str) else value


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=DictLoader({name: _text(name) for name in (*_PROMPTS.values(), _STEP, _AGAIN)}),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 -- the output is a prompt, not HTML
        finalize=_fenced,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["proof"] = PROOFS.__getitem__
    environment.filters["who"] = SPEAKERS.__getitem__
    return environment


@cache
def prompt_version(*, tools: bool = False) -> str:
    """Names the exact wording: the template files' digest, stored with every audit."""
    wording = instructions(tools=tools) + _text(_PROMPTS[tools]) + _text(_STEP)
    return f"{'tools' if tools else 'step'}-1-{hashlib.sha256(wording.encode()).hexdigest()[:12]}"


@cache
def again_version(*, tools: bool = False) -> str:
    """The same for a question that is asked once more."""
    digest = hashlib.sha256((prompt_version(tools=tools) + _text(_AGAIN)).encode()).hexdigest()
    return f"again-1-{digest[:12]}"


@dataclass(frozen=True, slots=True)
class Again:
    """A question that is asked once more (spec/audits §9.1)."""

    point: int | None = None
    """The control point it is about alone."""
    custom_prompt: str | None = None
    """What the person who asks wants looked at: data, like everything in the prompt that comes from outside."""
    previous_statut: str | None = None
    previous_comment: str | None = None
    """What was held of the point."""

    def asked(self, points: list[tuple[int, ControlPoint]]) -> list[tuple[int, ControlPoint]]:
        """Those of the points in force that are asked about.

        Raises:
            PointNotInForce: the one point is not among them.
        """
        chosen = [(number, point) for number, point in points if self.point in {None, number}]
        if not chosen:
            raise PointNotInForce
        return chosen

    def added_to(self, request: ModelRequest[StepVerdict]) -> ModelRequest[StepVerdict]:
        """The question with what is added to it, behind the step."""
        return replace(request, prompt=f"{request.prompt}\n\n{self.render()}")

    def render(self) -> str:
        comment = harmless(self.previous_comment or "")[:MAX_PREVIOUS_COMMENT]
        return (
            _environment()
            .get_template(_AGAIN)
            .render(
                point=self.point,
                custom_prompt=harmless(self.custom_prompt or "")[:MAX_CUSTOM_PROMPT],
                statut=self.previous_statut,
                comment=comment,
            )
        )


def points_in_force(
    step: StepRule, day: date | None, origins: Origins = ANY_ORIGIN
) -> list[tuple[int, ControlPoint]]:
    """The numbered control points that apply to a call of that day and origin; numbers count from 1 within the step."""
    return [
        (number, point) for number, point in enumerate(step.control_points, 1) if point.applies(day, origins)
    ]


def question(
    rules: Rules,
    step: StepRule,
    points: list[tuple[int, ControlPoint]],
    transcript: str,
    *,
    cache_key: str,
    model: str | None = None,
) -> ModelRequest[StepVerdict]:
    """The request for one step.

    Args:
        rules: the revision that the audit pins.
        step: the step to check.
        points: its numbered points in force.
        transcript: the rendered timeline, already fenced.
        cache_key: same for all steps of one audit.
        model: the one that the audit pins; None asks the configured one.
    """
    prompt = _rendered(False, rules, step, points, transcript=transcript)
    return ModelRequest(
        instructions=instructions(),
        prompt=prompt,
        output=StepVerdict,
        cache_key=cache_key,
        model=model,
        shared_chars=prompt.rindex(STEP_FENCE),
    )


def consultation(
    rules: Rules,
    step: StepRule,
    points: list[tuple[int, ControlPoint]],
    calls: str,
    *,
    cache_key: str,
    model: str | None = None,
) -> Consultation[StepVerdict]:
    """The same question in tools mode: `calls` lists the recordings, whose words the model asks for."""
    prompt = _rendered(True, rules, step, points, calls=calls)
    return Consultation(
        instructions=instructions(tools=True),
        prompt=prompt,
        output=StepVerdict,
        cache_key=cache_key,
        model=model,
        shared_chars=prompt.rindex(STEP_FENCE),
        tools=TOOLS,
    )


def _rendered(
    tools: bool,
    rules: Rules,
    step: StepRule,
    points: list[tuple[int, ControlPoint]],
    **read: str,
) -> str:
    return (
        _environment()
        .get_template(_PROMPTS[tools])
        .render(
            configuration=(rules.system_prompt or "").strip(),
            step=step,
            total=len(rules.steps),
            points=points,
            **read,
        )
    )
