"""Files that are broken, hostile or odd: refused by name, or read without inventing or losing a word."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conforme.transcriptions import heard
from conforme.transcriptions.formats import MAX_BYTES, MAX_CHARACTERS, TURN_LISTS, read_call
from conforme.transcriptions.heard import HeardCall, UnreadableCall
from conforme.transcriptions.words import turns_of

NAMES = st.sampled_from(["call.json", "call.txt", "call.vtt", "call.srt", "call", "CALL.JSON"])
KEYS = st.sampled_from(
    [
        *TURN_LISTS,
        *("words", "results", "items", "transcripts", "Transcript", "text", "content", "speaker", "role"),
        *("start", "end", "type", "speaker_id", "channel_index", "alternatives", "start_time", "end_time"),
        *("speaker_label", "speaker_labels", "segments", "channel_labels", "channels", "channel_label"),
        *(
            "Content",
            "Items",
            "Type",
            "BeginOffsetMillis",
            "ParticipantRole",
            "language_code",
            "duration_seconds",
        ),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.sampled_from(["word", "spacing", "pronunciation", "punctuation", "assistant", "1.5", "nan", "1e999"])
    | st.text(max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
WORD = st.text(st.characters(categories=["Lu", "Ll", "Nd"]), min_size=1, max_size=8)
TURN = st.tuples(st.sampled_from(["Agent", "Client", "Léa", "SPEAKER_01"]), st.lists(WORD, max_size=6))


def read_or_refused(content: bytes, name: str) -> HeardCall | None:
    try:
        call = read_call(content, name)
    except UnreadableCall:
        return None
    assert call.words
    assert [turn.text for turn in call.turns()]
    assert all(call.turn_of(index) >= 1 for index in range(len(call.words)))
    return call


@given(value=VALUES, name=NAMES)
@example(value={"results": {"items": 5, "speaker_labels": {"segments": [{"items": 3}]}}}, name="call.json")
@example(
    value={"results": {"items": [{"speaker_label": {}, "alternatives": [{"content": "a"}]}]}}, name="a.json"
)
@example(value={"words": [{"text": "a", "type": "word", "start": 10**400}]}, name="call.json")
@example(value={"Transcript": [{"Content": "a", "BeginOffsetMillis": 10**400}]}, name="call.json")
def test_json_of_any_shape_is_read_or_refused(value: Any, name: str) -> None:
    read_or_refused(json.dumps(value).encode(), name)


@given(content=st.binary(max_size=200), name=NAMES)
def test_any_bytes_are_read_or_refused(content: bytes, name: str) -> None:
    read_or_refused(content, name)


@given(
    text=st.text(st.sampled_from("a :\n\r\t-->[](){}<v>/0123456789.,éWEBVTT\0\x1b\u2028"), max_size=120),
    name=NAMES,
)
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    read_or_refused(text.encode(), name)


@given(turns=st.lists(TURN, max_size=8))
def test_the_words_of_turns_survive_in_order_and_times_are_not_invented(
    turns: list[tuple[str, list[str]]],
) -> None:
    value = [{"speaker": speaker, "text": " ".join(words)} for speaker, words in turns]
    call = read_or_refused(json.dumps(value).encode(), "call.json")
    spoken = [word for _, words in turns for word in words]
    assert [word.text for word in call.words] == spoken if call else not spoken
    for word in call.words if call else ():
        assert (word.start, word.end) == (None, None)
    numbered = [(number, " ".join(words)) for number, (_, words) in enumerate(turns, 1) if words]
    assert not call or [(turn.number, turn.text) for turn in call.turns()] == numbered


@given(turns=st.lists(TURN.filter(lambda turn: bool(turn[1])), min_size=1, max_size=8))
def test_labelled_text_says_the_same_as_a_list_of_turns(turns: list[tuple[str, list[str]]]) -> None:
    value = [{"speaker": speaker, "text": " ".join(words)} for speaker, words in turns]
    text = "\n".join(f"{speaker} : {' '.join(words)}" for speaker, words in turns)
    listed = read_call(json.dumps(value).encode(), "call.json")
    written = read_call(text.encode(), "call.txt")
    assert turns_of(written.words) == turns_of(listed.words)


@given(words=st.lists(st.tuples(WORD, st.floats(0, 900), st.integers(0, 2)), min_size=1, max_size=12))
def test_merging_channels_keeps_each_voice_in_its_own_order(words: list[tuple[str, float, int]]) -> None:
    ordered = sorted(words, key=lambda each: each[1])
    transcripts = [
        {
            "channel_index": channel,
            "words": [
                {"text": text, "start": at, "type": "word"} for text, at, of in ordered if of == channel
            ],
        }
        for channel in range(3)
    ]
    call = read_call(json.dumps({"transcripts": transcripts}).encode(), "call.json")
    for channel in range(3):
        voice = [word.text for word in call.words if word.speaker == f"speaker_{channel}"]
        assert voice == [text for text, _, of in ordered if of == channel]
    starts = [word.start for word in call.words if word.start is not None]
    assert starts == sorted(starts)


@pytest.mark.parametrize(
    "encoded",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
        lambda text: text.encode("utf-32"),
    ],
)
def test_a_byte_order_mark_says_the_encoding(encoded: Callable[[str], bytes]) -> None:
    text = "Conseiller : ça va été\r\nClient : oui"
    assert [word.text for word in read_call(encoded(text), "call.txt").words] == ["ça", "va", "été", "oui"]
    assert read_call(encoded('[{"text": "été"}]'), "call.json").words[0].text == "été"


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"", "call.txt", "no spoken word"),
        (b" \n\0\n", "call.txt", "no spoken word"),
        (b"[]", "call.json", "no spoken word"),
        (b"", "call.json", "not valid JSON"),
        (b"null", "call.json", "not valid JSON"),
        (b"3", "call.json", "expected an object"),
        (b'{"a": 1}', "call.json", "no words, results, turns or text"),
        (b'{"results": {}}', "call.json", "results.items"),
        (b"[{]", "call.json", "not valid JSON"),
        (b"[" * 100_000, "call.json", "not valid JSON"),
        (b'{"turns":' * 100_000, "call.json", "not valid JSON"),
        (b"\x89PNG\r\n\x1a\n\xff\xd8", "call.txt", "not text"),
        ("élève".encode("latin-1"), "call.srt", "not text"),
        (b"WEBVTT\n\nno cue here", "call.vtt", "no spoken word"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(content: bytes, name: str, reason: str) -> None:
    with pytest.raises(UnreadableCall, match=reason):
        read_call(content, name)


@pytest.mark.parametrize("name", ["call.txt", "call.srt", "call.vtt"])
def test_a_text_beyond_the_limit_is_refused_unread(name: str) -> None:
    with pytest.raises(UnreadableCall, match="characters of text"):
        read_call(b"a" * (MAX_CHARACTERS + 1), name)


def test_a_file_beyond_the_limit_is_refused_unread() -> None:
    with pytest.raises(UnreadableCall, match="larger than 32 MiB"):
        read_call(b" " * (MAX_BYTES + 1), "call.txt")


@pytest.mark.parametrize(
    "content",
    [b"a " * 20, json.dumps([{"text": "a " * 20}]).encode(), json.dumps([{"text": "a"}] * 20).encode()],
)
def test_too_many_words_are_refused_before_they_are_all_made(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard, "MAX_WORDS", 19)
    with pytest.raises(UnreadableCall, match="more than 19 words"):
        read_call(content, "call")


def test_a_text_that_only_looks_like_json_is_text() -> None:
    call = read_call(b"[00:12] Agent : bonjour\n{inaudible}", "call.txt")
    assert [word.text for word in call.words] == ["bonjour", "{inaudible}"]


def test_json_under_another_suffix_is_json() -> None:
    assert read_call(b'[{"role": "user", "text": "oui"}]', "call.txt").words[0].speaker == "client"


def test_nul_and_line_breaks_inside_a_text_cannot_forge_a_turn() -> None:
    call = read_call(
        b'[{"speaker": "Client\\nConseiller: oui", "text": "a\\u0000b\\nConseiller: non"}]', "c.json"
    )
    assert [word.text for word in call.words] == ["ab", "Conseiller:", "non"]
    assert {word.speaker for word in call.words} == {"Client Conseiller: oui"}


def test_a_huge_word_and_a_huge_label_are_bounded_or_kept_whole() -> None:
    call = read_call(json.dumps([{"speaker": "x" * 10_000, "text": "y" * 100_000}]).encode(), "call.json")
    assert len(call.words[0].text) == 100_000
    assert call.words[0].speaker == "x" * heard.LONGEST_LABEL
