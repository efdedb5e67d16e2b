"""Each known weakness has its line in the documentation, and each line names tests that are really there."""

import re
from pathlib import Path

import pytest
from markdown_pages import in_code, rows, section, text_of

TESTS = Path(__file__).parents[1]
PROMISES = (
    "`skipIfTranscribed`",
    "`transcriptionPriority`",
    "`continueOnError`",
    "`retryFailed`, `maxRetries`",
    "`useRlm`",
    "Every configuration",
    "Gates of details and transcription",
    "Gate of audits",
    "No configuration",
    "Names of jobs",
    "Decided by the details",
)
"""Points of spec/automation §4.4."""
TABLES = (
    ("docs/audits.md", "What goes wrong elsewhere", [str(number) for number in range(1, 28)]),
    ("docs/automation.md", "Weaknesses", [str(number) for number in range(1, 23)]),
    ("docs/automation.md", "Promised and not done", list(PROMISES)),
)
"""Page, section, and what its lines are about, in order: by the numbers of the specification where it has any."""


@pytest.mark.parametrize(("page", "heading", "subjects"), TABLES)
def test_every_weakness_names_tests_that_exist(page: str, heading: str, subjects: list[str]) -> None:
    listed = list(rows(section(text_of(page), heading)))
    assert [cells[0] for cells in listed] == subjects
    for cells in listed:
        named = in_code(cells[-1])
        assert named, cells[0]
        assert all(_exists(each) for each in named), named


def _exists(named: str) -> bool:
    """Whether a test is there; a file stands for all of its tests."""
    file, _, test = named.partition("::")
    source = (TESTS / file).read_text(encoding="utf-8")
    return re.search(rf"def {test}\(" if test else r"def test_", source) is not None
