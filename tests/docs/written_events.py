"""Finds in the source every event that the product writes, and the payload fields named where it is written.

An event is written by `events.record(session, name, …)` or as `events.Draft(name, …)`. A function that hands one of its
own parameters on as (part of) the name is itself a way to write events, and its callers are looked at in turn.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markdown_pages import SOURCE

EVENTS = "conforme.foundation.events"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Writer:
    """A way to write events: which positional argument names the event, and what stands before that."""

    position: int
    prefix: str = ""


@dataclass(frozen=True)
class Written:
    """One place that writes an event."""

    name: str
    fields: frozenset[str]
    place: str


class UnknownName(Exception):
    """The name of an event cannot be read off the source"""


@dataclass(frozen=True)
class Module:
    name: str
    tree: ast.Module
    imported: dict[str, str]
    """What each name of the module stands for, in full."""

    calls: Sequence[tuple[Function | None, ast.Call]]
    """All of them, each with the innermost function that it stands in."""

    def full_name(self, node: ast.expr) -> str:
        match node:
            case ast.Name():
                return self.imported.get(node.id, f"{self.name}.{node.id}")
            case ast.Attribute():
                return f"{self.full_name(node.value)}.{node.attr}"
            case _:
                return ""

    def constant(self, name: str) -> str | None:
        for node in self.tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=target)], value=ast.Constant(value=str(text))) if (
                    target == name
                ):
                    return text
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.Constant(value=str(text))) if (
                    target == name
                ):
                    return text
                case _:
                    continue
        return None


def _names(node: ast.AST) -> dict[str, str]:
    """What an import makes known."""
    match node:
        case ast.Import(names=names):
            return {alias.asname or alias.name: alias.name for alias in names}
        case ast.ImportFrom(module=str(module), names=names):
            return {alias.asname or alias.name: f"{module}.{alias.name}" for alias in names}
        case _:
            return {}


def _module(file: Path) -> Module:
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    tree, known = ast.parse(file.read_bytes()), dict[str, str]()
    calls: list[tuple[Function | None, ast.Call]] = []
    ahead: list[tuple[Function | None, ast.AST]] = [(None, tree)]
    while ahead:
        function, node = ahead.pop()
        known |= _names(node)
        if isinstance(node, ast.Call):
            calls.append((function, node))
        inside = node if isinstance(node, Function) else function
        ahead.extend((inside, child) for child in ast.iter_child_nodes(node))
    return Module(name, tree, known, sorted(calls, key=lambda call: call[1].lineno))


@cache
def modules() -> tuple[Module, ...]:
    return tuple(_module(file) for file in sorted(SOURCE.rglob("*.py")))


def _named(call: ast.Call, writer: Writer) -> ast.expr:
    if len(call.args) > writer.position:
        return call.args[writer.position]
    by_keyword: dict[Any, ast.expr] = {keyword.arg: keyword.value for keyword in call.keywords}
    return by_keyword["name"]


def _as_parameter(name: ast.expr, function: Function) -> Writer | None:
    """The writer that a function is when the event's name is, or ends with, one of its parameters."""
    prefix, last = "", name
    if isinstance(name, ast.JoinedStr):
        head, tail = name.values[:-1], name.values[-1]
        if not all(isinstance(part, ast.Constant) for part in head) or not isinstance(
            tail, ast.FormattedValue
        ):
            return None
        prefix, last = "".join(str(part.value) for part in head if isinstance(part, ast.Constant)), tail.value
    parameters = [each.arg for each in function.args.args]
    if isinstance(last, ast.Name) and last.id in parameters:
        return Writer(parameters.index(last.id), prefix)
    return None


def _calls_in(
    module: Module, writers: dict[str, Writer]
) -> Iterator[tuple[Function | None, ast.Call, Writer]]:
    """Calls of writers, each with the function that it stands in."""
    for function, call in module.calls:
        if writer := writers.get(module.full_name(call.func)):
            yield function, call, writer


@cache
def _writers() -> dict[str, Writer]:
    writers = {f"{EVENTS}.Draft": Writer(0)}
    while True:
        found = dict(writers)
        for module in modules():
            for function, call, writer in _calls_in(module, writers):
                made = function and _as_parameter(_named(call, writer), function)
                if function and made:
                    found[f"{module.name}.{function.name}"] = Writer(
                        made.position, writer.prefix + made.prefix
                    )
        if found == writers:
            return writers
        writers = found


def _text(module: Module, name: ast.expr, place: str) -> str:
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        return name.value
    if isinstance(name, ast.Name) and (text := module.constant(name.id)):
        return text
    raise UnknownName(place)


@cache
def written_events() -> tuple[Written, ...]:
    """Every place that writes an event. Raises `UnknownName` for one whose name cannot be read off the source."""
    return tuple(_written())


def _written() -> Iterator[Written]:
    writers = _writers()
    for module in modules():
        for function, call, writer in _calls_in(module, writers):
            name = _named(call, writer)
            # `events.record_all` reads drafts again: what it hands on was written elsewhere.
            if module.name == EVENTS or (function and _as_parameter(name, function)):
                continue
            place = f"{module.name}:{call.lineno}"
            fields = frozenset(keyword.arg for keyword in call.keywords if keyword.arg)
            yield Written(writer.prefix + _text(module, name, place), fields, place)
