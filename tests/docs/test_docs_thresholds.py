"""docs/how-it-works.md states the thresholds that hold."""

from dataclasses import asdict
from decimal import Decimal

from markdown_pages import in_code, rows, section, text_of

from conforme.audits.alignment import DEFAULT
from conforme.audits.evidence import MIN_QUOTE_CHARS
from conforme.audits.lexicon import CLOSE, CLOSE_SHORT
from conforme.audits.scoring import THRESHOLDS
from conforme.settings import MAX_RECORDINGS_PER_FICHE, Settings

PAGE = "docs/how-it-works.md"


def _values(heading: str) -> dict[str, Decimal]:
    stated: dict[str, Decimal] = {}
    for cells in rows(section(text_of(PAGE), heading)):
        names = in_code(cells[0])
        if names and cells[1].replace(".", "").isdigit():
            stated[names[0]] = Decimal(cells[1])
    return stated


def test_every_tolerance_of_evidence_is_stated_as_it_is() -> None:
    real = {name: Decimal(str(value)) for name, value in asdict(DEFAULT).items()}
    assert _values("Evidence: a quote counts only where it was found") == real


def test_every_threshold_of_scoring_is_stated_as_it_is() -> None:
    assert _values("Scoring") == asdict(THRESHOLDS)


def test_the_figures_in_the_text_are_those_of_the_code() -> None:
    text = text_of(PAGE)
    assert f"fewer than {MIN_QUOTE_CHARS} characters" in text
    assert f"at least {CLOSE:.0%} alike ({CLOSE_SHORT:.0%} for four letters)".replace("%", " %") in text
    assert f"at most {Settings().fiche_fetch_concurrency} at once over all replicas" in text
    assert f"More than {MAX_RECORDINGS_PER_FICHE} calls" in text_of("docs/errors.md")
