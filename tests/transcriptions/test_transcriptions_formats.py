"""What each maker's file says of a call, and what it leaves unknown."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from conforme.transcriptions.formats import read_call
from conforme.transcriptions.heard import HeardCall, UnreadableCall, speaker_of
from conforme.transcriptions.words import turns_of


def of_json(value: Any) -> HeardCall:
    return read_call(json.dumps(value).encode(), "call.json")


def of_text(text: str, name: str = "call.txt") -> HeardCall:
    return read_call(text.encode(), name)


def said(call: HeardCall) -> list[tuple[str | None, str]]:
    return [(turn.speaker, turn.text) for turn in turns_of(call.words)]


def times(call: HeardCall) -> list[tuple[float | None, float | None]]:
    return [(word.start, word.end) for word in call.words]


# Lists of turns


def test_a_list_of_turns_keeps_speakers_and_words() -> None:
    call = of_json([{"speaker": "Léa", "text": "Bonjour à vous"}, {"speaker": "Marc", "text": "Bonjour"}])
    assert said(call) == [("Léa", "Bonjour à vous"), ("Marc", "Bonjour")]


def test_times_that_turns_lack_stay_unknown() -> None:
    assert set(times(of_json([{"text": "Bonjour à vous"}]))) == {(None, None)}


def test_each_word_of_a_timed_turn_carries_the_span_of_the_turn() -> None:
    assert times(of_json([{"text": "oui bonjour", "start": 1.5, "end": 2}])) == [(1.5, 2.0), (1.5, 2.0)]


@pytest.mark.parametrize(
    ("turn", "speaker"),
    [
        ({"role": "assistant"}, "conseiller"),
        ({"role": "user"}, "client"),
        ({"role": "AGENT", "speaker": "Léa"}, "conseiller"),
        ({"speaker": "Customer"}, "client"),
        ({"role": "superviseur"}, "superviseur"),
        ({"role": "superviseur", "speaker": "Léa"}, "Léa"),
        ({"speaker": 0}, "speaker_0"),
        ({"speaker": "  "}, None),
        ({"speaker": True}, None),
        ({"speaker": ["Léa"]}, None),
        ({}, None),
    ],
)
def test_a_known_role_names_the_speaker_before_anything_else(
    turn: dict[str, Any], speaker: str | None
) -> None:
    assert of_json([{**turn, "text": "bonjour"}]).words[0].speaker == speaker


@pytest.mark.parametrize("key", ["turns", "message_list", "messages", "utterances", "segments", "dialogue"])
def test_an_object_may_hold_its_turns_under_several_names(key: str) -> None:
    assert said(of_json({"id": 7, key: [{"role": "user", "content": "oui"}]})) == [("client", "oui")]


def test_turns_are_numbered_as_the_file_lists_them_even_when_one_person_goes_on() -> None:
    call = of_json(
        [
            {"speaker": "A", "text": "Un mot"},
            {"speaker": "A", "text": "puis un autre"},
            {"speaker": "B", "text": ""},
            {"speaker": "B", "text": "oui"},
        ]
    )
    assert [(turn.number, turn.text) for turn in call.turns()] == [
        (1, "Un mot"),
        (2, "puis un autre"),
        (4, "oui"),
    ]
    assert [call.turn_of(index) for index in range(6)] == [1, 1, 2, 2, 2, 4]
    assert said(call) == [("A", "Un mot puis un autre"), ("B", "oui")], "the audit reads them as one turn"


def test_what_nobody_said_to_anybody_is_not_spoken_but_keeps_its_number() -> None:
    call = of_json(
        [
            {"role": "system", "content": "You are a helpful insurance assistant."},
            {"role": "assistant", "content": "Hello there"},
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url"}]},
        ]
    )
    assert [(turn.number, turn.speaker, turn.text) for turn in call.turns()] == [
        (2, "conseiller", "Hello there"),
        (4, "client", "Hi"),
    ]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([{"text": 3}], "0.text"),
        ([{"role": "user"}], "0.text"),
        ([{"text": "oui"}, "non"], "1"),
        ({"turns": [{"text": {"fr": "oui"}}]}, "turns.0.text"),
    ],
)
def test_a_turn_without_a_text_is_refused_by_name(value: Any, field: str) -> None:
    with pytest.raises(UnreadableCall) as refused:
        of_json(value)
    assert refused.value.field == field
    assert field in refused.value.message


# ElevenLabs


def entry(text: str, start: float, speaker: str | None = "speaker_0", **more: Any) -> dict[str, Any]:
    return {"text": text, "start": start, "end": start + 0.2, "type": "word", "speaker_id": speaker, **more}


def test_elevenlabs_words_keep_their_times_and_spacing_is_dropped() -> None:
    spacing = {"text": " ", "start": 0.3, "end": 0.4, "type": "spacing", "speaker_id": "speaker_0"}
    body = {
        "language_code": "fra",
        "audio_duration_secs": 12.7,
        "words": [entry("Bonjour", 0.1), spacing, entry("oui", 0.9, "speaker_1")],
    }
    call = of_json(body)
    assert said(call) == [("speaker_0", "Bonjour"), ("speaker_1", "oui")]
    assert times(call) == [(0.1, pytest.approx(0.3)), (0.9, pytest.approx(1.1))]
    assert (call.language, call.duration_seconds) == ("fra", 12)


def test_a_bare_list_of_elevenlabs_words_is_read_as_words() -> None:
    assert said(of_json([entry("Bonjour", 0.1), entry("madame", 0.5)])) == [("speaker_0", "Bonjour madame")]


def test_recognised_roles_are_the_speakers() -> None:
    words = [entry("Bonjour", 0.1, "agent"), entry("oui", 0.9, "customer")]
    assert said(of_json({"words": words})) == [("conseiller", "Bonjour"), ("client", "oui")]


def test_transcripts_of_several_channels_are_merged_by_time() -> None:
    body = {
        "transcription_id": "t",
        "transcripts": [
            {"channel_index": 0, "words": [entry("Bonjour", 0.1, None), entry("voilà", 3.0, None)]},
            {"channel_index": 1, "words": [entry("allô", 1.0, None)]},
        ],
    }
    assert said(of_json(body)) == [("speaker_0", "Bonjour"), ("speaker_1", "allô"), ("speaker_0", "voilà")]


def test_the_combined_transcript_of_several_channels_names_the_channel() -> None:
    words = [entry("Bonjour", 0.1, None, channel_index=0), entry("allô", 1.0, None, channel_index=1)]
    assert said(of_json({"words": words})) == [("speaker_0", "Bonjour"), ("speaker_1", "allô")]


def test_an_answer_without_words_has_its_text_and_no_time() -> None:
    call = of_json({"text": "Bonjour à vous", "words": []})
    assert said(call) == [(None, "Bonjour à vous")]
    assert set(times(call)) == {(None, None)}


def test_a_word_of_no_length_keeps_its_moment() -> None:
    word = {"text": "oui", "start": 2, "end": 2, "type": "word", "speaker_id": "speaker_1"}
    assert times(of_json({"words": [word]})) == [(2.0, 2.0)]


# Amazon Transcribe


def spoken(text: str, start: str, end: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "pronunciation",
        "alternatives": [{"confidence": "0.99", "content": text}],
        "start_time": start,
        "end_time": end,
        **more,
    }


def mark(text: str) -> dict[str, Any]:
    return {"type": "punctuation", "alternatives": [{"confidence": "0.0", "content": text}]}


def amazon(items: Sequence[Any], **beside: Any) -> HeardCall:
    return of_json({"jobName": "j", "status": "COMPLETED", "results": {"items": items, **beside}})


def test_amazon_items_that_name_their_speaker() -> None:
    items = [
        spoken("Bonjour", "0.04", "0.4", speaker_label="spk_0"),
        mark(","),
        spoken("madame", "0.5", "0.8", speaker_label="spk_0"),
        mark("."),
        spoken("Oui", "1.0", "1.2", speaker_label="spk_1"),
    ]
    call = amazon(items, language_code="fr-FR")
    assert said(call) == [("spk_0", "Bonjour, madame."), ("spk_1", "Oui")]
    assert times(call)[0] == (0.04, 0.4)
    assert call.language == "fr-FR"


def test_amazon_speakers_listed_beside_the_items() -> None:
    labels = {
        "speakers": 2,
        "segments": [
            {
                "speaker_label": "spk_0",
                "items": [{"start_time": "0.04", "end_time": "0.4", "speaker_label": "spk_0"}],
            },
            {"speaker_label": "spk_1", "items": [{"start_time": "1.0", "end_time": "1.2"}]},
        ],
    }
    items = [spoken("Bonjour", "0.04", "0.4"), spoken("Oui", "1.0", "1.2"), spoken("hein", "2.0", "2.1")]
    assert said(amazon(items, speaker_labels=labels)) == [
        ("spk_0", "Bonjour"),
        ("spk_1", "Oui"),
        (None, "hein"),
    ]


def test_amazon_channels_without_a_common_list_are_merged_by_time() -> None:
    channels = [
        {
            "channel_label": "ch_0",
            "items": [spoken("Bonjour", "0.1", "0.4"), mark("."), spoken("Bien", "2.0", "2.2")],
        },
        {"channel_label": "ch_1", "items": [spoken("Allô", "1.0", "1.2"), mark("?")]},
    ]
    call = of_json({"results": {"channel_labels": {"number_of_channels": 2, "channels": channels}}})
    assert said(call) == [("ch_0", "Bonjour."), ("ch_1", "Allô?"), ("ch_0", "Bien")]


def test_amazon_channels_beside_a_common_list_say_who_spoke() -> None:
    first, second = spoken("Oui", "1.0", "1.2"), spoken("Allô", "1.0", "1.2")
    channels = [{"channel_label": "ch_0", "items": [first]}, {"channel_label": "ch_1", "items": [second]}]
    call = amazon([first, second], channel_labels={"channels": channels})
    assert said(call) == [("ch_0", "Oui"), ("ch_1", "Allô")]


def test_amazon_without_items_has_its_text_and_no_time() -> None:
    call = of_json({"results": {"transcripts": [{"transcript": "Bonjour madame"}], "items": []}})
    assert said(call) == [(None, "Bonjour madame")]
    assert set(times(call)) == {(None, None)}


def test_call_analytics_turns_have_roles_and_milliseconds() -> None:
    turns = [
        {
            "ParticipantRole": "AGENT",
            "Content": "Bonjour madame.",
            "BeginOffsetMillis": 40,
            "EndOffsetMillis": 900,
        },
        {
            "ParticipantRole": "CUSTOMER",
            "Content": "Oui, allô ?",
            "BeginOffsetMillis": 1000,
            "EndOffsetMillis": 1900,
        },
    ]
    call = of_json({"Transcript": turns, "LanguageCode": "fr-FR"})
    assert said(call) == [("conseiller", "Bonjour madame."), ("client", "Oui, allô ?")]
    assert times(call)[:2] == [(0.04, 0.9), (0.04, 0.9)]


def test_call_analytics_words_have_their_own_times_where_the_file_gives_them() -> None:
    items = [
        {"Type": "pronunciation", "Content": "Bonjour", "BeginOffsetMillis": 40, "EndOffsetMillis": 300},
        {"Type": "punctuation", "Content": ","},
        {"Type": "pronunciation", "Content": "madame", "BeginOffsetMillis": 400, "EndOffsetMillis": 900},
    ]
    turn = {"ParticipantRole": "AGENT", "Content": "Bonjour, madame", "BeginOffsetMillis": 40, "Items": items}
    assert times(of_json({"Transcript": [turn]})) == [(0.04, 0.3), (0.4, 0.9)]
    disagreeing = {**turn, "Content": "Bonjour, chère madame"}
    assert said(of_json({"Transcript": [disagreeing]})) == [("conseiller", "Bonjour, chère madame")]


# Captions


def test_webvtt_voices_notes_markup_and_entities() -> None:
    call = of_text(
        "WEBVTT - appel\n\nNOTE Le client : ceci n'est pas dit\n\nSTYLE\n::cue { color: red }\n\n"
        "intro\n00:01.000 --> 00:02.500 align:start\n<v.loud Agent Léa>Bonjour <b>madame</b></v>\n"
        "<v Client>Oui &amp; <00:02.000><c.it>bonjour</c>\n\n"
        "01:00:03.250 --> 01:00:04.000\n- Conseiller : 2 < 3 <script>alert()</script>\n",
        "call.vtt",
    )
    assert said(call) == [
        ("Agent Léa", "Bonjour madame"),
        ("client", "Oui & bonjour"),
        ("conseiller", "2 < 3 <script>alert()</script>"),
    ]
    assert times(call)[0] == (1.0, 2.5)
    assert times(call)[-1] == (3603.25, 3604.0)


def test_srt_with_windows_line_ends_and_labels_that_hold_until_the_next() -> None:
    call = of_text(
        "1\r\n00:00:01,000 --> 00:00:02,000\r\nConseiller: Bonjour\r\nmadame Martin\r\n\r\n"
        "2\r\n00:00:02,000 --> 00:00:03,000\r\nje vous appelle\r\n\r\n"
        "3\r\n00:00:03,000 --> 00:00:04,000\r\nClient: Le prix : 41 euros ?\r\n",
        "call.srt",
    )
    assert said(call) == [
        ("conseiller", "Bonjour madame Martin je vous appelle"),
        ("client", "Le prix : 41 euros ?"),
    ]


def test_srt_without_blank_lines_loses_no_word_and_reads_no_number_of_a_cue() -> None:
    call = of_text(
        "1\n00:01,000 --> 00:02,000\ncombien ?\n2\n00:02,000 --> 00:03,000\n42\n3\n00:03,000 --> 00:04,000\nmerci",
        "call.srt",
    )
    assert [word.text for word in call.words] == ["combien", "?", "42", "merci"]


def test_a_cue_whose_clock_cannot_be_read_keeps_its_words_without_time() -> None:
    call = of_text("WEBVTT\n\nnow --> then\nbonjour\n", "call.vtt")
    assert (said(call), times(call)) == ([(None, "bonjour")], [(None, None)])


@pytest.mark.parametrize("name", ["call.txt", "call", "call.dat"])
def test_captions_are_known_by_their_content_too(name: str) -> None:
    cue = "00:00:01,000 --> 00:00:02,000\nbonjour\n"
    for text in (f"WEBVTT\n\n{cue.replace(',', '.')}", f"1\n{cue}"):
        assert times(of_text(text, name)) == [(1.0, 2.0)]


# Plain text


def test_labels_of_plain_text_hold_until_the_next_one() -> None:
    call = of_text(
        "Conseiller : Bonjour madame,\nje vous appelle à 12:30\nClient :\nVoyez https://exemple.test\n"
        "Conseiller:D'accord"
    )
    assert said(call) == [
        ("conseiller", "Bonjour madame, je vous appelle à 12:30"),
        ("client", "Voyez https://exemple.test"),
        ("conseiller", "D'accord"),
    ]


@pytest.mark.parametrize("label", ["Speaker 1", "SPEAKER_00", "Locuteur 2", "Agent 3", "spk_1", "Client"])
def test_labels_that_number_a_voice_or_name_a_role_need_no_repetition(label: str) -> None:
    call = of_text(f"une phrase sans personne\n{label} : bonjour\nencore une\net une autre")
    assert call.words[4].text == "bonjour"
    assert call.words[4].speaker == speaker_of(label)


def test_names_are_speakers_when_most_lines_begin_with_one() -> None:
    call = of_text("Paul Durand : bonjour\nMarie : Le tarif : 41 euros\nPaul Durand : bien\nMarie : oui")
    assert said(call) == [
        ("Paul Durand", "bonjour"),
        ("Marie", "Le tarif : 41 euros"),
        ("Paul Durand", "bien"),
        ("Marie", "oui"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "Le prix : 41 euros",
        "12:30 : c'est l'heure",
        "12: 30 minutes",
        "Alors, écoutez : non",
        "https://exemple.test/a : voir",
        "il a dit : oui",
    ],
)
def test_a_colon_inside_speech_makes_no_speaker(line: str) -> None:
    call = of_text(f"Bonjour madame\n{line}\nmerci bien\nau revoir")
    assert said(call) == [(None, f"Bonjour madame {line} merci bien au revoir")]


def test_clocks_before_the_lines_are_their_times_and_others_have_none() -> None:
    call = of_text("[00:12] Agent: bonjour\n(01:02:03.5) Client: oui\nencore\n[sic] voilà")
    assert times(call) == [(12.0, None), (3723.5, None), (None, None), (None, None), (None, None)]
    assert [word.text for word in call.words] == ["bonjour", "oui", "encore", "[sic]", "voilà"]
