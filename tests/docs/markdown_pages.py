"""The pages of the repository as the tests of the documentation read them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "conforme"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_CELLS = re.compile(r"(?<!\\)\|")
_CODE = re.compile(r"`([^`]+)`")


def all_pages() -> list[Path]:
    """README, CHANGELOG and everything under docs/."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def text_of(name: str) -> str:
    """A page by its path from the root, for example `docs/settings.md`."""
    return (ROOT / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Fence:
    language: str
    body: str


def fences(text: str) -> list[Fence]:
    return [Fence(match[1], match[2]) for match in _FENCE.finditer(text)]


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text)


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every table row, heads and rulers left out."""
    lines = prose(text).splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("|") and not _is_ruler(line) and not _is_ruler(following):
            yield [cell.strip() for cell in _CELLS.split(line.strip().strip("|"))]


def _is_ruler(line: str) -> bool:
    return line.startswith("|-")


def in_code(cell: str) -> list[str]:
    """What a cell or a text sets in backticks."""
    return _CODE.findall(cell)


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above.

    Raises:
        KeyError: the page has no such heading.
    """
    found = [(match.start(), match.end(), len(match[1]), match[2]) for match in _HEADING.finditer(text)]
    for place, (_, end, level, title) in enumerate(found):
        if title == heading:
            later = (start for start, _, below, _ in found[place + 1 :] if below <= level)
            return text[end : next(later, len(text))]
    raise KeyError(heading)


def anchors(text: str) -> set[str]:
    """What a link may name behind `#`: the headings, as they are turned into anchors."""
    titles = (match[2] for match in _HEADING.finditer(prose(text)))
    return {re.sub(r"[^\w\- ]", "", title.lower().replace("`", "")).replace(" ", "-") for title in titles}
