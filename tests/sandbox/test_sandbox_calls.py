"""The written calls: readable, varied, and true about themselves."""

import itertools
import re
from collections import Counter
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.sandbox.cast import draw_cast, names, spoken_date, spoken_price
from conforme.sandbox.corpus import (
    OMISSIONS,
    TOPICS,
    CallReference,
    Corpus,
    WrittenCall,
    load_corpus,
)
from conforme.sandbox.speaking import speak, spoken_tokens

CORPUS = load_corpus()
CALLS = CORPUS.calls
LONG = [call for call in CALLS if call.quality != "hors-sujet"]
seeds = st.text("abcdefghij0123456789-", min_size=1, max_size=20)
days = st.dates(date(2024, 1, 1), date(2030, 12, 31))
scenarios = st.sampled_from(sorted(CORPUS.scenarios))


def _by_name(call: WrittenCall) -> str:
    return call.id


def _normalised(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def test_there_are_at_least_twenty_calls_of_forty_to_a_hundred_and_ten_turns() -> None:
    assert len(LONG) >= 20
    assert {call.id: len(call.turns) for call in LONG if not 40 <= len(call.turns) <= 110} == {}


def test_a_third_of_the_calls_are_good_and_as_many_are_bad() -> None:
    qualities = Counter(call.quality for call in CALLS)
    assert qualities["bon"] >= 8
    assert qualities["mauvais"] >= 8
    assert qualities["moyen"] >= 5


def test_the_calls_hold_every_fault_that_the_field_knows() -> None:
    planted = {code for call in CALLS for code in call.planted}
    assert planted >= {
        *OMISSIONS,
        "but-commercial-tardif",
        "carte-bancaire-demandee",
        "code-sms-dicte",
        "injection-parlee",
        "pas-engage",
        "pretexte-securite-sociale",
        "prix-sans-frais",
        "rappel-apres-refus",
        "urgence",
    }


@pytest.mark.parametrize("call", CALLS, ids=_by_name)
def test_every_quote_of_the_truth_stands_in_its_turn(call: WrittenCall) -> None:
    quotes = [quote for topic in call.truth.values() for quote in topic.quotes]
    quotes += [fault.quote for fault in call.faults if fault.quote]
    for quote in quotes:
        assert quote.text in call.turns[quote.turn - 1].text
        assert len(quote.text) >= 12


@pytest.mark.parametrize("call", CALLS, ids=_by_name)
def test_no_mark_nor_placeholder_is_left_in_what_is_said(call: WrittenCall) -> None:
    said = " ".join(turn.text for turn in call.turns)
    assert not re.search(r"[\[\]{}]|\bNone\b", said)


@pytest.mark.parametrize("call", CALLS, ids=_by_name)
def test_the_truth_speaks_of_every_topic_and_a_broken_one_is_not_met(call: WrittenCall) -> None:
    assert tuple(call.truth) == TOPICS
    broken = {fault.ref for fault in call.faults if fault.ref}
    assert [ref for ref in broken if call.truth[ref].met is not False] == []
    assert [ref for ref, topic in call.truth.items() if topic.met is None and topic.quotes] == []


@pytest.mark.parametrize("call", CALLS, ids=_by_name)
def test_a_fault_of_silence_leaves_its_topic_without_words(call: WrittenCall) -> None:
    silent = [fault for fault in call.faults if fault.quote is None]
    assert [fault.code for fault in silent if call.truth[OMISSIONS[fault.code]].quotes] == []


@pytest.mark.parametrize("call", [call for call in CALLS if call.quality == "bon"], ids=_by_name)
def test_a_good_call_meets_all_that_it_can(call: WrittenCall) -> None:
    assert [ref for ref, topic in call.truth.items() if topic.met is False] == []
    assert sum(bool(topic.met) for topic in call.truth.values()) >= 16


@pytest.mark.parametrize(
    "call", [call for call in CALLS if call.quality in {"moyen", "mauvais"}], ids=_by_name
)
def test_another_call_has_a_fault(call: WrittenCall) -> None:
    assert call.faults


def test_a_sale_in_two_calls_meets_together_what_neither_meets_alone() -> None:
    first, second = CORPUS.call("vente-en-deux-temps-1"), CORPUS.call("vente-en-deux-temps-2")
    met = {ref for call in (first, second) for ref, topic in call.truth.items() if topic.met}
    assert met == set(TOPICS) - {"O2", "X1"}
    assert CORPUS.cast(first.reference) == CORPUS.cast(second.reference)


def test_the_silent_call_says_nothing_for_a_while() -> None:
    silent = CORPUS.call("appel-silencieux")
    assert silent.turns == ()
    assert speak(silent).seconds == 27


def test_no_two_calls_read_alike() -> None:
    said = {call.id: {_normalised(turn.text) for turn in call.turns if len(turn.text) > 40} for call in LONG}
    for (one, first), (other, second) in itertools.combinations(said.items(), 2):
        assert len(first & second) <= 0.5 * min(len(first), len(second)), (one, other)


def test_neighbouring_turns_have_different_speakers() -> None:
    for call in CALLS:
        roles = [turn.role for turn in call.turns]
        assert all(one != other for one, other in itertools.pairwise(roles)), call.id


@given(scenarios, seeds, days)
def test_the_truth_holds_for_any_cast(scenario: str, seed: str, day: date) -> None:
    call = CORPUS.play(CallReference(scenario, scenario, seed, day))
    again = Corpus(CORPUS.scenarios).play(CallReference(scenario, scenario, seed, day))
    assert call == again
    assert {ref: topic.met for ref, topic in call.truth.items()} == {
        ref: topic.met for ref, topic in CORPUS.call(scenario).truth.items()
    }
    assert all(
        quote.text in call.turns[quote.turn - 1].text
        for topic in call.truth.values()
        for quote in topic.quotes
    )


@given(scenarios, scenarios, seeds, days)
def test_a_reference_is_read_back_as_it_was_written(scenario: str, cast: str, seed: str, day: date) -> None:
    reference = CallReference(scenario, cast, seed, day)
    assert CallReference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    "text", ["", "a@b:2026-13-01:x", "a@b:2026-01-01:", "../x@b:2026-01-01:s", "a@b:2026-01-01:s\0"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    assert CallReference.parse(text) is None


@given(scenarios, seeds, days)
def test_a_cast_fits_its_profile(scenario: str, seed: str, day: date) -> None:
    profile = CORPUS.scenarios[scenario].profile
    cast = draw_cast(profile, seed, day)
    low, high = profile.price
    assert cast.client.sex == profile.sex
    assert low <= cast.offer.monthly <= high < cast.offer.first_year
    assert cast.old_insurer != cast.offer.insurer
    assert cast.asked_on < cast.day <= cast.recall_on
    assert cast.offer.starts > cast.day
    assert cast.mail.isascii()
    assert cast.mail.endswith("@example.test")
    assert (cast.spouse is not None) == profile.spouse
    assert len(cast.children) == profile.children


def test_brands_begin_with_a_consonant_so_that_de_needs_no_elision() -> None:
    brands = [*names()["firms"], *(insurer for insurer, _ in names()["insurers"])]
    assert [brand for brand in brands if brand[0].lower() in "aeéiouyh"] == []


def test_dates_and_prices_are_said_as_french_says_them() -> None:
    assert spoken_date(date(2027, 1, 1)) == "1er janvier 2027"
    assert spoken_date(date(2026, 11, 17), weekday=True, year=False) == "mardi 17 novembre"
    assert spoken_price(Decimal("58.40")) == "58 euros 40"
    assert spoken_price(Decimal(15)) == "15 euros"
    assert spoken_price(Decimal("60.05")) == "60 euros 05"


@pytest.mark.parametrize("call", CALLS, ids=_by_name)
def test_words_are_spoken_one_after_the_other_and_none_is_lost(call: WrittenCall) -> None:
    speech = speak(call)
    times = [time for word in speech.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert not times or times[-1] <= speech.seconds
    for number, turn in enumerate(call.turns, start=1):
        said = " ".join(word.text for word in speech.words if word.turn == number)
        assert _normalised(said) == _normalised(turn.text)


def test_punctuation_that_french_sets_apart_stays_with_its_word() -> None:
    assert list(spoken_tokens("Vous êtes « prêt » ? Oui : 100 % sûr…")) == [
        "Vous",
        "êtes",
        "«prêt»?",
        "Oui:",
        "100%",
        "sûr…",
    ]
