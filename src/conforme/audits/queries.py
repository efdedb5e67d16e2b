"""Every SELECT on audits. Each takes the actor: what they may not see is not there."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    bindparam,
    exists,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.orm import defer

from conforme.accounts.actor import Actor, Scope
from conforme.audit_configs.models import AuditConfig, AuditConfigRevision
from conforme.audits.models import (
    OPEN,
    AuditRow,
    CitationRow,
    ControlPointRow,
    DroppedCitationRow,
    RerunRow,
    StepResultRow,
    TranscriptSnapshot,
)
from conforme.audits.origin import Told
from conforme.audits.trails import Trails
from conforme.fiches.models import FicheCache, information
from conforme.fiches.scope import visible_fiche_cache
from conforme.foundation.database import Connection, ReadSession, Writer, WriteSession
from conforme.foundation.web import INT64_MAX
from conforme.recordings.models import Recording

Session = ReadSession | WriteSession
_NUMBER = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)

# The statements of every step of every audit are put together once.
_HOLD = select(AuditRow.id).where(AuditRow.id == bindparam("audit_id")).with_for_update(key_share=True)
_IS_STEP = StepResultRow.step_position == bindparam("position")
_TO_ANALYSE = select(
    AuditRow.id,
    AuditRow.tracking_id,
    AuditRow.fiche_id,
    AuditRow.config_revision_id,
    AuditRow.transcript_snapshot_id,
    AuditRow.model,
    AuditRow.use_rlm,
    exists().where(StepResultRow.audit_id == AuditRow.id, _IS_STEP, StepResultRow.traite),
).where(AuditRow.id == bindparam("audit_id"))
_STANDING = select(
    func.bool_or(StepResultRow.traite).filter(_IS_STEP),
    func.count().filter(StepResultRow.traite, ~_IS_STEP),
    func.count().filter(~StepResultRow.traite, ~_IS_STEP),
    func.max(StepResultRow.given_up_by).filter(_IS_STEP),
).where(StepResultRow.audit_id == bindparam("audit_id"))


@dataclass(frozen=True)
class Found:
    """An audit with what its wire shape shows beside it."""

    audit: AuditRow
    config: AuditConfig
    fiche: FicheCache | None


def in_scope(actor: Actor) -> ColumnElement[bool]:
    """Audits of fiches the actor may see; one whose fiche is not known yet is seen by scope ALL alone."""
    return true() if actor.scope is Scope.ALL else visible_fiche_cache(actor, AuditRow.fiche_cache_id)


def _base(actor: Actor) -> Select[AuditRow, AuditConfig, FicheCache]:
    return _found().where(in_scope(actor))


def _found() -> Select[AuditRow, AuditConfig, FicheCache]:
    """Audits with what is shown beside them; whoever uses it has applied the scope."""
    return (
        select(AuditRow, AuditConfig, FicheCache)
        .join(AuditConfig, AuditConfig.id == AuditRow.audit_config_id)
        .outerjoin(FicheCache, FicheCache.id == AuditRow.fiche_cache_id)
        .options(defer(FicheCache.raw_data), defer(AuditConfig.system_prompt))
    )


async def one(session: Session, actor: Actor, audit_id: int) -> Found | None:
    row = (await session.execute(_base(actor).where(AuditRow.id == audit_id))).first()
    return Found(*row) if row else None


async def locked(session: WriteSession, audit_id: int) -> AuditRow | None:
    """The row itself as it is now, whatever this session read before; held until the transaction ends."""
    held = select(AuditRow).where(AuditRow.id == audit_id).with_for_update(of=AuditRow)
    return await session.scalar(held.execution_options(populate_existing=True))


async def hold(session: Writer, audit_id: int) -> bool:
    """Holds an audit until the transaction ends; whether it is there. Rows that refer to it may still be written."""
    return await session.scalar(_HOLD, {"audit_id": audit_id}) is not None


@dataclass(frozen=True, slots=True)
class AuditInWork:
    """What the analysis of a step needs of its audit."""

    id: int
    tracking_id: str
    fiche_id: str
    config_revision_id: int
    transcript_snapshot_id: int | None
    model: str | None
    use_rlm: bool
    analysed: bool
    """Whether the step is analysed already."""


async def to_analyse(connection: Connection, audit_id: int, position: int) -> AuditInWork | None:
    """The audit whose step is to be analysed; None when that is done."""
    row = (await connection.execute(_TO_ANALYSE, {"audit_id": audit_id, "position": position})).one()
    audit = AuditInWork(*row)
    return None if audit.analysed else audit


async def row(session: Session, audit_id: int) -> AuditRow:
    return (await session.scalars(select(AuditRow).where(AuditRow.id == audit_id))).one()


async def recent_same(
    session: WriteSession, actor: Actor, fiche_id: str, config_id: int, *, since: datetime, use_rlm: bool
) -> AuditRow | None:
    """The audit that the same caller asked for a moment ago and that has not failed."""
    return await session.scalar(
        select(AuditRow)
        .where(
            AuditRow.fiche_id == fiche_id,
            AuditRow.audit_config_id == config_id,
            AuditRow.requested_by == actor.name,
            AuditRow.use_rlm.is_(use_rlm),
            AuditRow.created_at >= since,
            AuditRow.status != "failed",
            AuditRow.deleted_at.is_(None),
        )
        .order_by(AuditRow.id.desc())
        .limit(1)
    )


async def visible_audit_ids(session: Session, actor: Actor, identifiers: Sequence[str]) -> set[str]:
    """Those of these ids, tracking ids or database ids, that name an audit in scope."""
    numbers = [int(each) for each in identifiers if _NUMBER.fullmatch(each) and int(each) <= INT64_MAX]
    named = or_(AuditRow.id.in_(numbers), AuditRow.tracking_id.in_(list(identifiers)))
    rows = await session.execute(select(AuditRow.id, AuditRow.tracking_id).where(named, in_scope(actor)))
    return {name for number, tracking_id in rows for name in (str(number), tracking_id)}


def known_fiche(fiche_id: str) -> ScalarSelect[int]:
    """The cache id of a fiche that the CRM has told of: whoever may see it sees its audits from their first moment."""
    told = or_(FicheCache.listed_at.is_not(None), FicheCache.details_fetched_at.is_not(None))
    return select(FicheCache.id).where(FicheCache.fiche_id == fiche_id, told).scalar_subquery()


async def last_version(session: WriteSession, fiche_id: str, config_id: int) -> int:
    query = select(func.max(AuditRow.version)).where(
        AuditRow.fiche_id == fiche_id, AuditRow.audit_config_id == config_id
    )
    return await session.scalar(query) or 0


async def tracking_id_taken(session: WriteSession, tracking_id: str) -> bool:
    return bool(await session.scalar(select(exists().where(AuditRow.tracking_id == tracking_id))))


async def silent_since(
    session: ReadSession, age: timedelta, *, after: int, limit: int
) -> list[tuple[int, str]]:
    """Open audits untouched for `age` with their jobs, of ids above `after` the lowest: some may have lost theirs."""
    query = (
        select(AuditRow.id, AuditRow.job_id)
        .where(AuditRow.status.in_(OPEN), AuditRow.updated_at < func.now() - age, AuditRow.id > after)
        .order_by(AuditRow.id)
        .limit(limit)
    )
    return [(audit_id, job_id) for audit_id, job_id in await session.execute(query)]


@dataclass(frozen=True)
class Verdicts:
    """Everything stored about the steps of one audit."""

    steps: list[StepResultRow]
    points: list[ControlPointRow]
    citations: list[CitationRow]
    dropped: list[DroppedCitationRow]
    """Quotes that nobody was found to say; not evidence, kept for inspection."""
    trails: Trails = field(default_factory=dict[int, Any])


async def steps_of(session: Session, audit_id: int) -> list[StepResultRow]:
    query = (
        select(StepResultRow).where(StepResultRow.audit_id == audit_id).order_by(StepResultRow.step_position)
    )
    return list(await session.scalars(query))


async def has_step(session: Session, audit_id: int, position: int) -> bool:
    """Whether anything is stored of a step, be it that it could not be analysed."""
    here = exists().where(StepResultRow.audit_id == audit_id, StepResultRow.step_position == position)
    return bool(await session.scalar(select(here)))


async def step(session: Session, audit_id: int, position: int) -> StepResultRow:
    """A step that is stored; the caller has checked that the audit is in scope."""
    query = select(StepResultRow).where(
        StepResultRow.audit_id == audit_id, StepResultRow.step_position == position
    )
    return (await session.scalars(query.execution_options(populate_existing=True))).one()


async def point(
    session: Session, actor: Actor, audit_id: int, position: int, number: int
) -> ControlPointRow | None:
    query = (
        select(ControlPointRow)
        .join(AuditRow, AuditRow.id == ControlPointRow.audit_id)
        .where(
            in_scope(actor),
            AuditRow.deleted_at.is_(None),
            ControlPointRow.audit_id == audit_id,
            ControlPointRow.step_position == position,
            ControlPointRow.control_point_index == number,
        )
    )
    return await session.scalar(query)


async def rerun(session: Session, actor: Actor, audit_id: int, event_id: str) -> RerunRow | None:
    query = (
        select(RerunRow)
        .join(AuditRow, AuditRow.id == RerunRow.audit_id)
        .where(in_scope(actor), RerunRow.audit_id == audit_id, RerunRow.event_id == event_id)
    )
    return await session.scalar(query)


async def analysed_positions(session: Session, audit_id: int) -> set[int]:
    query = select(StepResultRow.step_position).where(
        StepResultRow.audit_id == audit_id, StepResultRow.traite
    )
    return set(await session.scalars(query))


@dataclass(frozen=True)
class Standing:
    """How one step stands, and the other steps of its audit."""

    analysed: bool | None
    """Whether it is analysed (False: it could not be); None when nothing is stored of it."""
    others_done: int
    others_failed: int
    given_up_by: str | None
    """The job that could not analyse it."""


async def standing(session: Writer, audit_id: int, position: int) -> Standing:
    row = (await session.execute(_STANDING, {"audit_id": audit_id, "position": position})).one()
    return Standing(*row)


async def step_counts(session: Session, audit_id: int) -> tuple[int, int]:
    """How many steps are analysed, and how many could not be."""
    done = func.count().filter(StepResultRow.traite)
    failed = func.count().filter(StepResultRow.traite.is_(False))
    row = (await session.execute(select(done, failed).where(StepResultRow.audit_id == audit_id))).one()
    return row[0], row[1]


async def statuts_by_step(session: Session, audit_id: int) -> dict[int, list[tuple[int, str]]]:
    """Position → (control point number, statut), of the steps that were analysed."""
    query = (
        select(ControlPointRow.step_position, ControlPointRow.control_point_index, ControlPointRow.statut)
        .where(ControlPointRow.audit_id == audit_id)
        .order_by(ControlPointRow.step_position, ControlPointRow.control_point_index)
    )
    found: dict[int, list[tuple[int, str]]] = {}
    for position, number, statut in await session.execute(query):
        found.setdefault(position, []).append((number, statut))
    return found


async def decided_by_step(session: Session, audit_id: int) -> dict[int, dict[str, Any]]:
    """Position → what a person concluded on the step as a whole."""
    query = select(StepResultRow.step_position, StepResultRow.decided).where(
        StepResultRow.audit_id == audit_id, StepResultRow.decided.is_not(None)
    )
    return {position: decided for position, decided in await session.execute(query) if decided}


async def snapshot(session: Session, snapshot_id: int) -> TranscriptSnapshot:
    return (
        await session.scalars(select(TranscriptSnapshot).where(TranscriptSnapshot.id == snapshot_id))
    ).one()


async def snapshot_sha256(session: Session, snapshot_id: int | None) -> str | None:
    return await session.scalar(select(TranscriptSnapshot.sha256).where(TranscriptSnapshot.id == snapshot_id))


async def revision_number(session: Session, revision_id: int) -> int:
    query = select(AuditConfigRevision.number).where(AuditConfigRevision.id == revision_id)
    return (await session.scalars(query)).one()


@dataclass(frozen=True, slots=True)
class LatestRow:
    """What is shown of an audit beside its fiche."""

    fiche_id: str
    id: int
    status: str
    overall_score: Decimal
    score_percentage: Decimal
    niveau: str
    is_compliant: bool
    completed_at: datetime | None
    config_id: int
    config_name: str


async def latest_of_fiches(session: Session, actor: Actor, fiche_ids: Sequence[str]) -> list[LatestRow]:
    """All latest, undeleted audits of these fiches, by fiche, newest first."""
    if not fiche_ids:
        return []
    shown_latest = (
        AuditRow.fiche_id.in_(fiche_ids),
        AuditRow.is_latest.is_(True),
        AuditRow.deleted_at.is_(None),
    )
    shown = (
        select(
            AuditRow.fiche_id,
            AuditRow.id,
            AuditRow.status,
            AuditRow.overall_score,
            AuditRow.score_percentage,
            AuditRow.niveau,
            AuditRow.is_compliant,
            AuditRow.completed_at,
            AuditConfig.id,
            AuditConfig.name,
        )
        .join(AuditConfig, AuditConfig.id == AuditRow.audit_config_id)
        .where(in_scope(actor), *shown_latest)
        .order_by(AuditRow.fiche_id, AuditRow.id.desc())
    )
    return [LatestRow(*row) for row in await session.execute(shown)]


async def call_times(session: Session, fiche_id: str) -> list[datetime | None]:
    """When the calls of a fiche that are known already took place; the caller has checked that it is in scope."""
    query = (
        select(Recording.start_time)
        .join(FicheCache, FicheCache.id == Recording.fiche_cache_id)
        .where(FicheCache.fiche_id == fiche_id)
    )
    return list(await session.scalars(query))


async def told_of_origin(session: Session, fiche_id: str) -> Told:
    """What the CRM says of where the calls of a fiche come from; the caller has checked that it is in scope."""
    directions = select(func.array_agg(Recording.direction)).where(Recording.fiche_cache_id == FicheCache.id)
    query = (
        select(information.c.provenance_nom, information.c.origine_nom, directions.scalar_subquery())
        .select_from(FicheCache)
        .outerjoin(information, information.c.fiche_cache_id == FicheCache.id)
        .where(FicheCache.fiche_id == fiche_id)
    )
    row = (await session.execute(query)).first()
    return Told() if row is None else Told((row[0], row[1]), tuple(row[2] or ()))
