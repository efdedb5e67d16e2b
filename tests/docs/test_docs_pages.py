"""Pages link to what exists, say nothing that does not belong to the product, and stay short enough to be read."""

import json
import re
from pathlib import Path

import pytest
from markdown_pages import ROOT, all_pages, anchors, fences, prose

PAGES = all_pages()
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OUTSIDE = ("http://", "https://", "mailto:")
MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:work|tmp|root|home|mnt|opt|srv|Users)(?:/|\b)")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|TBD|XXX|lorem ipsum)\b|coming soon", re.IGNORECASE)
SOURCE_PATH = re.compile(r"`((?:src|docs|tests)/[\w./-]+)`")
FRENCH_PHONE = re.compile(r"(?<!\d)0\d(?:[ .]?\d{2}){4}(?!\d)")
FICTION = ("0199", "0261", "0353", "0465", "0536", "0639")
SCREEN_LINES = 95


def _ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_links_lead_to_pages_and_headings_that_exist(page: Path) -> None:
    for link in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if link.startswith(OUTSIDE):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_pages_name_no_path_of_a_machine_and_promise_nothing_unfinished(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not MACHINE_PATH.findall(text)
    assert not UNFINISHED.findall(text)


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_pages_name_only_source_files_that_exist(page: Path) -> None:
    for path in SOURCE_PATH.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_phone_numbers_are_from_the_ranges_reserved_for_fiction(page: Path) -> None:
    for number in FRENCH_PHONE.findall(page.read_text(encoding="utf-8")):
        assert re.sub(r"\D", "", number).startswith(FICTION), number


@pytest.mark.parametrize("page", PAGES, ids=_ids)
def test_json_examples_are_json(page: Path) -> None:
    for fence in fences(page.read_text(encoding="utf-8")):
        if fence.language == "json":
            json.loads(fence.body)


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached:
            continue
        reached.add(page)
        links = (link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8")))
        targets = [(page.parent / link).resolve() for link in links if link and not link.startswith(OUTSIDE)]
        folders = [page for target in targets if target.is_dir() for page in target.glob("*.md")]
        todo += [target for target in [*targets, *folders] if target.suffix == ".md" and target.exists()]
    assert set(PAGES) <= reached


def test_the_readme_stays_about_one_screen() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= SCREEN_LINES


def test_decisions_are_numbered_and_complete() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [record.name[:4] for record in records] == [
        f"{number:04d}" for number in range(1, len(records) + 1)
    ]
    for record in records:
        text = record.read_text(encoding="utf-8")
        assert all(f"## {part}" in text for part in ("Context", "Decision", "Consequences")), record.name
