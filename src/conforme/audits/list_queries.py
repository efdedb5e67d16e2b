"""Lists of audits: found, counted and ordered by narrow indexes alone; only then are the rows of one page read.

Every condition here is one that the indexes `ix_audits_facts`, `ix_audits_facts_of_fiche` and `ix_fiche_cache_facts`
can answer (or one that names few audits): a row of `audits` is many times as wide as what lists ask of it.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    and_,
    any_,
    func,
    null,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.orm import InstrumentedAttribute

from conforme.accounts.actor import Actor, Scope
from conforme.audit_configs.models import AuditConfig
from conforme.audits.filters import NULLABLE, Between, Cursor, Filters
from conforme.audits.list_rows import AUDITS, audits_listed
from conforme.audits.models import AuditRow
from conforme.fiches.models import FicheCache
from conforme.fiches.scope import visible
from conforme.foundation.arrays import numbers
from conforme.foundation.database import ReadSession
from conforme.foundation.web import Page

T = TypeVar("T")
Column = InstrumentedAttribute[Any]
Condition = ColumnElement[bool]

STREAMED_ROWS = 500
"""Rows that an export holds at once."""


# What is asked


def conditions(actor: Actor, filters: Filters) -> list[Condition]:
    """The scope, always, and the filters: no filter widens what the actor may see."""
    return [*_of_fiche(actor, filters), *_of_audit(filters), *_sought(filters.q)]


def _of_fiche(actor: Actor, filters: Filters) -> list[Condition]:
    asked = _fiche_conditions(filters)
    if actor.scope is Scope.ALL:
        return _held_against(asked, filters) if asked else []
    # All the actor may see is looked up first; then theirs are gathered by the index on the fiche.
    fiches = select(FicheCache.id).where(visible(actor), *asked)
    return [AuditRow.fiche_cache_id == any_(func.array(fiches.scalar_subquery()))]


def _held_against(asked: Sequence[Condition], filters: Filters) -> list[Condition]:
    """Audits of fiches of which all this holds, without a scope.

    Audits of few fiches are found from these. Else each audit is held against the fiches, in the order of an index:
    against those that are sought by a text, which are seldom many, or against those that are left out. What is looked
    up in is small then where much is shown, and large where little is.
    """
    audits = AuditRow.fiche_cache_id
    theirs = audits.in_(select(FicheCache.id).where(*asked))
    if filters.groupes or filters.sales_dates or None not in (filters.sold.low, filters.sold.high):
        return [theirs]
    if filters.groupe_query or filters.agence_query or filters.prospect_query:
        return [theirs.is_(True)]
    others = select(FicheCache.id).where(and_(*asked).is_not(True))
    return [audits.is_not(None), audits.not_in(others).is_(True)]


def _fiche_conditions(filters: Filters) -> list[Condition]:
    found: list[Condition] = [
        *_among(FicheCache.groupe, filters.groupes),
        *_among(FicheCache.sales_date, filters.sales_dates),
        *_between(FicheCache.sales_date, filters.sold),
        *_between(FicheCache.fetched_at, filters.fetched),
        *_between(FicheCache.last_revalidated_at, filters.revalidated),
        *_between(FicheCache.recordings_count, filters.recordings),
    ]
    if filters.has_recordings is not None:
        found.append(FicheCache.has_recordings.is_(filters.has_recordings))
    if filters.groupe_query:
        found.append(_holds(func.lower(FicheCache.groupe), filters.groupe_query))
    if filters.agence_query:
        found.append(_holds(FicheCache.sought_agence, filters.agence_query))
    if filters.prospect_query:
        places = (FicheCache.sought, FicheCache.sought_contact)
        found.append(or_(*(_holds(place, filters.prospect_query) for place in places)))
    return found


def _of_audit(filters: Filters) -> list[Condition]:
    found: list[Condition] = [
        *_among(AuditRow.fiche_id, filters.fiche_ids),
        *_among(AuditRow.status, filters.status),
        *_among(AuditRow.audit_config_id, filters.audit_config_ids),
        *_among(AuditRow.niveau, filters.niveau),
        *_among(AuditRow.automation_schedule_id, filters.automation_schedule_ids),
        *_among(AuditRow.automation_run_id, filters.automation_run_ids),
        *_among(AuditRow.trigger_source, filters.trigger_source),
        *_between(AuditRow.created_at, filters.created),
        *_between(AuditRow.score_percentage, filters.score),
        *_between(AuditRow.duration_ms, filters.duration_ms),
        *_between(AuditRow.total_tokens, filters.tokens),
    ]
    if filters.is_compliant is not None:
        found.append(AuditRow.is_compliant.is_(filters.is_compliant))
    if filters.has_failed_steps is not None:
        failed: ColumnElement[int] = func.coalesce(AuditRow.failed_steps, 0)
        found += [failed > 0] if filters.has_failed_steps else [failed == 0]
    if filters.latest_only:
        found.append(AuditRow.is_latest.is_(True))
    if not filters.include_deleted:
        found.append(AuditRow.deleted_at.is_(None))
    return found


def _sought(text: str) -> list[Condition]:
    """`q`: in the fiche's number, the prospect's names, the configuration's name, the error; digits are also an id."""
    if not text:
        return []
    fiches = select(FicheCache.id).where(_holds(FicheCache.sought, text))
    configs = select(AuditConfig.id).where(_holds(func.lower(AuditConfig.name), text))
    failed = select(AuditRow.id).where(
        AuditRow.error_message.is_not(None), _holds(func.lower(AuditRow.error_message), text)
    )
    unlinked = select(AuditRow.id).where(AuditRow.fiche_cache_id.is_(None), _holds(AuditRow.fiche_id, text))
    places: list[Condition] = [
        AuditRow.fiche_cache_id.in_(fiches),
        AuditRow.audit_config_id.in_(configs),
        AuditRow.id.in_(failed),
        AuditRow.id.in_(unlinked),
    ]
    if text.isascii() and text.isdigit() and len(text) <= 18:
        places.append(AuditRow.id == int(text))
    return [or_(*places)]


def _holds(lower: ColumnElement[Any] | Column, text: str) -> Condition:
    """Whether text in lower case holds this text, whatever its case."""
    escaped = text.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return lower.like(func.lower(f"%{escaped}%"), escape="/")


def _among(column: Column, values: Sequence[Any]) -> list[Condition]:
    return [column.in_(values)] if values else []


def _between(column: Column, asked: Between[T]) -> list[Condition]:
    low = [] if asked.low is None else [column >= asked.low]
    high = [] if asked.high is None else [column <= asked.high]
    return low + high


# Pages


@dataclass(frozen=True)
class ListPage:
    """A page of a list."""

    found: Sequence[Row[Any]]
    """As `audits_listed` says."""
    total: int | None
    """How many match; not counted for who reads on from a cursor."""
    next: Cursor | None
    """Where to read on; None when nothing is behind the page."""


async def listed(session: ReadSession, actor: Actor, filters: Filters, *, results: bool = False) -> ListPage:
    """One page, with what was found in it. `results` reads what each audit stored, too."""
    total, ids = (await session.execute(_page(actor, filters))).one()
    limit = filters.page.limit
    shown = list(ids or [])[:limit]
    found = await _rows(session, filters, shown, results=results) if shown else []
    more = bool(found) and len(ids) > limit
    return ListPage(found, total, _cursor(found[-1], filters) if more else None)


async def _rows(
    session: ReadSession, filters: Filters, ids: Sequence[int], *, results: bool
) -> Sequence[Row[Any]]:
    order = _order(AUDITS.c[filters.sort_by], AUDITS.c.id, filters)
    query = audits_listed(results=results).where(AUDITS.c.id == any_(numbers(ids)))
    return (await session.execute(query.order_by(*order))).all()


def _cursor(last: Row[Any], filters: Filters) -> Cursor:
    return Cursor(getattr(last, filters.sort_by), last.id)


def _page(actor: Actor, filters: Filters) -> Select[int | None, Sequence[int]]:
    """How many match, and the ids of one page in order, with one more when there is more."""
    plain = actor.scope is Scope.ALL and _is_plain(filters)
    if actor.scope is Scope.ALL and not plain and filters.sort_by == "created_at" and filters.cursor is None:
        return _cut_out(actor, filters)
    column = getattr(AuditRow, filters.sort_by).label("sorted_by")
    seen = select(AuditRow.id, column).where(*conditions(actor, filters)).cte("seen")
    # Of everything, the number and the page are each found best by an index of their own. A part is gathered once
    # for both: it would be looked for among all the rest.
    seen = seen.prefix_with("not materialized" if plain else "materialized")
    ids = (
        select(seen.c.id)
        .order_by(*_order(seen.c.sorted_by, seen.c.id, filters))
        .limit(filters.page.limit + 1)
    )
    total: ColumnElement[Any] = select(func.count()).select_from(seen).scalar_subquery()
    if filters.cursor is None:
        ids = ids.offset(filters.page.offset)
    else:
        ids = ids.where(_behind(seen.c.sorted_by, seen.c.id, filters.cursor, filters))
        total = null()
    return select(total, func.array(ids.scalar_subquery(), type_=ARRAY(BigInteger)))


def _is_plain(filters: Filters) -> bool:
    return filters == Filters(
        latest_only=filters.latest_only,
        include_deleted=filters.include_deleted,
        created=filters.created,
        sort_by=filters.sort_by,
        descending=filters.descending,
        page=filters.page,
        cursor=filters.cursor,
    )


def _cut_out(actor: Actor, filters: Filters) -> Select[int | None, Sequence[int]]:
    """Gathers all that match in the order of the index: nothing is sorted, and no more than their ids is kept."""
    order = aggregate_order_by(AuditRow.id, *_order(AuditRow.created_at, AuditRow.id, filters))
    gathered = select(func.array_agg(order, type_=ARRAY(BigInteger)).label("ids"))
    ids = gathered.where(*conditions(actor, filters)).subquery("gathered").c.ids
    first = filters.page.offset + 1
    return select(func.coalesce(func.cardinality(ids), 0), ids[first : first + filters.page.limit])


def _order(
    column: ColumnElement[Any] | Column, number: ColumnElement[Any] | Column, filters: Filters
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    if not filters.descending:
        return column.asc(), number.asc()
    # An index is read backwards for a column that is never null, and for no other with nulls at the end.
    last = filters.sort_by in NULLABLE
    return column.desc().nulls_last() if last else column.desc(), number.desc()


def _behind(
    column: ColumnElement[Any], number: ColumnElement[Any], cursor: Cursor, filters: Filters
) -> Condition:
    """What comes behind the cursor in the order of the list, where those without a value are last."""
    beyond = number < cursor.id if filters.descending else number > cursor.id
    if cursor.value is None:
        return and_(column.is_(None), beyond)
    here, place = tuple_(column, number), tuple_(cursor.value, cursor.id)
    behind = here < place if filters.descending else here > place
    return or_(behind, column.is_(None)) if filters.sort_by in NULLABLE else behind


async def of_fiche(session: ReadSession, actor: Actor, fiche_id: str, page: Page) -> ListPage:
    """The latest audit of each configuration on one fiche, newest first, with what each stored; in one statement."""
    shown = conditions(actor, Filters(fiche_ids=(fiche_id,)))
    query = audits_listed(results=True).add_columns(func.count().over().label("total")).where(*shown)
    newest = query.order_by(AuditRow.created_at.desc(), AuditRow.id.desc())
    rows = (await session.execute(newest.limit(page.limit).offset(page.offset))).all()
    return ListPage(rows, rows[0].total if rows else 0, None)


# All of them


async def streamed(
    session: ReadSession, actor: Actor, filters: Filters, columns: Sequence[Any]
) -> AsyncGenerator[Sequence[Sequence[Any]]]:
    """Every audit that matches, in parts, through a cursor of the server: neither side holds them all."""
    order = _order(AuditRow.__table__.c[filters.sort_by], AuditRow.__table__.c.id, filters)
    query = (
        select(*columns)
        .select_from(AuditRow)
        .join(AuditConfig, AuditConfig.id == AuditRow.audit_config_id)
        .outerjoin(FicheCache, FicheCache.id == AuditRow.fiche_cache_id)
        .where(*conditions(actor, filters))
        .order_by(*order)
    )
    result = await session.stream(query.execution_options(yield_per=STREAMED_ROWS))
    async for part in result.partitions():
        yield part
