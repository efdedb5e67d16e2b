"""Rules of the house that a linter does not know (docs/how-it-works.md)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

import conforme.app
import conforme.legacy.models  # pyright: ignore[reportUnusedImport] -- its tables, which no route needs
from conforme.foundation.database import Base, async_url
from conforme.foundation.migrate import pending

SOURCE = Path(conforme.app.__file__).parent
ENGINE_TABLES = {"engine_heartbeats", "alembic_version", "traces"}
"""Not models: the last is what the tests of the engine write to."""
MAY_COMMIT = {"foundation/database.py", "foundation/durable.py"}
MAY_TALK_TO_HTTP = {"fastapi", "starlette"}


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if "migrations" not in path.parts)


def named(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_the_migrations_build_what_the_models_say(database_url: str) -> None:
    engine = create_engine(async_url(database_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = [
            difference
            for difference in compare_metadata(context, Base.metadata)
            if not (isinstance(difference, tuple) and getattr(difference[1], "name", "") in ENGINE_TABLES)
        ]
    engine.dispose()
    assert differences == []
    assert pending(database_url) == []


@pytest.mark.parametrize("path", modules(), ids=named)
def test_nobody_but_the_edge_commits(path: Path) -> None:
    if named(path) not in MAY_COMMIT:
        assert not re.search(r"\.commit\(", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "path", [path for path in modules() if path.name in {"service.py", "queries.py"}], ids=named
)
def test_rules_and_queries_know_no_http(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not {name.split(".")[0] for name in imported(tree)} & MAY_TALK_TO_HTTP


@pytest.mark.parametrize("path", [path for path in modules() if path.name == "routes.py"], ids=named)
def test_routes_query_no_table(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert "sqlalchemy" not in {name.split(".")[0] for name in imported(tree)}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=named)
def test_no_module_and_no_function_outgrows_its_reader(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 600
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 80, node.name
