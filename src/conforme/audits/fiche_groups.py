"""Audits by fiche: a page of fiches, each with its newest audits and what all of them come to (spec/audits §10.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import CTE, ColumnElement, Row, Select, any_, func, select, true

from conforme.accounts.actor import Actor
from conforme.audits.filters import Filters
from conforme.audits.list_queries import conditions
from conforme.audits.list_rows import AUDITS, audits_listed, fiche_columns, numbers
from conforme.audits.models import AuditRow
from conforme.fiches.models import FicheCache
from conforme.foundation.database import ReadSession

AUDITS_SHOWN: Final = 20
"""Audits of one fiche that a page shows; the summary counts all of them."""


@dataclass(frozen=True, slots=True)
class FicheGroup:
    fiche: Row[Any]
    """The columns of `FICHE_WIRE`, and what all its audits that match come to: `total`, `compliant`, `average` (of
    completed ones, None where there is none) and `latest`."""
    audits: Sequence[Row[Any]]
    """The newest of them, as `audits_listed` says."""


async def by_fiche(
    session: ReadSession, actor: Actor, filters: Filters, *, results: bool
) -> tuple[list[FicheGroup], int]:
    """A page of fiches, that with the latest audit first, and how many there are. Two statements."""
    asked = (AuditRow.fiche_cache_id.is_not(None), *conditions(actor, filters))
    fiches = (
        select(AuditRow.fiche_cache_id.label("id"), func.max(AuditRow.created_at).label("latest"))
        .where(*asked)
        .group_by(AuditRow.fiche_cache_id)
        .cte("fiches")
        .prefix_with("materialized")
    )
    total = select(func.count()).select_from(fiches)
    rows = (await session.execute(_page(fiches, filters, asked).add_columns(total.scalar_subquery()))).all()
    if not rows:
        # Nothing on this page: the number of fiches had no row to come with.
        return [], await session.scalar(total) or 0
    audits = await _newest(session, actor, filters, [row.id for row in rows], results=results)
    return [FicheGroup(row, audits.get(row.id, ())) for row in rows], rows[0][-1]


def _page(fiches: CTE, filters: Filters, asked: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """The fiches of the page are found first; only theirs are summed up."""
    page = select(fiches).order_by(fiches.c.latest.desc(), fiches.c.id.desc())
    page = page.limit(filters.page.limit).offset(filters.page.offset).subquery("page")
    done = AuditRow.status == "completed"
    sums = (
        select(
            func.count().label("total"),
            func.count().filter(done, AuditRow.is_compliant).label("compliant"),
            func.avg(AuditRow.score_percentage).filter(done).label("average"),
        )
        .where(AuditRow.fiche_cache_id == page.c.id, *asked)
        .lateral("sums")
    )
    # Under another name: the scope looks for fiches, too, and is not to take these for its own.
    fiche = FicheCache.__table__.alias("fiche")
    return (
        select(*fiche_columns(fiche), sums.c.total, sums.c.compliant, sums.c.average, page.c.latest)
        .select_from(page)
        .join(fiche, fiche.c.id == page.c.id)
        .join(sums, true())
        .order_by(page.c.latest.desc(), page.c.id.desc())
    )


async def _newest(
    session: ReadSession, actor: Actor, filters: Filters, fiches: Sequence[int], *, results: bool
) -> Mapping[int, Sequence[Row[Any]]]:
    place = func.row_number().over(
        partition_by=AuditRow.fiche_cache_id, order_by=(AuditRow.created_at.desc(), AuditRow.id.desc())
    )
    ranked = (
        select(AuditRow.id, place.label("place"))
        .where(AuditRow.fiche_cache_id == any_(numbers(fiches)), *conditions(actor, filters))
        .subquery("ranked")
    )
    wanted = select(ranked.c.id).where(ranked.c.place <= AUDITS_SHOWN)
    query = audits_listed(results=results).where(AUDITS.c.id.in_(wanted))
    rows = await session.execute(query.order_by(AUDITS.c.created_at.desc(), AUDITS.c.id.desc()))
    shown: dict[int, list[Row[Any]]] = {}
    for row in rows:
        shown.setdefault(row.fiche_cache_id, []).append(row)
    return shown
