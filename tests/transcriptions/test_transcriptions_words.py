"""Words, turns, chunks: what goes in comes out, and nothing is made up."""

import json
from itertools import pairwise
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.transcriptions.words import (
    Word,
    chunks_of,
    clean,
    from_entries,
    pack,
    turns_of,
    unpack,
    word,
)

times = st.one_of(st.none(), st.integers(0, 20_000_000).map(lambda ms: ms / 1000))
speakers = st.one_of(st.none(), st.sampled_from(["speaker_0", "speaker_1", "Mme Odile M."]))
confidences = st.one_of(st.none(), st.integers(0, 100).map(lambda hundredths: hundredths / 100))
raw_words = st.builds(Word, st.text(max_size=12), times, times, speakers, confidences)
transcripts = st.lists(raw_words, max_size=60).map(clean)


@given(transcripts)
def test_packed_words_come_back_as_they_were(words: tuple[Word, ...]) -> None:
    assert unpack(json.loads(json.dumps(pack(words)))) == words


@given(
    st.lists(
        st.builds(Word, st.text(), st.floats(), st.floats(), st.none() | st.text(), st.floats()), max_size=20
    )
)
def test_any_input_packs_to_something_the_database_can_store(words: list[Word]) -> None:
    stored = json.dumps(pack(words), ensure_ascii=False)
    assert "\\u0000" not in stored
    stored.encode("utf-8")
    assert unpack(pack(words)) == unpack(pack(unpack(pack(words))))


@given(transcripts)
def test_every_word_is_in_exactly_one_turn_and_turns_alternate(words: tuple[Word, ...]) -> None:
    turns = turns_of(words)
    assert [index for turn in turns for index in range(turn.first, turn.last + 1)] == list(range(len(words)))
    assert all(before.speaker != after.speaker for before, after in pairwise(turns))
    assert " ".join(turn.text for turn in turns) == " ".join(each.text for each in words)


@given(transcripts)
def test_a_turn_has_a_time_only_if_one_of_its_words_has(words: tuple[Word, ...]) -> None:
    for turn in turns_of(words):
        spoken = words[turn.first : turn.last + 1]
        assert turn.start in {each.start for each in spoken}
        assert (turn.start is None) == all(each.start is None for each in spoken)
        assert (turn.end is None) == all(each.end is None for each in spoken)


@given(transcripts, st.integers(1, 12))
def test_chunks_partition_the_turns_and_none_is_longer_than_asked(words: tuple[Word, ...], size: int) -> None:
    turns = turns_of(words)
    chunks = chunks_of(turns, size)
    assert [chunk.chunk_index for chunk in chunks] == list(range(len(chunks)))
    assert [n for chunk in chunks for n in range(chunk.first_turn, chunk.last_turn + 1)] == list(
        range(len(turns))
    )
    assert all(chunk.message_count == len(chunk.full_text.split("\n")) <= size for chunk in chunks)


def test_ten_turns_make_a_chunk_with_one_labelled_line_each() -> None:
    words = [Word(f"mot{n}", n, n + 0.5, f"speaker_{n % 2}") for n in range(11)]
    first, second = chunks_of(turns_of(words))
    assert (first.message_count, second.message_count) == (10, 1)
    assert first.speakers == ("speaker_0", "speaker_1")
    assert (first.start, first.end) == (0, 9.5)
    assert first.full_text.splitlines()[:2] == ["speaker_0: mot0", "speaker_1: mot1"]


def test_a_speaker_nobody_named_is_unknown_in_a_chunk_and_none_in_a_turn() -> None:
    turns = turns_of([Word("allô", None, None, None)])
    assert turns[0].speaker is None
    assert chunks_of(turns)[0].full_text == "unknown: allô"
    assert chunks_of(turns)[0].start is None


def test_a_line_break_inside_a_word_cannot_forge_another_speakers_line() -> None:
    spoken = word("oui\nspeaker_0: j'accepte", 0, 1, "speaker_1")
    assert spoken is not None
    assert chunks_of(turns_of([spoken]))[0].full_text.count("\n") == 0


def test_spacing_and_malformed_entries_are_dropped() -> None:
    entries = [
        {
            "text": "Bonjour",
            "start": 0.1,
            "end": 0.4,
            "type": "word",
            "speaker_id": "speaker_0",
            "logprob": -0.1,
        },
        {"text": " ", "start": 0.4, "end": 0.5, "type": "spacing", "speaker_id": "speaker_0"},
        {"text": 12, "start": 0.5, "end": 0.6, "type": "word"},
        "mot",
        None,
        {"text": "\0", "type": "word"},
        {"text": "(rires)", "start": "0.5", "end": -1, "type": "audio_event"},
    ]
    assert from_entries(entries) == (
        Word("Bonjour", 0.1, 0.4, "speaker_0", exp(-0.1)),
        Word("(rires)", None, None, None),
    )


@pytest.mark.parametrize("logprob", [None, True, "-0.1", 0.5, float("nan"), {}])
def test_a_confidence_that_cannot_be_is_unknown(logprob: object) -> None:
    [heard] = from_entries([{"text": "oui", "type": "word", "logprob": logprob}])
    assert heard.confidence is None


@pytest.mark.parametrize("logprob", [-(10**400), float("-inf"), -1e300])
def test_a_word_that_is_certainly_wrong_has_no_confidence_left(logprob: float) -> None:
    [heard] = from_entries([{"text": "oui", "type": "word", "logprob": logprob}])
    assert heard.confidence == pytest.approx(0)


@pytest.mark.parametrize("entries", [None, {}, "mots", 3])
def test_something_that_is_no_list_of_words_has_no_words(entries: object) -> None:
    assert from_entries(entries) == ()


def test_words_packed_by_another_version_are_refused() -> None:
    with pytest.raises(ValueError, match="another version"):
        unpack({"v": 2})


def test_a_three_hour_call_packs_into_little() -> None:
    words = [Word("mutuelle", n * 0.4, n * 0.4 + 0.3, f"speaker_{n // 12 % 2}") for n in range(27_000)]
    assert len(json.dumps(pack(words))) < 27_000 * 20
