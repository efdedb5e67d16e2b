"""Audits by fiche: a page of fiches, each with its newest audits and what all of them come to (spec/audits §10.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Row, any_, func, select

from conforme.accounts.actor import Actor
from conforme.audits.filters import Filters
from conforme.audits.grouping import fiches_named
from conforme.audits.list_queries import conditions
from conforme.audits.list_rows import audits_listed, numbers
from conforme.audits.models import AuditRow
from conforme.foundation.database import ReadSession

AUDITS_SHOWN: Final = 20
"""Audits of one fiche that a page shows; the summary counts all of them."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Of one fiche; the average is of completed audits."""

    fiche_cache_id: int
    total: int
    compliant: int
    average: Decimal | None
    latest: datetime


@dataclass(frozen=True, slots=True)
class FicheGroup:
    fiche: Row[Any]
    audits: list[Row[Any]]
    summary: Summary


async def by_fiche(
    session: ReadSession, actor: Actor, filters: Filters, *, results: bool
) -> tuple[list[FicheGroup], int]:
    """A page of fiches, that with the latest audit first, and how many there are. Four statements."""
    summaries, total = await _summaries(session, actor, filters)
    ids = [summary.fiche_cache_id for summary in summaries]
    if not ids:
        return [], total
    fiches = await fiches_named(session, ids)
    audits = await _newest(session, actor, filters, ids, results=results)
    return [
        FicheGroup(fiches[each.fiche_cache_id], audits.get(each.fiche_cache_id, []), each)
        for each in summaries
    ], total


async def _summaries(session: ReadSession, actor: Actor, filters: Filters) -> tuple[list[Summary], int]:
    """The fiches of the page are found first; only theirs are summed up."""
    asked = (AuditRow.fiche_cache_id.is_not(None), *conditions(actor, filters))
    latest = func.max(AuditRow.created_at).label("latest")
    fiches = (
        select(AuditRow.fiche_cache_id, latest)
        .where(*asked)
        .group_by(AuditRow.fiche_cache_id)
        .cte("fiches")
        .prefix_with("materialized")
    )
    page = select(fiches.c.fiche_cache_id).order_by(fiches.c.latest.desc(), fiches.c.fiche_cache_id.desc())
    page = page.limit(filters.page.limit).offset(filters.page.offset)
    total = select(func.count()).select_from(fiches).scalar_subquery()
    number, ids = (await session.execute(select(total, func.array(page.scalar_subquery())))).one()
    if not ids:
        return [], number
    done = AuditRow.status == "completed"
    sums = (
        select(
            AuditRow.fiche_cache_id,
            func.count(),
            func.count().filter(done, AuditRow.is_compliant),
            func.avg(AuditRow.score_percentage).filter(done),
            latest,
        )
        .where(AuditRow.fiche_cache_id == any_(numbers(ids)), *asked)
        .group_by(AuditRow.fiche_cache_id)
        .order_by(latest.desc(), AuditRow.fiche_cache_id.desc())
    )
    rows: Sequence[Any] = (await session.execute(sums)).all()
    return [Summary(*row) for row in rows], number


async def _newest(
    session: ReadSession, actor: Actor, filters: Filters, fiches: Sequence[int], *, results: bool
) -> dict[int, list[Row[Any]]]:
    place = func.row_number().over(
        partition_by=AuditRow.fiche_cache_id, order_by=(AuditRow.created_at.desc(), AuditRow.id.desc())
    )
    ranked = (
        select(AuditRow.id, place.label("place"))
        .where(AuditRow.fiche_cache_id == any_(numbers(fiches)), *conditions(actor, filters))
        .subquery("ranked")
    )
    wanted = select(ranked.c.id).where(ranked.c.place <= AUDITS_SHOWN)
    query = audits_listed(results=results).where(AuditRow.id.in_(wanted))
    rows = await session.execute(query.order_by(AuditRow.created_at.desc(), AuditRow.id.desc()))
    shown: dict[int, list[Row[Any]]] = {}
    for row in rows:
        shown.setdefault(row.fiche_cache_id, []).append(row)
    return shown
