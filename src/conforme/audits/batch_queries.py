"""Every read of batches: those the actor asked for, all with scope ALL."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, select, true, update

from conforme.accounts.actor import Actor, Scope
from conforme.audits.batch_models import CANCELLED, FAILED, AuditBatch, AuditBatchItem
from conforme.audits.models import OPEN, AuditRow
from conforme.fiches.models import FicheCache
from conforme.fiches.scope import visible
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.web import Page

Session = ReadSession | WriteSession


@dataclass(frozen=True, slots=True)
class ItemLine:
    """One fiche of a batch, and the audit that stands for it."""

    fiche_id: str
    audit_db_id: int | None
    audit_id: str | None
    status: str | None
    outcome: str | None
    error: str | None


def _asked_for(actor: Actor) -> ColumnElement[bool]:
    return true() if actor.scope is Scope.ALL else AuditBatch.requested_by == actor.name


async def one(session: Session, actor: Actor, batch_id: str) -> AuditBatch | None:
    return await session.scalar(select(AuditBatch).where(AuditBatch.batch_id == batch_id, _asked_for(actor)))


async def visible_batch_ids(session: Session, actor: Actor, batch_ids: Iterable[str]) -> set[str]:
    """Those of these batches that there are and that the actor asked for."""
    wanted = AuditBatch.batch_id.in_(list(batch_ids))
    return set(await session.scalars(select(AuditBatch.batch_id).where(wanted, _asked_for(actor))))


async def listed(session: Session, actor: Actor, page: Page) -> tuple[Sequence[AuditBatch], int]:
    """A page, newest first, and how many there are."""
    mine = _asked_for(actor)
    query = select(AuditBatch).where(mine).order_by(AuditBatch.created_at.desc(), AuditBatch.id.desc())
    rows = (await session.scalars(query.limit(page.limit).offset(page.offset))).all()
    return rows, await session.scalar(select(func.count()).select_from(AuditBatch).where(mine)) or 0


async def items(
    session: Session, actor: Actor, batch_pk: int, page: Page, *, outcome: str | None
) -> tuple[list[ItemLine], int]:
    """A page of a batch's items of which the actor may see the fiche, by fiche id; and how many there are."""
    wanted = [AuditBatchItem.batch_id == batch_pk]
    if outcome == "open":
        wanted.append(AuditBatchItem.outcome.is_(None))
    elif outcome is not None:
        wanted.append(AuditBatchItem.outcome == outcome)
    if actor.scope is not Scope.ALL:
        mine = exists().where(FicheCache.fiche_id == AuditBatchItem.fiche_id, visible(actor))
        wanted.append(mine)
    total = await session.scalar(select(func.count()).select_from(AuditBatchItem).where(*wanted)) or 0
    query = (
        select(
            AuditBatchItem.fiche_id,
            AuditBatchItem.audit_id,
            AuditRow.tracking_id,
            AuditRow.status,
            AuditBatchItem.outcome,
            AuditBatchItem.error,
        )
        .outerjoin(AuditRow, AuditRow.id == AuditBatchItem.audit_id)
        .where(*wanted)
        .order_by(AuditBatchItem.fiche_id)
        .limit(page.limit)
        .offset(page.offset)
    )
    return [ItemLine(*row) for row in await session.execute(query)], total


# What the batch's own work reads


async def by_id(session: Session, batch_pk: int) -> AuditBatch | None:
    return await session.get(AuditBatch, batch_pk)


async def held(session: WriteSession, batch_pk: int) -> AuditBatch:
    """The row as it is now, held until the transaction ends."""
    query = select(AuditBatch).where(AuditBatch.id == batch_pk).with_for_update()
    return (await session.scalars(query.execution_options(populate_existing=True))).one()


async def recent_same(
    session: Session, actor: Actor, fingerprint: str, *, since: datetime
) -> AuditBatch | None:
    """The batch that the same caller asked for a moment ago."""
    query = select(AuditBatch).where(
        AuditBatch.requested_by == actor.name,
        AuditBatch.fingerprint == fingerprint,
        AuditBatch.created_at >= since,
    )
    return await session.scalar(query.order_by(AuditBatch.id.desc()).limit(1))


async def id_taken(session: Session, batch_id: str) -> bool:
    return bool(await session.scalar(select(exists().where(AuditBatch.batch_id == batch_id))))


async def of_audit(session: WriteSession, audit_id: int) -> Sequence[AuditBatchItem]:
    return (await session.scalars(select(AuditBatchItem).where(AuditBatchItem.audit_id == audit_id))).all()


async def as_now(session: WriteSession, items: Sequence[AuditBatchItem]) -> Sequence[AuditBatchItem]:
    """These items of one batch, read again: under the batch's hold nobody else changes their outcome."""
    query = select(AuditBatchItem).where(
        AuditBatchItem.batch_id == items[0].batch_id,
        AuditBatchItem.fiche_id.in_([each.fiche_id for each in items]),
    )
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


async def to_queue(session: WriteSession, batch_pk: int, *, limit: int) -> Sequence[AuditBatchItem]:
    """Items that wait for an audit, or for theirs to go on."""
    query = (
        select(AuditBatchItem)
        .where(
            AuditBatchItem.batch_id == batch_pk,
            AuditBatchItem.outcome.is_(None),
            AuditBatchItem.queued.is_(False),
        )
        .order_by(AuditBatchItem.fiche_id)
        .limit(limit)
    )
    return (await session.scalars(query)).all()


async def in_work(session: WriteSession, batch_pk: int) -> list[tuple[int, str]]:
    """The audits of a batch that have not ended, with their jobs: those that cost something now first."""
    query = (
        select(AuditRow.id, AuditRow.job_id)
        .join(AuditBatchItem, AuditBatchItem.audit_id == AuditRow.id)
        .where(
            AuditBatchItem.batch_id == batch_pk,
            AuditBatchItem.outcome.is_(None),
            AuditRow.status.in_(OPEN),
        )
        .order_by(AuditRow.status.desc(), AuditRow.id)
    )
    return [(audit_id, job_id) for audit_id, job_id in await session.execute(query)]


async def reopen(session: WriteSession, batch_pk: int) -> None:
    """What failed or was stopped waits again."""
    again = update(AuditBatchItem).where(
        AuditBatchItem.batch_id == batch_pk, AuditBatchItem.outcome.in_((FAILED, CANCELLED))
    )
    await session.execute(again.values(outcome=None, queued=False, error=None))
