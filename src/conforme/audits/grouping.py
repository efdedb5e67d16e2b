"""Audits counted by what they have in common (spec/audits §10.2): aggregated by the database, all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Date, Row, Select, any_, case, cast, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, load_only

from conforme.accounts.actor import Actor
from conforme.audit_configs.models import AuditConfig
from conforme.audits.filters import Filters
from conforme.audits.links import links
from conforme.audits.list_queries import conditions
from conforme.audits.list_rows import fiches_listed
from conforme.audits.models import STATUSES, AuditRow
from conforme.fiches.models import FicheCache
from conforme.foundation.arrays import numbers
from conforme.foundation.database import ReadSession
from conforme.foundation.errors import Invalid
from conforme.foundation.query import Limits, Query, whole_number

A_MIDNIGHT: Final = datetime(2000, 1, 1, tzinfo=UTC)
UNKNOWN_GROUPE: Final = "UNKNOWN"
BUCKET: Final = Limits(default=10, low=1, high=100)

Columns = ColumnElement[Any] | InstrumentedAttribute[Any]


@dataclass(frozen=True, slots=True)
class Key:
    """What audits are grouped by.

    All audits are counted by a value that is had for nothing, or nearly: what is dearer is asked of those counts.
    """

    value: Columns
    key: Callable[[ColumnElement[Any], ColumnElement[str], int], ColumnElement[Any]] = lambda value, *_: value
    """Of a value, the status and the size of a bucket."""


def _groupe(value: ColumnElement[Any], *_: Any) -> ColumnElement[Any]:
    return func.coalesce(func.nullif(value, ""), UNKNOWN_GROUPE)


def _day(value: ColumnElement[Any], *_: Any) -> ColumnElement[Any]:
    return cast(func.timezone("UTC", value), Date)


def _bucket(value: ColumnElement[Any], status: ColumnElement[str], size: int) -> ColumnElement[Any]:
    """The lower end; an audit without a verdict has no score, and so no bucket."""
    return case((status == "completed", func.div(value, size) * size))


KEYS: Final[Mapping[str, Key]] = {
    "fiche": Key(AuditRow.fiche_cache_id),
    "audit_config": Key(AuditRow.audit_config_id),
    "status": Key(AuditRow.status),
    "niveau": Key(AuditRow.niveau),
    "automation_schedule": Key(AuditRow.automation_schedule_id),
    "automation_run": Key(AuditRow.automation_run_id),
    "groupe": Key(FicheCache.groupe, _groupe),
    "created_day": Key(func.date_bin(timedelta(days=1), AuditRow.created_at, A_MIDNIGHT), _day),
    "score_bucket": Key(AuditRow.score_percentage, _bucket),
}


@dataclass(frozen=True, slots=True)
class Grouping:
    by: str
    bucket_size: int


def grouping_of(query: Query) -> Grouping:
    """How the query groups.

    Raises:
        Invalid: `group_by is required`, or one that there is not.
    """
    by = query.get("group_by", "").strip()
    if not by:
        raise Invalid("group_by is required", field="group_by")
    if by not in KEYS:
        raise Invalid(f"Invalid group_by. Allowed: {', '.join(KEYS)}", field="group_by")
    return Grouping(by, whole_number(query, "bucket_size", BUCKET))


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One key and what its audits come to; scores are those of completed ones."""

    key: Any
    count: int
    compliant: int
    completed: int
    average: Decimal | None
    lowest: Decimal | None
    highest: Decimal | None
    statuses: tuple[int, ...]
    """How many have each of `STATUSES`."""


async def grouped(
    session: ReadSession, actor: Actor, filters: Filters, grouping: Grouping
) -> tuple[list[GroupRow], int]:
    """A page of groups, the largest first, and how many there are."""
    if grouping.by == "fiche":
        return await _by_fiche(session, actor, filters, grouping)
    groups = _groups(conditions(actor, filters), grouping).cte("groups").prefix_with("materialized")
    page = select(groups).order_by(*_largest_first(groups.c)).limit(filters.page.limit)
    total = select(func.count()).select_from(groups).scalar_subquery()
    rows = (await session.execute(page.offset(filters.page.offset).add_columns(total))).all()
    if not rows:
        # Nothing on this page: the number of groups had no row to come with.
        return [], await session.scalar(select(func.count()).select_from(groups)) or 0
    return [_row(row) for row in rows], rows[0][-1]


async def _by_fiche(
    session: ReadSession, actor: Actor, filters: Filters, grouping: Grouping
) -> tuple[list[GroupRow], int]:
    """There are as many groups as fiches: they are counted first, and only those of the page are looked into."""
    asked = conditions(actor, filters)
    counts = (
        select(AuditRow.fiche_cache_id.label("key"), func.count().label("count"))
        .where(*asked)
        .group_by(AuditRow.fiche_cache_id)
        .cte("counts")
        .prefix_with("materialized")
    )
    page = select(counts.c.key).order_by(*_largest_first(counts.c))
    page = page.limit(filters.page.limit).offset(filters.page.offset)
    total = select(func.count()).select_from(counts).scalar_subquery()
    number, keys = (await session.execute(select(total, func.array(page.scalar_subquery())))).one()
    if not keys:
        return [], number
    known = [key for key in keys if key is not None]
    mine: ColumnElement[bool] = AuditRow.fiche_cache_id == any_(numbers(known))
    if None in keys:
        mine = or_(mine, AuditRow.fiche_cache_id.is_(None))
    groups = _groups([*asked, mine], grouping).subquery("groups")
    rows = await session.execute(select(groups).order_by(*_largest_first(groups.c)))
    return [_row([*row, number]) for row in rows], number


def _largest_first(columns: Any) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    return columns["count"].desc(), columns["key"].asc().nulls_last()


def _row(values: Sequence[Any]) -> GroupRow:
    """`values`: the columns of `_groups`, and the number of groups."""
    return GroupRow(*values[:7], statuses=tuple(values[7:-1]))


def _groups(asked: Sequence[ColumnElement[bool]], grouping: Grouping) -> Select[Any]:
    """Counted by value, status and compliance first, which asks least of each audit; few counts are then added up."""
    how = KEYS[grouping.by]
    seen = select(how.value.label("value"), AuditRow.status, AuditRow.is_compliant, AuditRow.score_percentage)
    if grouping.by == "groupe":
        seen = seen.outerjoin(FicheCache, FicheCache.id == AuditRow.fiche_cache_id)
    # Named before it is grouped by: an expression with parameters is written twice and would not be the same.
    facts = seen.where(*asked).subquery("facts")
    score, count = facts.c.score_percentage, func.count()
    scores = func.sum(score), func.min(score), func.max(score)
    if grouping.by == "score_bucket":
        value = facts.c.value
        scores = value * count, value, value
    alike = (facts.c.value, facts.c.status, facts.c.is_compliant)
    named = (what.label(name) for what, name in zip(scores, ("sum", "lowest", "highest"), strict=True))
    parts = select(*alike, count.label("count"), *named).group_by(*alike).subquery("parts").c
    keyed = (
        select(how.key(parts.value, parts.status, grouping.bucket_size).label("key"), *parts)
        .subquery("keyed")
        .c
    )

    def counted(*which: ColumnElement[bool]) -> ColumnElement[int]:
        of_them = func.sum(keyed.count).filter(*which) if which else func.sum(keyed.count)
        return cast(func.coalesce(of_them, 0), BigInteger)

    done = keyed.status == "completed"
    told: list[ColumnElement[Any]] = [
        keyed.key,
        counted().label("count"),
        counted(done, keyed.is_compliant).label("compliant"),
        counted(done).label("completed"),
        (func.sum(keyed.sum).filter(done) / counted(done)).label("average"),
        func.min(keyed.lowest).filter(done).label("lowest"),
        func.max(keyed.highest).filter(done).label("highest"),
        *(counted(keyed.status == status).label(f"status_{status}") for status in STATUSES),
    ]
    return select(*told).group_by(keyed.key)


def key_text(grouping: Grouping, key: Any) -> str | None:
    """The key on the wire; null for audits that have none."""
    if key is None:
        return None
    if grouping.by == "score_bucket":
        return f"{int(key)}-{int(key) + grouping.bucket_size}"
    return key.isoformat() if isinstance(key, date) else str(key)


async def named(session: ReadSession, grouping: Grouping, rows: Sequence[GroupRow]) -> Mapping[int, Any]:
    """Whom the keys of these groups name: fiches, configurations, or what of automation they belong to."""
    keys = [row.key for row in rows if row.key is not None]
    if grouping.by == "automation_schedule":
        return (await links(session, keys, ())).schedules
    if grouping.by == "automation_run":
        return (await links(session, (), keys)).runs
    if grouping.by == "fiche":
        return await fiches_named(session, keys)
    return await configs_named(session, keys) if grouping.by == "audit_config" else {}


async def fiches_named(session: ReadSession, ids: Sequence[int]) -> dict[int, Row[Any]]:
    """The fiches of groups by their cache ids, as `fiches_listed` says."""
    return {fiche.id: fiche for fiche in await session.execute(fiches_listed(ids))}


async def configs_named(session: ReadSession, ids: Sequence[int]) -> dict[int, AuditConfig]:
    shown = load_only(AuditConfig.name, AuditConfig.description, raiseload=True)
    query = select(AuditConfig).where(AuditConfig.id.in_(ids)).options(shown)
    return {config.id: config for config in await session.scalars(query)}
