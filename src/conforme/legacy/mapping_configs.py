"""Configurations of the original as ours, and the rules an old audit was judged by (spec/audits §2, §12). Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from rapidfuzz import fuzz

from conforme.audit_configs.rules import ControlPoint, Rules, StepRule
from conforme.audits.normalise import normalise
from conforme.legacy.errors import BadRow
from conforme.legacy.mapping_people import stamps
from conforme.legacy.source import Bundle
from conforme.legacy.values import Row, choice, flag, known, text, texts, whole

SEVERITIES: Final = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
COMPLIANT_FROM: Final = "INSUFFISANT"
"""In the original whatever was no REJET was compliant (spec/audits §8)."""
ALIKE: Final = 60.0
"""From this likeness on, in percent, the text that the model repeated is that of the control point."""
LONGEST_POINT: Final = 2_000
_CONTROLS: Final = {code: None for code in range(32) if chr(code) not in "\t\n\r"}


@dataclass(frozen=True, slots=True)
class OldConfig:
    rules: Rules
    flags: dict[str, Any]
    """`is_active`, `run_automatically`, `created_by`, times."""
    step_ids: tuple[int, ...]
    """The original's ids of the steps, in their order."""
    renumbered: bool
    """Positions were not 1 to n."""


def config(bundle: Bundle) -> OldConfig:
    """A configuration; its steps are counted from 1, whatever the original did."""
    row = bundle.row
    ordered = sorted(bundle.of("audit_steps"), key=lambda step: (known(step, "position"), known(step, "id")))
    positions = [known(step, "position") for step in ordered]
    content = {
        "name": _plain(row, "name") or "",
        "description": _plain(row, "description"),
        "system_prompt": _plain(row, "system_prompt"),
        "compliant_from": COMPLIANT_FROM,
        "steps": [_step(step, place) for place, step in enumerate(ordered, 1)],
    }
    flags = {
        "is_active": flag(row, "is_active", default=True),
        "run_automatically": flag(row, "run_automatically", default=False),
        "created_by": text(row, "created_by"),
        **stamps(row),
    }
    renumbered = positions != list(range(1, len(positions) + 1))
    return OldConfig(
        _checked(Rules.model_validate, content),
        flags,
        tuple(known(step, "id") for step in ordered),
        renumbered,
    )


def _step(row: Row, position: int) -> dict[str, Any]:
    weight = whole(row, "weight")
    return {
        "position": position,
        "name": _plain(row, "name") or "",
        "description": _plain(row, "description"),
        "prompt": _plain(row, "prompt") or "",
        "severity": choice(row, "severity_level", SEVERITIES, default="MEDIUM"),
        "is_critical": flag(row, "is_critical", default=False),
        "chronological_important": flag(row, "chronological_important", default=False),
        "weight": 5 if weight is None else weight,
        "verify_product_info": flag(row, "verify_product_info", default=False),
        "keywords": [each.translate(_CONTROLS) for each in texts(row, "keywords")],
        "control_points": [each.translate(_CONTROLS) for each in texts(row, "control_points")],
    }


def _plain(row: Row, name: str) -> str | None:
    """Text without characters that nobody sees."""
    value = text(row, name)
    return None if value is None else value.translate(_CONTROLS)


def _checked(build: Callable[[Any], Rules], content: Any) -> Rules:
    """The rules; what is out of bounds is named by its path, not by its value."""
    try:
        return build(content)
    except ValidationError as error:
        paths = dict.fromkeys(".".join(map(str, each["loc"])) for each in error.errors(include_input=False))
        raise BadRow(f"out of the bounds of a configuration: {', '.join(list(paths)[:5])}") from None


# What an audit was judged by


@dataclass(frozen=True, slots=True)
class Judged:
    """A step as an audit shows that it was."""

    position: int
    name: str
    severity: str
    is_critical: bool
    weight: int
    points: Mapping[int, str]
    """Texts by number, from 1."""


def rules_of(today: Rules, judged: Sequence[Judged], *, complete: bool) -> Rules:
    """The rules that an audit was judged by, as far as it shows them.

    The original kept no copy of them: where the configuration still says what the audit shows, that is it; else the
    steps are put together out of the audit, and what it does not show is taken from the step of the same name.

    Args:
        today: the configuration as it is.
        judged: the steps that the audit has results of.
        complete: whether those are all steps there were.
    """
    if _agree(today, judged, complete=complete):
        return today
    by_name = {step.name: step for step in today.steps}
    steps = [_rebuilt(each, by_name.get(each.name)) for each in judged]
    content = today.model_dump(mode="json") | {"steps": steps}
    return _checked(Rules.model_validate, content)


def _agree(today: Rules, judged: Sequence[Judged], *, complete: bool) -> bool:
    steps = {step.position: step for step in today.steps}
    if complete and len(steps) != len(judged):
        return False
    return all(each.position in steps and _same(steps[each.position], each) for each in judged)


def _same(step: StepRule, judged: Judged) -> bool:
    shown = (judged.name, judged.severity, judged.is_critical, judged.weight)
    return shown == (step.name, step.severity, step.is_critical, step.weight) and all(
        _point_at(step, number, said) is not None for number, said in judged.points.items()
    )


def _point_at(step: StepRule | None, number: int, said: str) -> ControlPoint | None:
    """The control point of that number, if it says what the audit says; the model repeated it more or less."""
    if step is None or not 1 <= number <= len(step.control_points):
        return None
    point = step.control_points[number - 1]
    same = fuzz.ratio(normalise(point.text), normalise(said)) >= ALIKE
    return point if same or not said.strip() else None


def _rebuilt(judged: Judged, step: StepRule | None) -> dict[str, Any]:
    content = step.model_dump(mode="json") if step is not None else {"prompt": ""}
    return content | {
        "position": judged.position,
        "name": judged.name.translate(_CONTROLS),
        "severity": judged.severity,
        "is_critical": judged.is_critical,
        "weight": judged.weight,
        "control_points": [
            _point(judged, number, step) for number in range(1, max(judged.points, default=0) + 1)
        ],
    }


def _point(judged: Judged, number: int, step: StepRule | None) -> Any:
    said = judged.points.get(number, "")
    point = _point_at(step, number, said)
    return said.translate(_CONTROLS)[:LONGEST_POINT] if point is None else point.model_dump(mode="json")
