"""Configurations as people keep them: create, edit, bring in, take out. Revisions are never touched from here."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, text
from sqlalchemy.exc import IntegrityError

from conforme.audit_configs import queries
from conforme.audit_configs.drafts import RESOURCE, config_columns, existing, rules_of, step_columns
from conforme.audit_configs.errors import InvalidConfiguration
from conforme.audit_configs.models import AuditConfig, AuditStep
from conforme.audit_configs.queries import Named, Session
from conforme.audit_configs.rules import MAX_STEPS, Rules, StepRule
from conforme.foundation.database import WriteSession
from conforme.foundation.errors import Conflict, Invalid, NotFound

STEP_RESOURCE = "Audit step"


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. `changed` is False when the draft already said the same."""

    id: int
    name: str
    created: bool
    changed: bool
    steps: int


def slug(name: str) -> str:
    """What identifies a configuration across files: its name without accents, case nor punctuation."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().casefold()
    return "-".join(re.findall(r"[a-z0-9]+", plain)) or name.strip().casefold()


async def import_rules(session: WriteSession, rules: Rules, *, created_by: str | None = None) -> Imported:
    """Creates the configuration, or makes these rules the draft of the one with the same slug.

    Raises:
        InvalidConfiguration: the rules could not run.
        Conflict: several configurations have that name.
    """
    if problems := rules.problems():
        raise InvalidConfiguration(problems)
    await one_importer(session)
    namesake = _only(await _named(session, rules.name), rules.name)
    if namesake is None:
        config = await create(session, rules, created_by=created_by)
        return Imported(config.id, rules.name, created=True, changed=True, steps=len(rules.steps))
    changed = await replace(session, namesake.id, rules)
    return Imported(namesake.id, rules.name, created=False, changed=changed, steps=len(rules.steps))


async def find(session: Session, id_or_name: str) -> int:
    """The id of the configuration that a person names by its id, its name or its slug.

    Raises:
        NotFound: none is called so.
        Conflict: several are.
    """
    known = await queries.names(session)
    by_id = [config.id for config in known if str(config.id) == id_or_name.strip()]
    if by_id:
        return by_id[0]
    found = _only([config for config in known if slug(config.name) == slug(id_or_name)], id_or_name)
    if found is None:
        raise NotFound.of(RESOURCE, id_or_name[:100])
    return found.id


async def draft(session: Session, config_id: int) -> Rules:
    """What the configuration says now, whether or not it can run.

    Raises:
        NotFound: there is no such configuration.
    """
    return rules_of(await existing(session, config_id))


async def create(
    session: WriteSession,
    rules: Rules,
    *,
    created_by: str | None = None,
    is_active: bool = True,
    run_automatically: bool = False,
) -> AuditConfig:
    """A new draft with its steps, which may still be incomplete."""
    flags = {"is_active": is_active, "run_automatically": run_automatically, "created_by": created_by}
    config = AuditConfig(**config_columns(rules), **flags)
    session.add(config)
    await session.flush()
    await _insert_steps(session, config.id, rules.steps)
    return config


async def replace(session: WriteSession, config_id: int, rules: Rules) -> bool:
    """Makes these rules the draft; False when it already said the same.

    Raises:
        NotFound: there is no such configuration.
    """
    config = await _editable(session, config_id)
    if rules_of(config) == rules:
        return False
    await session.execute(delete(AuditStep).where(AuditStep.audit_config_id == config_id))
    for name, value in config_columns(rules).items():
        setattr(config, name, value)
    await _insert_steps(session, config_id, rules.steps)
    await _touch(session, config)
    return True


async def update(session: WriteSession, config_id: int, changes: dict[str, Any]) -> AuditConfig:
    """Sets columns of the draft; None clears a text.

    Raises:
        NotFound: there is no such configuration.
        InvalidConfiguration: the outcome is out of bounds.
    """
    config = await _editable(session, config_id)
    for name, value in changes.items():
        setattr(config, name, value)
    rules_of(config)
    await _touch(session, config)
    return config


async def remove(session: WriteSession, config_id: int) -> None:
    """Deletes a configuration that was never run.

    Raises:
        NotFound: there is no such configuration.
        Conflict: audits were judged by it.
    """
    await _editable(session, config_id)
    used = Conflict(f"Audit config '{config_id}' is used by audits; deactivate it instead of deleting it")
    if await queries.latest_revision(session, config_id) is not None:
        raise used
    try:
        await session.execute(delete(AuditConfig).where(AuditConfig.id == config_id))
    except IntegrityError:
        raise used from None


async def add_step(session: WriteSession, config_id: int, step: StepRule) -> AuditStep:
    """A new step of the draft.

    Raises:
        NotFound: there is no such configuration.
        Invalid: its position is taken, or there are too many steps.
    """
    config = await _editable(session, config_id)
    if len(config.steps) >= MAX_STEPS:
        raise Invalid(f"An audit config holds at most {MAX_STEPS} steps", field="steps")
    _check_free(config, step.position)
    row = AuditStep(audit_config_id=config_id, **step_columns(step))
    session.add(row)
    await _touch(session, config)
    return row


async def update_step(session: WriteSession, step_id: int, changes: dict[str, Any]) -> AuditStep:
    """Sets columns of a step; None clears a text.

    Raises:
        NotFound: there is no such step.
        Invalid: the new position is taken.
    """
    step = await _existing_step(session, step_id)
    config = await _editable(session, step.audit_config_id)
    if changes.get("position", step.position) != step.position:
        _check_free(config, changes["position"])
    for name, value in changes.items():
        setattr(step, name, value)
    rules_of(config)
    await _touch(session, config)
    return step


async def remove_step(session: WriteSession, step_id: int) -> None:
    """Deletes a step; those behind it move up, so that positions stay 1 to n.

    Raises:
        NotFound: there is no such step.
    """
    step = await _existing_step(session, step_id)
    config = await _editable(session, step.audit_config_id)
    await session.execute(delete(AuditStep).where(AuditStep.id == step_id))
    close_up = (
        "UPDATE audit_steps SET position = position - 1 WHERE audit_config_id = :config AND position > :gap"
    )
    await session.execute(text(close_up), {"config": config.id, "gap": step.position})
    await _touch(session, config)


async def reorder(session: WriteSession, config_id: int, step_ids: Sequence[int]) -> None:
    """Gives the steps the positions 1 to n in the order of `step_ids`, in one statement.

    Raises:
        NotFound: there is no such configuration.
        Invalid: not exactly the steps of the configuration, each once.
    """
    config = await _editable(session, config_id)
    known = {step.id for step in config.steps}
    strangers = [str(step_id) for step_id in step_ids if step_id not in known]
    if strangers:
        raise Invalid(f"Invalid step IDs: {', '.join(strangers[:20])}", field="stepIds")
    if sorted(step_ids) != sorted(known):
        raise Invalid("Step IDs count doesn't match existing steps count", field="stepIds")
    order = """
        UPDATE audit_steps SET position = wanted.position
        FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS wanted (id, position)
        WHERE audit_steps.id = wanted.id
    """
    await session.execute(text(order), {"ids": list(step_ids)})
    await _touch(session, config)


async def _editable(session: WriteSession, config_id: int) -> AuditConfig:
    """The draft, held until the transaction ends: edits of one configuration follow one another."""
    config = await queries.locked_config(session, config_id)
    if config is None:
        raise NotFound.of(RESOURCE, config_id)
    return config


async def _existing_step(session: WriteSession, step_id: int) -> AuditStep:
    step = await queries.step(session, step_id)
    if step is None:
        raise NotFound.of(STEP_RESOURCE, step_id)
    return step


async def _insert_steps(session: WriteSession, config_id: int, steps: Sequence[StepRule]) -> None:
    if steps:
        rows = [step_columns(step) | {"audit_config_id": config_id} for step in steps]
        await session.execute(insert(AuditStep), rows)


async def _touch(session: WriteSession, config: AuditConfig) -> None:
    """A change of a step is a change of its configuration."""
    config.updated_at = func.now()
    await session.flush()


async def one_importer(session: WriteSession) -> None:
    """Two imports of a new name must not both create it: names are not unique, old data may repeat them."""
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtext('audit_configs.import'))"))


async def _named(session: Session, name: str) -> list[Named]:
    return [config for config in await queries.names(session) if slug(config.name) == slug(name)]


def _only(found: Sequence[Named], name: str) -> Named | None:
    if len(found) > 1:
        ids = ", ".join(str(config.id) for config in found[:20])
        raise Conflict(f"Several audit configs are called '{name[:100]}': {ids}")
    return found[0] if found else None


def _check_free(config: AuditConfig, position: int) -> None:
    taken = {step.position for step in config.steps}
    if position in taken:
        raise Invalid(
            f"Position {position} is already taken. Available positions: {max(taken) + 1}", field="position"
        )
