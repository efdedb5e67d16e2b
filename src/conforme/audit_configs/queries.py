"""Every SELECT on configurations. They belong to the house, not to a fiche: no scope applies (spec/http-auth §3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import defer, selectinload

from conforme.audit_configs.models import AuditConfig, AuditConfigRevision, AuditStep
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.web import Page

Session = ReadSession | WriteSession


@dataclass(frozen=True, slots=True)
class Named:
    """A configuration by its id and name."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A configuration, without its steps, and how many it has."""

    config: AuditConfig
    steps_count: int
    revisions_count: int


async def config_with_steps(session: Session, config_id: int) -> AuditConfig | None:
    """The draft, its steps by position. Reads afresh even what the session already holds."""
    query = select(AuditConfig).where(AuditConfig.id == config_id).options(selectinload(AuditConfig.steps))
    return await session.scalar(query.execution_options(populate_existing=True))


async def locked_config(session: WriteSession, config_id: int) -> AuditConfig | None:
    """The draft, held against every other editor until the transaction ends; readers and new audits pass."""
    held = select(AuditConfig.id).where(AuditConfig.id == config_id).with_for_update(key_share=True)
    if await session.scalar(held) is None:
        return None
    return await config_with_steps(session, config_id)


async def step(session: Session, step_id: int) -> AuditStep | None:
    return await session.scalar(select(AuditStep).where(AuditStep.id == step_id))


async def all_configs(session: Session, *, include_inactive: bool) -> Sequence[AuditConfig]:
    """Newest first, with their steps."""
    query = select(AuditConfig).options(selectinload(AuditConfig.steps)).order_by(*_NEWEST_FIRST)
    return (await session.scalars(query if include_inactive else query.where(AuditConfig.is_active))).all()


async def listed_configs(session: Session, *, include_inactive: bool) -> list[Listed]:
    """Newest first, without their steps."""
    steps = select(func.count()).where(AuditStep.audit_config_id == AuditConfig.id).scalar_subquery()
    revisions = (
        select(func.count()).where(AuditConfigRevision.audit_config_id == AuditConfig.id).scalar_subquery()
    )
    query = select(AuditConfig, steps, revisions).order_by(*_NEWEST_FIRST)
    rows = await session.execute(query if include_inactive else query.where(AuditConfig.is_active))
    return [Listed(config, steps_count, revisions_count) for config, steps_count, revisions_count in rows]


async def names(session: Session) -> list[Named]:
    """Every configuration, oldest first."""
    rows = await session.execute(select(AuditConfig.id, AuditConfig.name).order_by(AuditConfig.id))
    return [Named(config_id, name) for config_id, name in rows]


async def automatic_ids(session: Session) -> Sequence[int]:
    """The active configurations that run by themselves, oldest first."""
    query = select(AuditConfig.id).where(AuditConfig.is_active, AuditConfig.run_automatically)
    return (await session.scalars(query.order_by(AuditConfig.id))).all()


async def newest_active(session: Session) -> Named | None:
    query = (
        select(AuditConfig.id, AuditConfig.name)
        .where(AuditConfig.is_active)
        .order_by(*_NEWEST_FIRST)
        .limit(1)
    )
    row = (await session.execute(query)).first()
    return Named(*row) if row else None


# A revision is read without its content, which is large and, mostly, known by its digest.
_REVISION = select(AuditConfigRevision).options(defer(AuditConfigRevision.content, raiseload=True))


async def latest_revision(session: Session, config_id: int) -> AuditConfigRevision | None:
    query = _REVISION.where(AuditConfigRevision.audit_config_id == config_id)
    return await session.scalar(query.order_by(AuditConfigRevision.number.desc()).limit(1))


async def revision(session: Session, revision_id: int) -> AuditConfigRevision | None:
    return await session.scalar(_REVISION.where(AuditConfigRevision.id == revision_id))


async def revision_numbered(session: Session, config_id: int, number: int) -> AuditConfigRevision | None:
    query = _REVISION.where(
        AuditConfigRevision.audit_config_id == config_id, AuditConfigRevision.number == number
    )
    return await session.scalar(query)


async def revisions_of(
    session: Session, config_id: int, page: Page
) -> tuple[Sequence[AuditConfigRevision], int]:
    """A page of a configuration's revisions, the latest first, and how many there are."""
    of = AuditConfigRevision.audit_config_id == config_id
    query = _REVISION.where(of).order_by(AuditConfigRevision.number.desc())
    rows = (await session.scalars(query.limit(page.limit).offset(page.offset))).all()
    total = await session.scalar(select(func.count()).where(of)) or 0
    return rows, total


async def revision_content(session: Session, revision_id: int) -> dict[str, Any]:
    query = select(AuditConfigRevision.content).where(AuditConfigRevision.id == revision_id)
    return (await session.scalars(query)).one()


_NEWEST_FIRST = (AuditConfig.created_at.desc(), AuditConfig.id.desc())
