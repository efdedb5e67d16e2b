"""docs/api.md speaks of every route, and no page speaks of one that does not exist."""

import re
from functools import cache

from fastapi import FastAPI
from markdown_pages import all_pages, text_of

from conforme.app import build
from conforme.audits.routes import STATUTS
from conforme.settings import Settings

PAGE = "docs/api.md"
METHOD_AND_PATH = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE)\s+(/(?:api|health)[^\s`|?,;]*)")
ANY_PATH = re.compile(r"(?:(?<![\w.])|(?<=\$API)|(?<=:3002))/(?:api|health)(?:/[\w{}-]+)*")
NOT_IN_THE_REFERENCE = {"/api", "/api-docs", "/api-docs.json"}


@cache
def _app() -> FastAPI:
    return build(Settings(), "postgresql://conforme@db.example.test/conforme")


def _routes() -> set[tuple[str, str]]:
    return {
        (method.upper(), path) for path, methods in _app().openapi()["paths"].items() for method in methods
    }


def _shape(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{\w+\}", r"(?:\\{\\w+\\}|[\\w.-]+)", path))


def _fits(path: str, method: str | None = None) -> bool:
    return any(_shape(known).fullmatch(path) and method in (None, verb) for verb, known in _routes())


def test_every_route_is_spoken_of() -> None:
    said = set(METHOD_AND_PATH.findall(text_of(PAGE)))
    shown = set(ANY_PATH.findall(text_of(PAGE)))
    for method, path in sorted(_routes()):
        shape = _shape(path)
        spoken = any(verb == method and shape.fullmatch(text) for verb, text in said)
        assert spoken or any(shape.fullmatch(text) for text in shown), f"{method} {path}"


def test_no_page_speaks_of_a_route_that_does_not_exist() -> None:
    for page in all_pages():
        text = page.read_text(encoding="utf-8")
        for method, path in METHOD_AND_PATH.findall(text):
            assert _fits(path.rstrip(".:)"), method), f"{page.name}: {method} {path}"
        for path in ANY_PATH.findall(text):
            known = (
                _fits(path)
                or path in NOT_IN_THE_REFERENCE
                or any(route.startswith(path) for _, route in _routes())
            )
            assert known, f"{page.name}: {path}"


def test_how_it_works_lists_the_statuses_of_a_control_point() -> None:
    assert all(f"`{statut}`" in text_of("docs/how-it-works.md") for statut in STATUTS)
