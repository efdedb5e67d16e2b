"""The original's database, read and never written: by id, a batch at a time, each batch at one moment.

What tables and columns there are is asked first: an older or newer original may lack some.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg import AsyncConnection, DataError, IsolationLevel, sql
from psycopg.pq import Conninfo
from psycopg.rows import dict_row
from psycopg.types.datetime import TimestampLoader, TimestamptzLoader
from pydantic import SecretStr

from conforme.foundation.errors import Invalid
from conforme.legacy.errors import NotTheOriginal, SourceUnreachable
from conforme.legacy.layout import KINDS, SECRETS, Child, Kind
from conforme.legacy.values import Row

CONNECT_SECONDS: Final = 15
SCHEMES: Final = ("postgresql", "postgres", "postgresql+psycopg")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A row of the original with all that hangs on it, by table."""

    id: int
    row: Row
    below: Mapping[str, Sequence[Row]]

    def of(self, table: str) -> Sequence[Row]:
        return self.below.get(table, ())

    @property
    def digest(self) -> str:
        """Names its content, as the original has it."""
        content = json.dumps([self.row, self.below], default=str, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is in the original."""

    columns: Mapping[str, frozenset[str]]
    """By table."""

    def has(self, kind: Kind) -> bool:
        return kind.table in self.columns

    def missing(self, kind: Kind) -> list[str]:
        """Tables that rows of a kind would have with them."""
        return sorted(kind.tables - self.columns.keys())


class Source:
    """An open connection; `opened` makes it."""

    def __init__(self, connection: AsyncConnection[dict[str, Any]], schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self.survey = Survey({})

    async def look(self) -> None:
        """Asks what tables and columns there are.

        Raises:
            NotTheOriginal: none of those of the original, or one without which nothing can be made of its rows.
        """
        query = "select table_name, column_name from information_schema.columns where table_schema = %s"
        found: defaultdict[str, set[str]] = defaultdict(set)
        for row in await self.rows(sql.SQL(query), [self._schema]):
            found[row["table_name"]].add(row["column_name"])
        self.survey = Survey({table: frozenset(columns) for table, columns in found.items()})
        present = [kind for kind in KINDS if self.survey.has(kind)]
        if not present:
            raise NotTheOriginal(f"There is no table of the original in schema '{self._schema[:60]}'")
        for kind in present:
            if lacking := [name for name in kind.needed if name not in found[kind.table]]:
                raise NotTheOriginal(f"Table {kind.table} has no column {', '.join(lacking)}")

    async def count(self, table: str) -> int:
        rows = await self.rows(sql.SQL("select count(*) as n from {}").format(self._name(table)))
        return int(rows[0]["n"])

    async def counted_to(self, kind: Kind, cursor: int) -> int:
        """How many rows of a kind have an id up to `cursor`."""
        query = sql.SQL("select count(*) as n from {} where id <= %s").format(self._name(kind.table))
        return int((await self.rows(query, [cursor]))[0]["n"])

    async def after(self, kind: Kind, cursor: int, limit: int) -> list[Bundle]:
        """The next rows of a kind by id, with all that hangs on them."""
        async with self.moment():
            query = sql.SQL("select {} from {} where id > %s order by id limit %s").format(
                self._columns(kind.table), self._name(kind.table)
            )
            return await self._bundles(kind, await self.rows(query, [cursor, limit]))

    async def with_ids(self, kind: Kind, ids: Sequence[int]) -> list[Bundle]:
        """Certain rows of a kind by id; those that are gone are not there."""
        async with self.moment():
            rows = await self._children(Child(kind.table, "id"), ids)
            return await self._bundles(kind, rows)

    async def roots(self, kind: Kind, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Certain rows of a kind by id, without what hangs on them."""
        return await self._children(Child(kind.table, "id"), ids)

    async def _bundles(self, kind: Kind, rows: Sequence[Row]) -> list[Bundle]:
        roots = [int(row["id"]) for row in rows]
        below: dict[int, dict[str, list[Row]]] = {root: defaultdict(list) for root in roots}
        root_of: dict[str | None, dict[int, int]] = {None: {root: root for root in roots}}
        for child in kind.children:
            if child.table not in self.survey.columns or child.parent not in root_of:
                continue
            parents = root_of[child.parent]
            found = await self._children(child, list(parents))
            for row in found:
                below[parents[row[child.key]]][child.table].append(row)
            root_of[child.table] = {row["id"]: parents[row[child.key]] for row in found if "id" in row}
        beside = {table: await self._all(table) for table in kind.beside if table in self.survey.columns}
        return [Bundle(int(row["id"]), row, {**below[int(row["id"])], **beside}) for row in rows]

    async def _children(self, child: Child, ids: Sequence[int]) -> list[dict[str, Any]]:
        if not ids:
            return []
        order = "id" if "id" in self.survey.columns[child.table] else child.key
        query = sql.SQL("select {} from {} where {} = any(%s) order by {}").format(
            self._columns(child.table),
            self._name(child.table),
            sql.Identifier(child.key),
            sql.Identifier(order),
        )
        return await self.rows(query, [list(ids)])

    async def _all(self, table: str) -> list[dict[str, Any]]:
        query = sql.SQL("select {} from {} order by id").format(self._columns(table), self._name(table))
        return await self.rows(query)

    def _columns(self, table: str) -> sql.Composable:
        names = sorted(self.survey.columns[table] - SECRETS.get(table, frozenset()))
        return sql.SQL(", ").join(map(sql.Identifier, names))

    def _name(self, table: str) -> sql.Identifier:
        return sql.Identifier(self._schema, table)

    async def rows(self, query: sql.SQL | sql.Composed, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        return await (await self._connection.execute(query, values)).fetchall()

    @asynccontextmanager
    async def moment(self) -> AsyncGenerator[None]:
        """What is read inside was there at one moment."""
        async with self._connection.transaction():
            yield


class _Timestamp(TimestampLoader):
    """A time that Python cannot hold stays text: one such row does not spoil its batch."""

    def load(self, data: Any) -> Any:
        try:
            return super().load(data)
        except DataError:
            return bytes(data).decode()


class _Timestamptz(TimestamptzLoader):
    def load(self, data: Any) -> Any:
        try:
            return super().load(data)
        except DataError:
            return bytes(data).decode()


@asynccontextmanager
async def opened(url: SecretStr) -> AsyncGenerator[Source]:
    """A connection that can only read, and what it finds there.

    Raises:
        Invalid: no URL of a PostgreSQL database.
        SourceUnreachable: nobody answers, or not as hoped; the reason never quotes the URL.
        NotTheOriginal: the tables are others.
    """
    conninfo, schema = _conninfo(url.get_secret_value())
    try:
        connection = await AsyncConnection[dict[str, Any]].connect(
            conninfo,
            autocommit=True,
            row_factory=dict_row,
            prepare_threshold=None,  # a pooler may stand in between
            connect_timeout=CONNECT_SECONDS,
        )
    except psycopg.Error as error:
        raise SourceUnreachable(f"{SourceUnreachable.__doc__} ({type(error).__name__})") from None
    async with connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        await connection.set_autocommit(True)
        connection.adapters.register_loader("timestamp", _Timestamp)
        connection.adapters.register_loader("timestamptz", _Timestamptz)
        source = Source(connection, schema)
        try:
            await source.look()
            yield source
        except psycopg.Error as error:
            raise SourceUnreachable(
                f"The original's database refused to be read ({type(error).__name__})"
            ) from None


def _conninfo(url: str) -> tuple[str, str]:
    """What libpq understands of a URL, and the schema that it names (the original's own client knows more words)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in SCHEMES:
        raise Invalid("--from must be a postgresql:// URL", field="from")
    asked = parse_qsl(parts.query, keep_blank_values=True)
    understood = {option.keyword.decode() for option in Conninfo.get_defaults()}
    kept = [(name, value) for name, value in asked if name in understood]
    schema = next((value for name, value in asked if name == "schema" and value), "public")
    plain = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(kept), ""))
    return plain, schema


def tables_beyond(survey: Survey, kinds: Iterable[Kind]) -> list[str]:
    """Tables that none of the kinds takes over."""
    taken = frozenset[str]().union(*(kind.tables for kind in kinds))
    return sorted(table for table in survey.columns if table not in taken and not table.startswith("_"))
