"""`/api/audit-configs`: read, check and edit configurations (spec/audits §2)."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from conforme.accounts.actor import Actor
from conforme.accounts.auth import may
from conforme.audit_configs import drafts, queries, service
from conforme.audit_configs.drafts import point_columns, rules_of
from conforme.audit_configs.models import AuditConfig
from conforme.audit_configs.ports import Usage, usage_reader
from conforme.audit_configs.schemas import (
    Answer,
    ConfigLine,
    ConfigOut,
    ConfigStats,
    ConfigWithStats,
    Counted,
    CreateConfig,
    CreateStep,
    Listing,
    Reference,
    Said,
    StepOut,
    UpdateConfig,
    UpdateStep,
    Validation,
)
from conforme.foundation.database import ReadSession
from conforme.foundation.errors import Invalid
from conforme.foundation.web import ERRORS, ResourcesDep, path_id

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

Reader = Annotated[Actor, may("audit-configs.read")]
Writer = Annotated[Actor, may("audit-configs.read", "audit-configs.write")]
CONFIG_LABEL = "audit config id"
STEP_LABEL = "audit step id"


class _OneSentenceRoute(APIRoute):
    """Answers malformed input with the endpoint's own sentence: what it describes its 400 with."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        sentence = str(self.responses.get(400, {}).get("description"))

        async def handle_in_words(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                location = error.errors()[0]["loc"][1:]
                raise Invalid(sentence, field=".".join(map(str, location)) or None) from None

        return handle_in_words


router = APIRouter(
    prefix="/api/audit-configs", tags=["audit configs"], responses=ERRORS, route_class=_OneSentenceRoute
)


def _invalid(sentence: str) -> dict[int | str, dict[str, Any]]:
    return {400: ERRORS[400] | {"description": sentence}}


@router.get("")
async def listing(
    resources: ResourcesDep,
    actor: Reader,
    include_inactive: str = "",
    include_steps: str = "",
    include_stats: str = "",
) -> Listing[ConfigLine | ConfigOut | ConfigStats]:
    """Configurations, newest first; with their steps, or how each was used instead, for `true`."""
    inactive = include_inactive == "true"
    async with resources.database.read() as session:
        if include_stats == "true":
            used = await _all_stats(session, actor)
            return Listing(data=[*used], count=len(used))
        if include_steps == "true":
            full = await queries.all_configs(session, include_inactive=inactive)
            return Listing(data=[ConfigOut.model_validate(config) for config in full], count=len(full))
        listed = await queries.listed_configs(session, include_inactive=inactive)
    return Listing(data=[_line(each) for each in listed], count=len(listed))


@router.post("", status_code=201, responses=_invalid("Invalid create audit config input"))
async def create(resources: ResourcesDep, actor: Writer, body: CreateConfig) -> Answer[Reference]:
    """Creates a configuration with its steps, in one transaction."""
    _check_steps(body.steps)
    async with resources.database.write() as session:
        config = await service.create(
            session,
            body.rules(),
            created_by=actor.name,
            is_active=body.is_active,
            run_automatically=body.run_automatically,
        )
    return Answer(data=Reference.model_validate(config))


@router.get("/{config_id}")
async def one(
    resources: ResourcesDep, actor: Reader, config_id: str, include_stats: str = ""
) -> Answer[ConfigWithStats | ConfigOut]:
    """One configuration with its steps, and how it was used when `include_stats` is `true`."""
    async with resources.database.read() as session:
        config = await drafts.existing(session, path_id(config_id, CONFIG_LABEL))
        usage = await usage_reader()(session, actor, [config.id]) if include_stats == "true" else None
    shown = ConfigOut.model_validate(config)
    if usage is None:
        return Answer(data=shown)
    return Answer(data=ConfigWithStats(**shown.model_dump(), stats=_stats(config, usage)))


@router.get("/{config_id}/stats")
async def stats(resources: ResourcesDep, actor: Reader, config_id: str) -> Answer[ConfigStats]:
    """How a configuration was used, over the audits in scope."""
    async with resources.database.read() as session:
        config = await drafts.existing(session, path_id(config_id, CONFIG_LABEL))
        usage = await usage_reader()(session, actor, [config.id])
    return Answer(data=_stats(config, usage))


@router.put("/{config_id}", responses=_invalid("Invalid update audit config input"))
async def update(
    resources: ResourcesDep, _actor: Writer, config_id: str, body: UpdateConfig
) -> Answer[Counted]:
    """Changes what the body names; null clears a text."""
    async with resources.database.write() as session:
        config = await service.update(session, path_id(config_id, CONFIG_LABEL), body.changes())
    return Answer(data=Counted(id=config.id, name=config.name, steps_count=len(config.steps)))


@router.delete("/{config_id}")
async def delete(resources: ResourcesDep, _actor: Writer, config_id: str) -> Said:
    """Deletes a configuration that was never run; one that was is a conflict."""
    async with resources.database.write() as session:
        await service.remove(session, path_id(config_id, CONFIG_LABEL))
    return Said(message="Audit config deleted")


@router.get("/{config_id}/validate")
async def validate(resources: ResourcesDep, _actor: Reader, config_id: str) -> Answer[Validation]:
    """Whether a run could start, and everything that stands in its way."""
    async with resources.database.read() as session:
        config = await queries.config_with_steps(session, path_id(config_id, CONFIG_LABEL))
    errors = ["Audit config not found"] if config is None else _obstacles(config)
    return Answer(data=Validation(valid=not errors, errors=errors))


@router.post("/{config_id}/steps", status_code=201, responses=_invalid("Invalid create audit step input"))
async def add_step(
    resources: ResourcesDep, _actor: Writer, config_id: str, body: CreateStep
) -> Answer[Reference]:
    """Adds a step at a free position."""
    async with resources.database.write() as session:
        step = await service.add_step(session, path_id(config_id, CONFIG_LABEL), body.rule())
    return Answer(data=Reference.model_validate(step))


@router.put("/{config_id}/steps/reorder")
async def reorder(
    resources: ResourcesDep, _actor: Writer, config_id: str, body: Annotated[Any, Body()] = None
) -> Said:
    """Numbers the steps 1 to n in the order of `stepIds`, all at once."""
    step_ids = _step_ids(body)
    async with resources.database.write() as session:
        await service.reorder(session, path_id(config_id, CONFIG_LABEL), step_ids)
    return Said(message="Steps reordered successfully")


@router.put("/steps/{step_id}", responses=_invalid("Invalid update audit step input"))
async def update_step(
    resources: ResourcesDep, _actor: Writer, step_id: str, body: UpdateStep
) -> Answer[StepOut]:
    """Changes what the body names; null clears a text."""
    async with resources.database.write() as session:
        step = await service.update_step(session, path_id(step_id, STEP_LABEL), _step_columns(body))
    return Answer(data=StepOut.model_validate(step))


@router.delete("/steps/{step_id}")
async def delete_step(resources: ResourcesDep, _actor: Writer, step_id: str) -> Said:
    """Deletes a step; those behind it move up."""
    async with resources.database.write() as session:
        await service.remove_step(session, path_id(step_id, STEP_LABEL))
    return Said(message="Step deleted")


async def _all_stats(session: ReadSession, actor: Actor) -> list[ConfigStats]:
    """Of every configuration, inactive ones too, newest first."""
    configs = await queries.listed_configs(session, include_inactive=True)
    usage = await usage_reader()(session, actor, [])
    return [_stats(each.config, usage) for each in configs]


def _stats(config: AuditConfig, usage: Mapping[int, Usage]) -> ConfigStats:
    used = usage.get(config.id, Usage())
    return ConfigStats(
        id=config.id,
        name=config.name,
        total_audits=used.total,
        completed_audits=used.completed,
        failed_audits=used.failed,
        average_score=_float(used.average_score),
        average_duration_ms=_float(used.average_duration_ms),
        last_used_at=used.last_used_at,
        compliance_rate=100 * used.compliant / used.completed if used.completed else 0.0,
    )


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _line(listed: queries.Listed) -> ConfigLine:
    return ConfigLine.model_validate(listed.config).model_copy(update={"steps_count": listed.steps_count})


def _obstacles(config: AuditConfig) -> list[str]:
    inactive = [] if config.is_active else ["Audit config is not active"]
    return inactive + rules_of(config).problems()


def _step_columns(body: UpdateStep) -> dict[str, Any]:
    columns = body.changes()
    if "keywords" in columns:
        columns["keywords"] = list(body.keywords)
    return columns | point_columns(body.control_points) if "control_points" in columns else columns


def _check_steps(steps: Sequence[CreateStep]) -> None:
    if blank := sum(step.blank for step in steps):
        raise Invalid(f"Validation failed for {blank} step(s)", field="steps")
    if len({step.position for step in steps}) < len(steps):
        raise Invalid("Step positions must be unique", field="steps")


def _step_ids(body: Any) -> list[int]:
    given = body.get("stepIds") if isinstance(body, dict) else None
    if not isinstance(given, list):
        raise Invalid("stepIds must be an array", field="stepIds")
    try:
        return [path_id(str(step_id), "step id") for step_id in given]
    except Invalid:
        strange = ", ".join(str(step_id)[:20] for step_id in given[:20])
        raise Invalid(f"Invalid step IDs: {strange}", field="stepIds") from None
