"""docs/commands.md lists every command and option; shell examples anywhere use only what exists."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from markdown_pages import ROOT, all_pages, fences, in_code, rows, section, text_of
from typer.core import TyperArgument, TyperGroup

from conforme.cli import app

PAGE = "docs/commands.md"
SHELL = frozenset({"sh", "bash", "console", "shell", ""})
ASSIGNMENT = re.compile(r"[A-Z][A-Z0-9_]*=")


def _walk(command: Any, path: str) -> Iterator[tuple[str, list[Any]]]:
    """Every command under this one with its parameters."""
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from _walk(child, f"{path} {name}")
    else:
        yield path, command.params


COMMANDS = dict(_walk(typer.main.get_command(app), "conforme"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def _spellings(parameter: Any) -> list[str]:
    if isinstance(parameter, TyperArgument):
        return [str(parameter.name).upper()]
    return [*parameter.opts, *parameter.secondary_opts]


def _listed(command: str) -> set[str]:
    return {name for cells in rows(section(text_of(PAGE), f"`{command}`")) for name in in_code(cells[0])}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_lists_exactly_its_arguments_and_options(command: str) -> None:
    known = {spelling for parameter in COMMANDS[command] for spelling in _spellings(parameter)}
    assert _listed(command) == known - {"--help"}


def _defaults(command: str) -> dict[str, str]:
    """The defaults that the product itself has a value for, by the option's first spelling."""
    valued = (
        each for each in COMMANDS[command] if each.default not in (None, False) and not callable(each.default)
    )
    return {each.opts[0]: _plain(each.default) for each in valued if not isinstance(each, TyperArgument)}


def _plain(default: Any) -> str:
    return f"{default:g}" if isinstance(default, int | float) else str(getattr(default, "value", default))


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_default_is_the_one_that_holds(command: str) -> None:
    stated = {
        in_code(cells[0])[0]: in_code(cells[1])
        for cells in rows(section(text_of(PAGE), f"`{command}`"))
        if len(cells) == 3
    }
    for option, default in _defaults(command).items():
        assert stated[option] == [default], option


def test_every_command_that_is_described_exists() -> None:
    described = set(re.findall(r"^## `(conforme [a-z -]+)`$", text_of(PAGE), re.MULTILINE))
    assert described == set(COMMANDS)


def test_every_make_target_is_listed() -> None:
    listed = {name for cells in rows(text_of(PAGE)) for name in in_code(cells[0]) if name.startswith("make ")}
    assert listed == {f"make {target}" for target in TARGETS}


def _shell_lines() -> Iterator[tuple[str, str]]:
    for page in all_pages():
        for fence in fences(page.read_text(encoding="utf-8")):
            if fence.language in SHELL:
                joined = fence.body.replace("\\\n", " ")
                yield from ((page.name, line.removeprefix("$ ").strip()) for line in joined.splitlines())


def _invocations() -> Iterator[tuple[str, list[str]]]:
    """Every `conforme …` and `make …` of the pages' shell examples, as words."""
    for page, line in _shell_lines():
        start = line.split(maxsplit=1)[0] if line else ""
        if not (start in {"conforme", "make"} or (ASSIGNMENT.match(line) and " conforme " in line)):
            continue
        words = [
            word for word in shlex.split(line, comments=True) if not ASSIGNMENT.match(word) or start == "make"
        ]
        yield page, list(_until_redirection(words))


def _until_redirection(words: list[str]) -> Iterator[str]:
    for word in words:
        if word in {">", "|", "&&", ";"}:
            return
        yield word


def _options(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("-") and word != "-"]


def _unknown_options(command: str, words: list[str]) -> set[str]:
    known = {spelling for parameter in COMMANDS[command] for spelling in _spellings(parameter)}
    return set(_options(words)) - known - {"--help"}


@pytest.mark.parametrize(("page", "words"), list(_invocations()))
def test_examples_use_only_commands_and_options_that_exist(page: str, words: list[str]) -> None:
    if words[0] == "make":
        target, *beside = words[1:]
        assert target in TARGETS, page
        given = next((word.removeprefix("ARGS=") for word in beside if word.startswith("ARGS=")), "")
        if target in {"demo", "serve"}:
            assert not _unknown_options(f"conforme {target}", shlex.split(given)), page
        return
    command = next(
        (" ".join(words[:length]) for length in (3, 2) if " ".join(words[:length]) in COMMANDS), None
    )
    assert command, f"{page}: {' '.join(words)}"
    assert not _unknown_options(command, words), page


def test_the_examples_of_the_pages_are_found() -> None:
    assert len(list(_invocations())) > 15
