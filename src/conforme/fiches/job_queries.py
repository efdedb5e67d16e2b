"""Every read of fetches of ranges and of the sales of a range; both within what the actor may see."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    any_,
    false,
    func,
    or_,
    select,
    true,
    tuple_,
)

from conforme.accounts.actor import Actor, Scope
from conforme.fiches.coverage import Span
from conforme.fiches.models import NOT_FOUND, FicheCache, ProgressiveFetchAsker, ProgressiveFetchJob
from conforme.fiches.placing import Place
from conforme.fiches.ports import Session
from conforme.fiches.scope import visible
from conforme.foundation.arrays import texts
from conforme.foundation.database import WriteSession
from conforme.foundation.web import Page

PROCESSING, COMPLETE, FAILED = "processing", "complete", "failed"


def _asked_for(actor: Actor) -> ColumnElement[bool]:
    """A condition on `progressive_fetch_jobs`: those the actor asked for, all with scope ALL."""
    if actor.scope is Scope.ALL:
        return true()
    own = false() if actor.user_id is None else ProgressiveFetchAsker.user_id == actor.user_id
    mine = select(ProgressiveFetchAsker.job_id).where(or_(ProgressiveFetchAsker.name == actor.name, own))
    return ProgressiveFetchJob.id.in_(mine)


async def job(session: Session, actor: Actor, job_id: str) -> ProgressiveFetchJob | None:
    """One fetch; None when there is none that the actor asked for."""
    query = select(ProgressiveFetchJob).where(ProgressiveFetchJob.id == job_id, _asked_for(actor))
    return await session.scalar(query)


async def visible_job_ids(session: Session, actor: Actor, job_ids: Iterable[str]) -> set[str]:
    """Those of these fetches that there are and that the actor asked for."""
    query = select(ProgressiveFetchJob.id).where(ProgressiveFetchJob.id.in_(list(job_ids)), _asked_for(actor))
    return set(await session.scalars(query))


async def jobs(
    session: Session, actor: Actor, page: Page, *, status: str | None
) -> tuple[Sequence[tuple[ProgressiveFetchJob, int]], int]:
    """A page of fetches, newest first, each with the fiches in its range that the actor may see; and how many there are."""
    wanted = [_asked_for(actor)]
    wanted += [ProgressiveFetchJob.status == status] if status else []
    total = await session.scalar(select(func.count()).select_from(ProgressiveFetchJob).where(*wanted))
    query = (
        select(ProgressiveFetchJob, _fiches_seen(actor))
        .where(*wanted)
        .order_by(ProgressiveFetchJob.created_at.desc(), ProgressiveFetchJob.id.desc())
        .limit(page.limit)
        .offset(page.offset)
    )
    return [(row[0], row[1]) for row in await session.execute(query)], total or 0


def _fiches_seen(actor: Actor) -> ColumnElement[int]:
    """The fiches of a job's range that the actor may see: of all of them the job keeps the count."""
    if actor.scope is Scope.ALL:
        return ProgressiveFetchJob.total_fiches.expression
    first = func.to_char(ProgressiveFetchJob.start_date, "YYYY-MM-DD")
    last = func.to_char(ProgressiveFetchJob.end_date, "YYYY-MM-DD")
    seen = select(func.count()).select_from(FicheCache)
    seen = seen.where(FicheCache.sales_date.between(first, last), not_denied(), visible(actor))
    return seen.correlate(ProgressiveFetchJob).scalar_subquery()


def not_denied() -> ColumnElement[bool]:
    """A condition on `fiche_cache`: the CRM's last word was not that there is no such fiche."""
    return or_(FicheCache.details_message.is_(None), FicheCache.details_message != NOT_FOUND)


def _sold_in(actor: Actor, span: Span) -> ColumnElement[bool]:
    days = FicheCache.sales_date.between(span.start.isoformat(), span.end.isoformat())
    return and_(days, not_denied(), visible(actor))


async def count_sold(session: Session, actor: Actor, span: Span) -> int:
    """How many fiches that the actor may see were sold in a range."""
    query = select(func.count()).select_from(FicheCache).where(_sold_in(actor, span))
    return await session.scalar(query) or 0


@dataclass(frozen=True, slots=True)
class FicheLine:
    """A fiche as a progress report shows it."""

    fiche_id: str
    groupe: str | None
    prospect_nom: str | None
    prospect_prenom: str | None
    recordings_count: int | None
    created_at: datetime


async def sold(session: Session, actor: Actor, span: Span, page: Page) -> list[FicheLine]:
    """A page of the fiches that were sold in a range and that the actor may see, newest row first."""
    columns = select(
        FicheCache.fiche_id,
        FicheCache.groupe,
        FicheCache.prospect_nom,
        FicheCache.prospect_prenom,
        FicheCache.recordings_count,
        FicheCache.created_at,
    )
    query = columns.where(_sold_in(actor, span)).order_by(FicheCache.id.desc())
    return [FicheLine(*row) for row in await session.execute(query.limit(page.limit).offset(page.offset))]


# What follows is for the work itself, which sees all there is.


async def held(session: WriteSession, job_id: str) -> ProgressiveFetchJob | None:
    """A fetch under way, held until the transaction ends: it changes one transaction after the other.

    Whoever only asks for its range does not wait for that.
    """
    held = await held_to_tell(session, job_id)
    return held if held is not None and held.status == PROCESSING else None


async def held_to_tell(session: WriteSession, job_id: str) -> ProgressiveFetchJob | None:
    """A fetch, under way or not, held until the transaction ends: nobody is told of it meanwhile."""
    query = select(ProgressiveFetchJob).where(ProgressiveFetchJob.id == job_id)
    # Rows that refer to it, as those who ask do, are written all the same.
    lasting = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    return await session.scalar(lasting)


def _of_range(span: Span) -> Select[ProgressiveFetchJob]:
    return select(ProgressiveFetchJob).where(
        ProgressiveFetchJob.start_date == span.start, ProgressiveFetchJob.end_date == span.end
    )


async def under_way(session: Session, span: Span, *, refresh: bool) -> ProgressiveFetchJob | None:
    """The fetch of exactly this range that is under way; one that refreshes when that is asked."""
    query = _of_range(span).where(ProgressiveFetchJob.status == PROCESSING)
    query = query.where(ProgressiveFetchJob.refresh) if refresh else query
    return await session.scalar(query.order_by(ProgressiveFetchJob.refresh.desc()).limit(1))


async def newest(session: Session, span: Span) -> ProgressiveFetchJob | None:
    """The newest fetch of exactly this range."""
    query = _of_range(span).order_by(ProgressiveFetchJob.created_at.desc(), ProgressiveFetchJob.id.desc())
    return await session.scalar(query.limit(1))


@dataclass(frozen=True, slots=True)
class Halted:
    """A fetch that should have got on, and how often its work was begun."""

    updated_at: datetime
    job_id: str
    attempt: int


async def halted(session: Session, before: datetime, limit: int, last: Halted | None = None) -> list[Halted]:
    """A page of the fetches that should have got on since `before`, the longest silent first; those behind `last`."""
    order = tuple_(ProgressiveFetchJob.updated_at, ProgressiveFetchJob.id)
    query = select(ProgressiveFetchJob.updated_at, ProgressiveFetchJob.id, ProgressiveFetchJob.attempt).where(
        ProgressiveFetchJob.status == PROCESSING, ProgressiveFetchJob.updated_at < before
    )
    query = query if last is None else query.where(order > tuple_(last.updated_at, last.job_id))
    rows = await session.execute(
        query.order_by(ProgressiveFetchJob.updated_at, ProgressiveFetchJob.id).limit(limit)
    )
    return [Halted(*row) for row in rows]


async def places(session: Session, fiche_ids: Sequence[str]) -> dict[str, Place]:
    """Where earlier searches have put these sales."""
    query = _places().where(FicheCache.fiche_id == any_(texts(fiche_ids)))
    return {row[0]: _place(row) for row in await session.execute(query)}


async def places_for(
    session: Session, searched: Span, day: date, fiche_ids: Sequence[str]
) -> dict[str, Place]:
    """Of these sales, and of those noted on `day` that may be of one outside `searched`."""
    beyond = and_(
        FicheCache.sales_date == day.isoformat(),
        or_(FicheCache.sold_from < searched.start, FicheCache.sold_to > searched.end),
    )
    query = _places().where(or_(FicheCache.fiche_id == any_(texts(fiche_ids)), beyond))
    return {row[0]: _place(row) for row in await session.execute(query)}


def _places() -> Select[str, str | None, date | None, date | None]:
    columns = select(FicheCache.fiche_id, FicheCache.sales_date, FicheCache.sold_from, FicheCache.sold_to)
    return columns.where(
        FicheCache.sales_date.is_not(None), FicheCache.sold_from.is_not(None), FicheCache.sold_to.is_not(None)
    )


def _place(row: Any) -> Place:
    return Place(date.fromisoformat(row[1]), Span(row[2], row[3]))
