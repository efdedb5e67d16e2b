"""Rows of one or several tables written by one statement, which is put together once for each combination of them.

A list of VALUES would be put together, and planned, anew for each number of rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from conforme.foundation.database import WRITTEN, Base, Writer


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows for one table: JSON objects with the same keys, its columns; each value as its column's type reads it."""

    table: type[Base]
    values: Sequence[Mapping[str, Any]]
    clause: str = ""
    """What follows the insert: `on conflict do nothing`, `returning id`."""
    then: str = ""
    """A query on `written`, the rows that `clause` returns; of one kind of rows at most."""


async def write_rows(session: Writer, *parts: Rows) -> None:
    """Writes the rows of each table in the order given; foreign keys are checked when all are written."""
    filled = [part for part in parts if part.values]
    if filled:
        shapes = tuple(_Shape.of(part) for part in filled)
        session.info.setdefault(WRITTEN, set()).update(shape.table for shape in shapes)
        await session.execute(_statement(shapes), {each.table.__tablename__: each.values for each in filled})


@dataclass(frozen=True, slots=True)
class _Shape:
    table: str
    columns: tuple[str, ...]
    clause: str
    then: str

    @classmethod
    def of(cls, part: Rows) -> "_Shape":
        return cls(part.table.__tablename__, tuple(part.values[0]), part.clause, part.then)

    @property
    def name(self) -> str:
        return "written" if self.then else f"{self.table}_written"

    def insert(self) -> str:
        columns = ", ".join(self.columns)
        source = f"jsonb_populate_recordset(null::{self.table}, :{self.table})"
        return f"insert into {self.table} ({columns}) select {columns} from {source} {self.clause}"  # noqa: S608 -- names of our own


@lru_cache(maxsize=256)
def _statement(shapes: tuple[_Shape, ...]) -> TextClause:
    inserts = ", ".join(f"{shape.name} as ({shape.insert()})" for shape in shapes)
    then = next((shape.then for shape in shapes if shape.then), "select")
    return text(f"with {inserts} {then}").bindparams(
        *(bindparam(shape.table, type_=JSONB) for shape in shapes)
    )
