"""How a JSON object of the gateway lies in a table: which field is which column, and what hangs below.

Columns are derived from the gateway's models, so that a field is named once. `Node` describes one table; what its
columns cannot say of an object is kept in the row's `extra` (`fiches.patch`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from conforme.fiches.patch import Json, apply, diff

Row = dict[str, Any]
"""Columns by name; `id` and the parent's key are numbers local to one split, or those of the database."""
Path = tuple[str, ...]

EXTRA = "extra"
ROOT = "fiche_cache"
ROOT_KEY = "fiche_cache_id"
_INT64 = 2**63


class Kind(Enum):
    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    TEXTS = "texts"
    JSON = "json"

    def holds(self, value: Any) -> bool:
        """Whether a column of this kind gives the value back as it was."""
        match self:
            case Kind.TEXT:
                return isinstance(value, str)
            case Kind.NUMBER:
                return isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64
            case Kind.FLAG:
                return isinstance(value, bool)
            case Kind.TEXTS:
                return isinstance(value, list) and all(isinstance(item, str) for item in value)
            case Kind.JSON:
                return value is not None


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    kind: Kind
    path: Path
    """Where the value lies in the object."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a section; `key` is its name in a section that is keyed."""

    key: str | None
    body: Json


class Form(Enum):
    """How the objects of a section lie in their parent."""

    ONE = "an object or null"
    MANY = "a list of objects"
    KEYED = "objects by key"
    PAIRS = "values by key"
    VALUES = "a list of values"


@dataclass(frozen=True)
class Node:
    """One table and its place in the gateway's object."""

    table: str
    at: Path
    form: Form
    columns: tuple[Column, ...]
    below: tuple["Node", ...] = ()
    parent_key: str = ROOT_KEY
    """Foreign key column; `ROOT_KEY` also for a nested section that hangs on the fiche itself."""
    index_column: str = "row_index"
    key_column: str | None = None
    value_column: str | None = None
    bare: str | None = None
    """The list of a keyed object that may stand in its place."""
    optional: bool = False
    """No row means that the key is absent; that it was null is kept in the parent's `extra`."""
    indexed: Path = ()
    derived: Callable[[Json], Row] | None = None
    """Columns told by the object that are not read back."""
    derived_columns: tuple[Column, ...] = ()
    nullable: frozenset[Path] = field(default_factory=frozenset)
    """Nested objects that are null when all their columns are."""

    @property
    def is_list(self) -> bool:
        return self.form is not Form.ONE

    @property
    def is_parent(self) -> bool:
        """Its rows are pointed at by others."""
        return any(child.parent_key != ROOT_KEY for child in self.below)

    def items(self, value: Any) -> Iterator[Item]:
        """The objects of a section's value, in order."""
        match self.form:
            case Form.ONE:
                yield from () if value is None else (Item(None, value),)
            case Form.MANY:
                yield from (Item(None, body) for body in value)
            case Form.KEYED:
                yield from (Item(key, self._dressed(body)) for key, body in value.items())
            case Form.PAIRS:
                yield from (Item(key, {self._value: content}) for key, content in value.items())
            case Form.VALUES:
                yield from (Item(None, {self._value: content}) for content in value)

    def value(self, items: Iterable[Item]) -> Any:
        """The section's value back from its objects."""
        match self.form:
            case Form.ONE:
                return next((item.body for item in items), None)
            case Form.MANY:
                return [item.body for item in items]
            case Form.KEYED:
                return {item.key: self._undressed(item.body) for item in items}
            case Form.PAIRS:
                return {item.key: item.body[self._value] for item in items}
            case Form.VALUES:
                return [item.body[self._value] for item in items]

    @property
    def _value(self) -> str:
        assert self.value_column is not None  # noqa: S101 -- forms of single values name their column
        return self.value_column

    def _dressed(self, body: Any) -> Json:
        return {self.bare: body} if self.bare and isinstance(body, list) else body

    def _undressed(self, body: Json) -> Any:
        return body[self.bare] if self.bare and body.keys() == {self.bare} else body

    def row(self, item: Item) -> Row:
        """The columns of one object, what they cannot say in `extra`."""
        body = item.body
        for child in self.below:
            if not (child.optional and reach(body, child.at) is None):
                body = without(body, child.at)
        row: Row = {column.name: _held(column, body) for column in self.columns}
        row[EXTRA] = diff(self._skeleton(row), body)
        if self.key_column:
            row[self.key_column] = item.key
        if self.derived:
            row |= self.derived(item.body)
        return row

    def item(self, row: Mapping[str, Any]) -> Item:
        """The object of a row, without what hangs below it."""
        body = apply(row[EXTRA], self._skeleton(row))
        return Item(row[self.key_column] if self.key_column else None, body)

    def _skeleton(self, row: Mapping[str, Any]) -> Json:
        """The object as columns alone tell it, keys in the gateway's order."""
        body: Json = {}
        empty = {path for path in self.nullable if self._is_empty(path, row)}
        for column in self.columns:
            _settle(body, column.path, row[column.name], empty)
        return body

    def _is_empty(self, path: Path, row: Mapping[str, Any]) -> bool:
        return all(row[column.name] is None for column in self.columns if column.path[: len(path)] == path)


def _settle(body: Json, path: Path, value: Any, empty: Collection[Path]) -> None:
    """Puts a value at a path, making the objects on the way; one that is empty is null."""
    for depth in range(1, len(path)):
        way = path[:depth]
        if way in empty:
            place(body, way, None)
            return
        if reach(body, way) is None:
            place(body, way, {})
    place(body, path, value)


def _held(column: Column, body: Json) -> Any:
    value = reach(body, column.path)
    return value if column.kind.holds(value) else None


def reach(body: Any, path: Path) -> Any:
    """The value at a path; None where the path ends early."""
    for part in path:
        if not isinstance(body, dict):
            return None
        body = body.get(part)
    return body


def place(body: Json, path: Path, value: Any) -> None:
    """Puts a value at a path whose objects exist."""
    *way, last = path
    for part in way:
        body = body[part]
    body[last] = value


def without(body: Json, path: Path) -> Json:
    """A copy of the object in which the path's last key is gone."""
    first, *rest = path
    if first not in body:
        return body
    if not rest:
        return {key: value for key, value in body.items() if key != first}
    return {**body, first: without(body[first], tuple(rest))}


NO_PREFIXES: Mapping[str, str] = MappingProxyType({})


def columns_of(
    model: type[BaseModel], *, prefixes: Mapping[str, str] = NO_PREFIXES, omitted: Iterable[str] = ()
) -> tuple[Column, ...]:
    """The columns of a model, those of nested models with the prefix of their dotted path (default none)."""
    left_out = frozenset(omitted)
    return tuple(column for column in _columns(model, (), prefixes) if ".".join(column.path) not in left_out)


def _columns(model: type[BaseModel], path: Path, prefixes: Mapping[str, str]) -> Iterator[Column]:
    prefix = prefixes.get(".".join(path), "")
    for name, info in model.model_fields.items():
        here = (*path, name)
        inner = _bare_type(info.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _columns(inner, here, prefixes)
        elif (kind := _kind(inner)) is not None:
            yield Column(prefix + name, kind, here)


def nullable_paths(model: type[BaseModel], path: Path = ()) -> frozenset[Path]:
    """Nested models that may be null."""
    found: set[Path] = set()
    for name, info in model.model_fields.items():
        inner = _bare_type(info.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= nullable_paths(inner, (*path, name))
            if NoneType in get_args(info.annotation):
                found.add((*path, name))
    return frozenset(found)


def _bare_type(annotation: Any) -> Any:
    """The type without `Annotated` and without `| None`."""
    if get_origin(annotation) is Annotated:
        return _bare_type(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        (inner,) = (part for part in get_args(annotation) if part is not NoneType)
        return _bare_type(inner)
    return annotation


def _kind(inner: Any) -> Kind | None:
    """The kind of column for a type; None for lists and maps of objects, which have their own table."""
    scalars = {str: Kind.TEXT, int: Kind.NUMBER, bool: Kind.FLAG}
    if inner in scalars:
        return scalars[inner]
    if get_origin(inner) is list and get_args(inner) == (str,):
        return Kind.TEXTS
    if get_origin(inner) is dict and get_args(inner)[1] is Any:
        return Kind.JSON
    return None
