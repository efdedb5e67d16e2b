"""Search in tools mode: BM25 over French stems."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.audits.ranking import LENGTH, SATURATION, Ranking, stem

TERMS = st.sampled_from(["carence", "prix", "dentaire", "oui", "non", "orias", "votre"])
PASSAGES = st.lists(st.lists(TERMS, max_size=12), max_size=8)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("resilier", "resiliation"),
        ("enregistre", "enregistrement"),
        ("garantie", "garanties"),
        ("conseillere", "conseiller"),
        ("remboursements", "remboursement"),
    ],
)
def test_forms_of_one_word_share_a_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


@given(st.text("abcdefilmnorstuvx", max_size=20))
def test_a_stem_is_a_beginning_of_its_word_and_is_its_own_stem(word: str) -> None:
    assert word.startswith(stem(word))
    assert stem(stem(word)) == stem(word)
    assert len(stem(word)) >= min(4, len(word))


@pytest.mark.parametrize("word", ["1234567", "oui", "d", ""])
def test_numbers_and_short_words_stay_whole(word: str) -> None:
    assert stem(word) == word


def _bm25(passages: list[list[str]], terms: list[str], at: int) -> float:
    """The formula as it is printed."""
    mean = sum(map(len, passages)) / len(passages) or 1.0
    total = 0.0
    for term in dict.fromkeys(terms):
        holding = sum(term in passage for passage in passages)
        count = Counter(passages[at])[term]
        idf = math.log(1 + (len(passages) - holding + 0.5) / (holding + 0.5))
        norm = SATURATION * (1 - LENGTH + LENGTH * len(passages[at]) / mean)
        total += idf * count * (SATURATION + 1) / (count + norm) if count else 0.0
    return total


@given(PASSAGES, st.lists(TERMS, max_size=5))
def test_the_best_passages_are_those_of_the_formula(passages: list[list[str]], terms: list[str]) -> None:
    found = Ranking(passages).best(terms, most=len(passages))
    wanted = {at: _bm25(passages, terms, at) for at in range(len(passages))}
    assert [at for at, _ in found] == sorted(
        (at for at in wanted if set(terms) & set(passages[at])), key=lambda at: (-dict(found)[at], at)
    )
    assert all(score == pytest.approx(wanted[at]) for at, score in found)


@given(PASSAGES, st.lists(TERMS, max_size=5), st.integers(-1, 10))
def test_no_more_than_asked_are_found_and_never_one_without_a_term(
    passages: list[list[str]], terms: list[str], most: int
) -> None:
    found = Ranking(passages).best(terms, most)
    assert len(found) <= max(0, most)
    assert all(set(terms) & set(passages[at]) for at, _ in found)


def test_a_rare_word_weighs_more_than_a_common_one() -> None:
    ranking = Ranking([["oui", "carence"], ["oui", "oui"], ["oui"]])
    assert ranking.best(["oui", "carence"], 1)[0][0] == 0
