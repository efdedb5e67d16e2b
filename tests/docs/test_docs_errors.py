"""docs/errors.md lists every code an error can have, with its status, and every reason for a failed audit."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator

from markdown_pages import in_code, rows, section, text_of
from written_events import modules

import conforme
from conforme.audits.verdicts import DropReason
from conforme.foundation.errors import ConformeError

PAGE = "docs/errors.md"
NOT_LIBRARY = "conforme.foundation.migrations"
"""Scripts that Alembic runs."""


def _import_everything() -> None:
    for module in pkgutil.walk_packages(conforme.__path__, "conforme."):
        if not module.name.startswith(NOT_LIBRARY):
            importlib.import_module(module.name)


def _errors() -> Iterator[type[ConformeError]]:
    _import_everything()
    todo: list[type[ConformeError]] = [ConformeError]
    while todo:
        kind = todo.pop()
        if kind.__module__.startswith("conforme."):
            yield kind
            todo.extend(kind.__subclasses__())


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for module in modules():
        for _, call in module.calls:
            yield (
                call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", ""),
                call,
            )


def _said(of: str, keyword: str) -> set[str]:
    """The constants given as this keyword to every call of this name in the source."""
    return {
        str(given.value.value)
        for name, call in _calls()
        if name == of
        for given in call.keywords
        if given.arg == keyword and isinstance(given.value, ast.Constant) and given.value.value is not None
    }


def _table(heading: str) -> dict[str, list[str]]:
    return {in_code(cells[0])[0]: cells for cells in rows(section(text_of(PAGE), heading))}


def test_every_code_of_an_error_is_listed_with_its_status() -> None:
    known = _table("Codes of the API") | _table("Why an audit failed")
    assert {kind.code for kind in _errors()} <= set(known)


def test_the_statuses_listed_are_those_of_the_errors() -> None:
    listed = {(code, int(cells[1])) for code, cells in _table("Codes of the API").items()}
    real = {(kind.code, int(kind.status)) for kind in _errors()}
    assert listed <= real
    on_the_wire = {(code, status) for code, status in real if code not in _table("Why an audit failed")}
    assert on_the_wire <= listed


def test_every_reason_for_a_failed_audit_is_listed() -> None:
    given = _said("AuditFailed", "code") | _said("Outcome", "code")
    assert given <= set(_table("Why an audit failed"))


def test_every_phase_in_which_an_audit_may_fail_is_listed() -> None:
    listed = {phase for cells in _table("Why an audit failed").values() for phase in in_code(cells[1])}
    assert listed == _said("AuditFailed", "phase")


def test_no_code_is_listed_that_nothing_gives() -> None:
    real = {kind.code for kind in _errors()} | _said("AuditFailed", "code") | _said("Outcome", "code")
    assert set(_table("Codes of the API")) | set(_table("Why an audit failed")) <= real


def test_every_reason_to_drop_a_quote_is_listed() -> None:
    assert set(_table("Why a quote was dropped")) == {reason.value for reason in DropReason}
