"""What the model may ask of a transcript, what it is told, and what it may quote afterwards (spec/audits §6)."""

import json

from hypothesis import given
from hypothesis import strategies as st

from conforme.audits.admission import Admission
from conforme.audits.desk import (
    FETCH,
    SEARCH,
    Catalogue,
    ChunkPlace,
    Desk,
    GetTranscriptChunks,
    Limits,
    SearchTranscript,
)
from conforme.audits.evidence import Policy, gate
from conforme.audits.passages import TranscriptIndex
from conforme.audits.timeline import Call, build
from conforme.audits.verdicts import StepVerdict
from conforme.foundation.llm import ToolCall
from conforme.transcriptions.words import Word
from rubrics import step

ORIAS = "Notre cabinet est immatriculé à l'ORIAS sous le numéro 00 123 456."
MATCH = {
    *("recording_index", "chunk_index", "score", "minutage_secondes", "minutage", "start_timestamp"),
    *("end_timestamp", "speakers", "recording_date", "recording_time", "recording_url", "preview_text"),
}


def index(orias_at: int = 25, turns: int = 60) -> TranscriptIndex:
    """Two calls of small talk; in the second, one turn that says the registration."""
    said = [f"Il fait beau ce matin numéro {at}, je taille la haie du jardin." for at in range(turns)]
    calls = [[*said], [*said[:orias_at], ORIAS, *said[orias_at:]]]
    made = [
        Call(
            str(number),
            tuple(
                Word(word, 4.0 * at, 4.0 * at + 1, f"speaker_{at % 2}")
                for at, text in enumerate(texts)
                for word in text.split()
            ),
            recording_url="https://example.test/signed?key=secret",
        )
        for number, texts in enumerate(calls)
    ]
    return TranscriptIndex(build(made))


def desk(limits: Limits | None = None) -> Desk:
    return Desk(Catalogue(index()), limits)


def places(*pairs: tuple[int, int], **more: int) -> GetTranscriptChunks:
    chunks = [ChunkPlace(recording_index=one, chunk_index=other) for one, other in pairs]
    return GetTranscriptChunks(chunks=chunks, **more)


def test_a_search_finds_the_chunk_that_says_it_in_another_form_and_previews_it() -> None:
    told = desk().search(SearchTranscript(query="immatriculation à l'Orias", maxResults=3))
    assert told["terms"] == ["immatriculation", "orias"]
    assert (told["totalRecordings"], told["totalChunks"]) == (2, 13)
    best = told["matches"][0]
    assert set(best) == MATCH
    assert (best["recording_index"], best["chunk_index"], best["minutage"]) == (1, 2, "01:20")
    assert ORIAS in best["preview_text"]
    assert best["recording_url"] == "N/A"


def test_a_search_without_a_long_enough_word_says_so() -> None:
    told = desk().search(SearchTranscript(query="à la"))
    assert (told["terms"], told["matches"]) == ([], [])
    assert told["note"]


def test_a_chunk_is_previewed_once() -> None:
    asked = desk()
    first = asked.search(SearchTranscript(query="orias", maxResults=1))["matches"][0]
    again = asked.search(SearchTranscript(query="cabinet", maxResults=1))["matches"][0]
    assert again["chunk_index"] == first["chunk_index"]
    assert again["preview_text"] != first["preview_text"]


def test_fetched_chunks_come_in_order_once_each_with_their_neighbours() -> None:
    told = desk().fetch(places((1, 2), (0, 0), (1, 2), (9, 9), includeNeighbors=1))
    found = [(chunk["recording_index"], chunk["chunk_index"]) for chunk in told["chunks"]]
    assert found == [(0, 0), (0, 1), (1, 1), (1, 2), (1, 3)]
    assert (told["requested"], told["returned"], told["truncated"]) == (4, 5, False)
    assert f"[2.26] speaker_1 01:40 | {ORIAS}" in told["chunks"][3]["full_text"]


def test_a_budget_cuts_the_chunk_that_overflows_and_says_so() -> None:
    told = desk().fetch(places((0, 0), (0, 1), (0, 2), maxChars=1_000))
    assert told["truncated"]
    assert told["returned"] == 2
    assert sum(len(chunk["full_text"]) for chunk in told["chunks"]) <= 1_100
    assert told["chunks"][-1]["full_text"].endswith("[…]")


@given(
    st.integers(-5, 100),
    st.integers(-5, 100_000),
    st.integers(-3, 9),
    st.lists(st.integers(-2, 12), max_size=70),
)
def test_whatever_is_asked_is_clamped(results: int, chars: int, around: int, chunks: list[int]) -> None:
    asked = desk()
    found = asked.search(SearchTranscript(query="jardin haie", maxResults=results, minTermLength=around))
    assert len(found["matches"]) <= min(50, max(1, results))
    told = asked.fetch(places(*((0, chunk) for chunk in chunks), maxChars=chars, includeNeighbors=around))
    assert 1_000 <= told["maxChars"] <= 80_000
    assert sum(len(chunk["full_text"]) for chunk in told["chunks"]) <= told["maxChars"] + 100
    assert len(told["chunks"]) <= 20 * 5


@given(st.text(max_size=200), st.sampled_from([SEARCH, FETCH, "rm"]))
def test_a_call_that_makes_no_sense_is_told_so(arguments: str, name: str) -> None:
    told = json.loads(desk().answer(ToolCall("1", name, arguments), 10_000))
    assert "error" in told or "note" in told


def _held(asked: Desk, texte: str, tour: int, known: TranscriptIndex):  # noqa: ANN202 -- the finding of one point
    verdict = StepVerdict.model_validate(
        {
            "conforme": "CONFORME",
            "niveau_conformite": "BON",
            "points_controle": [
                {
                    "numero": 1,
                    "statut": "PRESENT",
                    "citations": [{"texte": texte, "enregistrement": 2, "tour": tour}],
                }
            ],
        }
    )
    points = [(1, step().control_points[0])]
    return gate(verdict, points, known, Policy(), Admission(given=asked)).points[0]


def test_a_quote_of_a_chunk_that_was_only_previewed_is_refused_and_counted() -> None:
    known = index()
    asked = Desk(Catalogue(known))
    asked.search(SearchTranscript(query="orias"))
    held = _held(asked, ORIAS, 26, known)
    assert held.statut == "ABSENT"
    assert [each.reason for each in held.dropped] == ["not_fetched"]
    asked.fetch(places((1, 2)))
    assert _held(asked, ORIAS, 26, known).statut == "PRESENT"


def test_words_that_a_cut_left_out_are_not_evidence_and_those_before_it_are() -> None:
    known = index(orias_at=1)
    asked = Desk(Catalogue(known))
    asked.fetch(places((1, 0), (1, 1), maxChars=1_000))
    assert _held(asked, ORIAS, 2, known).statut == "PRESENT"
    later = "Il fait beau ce matin numéro 15, je taille la haie du jardin."
    assert _held(asked, later, 17, known).statut == "ABSENT"
    asked.fetch(places((1, 1)))
    assert _held(asked, later, 17, known).statut == "PRESENT"


def test_words_said_twice_count_where_they_were_shown() -> None:
    known = index()
    asked = Desk(Catalogue(known))
    asked.fetch(places((0, 0)))
    held = _held(asked, "Il fait beau ce matin numéro 3, je taille la haie du jardin.", 4, known)
    assert held.statut == "PRESENT"
    assert (held.citations[0].recording_index, held.citations[0].relocated) == (0, True)
