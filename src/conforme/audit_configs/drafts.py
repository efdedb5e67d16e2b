"""Drafts and what they say: rows of tables one way, `Rules` the other."""

from typing import Any

from pydantic import ValidationError

from conforme.audit_configs import queries
from conforme.audit_configs.errors import InvalidConfiguration
from conforme.audit_configs.models import AuditConfig, AuditStep
from conforme.audit_configs.queries import Named, Session
from conforme.audit_configs.rules import ControlPoint, Rules, StepRule
from conforme.foundation.errors import Invalid, NotFound

RESOURCE = "Audit config"


async def require_runnable(session: Session, config_id: int) -> Rules:
    """What the draft says, once nothing stands in the way of a run: asked before anything is paid.

    Raises:
        NotFound: there is no such configuration.
        Invalid: it is inactive, or something in it makes a run impossible (each named).
    """
    config = await existing(session, config_id)
    if not config.is_active:
        raise Invalid(f"Audit config '{config_id}' is inactive", field="audit_config_id")
    return _complete(config)


async def require_complete(session: Session, config_id: int) -> Rules:
    """What the draft says, active or not, once nothing in it makes a run impossible.

    Raises:
        NotFound: there is no such configuration.
        InvalidConfiguration: something in it makes a run impossible (each named).
    """
    return _complete(await existing(session, config_id))


async def existing(session: Session, config_id: int) -> AuditConfig:
    """The draft's rows, steps by position.

    Raises:
        NotFound: there is no such configuration.
    """
    config = await queries.config_with_steps(session, config_id)
    if config is None:
        raise NotFound.of(RESOURCE, config_id)
    return config


def _complete(config: AuditConfig) -> Rules:
    rules = rules_of(config)
    if problems := rules.problems():
        raise InvalidConfiguration(problems, f"Audit config '{config.id}' cannot run")
    return rules


async def latest_active(session: Session) -> Named:
    """The active configuration that was created last.

    Raises:
        NotFound: none is active.
    """
    newest = await queries.newest_active(session)
    if newest is None:
        raise NotFound("No active audit configuration found")
    return newest


def rules_of(config: AuditConfig) -> Rules:
    """The content of a draft whose steps are loaded.

    Raises:
        InvalidConfiguration: a stored value is outside the bounds that `Rules` sets.
    """
    content = {name: getattr(config, name) for name in _CONFIG_FIELDS}
    try:
        return Rules.model_validate(content | {"steps": [_step_content(step) for step in config.steps]})
    except ValidationError as error:
        raise InvalidConfiguration.of(error, f"Audit config '{config.id}' cannot be read") from None


def config_columns(rules: Rules) -> dict[str, Any]:
    """What `audit_configs` holds of these rules."""
    return {name: getattr(rules, name) for name in _CONFIG_FIELDS}


def step_columns(step: StepRule) -> dict[str, Any]:
    """What `audit_steps` holds of this step."""
    columns = {name: getattr(step, name) for name in _STEP_FIELDS}
    points = point_columns(step.control_points)
    return columns | points | {"severity_level": step.severity, "keywords": list(step.keywords)}


def point_columns(points: tuple[ControlPoint, ...]) -> dict[str, Any]:
    """The plain texts, and beside them what each point says beyond its text."""
    return {
        "control_points": [point.text for point in points],
        "control_point_details": [point.details() for point in points],
    }


def points_of(step: AuditStep) -> list[dict[str, Any]]:
    pairs = zip(step.control_points, step.control_point_details, strict=True)
    return [{"text": text, **details} for text, details in pairs]


def _step_content(step: AuditStep) -> dict[str, Any]:
    content = {name: getattr(step, name) for name in _STEP_FIELDS}
    return content | {
        "severity": step.severity_level,
        "keywords": step.keywords,
        "control_points": points_of(step),
    }


_CONFIG_FIELDS = tuple(name for name in Rules.model_fields if name != "steps")
_STEP_FIELDS = tuple(
    name for name in StepRule.model_fields if name not in {"severity", "keywords", "control_points"}
)
