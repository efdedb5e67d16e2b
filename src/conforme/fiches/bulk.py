"""Whole fiches in and out of their tables, in a number of statements that does not grow with their rows.

Rows travel as JSON: `json_to_recordset` makes a table of one parameter, and `json_agg` one value of a table. All
sections are written by one statement and read by one.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Table,
    TableValuedAlias,
    Text,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSON

from conforme.accounts.actor import Actor
from conforme.fiches.layout import ROOT_KEY, Node, Row
from conforme.fiches.models import SECTION_TABLES, FicheCache
from conforme.fiches.scope import visible
from conforme.fiches.sections import MAIL_DEVIS, FicheRows, Tables, nodes
from conforme.foundation.database import ReadSession, WriteSession

_CACHE_ID = "cache_id"


async def replace_sections(
    session: WriteSession, fiche_cache_id: int, rows: FicheRows, *, mail_devis: bool
) -> None:
    """Puts `rows` in the place of a fiche's sections; those of the quote mail only when `mail_devis`.

    Two fiches may be replaced at once; for one fiche the caller holds the lock of its `fiche_cache` row.
    """
    given = await _numbered(session, fiche_cache_id, rows.tables)
    await session.execute(_deletion(mail_devis), {_CACHE_ID: fiche_cache_id})
    await session.execute(
        _insertion(mail_devis), {table.name: given[table.name] for table in _written(mail_devis)}
    )


def recordset(
    name: str, table: FromClause, columns: Iterable[str], rows: Sequence[Row] | None = None
) -> TableValuedAlias:
    """The rows of the JSON parameter `name`, typed like `columns` of a table; given here or at execution."""
    typed = (column(each, table.c[each].type) for each in columns)
    given = func.json_to_recordset(bindparam(name, rows, JSON, required=rows is None))
    return given.table_valued(*typed).render_derived(name=f"given_{name}", with_types=True)


async def _numbered(session: WriteSession, fiche_cache_id: int, tables: Tables) -> dict[str, list[Row]]:
    """The rows with ids of the database where others point at them."""
    ids = await _drawn(
        session, {node.table: len(tables.get(node.table, ())) for node in nodes() if node.is_parent}
    )
    given: defaultdict[str, list[Row]] = defaultdict(list)
    for node, parent in _with_parents():
        for row in tables.get(node.table, ()):
            key = fiche_cache_id if parent is None else ids[parent.table][row[node.parent_key] - 1]
            own = {"id": ids[node.table][row["id"] - 1]} if node.is_parent else {}
            given[node.table].append({**row, node.parent_key: key, **own})
    return given


async def _drawn(session: WriteSession, wanted: Mapping[str, int]) -> dict[str, list[int]]:
    """As many new ids of each table as it needs, in one statement."""
    drawn: defaultdict[str, list[int]] = defaultdict(list)
    draws = [
        select(
            literal(table, Text).label("name"),
            func.nextval(func.pg_get_serial_sequence(table, "id")).label("id"),
        ).select_from(func.generate_series(1, count).table_valued("n"))
        for table, count in wanted.items()
        if count
    ]
    if draws:
        for name, identifier in await session.execute(union_all(*draws)):
            drawn[name].append(identifier)
    return drawn


def _with_parents() -> Iterator[tuple[Node, Node | None]]:
    """Each node with the one its rows point at; None is the fiche itself."""
    yield from ((node, _PARENTS.get(node.table)) for node in nodes())


_PARENTS = {child.table: node for node in nodes() for child in node.below if child.parent_key != ROOT_KEY}
_DEVIS_TABLES = frozenset({MAIL_DEVIS.table, *(node.table for node in nodes(MAIL_DEVIS))})


def _chosen(mail_devis: bool) -> Iterator[Node]:
    return (node for node in nodes() if mail_devis or node.table not in _DEVIS_TABLES)


def _written(mail_devis: bool) -> Iterator[Table]:
    return (SECTION_TABLES[node.table] for node in _chosen(mail_devis))


def _columns(node: Node) -> tuple[str, ...]:
    """The columns of a section that rows fill."""
    table = SECTION_TABLES[node.table]
    own = {"created_at", "updated_at"} if node.is_parent else {"created_at", "updated_at", "id"}
    return tuple(each.name for each in table.columns if each.name not in own)


@cache
def _deletion(mail_devis: bool) -> Select[Any]:
    """Deletes what hangs on the fiche; what hangs below goes with it."""
    statement = select(literal(1))
    for node in _chosen(mail_devis):
        if node.parent_key == ROOT_KEY:
            table = SECTION_TABLES[node.table]
            gone = delete(table).where(table.c[ROOT_KEY] == bindparam(_CACHE_ID, type_=BigInteger))
            statement = statement.add_cte(gone.cte(f"gone_{node.table}"))
    return statement


@cache
def _insertion(mail_devis: bool) -> Select[Any]:
    # Foreign keys are checked at the end of a statement: parents and children may come in one.
    statement = select(literal(1))
    for node in _chosen(mail_devis):
        table, columns = SECTION_TABLES[node.table], _columns(node)
        given = recordset(node.table, table, columns)
        rows = insert(table).from_select(columns, select(*given.c), include_defaults=False)
        statement = statement.add_cte(rows.cte(f"new_{node.table}"))
    return statement


async def read_sections(
    session: ReadSession | WriteSession, actor: Actor, fiche_cache_id: int, *, mail_devis: bool
) -> Tables | None:
    """The rows of a fiche's sections, None out of scope; those of the quote mail only when `mail_devis`."""
    statement = _reading(mail_devis).where(visible(actor))
    found = (await session.execute(statement, {_CACHE_ID: fiche_cache_id})).mappings().one_or_none()
    return None if found is None else {table: rows or [] for table, rows in found.items()}


@cache
def _reading(mail_devis: bool) -> Select[Any]:
    sections = (_gathered(node).label(node.table) for node in _chosen(mail_devis))
    return (
        select(*sections)
        .select_from(FicheCache)
        .where(FicheCache.id == bindparam(_CACHE_ID, type_=BigInteger))
    )


def _gathered(node: Node) -> ColumnElement[Any]:
    table = SECTION_TABLES[node.table]
    rows = (
        select(*(table.c[name] for name in _columns(node)))
        .where(_of_fiche(node))
        .subquery(f"the_{node.table}")
    )
    return select(func.json_agg(rows.table_valued(), type_=JSON)).scalar_subquery()


def _of_fiche(node: Node) -> ColumnElement[bool]:
    key = SECTION_TABLES[node.table].c[node.parent_key]
    parent = _PARENTS.get(node.table)
    if parent is None:
        return key == bindparam(_CACHE_ID, type_=BigInteger)
    return key.in_(select(SECTION_TABLES[parent.table].c.id).where(_of_fiche(parent)))
