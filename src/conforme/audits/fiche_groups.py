"""Audits by fiche: a page of fiches, each with its newest audits and what all of them come to (spec/audits §10.2)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ARRAY, CTE, BigInteger, ColumnElement, Row, Select, any_, func, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by, distinct_on

from conforme.accounts.actor import Actor
from conforme.audits.filters import Filters
from conforme.audits.list_queries import conditions
from conforme.audits.list_rows import AUDITS, audits_listed, fiche_columns
from conforme.audits.models import AuditRow
from conforme.fiches.models import FicheCache
from conforme.foundation.arrays import numbers
from conforme.foundation.database import ReadSession

AUDITS_SHOWN: Final = 20
"""Audits of one fiche that a page shows; the summary counts all of them."""


@dataclass(frozen=True, slots=True)
class FicheGroup:
    fiche: Row[Any]
    """The columns of `FICHE_WIRE`, and what all its audits that match come to: `total`, `compliant`, `average` (of
    completed ones, None where there is none), the ids of the `newest` and when the `latest` was asked for."""
    audits: Sequence[Row[Any]]
    """The newest of them, as `audits_listed` says."""


async def by_fiche(
    session: ReadSession, actor: Actor, filters: Filters, *, results: bool
) -> tuple[list[FicheGroup], int]:
    """A page of fiches, that with the latest audit first, and how many there are. Two statements."""
    asked = (AuditRow.fiche_cache_id.is_not(None), *conditions(actor, filters))
    # Read off an index in its order, where the latest of each fiche comes first: nothing is hashed.
    fiches = (
        select(AuditRow.fiche_cache_id.label("id"), AuditRow.created_at.label("latest"))
        .ext(distinct_on(AuditRow.fiche_cache_id))
        .where(*asked)
        .order_by(AuditRow.fiche_cache_id.desc(), AuditRow.created_at.desc())
        .cte("fiches")
        .prefix_with("materialized")
    )
    total = select(func.count()).select_from(fiches)
    rows = (await session.execute(_page(fiches, filters, asked).add_columns(total.scalar_subquery()))).all()
    if not rows:
        # Nothing on this page: the number of fiches had no row to come with.
        return [], await session.scalar(total) or 0
    audits = await _newest(session, [number for row in rows for number in row.newest], results=results)
    return [FicheGroup(row, audits[row.id]) for row in rows], rows[0][-1]


def _page(fiches: CTE, filters: Filters, asked: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """The fiches of the page are found first; only theirs are summed up."""
    page = select(fiches).order_by(fiches.c.latest.desc(), fiches.c.id.desc())
    page = page.limit(filters.page.limit).offset(filters.page.offset).subquery("page")
    done = AuditRow.status == "completed"
    newest = aggregate_order_by(AuditRow.id, AuditRow.created_at.desc(), AuditRow.id.desc())
    sums = (
        select(
            func.count().label("total"),
            func.count().filter(done, AuditRow.is_compliant).label("compliant"),
            func.avg(AuditRow.score_percentage).filter(done).label("average"),
            func.array_agg(newest, type_=ARRAY(BigInteger))[1:AUDITS_SHOWN].label("newest"),
        )
        .where(AuditRow.fiche_cache_id == page.c.id, *asked)
        .lateral("sums")
    )
    # Under another name: the scope looks for fiches, too, and is not to take these for its own.
    fiche = FicheCache.__table__.alias("fiche")
    return (
        select(*fiche_columns(fiche), *sums.c, page.c.latest)
        .select_from(page)
        .join(fiche, fiche.c.id == page.c.id)
        .join(sums, true())
        .order_by(page.c.latest.desc(), page.c.id.desc())
    )


async def _newest(
    session: ReadSession, ids: Sequence[int], *, results: bool
) -> Mapping[int, Sequence[Row[Any]]]:
    """These audits by the cache id of their fiche, the newest first."""
    query = audits_listed(results=results).where(AUDITS.c.id == any_(numbers(ids)))
    rows = await session.execute(query.order_by(AUDITS.c.created_at.desc(), AUDITS.c.id.desc()))
    shown: defaultdict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        shown[row.fiche_cache_id].append(row)
    return shown
