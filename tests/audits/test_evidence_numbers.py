"""A number is its value, however it was said or written; anything else is another number."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.audits.normalise import normalise, tokens, units

SMALL = (
    *("zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"),
    *("dix", "onze", "douze", "treize", "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf"),
)
TENS = {20: "vingt", 30: "trente", 40: "quarante", 50: "cinquante", 60: "soixante", 80: "quatre-vingt"}


def in_french(number: int) -> str:
    """The number as France spells it."""
    if number < 20:
        return SMALL[number]
    if number < 100:
        tens = number // 10 * 10 if number // 10 not in {7, 9} else number // 10 * 10 - 10
        rest = number - tens
        if not rest:
            return TENS[tens] + ("s" if tens == 80 else "")
        return (
            f"{TENS[tens]} et {SMALL[rest]}"
            if rest in {1, 11} and tens != 80
            else f"{TENS[tens]}-{SMALL[rest]}"
        )
    for scale, name in ((1_000_000, "million"), (1_000, "mille"), (100, "cent")):
        if number >= scale:
            count, rest = divmod(number, scale)
            head = name if count == 1 and scale < 1_000_000 else f"{in_french(count)} {name}"
            return head + (f" {in_french(rest)}" if rest else "")
    raise AssertionError


def keys(text: str) -> list[str]:
    return [unit.key for unit in units(text.split())]


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("quatorze jours", "14 jours"),
        ("quarante et un euros dix", "41,10 €"),
        ("41 euros et 10 centimes", "41€10"),
        ("cinquante centimes", "0,50 euro"),
        ("un euro cinquante", "1,50 €"),
        ("mille euros cinquante", "1.000,50 €"),
        ("soixante-dix-huit", "78"),
        ("septante-huit", "78"),
        ("deux mille vingt-six", "2026"),
        ("mille neuf cent quatre-vingt-quatre", "1984"),
        ("trois millions deux cent mille", "3 200 000"),
        ("trois virgule zéro cinq", "3,05"),
        ("vingt pour cent", "20 %"),
        ("quatorze heures trente", "14h30"),
        ("quatorze heures trente", "14:30"),
        ("cinq janvier deux mille vingt-six", "05/01/2026"),
        ("premier janvier", "1er janvier"),
        ("deuxième appel", "2e appel"),
        ("zéro six trente-neuf quatre-vingt-dix-huit zéro zéro douze", "06.39.98.00.12"),
        ("zéro sept zéro zéro zéro un deux trois", "07 000 123"),
        ("cent euh vingt euros", "120 euros"),
        ("vingt hein pour cent", "20 %"),
        ("two hundred and five thousand", "205,000"),
        ("three point five percent", "3.5 %"),
    ],
)
def test_a_number_said_is_the_number_written(said: str, written: str) -> None:
    assert keys(said) == keys(written)


@given(st.just(0) | st.integers(2, 9_999_999))
def test_every_french_number_is_read_as_its_value(number: int) -> None:
    assert keys(f"c'est {in_french(number)} fois") == keys(f"c'est {number} fois")


@given(st.integers(2, 999), st.integers(11, 99))
def test_an_amount_with_cents_is_read_as_a_decimal(euros: int, cents: int) -> None:
    assert keys(f"{in_french(euros)} euros {in_french(cents)}.") == keys(f"{euros},{cents:02d} €")


@given(st.integers(2, 99_999), st.integers(2, 99_999))
def test_two_numbers_are_alike_only_when_equal(one: int, other: int) -> None:
    assert (keys(in_french(one)) == keys(str(other))) is (one == other)


@pytest.mark.parametrize(
    ("whole", "cut"),
    [
        ("quarante-deux euros", "quarante euros"),
        ("quarante et un euros dix", "quarante et un euros"),
        ("quatre-vingt-dix-neuf", "dix-neuf"),
        ("41,10 €", "41 €"),
        ("quarante euros douze mois", "40,12 € mois"),
        ("vingt pour cent", "vingt"),
    ],
)
def test_a_number_cut_short_is_another_number(whole: str, cut: str) -> None:
    assert keys(whole) != keys(cut)


def test_an_article_is_no_number() -> None:
    assert keys("un contrat, une fois") == ["un", "contrat", "une", "fois"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("J’ai l’Œuvre", "j'ai l'oeuvre"),
        ("j'ai", "je ai"),
        ("I don't, we won't, they can't", "i do not we will not they cannot"),
        ("aujourd'hui", "aujourd hui"),
        ("gra\u200btu\u00adit\x00", "GRATUIT"),
        ("é", "e\u0301"),
    ],
)
def test_spelling_makes_no_difference(one: str, other: str) -> None:
    assert keys(one) == keys(other)


def test_being_born_is_no_negation() -> None:
    assert keys("né le") == keys("née le")
    assert keys("né le") != keys("ne le")


def test_a_quote_is_measured_in_folded_words() -> None:
    assert normalise("  « L'été, 41,10 € ! » ") == "l ete 41 10"


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    for unit in units(text.split()):
        assert unit.key
        assert 0 <= unit.first <= unit.last < len(text.split())
    assert normalise(normalise(text)) == normalise(text)


@given(st.lists(st.text(min_size=1, max_size=12).filter(lambda word: not word.isspace()), max_size=30))
def test_units_come_in_the_order_of_the_words(words: list[str]) -> None:
    read = units(words)
    assert all(before.first <= after.first for before, after in pairwise(read))
    assert sum(len(tokens(word)) for word in words) >= len({unit.first for unit in read}) - 1
