"""Configurations as YAML or JSON files. Pure: text in, `Rules` out, and back.

A file is written by hand or comes from elsewhere: it is bounded, holds data only (no tags, no aliases, no repeated
keys), and what is wrong in it is said with the path of the field.
"""

import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Literal

import yaml
from pydantic import ValidationError
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from conforme.audit_configs.errors import InvalidConfiguration
from conforme.audit_configs.rules import ControlPoint, Rules, StepRule

Format = Literal["yaml", "json"]

MAX_BYTES = 2 * 1024 * 1024
MAX_DEPTH = 20
_ALWAYS_WRITTEN = ("position", "name", "description", "prompt", "severity", "is_critical", "weight")
_EXOTIC_BREAKS = frozenset("\x85\u2028\u2029")
_FORMATS: dict[str, Format] = {".yaml": "yaml", ".yml": "yaml", ".json": "json"}


def format_of(path: PurePath) -> Format:
    """The format that a file's suffix tells.

    Raises:
        InvalidConfiguration: neither YAML nor JSON.
    """
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        raise InvalidConfiguration(["file: the name must end in .yaml, .yml or .json"])
    return found


def load(content: bytes, kind: Format) -> Rules:
    """The rules a file holds, of any state: `Rules.problems` says whether they can run.

    Steps without `position` are numbered in the order of the file.

    Raises:
        InvalidConfiguration: too large, malformed, or with a field that is missing, unknown or out of bounds.
    """
    if len(content) > MAX_BYTES:
        raise InvalidConfiguration([f"file: larger than {MAX_BYTES} bytes"])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidConfiguration(["file: not UTF-8 text"]) from None
    try:
        return Rules.model_validate(_numbered(_parsed(text, kind)))
    except ValidationError as error:
        raise InvalidConfiguration.of(error) from None


def dump(rules: Rules, kind: Format) -> str:
    """A file that `load` reads back to equal rules; what has its default value is left out."""
    content = rules.model_dump(mode="json", exclude={"steps"}, exclude_defaults=True)
    content["steps"] = [_step_content(step) for step in rules.steps]
    if kind == "json":
        return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    return yaml.dump(content, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=110)


def _step_content(step: StepRule) -> dict[str, Any]:
    written = step.model_dump(mode="json", exclude={"control_points"}, exclude_defaults=True)
    everything = step.model_dump(mode="json", include=set(_ALWAYS_WRITTEN))
    ordered = {name: everything[name] for name in _ALWAYS_WRITTEN if everything[name] is not None} | written
    return ordered | {"control_points": [_point_content(point) for point in step.control_points]}


def _point_content(point: ControlPoint) -> str | dict[str, Any]:
    return point.text if point.plain else {"text": point.text, **point.details()}


def _numbered(content: Any) -> Any:
    """Gives steps their positions when none says its own."""
    steps = content.get("steps") if isinstance(content, dict) else None
    if not isinstance(steps, list) or any(not isinstance(step, dict) or "position" in step for step in steps):
        return content
    return content | {"steps": [step | {"position": index} for index, step in enumerate(steps, start=1)]}


def _parsed(text: str, kind: Format) -> Any:
    try:
        if kind == "json":
            return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 -- a SafeLoader that accepts still less
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidConfiguration([f"file: {error.problem}{line}"]) from None
    except json.JSONDecodeError as error:
        raise InvalidConfiguration([f"file: {error.msg}, line {error.lineno}"]) from None
    except RecursionError:
        raise InvalidConfiguration(["file: nested too deeply"]) from None
    except (yaml.YAMLError, ValueError, OverflowError, TypeError):
        raise InvalidConfiguration([f"file: not readable as {kind.upper()}"]) from None


def _no_constant(name: str) -> float:
    raise InvalidConfiguration([f"file: {name} is not a value"])


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise InvalidConfiguration([f"file: {repeated[:60]!r} is given twice in one object"])
    return built


class _Loader(yaml.SafeLoader):
    """Safe loading without aliases (a few lines of them expand to gigabytes) nor repeated keys."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise ComposerError(None, None, "aliases are not accepted", event.start_mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise RecursionError
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        repeated = (
            next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
        )
        if repeated is not None:
            problem = f"{repeated[:60]!r} is given twice in one mapping"
            raise ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, indents lists, and long texts as blocks that people can edit."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- PyYAML's signature
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 -- PyYAML's signature
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    if not _EXOTIC_BREAKS.isdisjoint(value):
        style = '"'  # elsewhere YAML folds them like any line break
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
