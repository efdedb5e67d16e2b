"""Who speaks: resolved from the words, told apart from what is not known, and asked of every quote."""

from bisect import bisect_right
from collections import Counter
from itertools import product
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.audit_configs.rules import ControlPoint
from conforme.audits.admission import Admission
from conforme.audits.evidence import Policy, gate
from conforme.audits.passages import TranscriptIndex
from conforme.audits.roles import by_rules, forward_backward, from_json, role_at, to_json
from conforme.audits.timeline import Call, Timeline, build, render
from conforme.audits.verdicts import PointFinding, StepVerdict
from conforme.sandbox.corpus import Role, WrittenCall, load_corpus
from conforme.sandbox.speaking import speak
from conforme.sandbox.speech import Hearing, heard
from conforme.transcriptions.words import Word, turns_of

TRUE: dict[Role, str] = {"conseiller": "advisor", "client": "client", "tiers": "other"}
SURE = 0.9


def _judged(call: WrittenCall, hearing: Hearing) -> Counter[str]:
    """Words of one call as heard: how many are given to the right role, to a wrong one, or to nobody surely."""
    spoken = heard(load_corpus(), call.reference, hearing)
    said = sorted((word.start, TRUE[word.role]) for word in speak(call).words)
    labels: dict[Role, str] = {}
    for word in spoken:
        labels.setdefault(word.role, f"speaker_{len(labels)}")
    turns = turns_of([Word(word.text, word.start, word.end, labels[word.role]) for word in spoken])
    roles = {each.speaker: each for each in by_rules(turns)}
    counts: Counter[str] = Counter()
    for at, turn in enumerate(turns):
        role, sure = role_at(roles, turn.speaker, at)
        for word in spoken[turn.first : turn.last + 1]:
            truth = said[bisect_right(said, word.start, key=itemgetter(0)) - 1][1]
            known = sure >= SURE and role != "unknown"
            counts[("right" if role == truth else "wrong") if known else "flagged"] += 1
    return counts


@pytest.mark.parametrize(("swapped", "most_flagged"), [(0.0, 0.02), (1.0, 0.2)])
def test_fewer_than_two_in_a_hundred_words_are_given_to_the_wrong_party(
    swapped: float, most_flagged: float
) -> None:
    """Over every written call; what is not sure is flagged."""
    counts: Counter[str] = Counter()
    for call, seed in product(load_corpus().calls, (6, 7)):
        counts += _judged(call, Hearing(swap_share=swapped, seed=seed))
    assert counts["wrong"] < 0.02 * counts.total()
    assert counts["flagged"] < most_flagged * counts.total()


@given(st.lists(st.floats(-6, 6), max_size=30), st.floats(0.001, 0.5))
def test_each_place_has_a_probability_that_turns_around_with_its_evidence(
    odds: list[float], switch: float
) -> None:
    found = forward_backward(odds, switch)
    turned = forward_backward([-value for value in odds], switch)
    assert all(0 <= one <= 1 for one in found)
    assert [1 - one for one in turned] == pytest.approx(found)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=8), st.floats(0.01, 0.4))
def test_the_probabilities_are_those_of_all_paths_counted_one_by_one(
    odds: list[float], switch: float
) -> None:
    import math

    chances = [1 / (1 + math.exp(-value)) for value in odds]
    weights: dict[tuple[int, ...], float] = {}
    for path in product((0, 1), repeat=len(odds)):
        weight = 0.5
        for at, state in enumerate(path):
            weight *= chances[at] if state else 1 - chances[at]
            if at:
                weight *= switch if state != path[at - 1] else 1 - switch
        weights[path] = weight
    whole = sum(weights.values())
    wanted = [sum(weight for path, weight in weights.items() if path[at]) / whole for at in range(len(odds))]
    assert forward_backward(odds, switch) == pytest.approx(wanted)


ADVISOR = "Notre cabinet est immatriculé à l'ORIAS, je vous propose une formule avec des garanties."
CLIENT = "Moi je paye déjà ma mutuelle, mon mari aussi, je préfère réfléchir à tout cela."


def _words(*turns: tuple[str | None, str]) -> tuple[Word, ...]:
    return tuple(
        Word(word, float(at), at + 1.0, label)
        for at, (label, text) in enumerate(turns)
        for word in text.split()
    )


def _timeline(*turns: tuple[str | None, str]) -> Timeline:
    words = _words(*turns)
    roles = {each.speaker: each for each in by_rules(turns_of(words))}
    return build([Call("1", words, roles=roles)])


DIALOGUE = [("speaker_0", ADVISOR), ("speaker_1", CLIENT)] * 4


def _held(words: Timeline, quote: str, who: str) -> PointFinding:
    claim = {"texte": quote, "enregistrement": 1, "tour": 1}
    point = {"numero": 1, "statut": "PRESENT", "citations": [claim]}
    verdict = StepVerdict.model_validate(
        {"conforme": "CONFORME", "niveau_conformite": "BON", "points_controle": [point]}
    )
    rule = ControlPoint.model_validate({"text": "x", "speaker": who})
    return gate(verdict, [(1, rule)], TranscriptIndex(words), Policy(), Admission(words)).points[0]


@pytest.mark.parametrize(
    ("quote", "who", "statut"),
    [
        (ADVISOR, "advisor", "PRESENT"),
        (ADVISOR, "client", "ABSENT"),
        (CLIENT, "client", "PRESENT"),
        (CLIENT, "advisor", "ABSENT"),
    ],
)
def test_a_quote_by_the_wrong_party_satisfies_no_point_that_says_who_must_speak(
    quote: str, who: str, statut: str
) -> None:
    held = _held(_timeline(*DIALOGUE), quote, who)
    assert held.statut == statut
    if statut == "ABSENT":
        assert [each.reason for each in held.dropped] == ["wrong_speaker"]
        assert [each.reason for each in held.doubts] == ["wrong_speaker"]
    else:
        assert held.doubts == ()


@pytest.mark.parametrize("labels", [(None, None), ("speaker_0", "speaker_0")])
def test_where_nobody_knows_who_spoke_the_status_stands_and_a_person_is_asked(
    labels: tuple[str | None, str | None],
) -> None:
    held = _held(_timeline((labels[0], ADVISOR), (labels[1], CLIENT)), ADVISOR, "advisor")
    assert held.statut == "PRESENT"
    assert [(each.reason, each.certainty) for each in held.doubts] == [("role_unsure", 0.5)]


def test_a_third_voice_is_nobody_surely() -> None:
    turns = [
        *DIALOGUE,
        ("speaker_2", "Le message enregistré vous souhaite la bienvenue chez nous aujourd'hui."),
    ]
    words = _timeline(*turns)
    assert words.recordings[0].role_at(8) == ("unknown", 0.0)


def test_labels_that_say_who_speaks_are_believed() -> None:
    found = by_rules(turns_of(_words(("Agent", CLIENT), ("Customer", ADVISOR))))
    assert [(each.speaker, each.role) for each in found] == [("Agent", "advisor"), ("Customer", "client")]


def test_the_prompt_says_who_speaks_where_it_is_known() -> None:
    lines = render(_timeline(*DIALOGUE)).splitlines()
    assert lines[1].startswith("[1.1] speaker_0=conseiller 00:00 | Notre cabinet")
    assert lines[2].startswith("[1.2] speaker_1=client 00:01 | Moi je paye")
    unknown = render(_timeline((None, ADVISOR), (None, CLIENT))).splitlines()
    assert unknown[1].startswith("[1.1] ? 00:00 |")


def test_who_speaks_survives_the_snapshot_and_its_absence_changes_no_byte() -> None:
    from conforme.audits import timeline

    words = _timeline(*DIALOGUE)
    assert timeline.from_json(timeline.to_json(words)) == words
    assert "roles" not in timeline.to_json(build([Call("1", _words(*DIALOGUE))]))


def test_stretches_survive_their_storage() -> None:
    swapped = [*DIALOGUE * 3, *[("speaker_1", ADVISOR), ("speaker_0", CLIENT)] * 6, *DIALOGUE * 3]
    for each in by_rules(turns_of(_words(*swapped))):
        assert each.stretches
        assert from_json(to_json(each.stretches)) == each.stretches
        assert each.at(30)[0] != each.role
