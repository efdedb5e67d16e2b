"""docs/settings.md lists every setting, with the default it has."""

import ast
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from markdown_pages import SOURCE, in_code, rows, text_of
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from conforme.settings import Settings

PAGE = "docs/settings.md"
ONLY_REPORTED = frozenset({"doctor.py"})
"""Naming a setting to the operator is not using it."""


def _name(field: str, info: FieldInfo) -> str:
    return str(info.validation_alias or field).upper()


SETTINGS = {_name(field, info): (field, info) for field, info in Settings.model_fields.items()}


def _shown(default: Any) -> str:
    match default:
        case None:
            return "unset"
        case SecretStr() | tuple() if not (
            default.get_secret_value() if isinstance(default, SecretStr) else default
        ):
            return "empty"
        case tuple():
            return f"`{','.join(default)}`"
        case bool():
            return str(default).lower()
        case int() | float() | Decimal() | Path() | str():
            return f"`{default}`"
        case _:
            raise TypeError(f"no spelling for {default!r}")


def _documented() -> dict[str, list[str]]:
    return {in_code(cells[0])[0]: cells for cells in rows(text_of(PAGE))}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_setting_has_a_line_with_its_default(name: str) -> None:
    default = SETTINGS[name][1].get_default(call_default_factory=True)
    _, unit, shown, meaning = _documented()[name]
    assert shown.strip("`") == _shown(default).strip("`")
    assert unit
    assert meaning


def test_no_line_names_a_setting_that_does_not_exist() -> None:
    assert set(_documented()) == set(SETTINGS)


def _used() -> set[str]:
    """Every attribute that the product reads anywhere."""
    trees = (ast.parse(file.read_bytes()) for file in SOURCE.rglob("*.py") if file.name not in ONLY_REPORTED)
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_exactly_the_settings_without_effect_are_called_reserved() -> None:
    reserved = {name for name, cells in _documented().items() if cells[3].startswith("Reserved")}
    used = _used()
    assert reserved == {name for name, (field, _) in SETTINGS.items() if field not in used}


def test_other_pages_name_only_settings_that_exist() -> None:
    for page in (
        "README.md",
        "docs/operations.md",
        "docs/getting-started.md",
        "docs/api.md",
        "docs/realtime.md",
    ):
        named = {word for code in in_code(text_of(page)) for word in [code.split("=")[0]] if word.isupper()}
        shaped = {word for word in named if "_" in word}
        assert shaped - set(SETTINGS) - _words_of_the_contract() == set(), page


def _words_of_the_contract() -> set[str]:
    return set(in_code(text_of("docs/errors.md")))
