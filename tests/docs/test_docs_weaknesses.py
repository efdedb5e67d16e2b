"""Each known weakness has its line in docs/audits.md, and each line a test that is really there."""

import re
from pathlib import Path

from markdown_pages import in_code, rows, section, text_of

WEAKNESSES = 27
TESTS = Path(__file__).parents[1]


def test_every_weakness_names_a_test_that_exists() -> None:
    listed = list(rows(section(text_of("docs/audits.md"), "What goes wrong elsewhere")))
    assert [cells[0] for cells in listed] == [str(number) for number in range(1, WEAKNESSES + 1)]
    for cells in listed:
        [named] = in_code(cells[-1])
        file, _, test = named.partition("::")
        source = (TESTS / file).read_text(encoding="utf-8")
        assert re.search(rf"def {test}\(" if test else r"def test_", source), named
