"""What is left of a verdict once only the words found count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.audit_configs.rules import ControlPoint
from conforme.audits.evidence import Policy, gate
from conforme.audits.passages import TranscriptIndex
from conforme.audits.scoring import PointMark, score_step
from conforme.audits.timeline import Call, build
from conforme.audits.verdicts import (
    CitationClaim,
    Conforme,
    DropReason,
    EvidenceStatistics,
    Niveau,
    PointVerdict,
    Statut,
    StepFinding,
    StepVerdict,
)
from conforme.transcriptions.words import Word

SAID = (
    "Bonjour je suis Marc Dupont courtier. Vous n'avez aucun engagement. Le tarif est de 41 euros par mois."
)
TRUE = CitationClaim(texte="je suis Marc Dupont courtier", enregistrement=1, tour=1)
ASTRAY = CitationClaim(texte="Le tarif est de quarante et un euros", enregistrement=7, tour=3)
NEARLY = CitationClaim(texte="Le tarif est donc de 41 euros par moi", enregistrement=1, tour=1)
FORGED = CitationClaim(texte="Vous avez un engagement de douze mois", enregistrement=1, tour=1)
ALTERED = CitationClaim(texte="Le tarif est de 42 euros par mois", enregistrement=1, tour=1)

ORDINARY = ControlPoint(text="Le conseiller se présente")
FAULT = ControlPoint(text="Le conseiller met la pression", forbidden=True)
SILENT = ControlPoint(text="Le devis est signé", proof=("document",))


@pytest.fixture(scope="module")
def index() -> TranscriptIndex:
    words = tuple(Word(text, at / 2, (at + 1) / 2, "speaker_0") for at, text in enumerate(SAID.split()))
    return TranscriptIndex(build([Call("a", words)]))


def point(numero: int, statut: Statut, *citations: CitationClaim, commentaire: str = "") -> PointVerdict:
    return PointVerdict(numero=numero, statut=statut, citations=list(citations), commentaire=commentaire)


def verdict(*points: PointVerdict) -> StepVerdict:
    return StepVerdict(
        conforme=Conforme.CONFORME, niveau_conformite=Niveau.EXCELLENT, score=9, points_controle=list(points)
    )


def gated(
    index: TranscriptIndex,
    *points: PointVerdict,
    asked: ControlPoint = ORDINARY,
    policy: Policy | None = None,
) -> StepFinding:
    numbers = sorted({point.numero for point in points})
    return gate(verdict(*points), [(number, asked) for number in numbers], index, policy)


@pytest.mark.parametrize("statut", [Statut.PRESENT, Statut.PARTIEL])
def test_a_status_stands_on_words_that_were_found(index: TranscriptIndex, statut: Statut) -> None:
    finding = gated(index, point(1, statut, FORGED, TRUE, commentaire="Dit son nom."))
    (held,) = finding.points
    assert (held.statut, held.model_statut, held.commentaire) == (statut, statut, "Dit son nom.")
    assert [citation.texte for citation in held.citations] == ["je suis Marc Dupont courtier."]
    assert [dropped.texte for dropped in held.dropped] == [FORGED.texte]
    assert held.minutages == finding.minutages == ("00:00",)


@pytest.mark.parametrize("statut", [Statut.PRESENT, Statut.PARTIEL])
@pytest.mark.parametrize("citations", [(), (FORGED,), (ALTERED, FORGED)])
def test_a_status_without_words_becomes_absent_and_says_why(
    index: TranscriptIndex, statut: Statut, citations: tuple[CitationClaim, ...]
) -> None:
    finding = gated(index, point(1, statut, *citations, commentaire="Bien."))
    (held,) = finding.points
    assert held.statut is Statut.ABSENT
    assert held.commentaire.startswith(f"Bien. [Auto-check] Statut {statut} remplacé par ABSENT")
    assert ("un nombre ou une date diffère" in held.commentaire) is (ALTERED in citations)
    assert "[Auto-check]" in finding.commentaire_global


@pytest.mark.parametrize("statut", [Statut.ABSENT, Statut.NON_APPLICABLE])
def test_nothing_is_cited_for_what_was_not_said(index: TranscriptIndex, statut: Statut) -> None:
    finding = gated(index, point(1, statut, TRUE))
    assert (finding.points[0].statut, finding.points[0].citations) == (statut, ())
    assert finding.statistics == EvidenceStatistics()
    assert finding.commentaire_global == ""


def test_a_fault_is_held_only_with_the_words_that_show_it(index: TranscriptIndex) -> None:
    shown = gated(index, point(1, Statut.ABSENT, TRUE), asked=FAULT).points[0]
    assert (shown.statut, len(shown.citations)) == (Statut.ABSENT, 1)
    for statut in (Statut.ABSENT, Statut.PARTIEL, Statut.PRESENT):
        assert gated(index, point(1, statut, FORGED), asked=FAULT).points[0].statut is Statut.NON_APPLICABLE


def test_silence_says_nothing_of_a_point_that_is_proved_elsewhere(index: TranscriptIndex) -> None:
    assert gated(index, point(1, Statut.ABSENT), asked=SILENT).points[0].statut is Statut.NON_APPLICABLE
    assert gated(index, point(1, Statut.PRESENT, TRUE), asked=SILENT).points[0].statut is Statut.PRESENT


def test_without_gating_statuses_stay_and_quotes_are_still_looked_for(index: TranscriptIndex) -> None:
    finding = gated(
        index, point(1, Statut.PRESENT, FORGED), point(2, Statut.ABSENT, TRUE), policy=Policy(gating=False)
    )
    assert finding.statuts == (Statut.PRESENT, Statut.ABSENT)
    assert finding.statistics == EvidenceStatistics(located=1, dropped=1)
    assert "[Auto-check]" not in finding.commentaire_global + finding.points[0].commentaire


def test_quotes_are_counted_by_what_became_of_them(index: TranscriptIndex) -> None:
    statistics = gated(index, point(1, Statut.PRESENT, TRUE, ASTRAY, NEARLY, FORGED, ALTERED)).statistics
    assert statistics == EvidenceStatistics(located=3, relocated=1, aligned=1, dropped=2)
    assert statistics + statistics == EvidenceStatistics(located=6, relocated=2, aligned=2, dropped=4)


def test_the_same_quote_twice_counts_once(index: TranscriptIndex) -> None:
    assert gated(index, point(1, Statut.PRESENT, TRUE, TRUE)).statistics == EvidenceStatistics(located=1)


def test_points_without_an_answer_are_missing_not_failed(index: TranscriptIndex) -> None:
    asked = [(number, ORDINARY) for number in (1, 3, 4)]
    finding = gate(verdict(point(3, Statut.PRESENT, TRUE)), asked, index)
    assert finding.missing == (1, 4)
    assert not finding.complete
    assert [held.numero for held in finding.points] == [3]


def test_points_come_in_the_order_asked_and_others_are_ignored(index: TranscriptIndex) -> None:
    answer = verdict(
        point(2, Statut.ABSENT),
        point(9, Statut.PRESENT, TRUE),
        point(0, Statut.PRESENT, TRUE),
        point(1, Statut.ABSENT),
    )
    finding = gate(answer, [(1, ORDINARY), (2, ORDINARY)], index)
    assert ([held.numero for held in finding.points], finding.unasked, finding.complete) == ([1, 2], 2, True)
    assert finding.statistics == EvidenceStatistics()


def test_of_two_answers_on_one_point_the_more_careful_stands(index: TranscriptIndex) -> None:
    finding = gated(index, point(1, Statut.PRESENT, TRUE), point(1, Statut.PARTIEL, ASTRAY))
    assert finding.statuts == (Statut.PARTIEL,)
    assert finding.statistics.located == 2


def test_what_the_model_thought_of_its_own_score_is_only_information(index: TranscriptIndex) -> None:
    finding = gated(index, point(1, Statut.PRESENT, FORGED))
    assert (finding.model_score, finding.model_conforme, finding.model_niveau) == (9, "CONFORME", "EXCELLENT")


def test_a_least_length_of_zero_stands_for_the_default(index: TranscriptIndex) -> None:
    short = CitationClaim(texte="courtier", enregistrement=1, tour=1)
    held = gated(index, point(1, Statut.PRESENT, short), policy=Policy(min_quote_chars=0)).points[0]
    assert held.dropped[0].reason is DropReason.TOO_SHORT
    assert gated(index, point(1, Statut.PRESENT, short), policy=Policy(min_quote_chars=4)).points[0].citations


claims = st.lists(st.sampled_from([TRUE, ASTRAY, NEARLY, FORGED, ALTERED]), max_size=4)
answers = st.builds(lambda statut, citations: (statut, citations), st.sampled_from(list(Statut)), claims)


@given(st.lists(answers, min_size=1, max_size=6))
def test_gating_never_raises_a_score(
    index: TranscriptIndex, given_answers: list[tuple[Statut, list[CitationClaim]]]
) -> None:
    points = [
        point(number, statut, *citations) for number, (statut, citations) in enumerate(given_answers, 1)
    ]
    finding = gated(index, *points)
    before = score_step([PointMark(statut) for statut, _ in given_answers], 10)
    after = score_step([PointMark(statut) for statut in finding.statuts], 10)
    assert (after.score is None) is (before.score is None)
    assert (after.score or 0) <= (before.score or 0)


@given(st.lists(answers, min_size=1, max_size=6))
def test_every_quote_looked_for_is_located_or_dropped(
    index: TranscriptIndex, given_answers: list[tuple[Statut, list[CitationClaim]]]
) -> None:
    points = [
        point(number, statut, *citations) for number, (statut, citations) in enumerate(given_answers, 1)
    ]
    statistics = gated(index, *points).statistics
    looked_for = sum(
        len(set(citations))
        for statut, citations in given_answers
        if statut in {Statut.PRESENT, Statut.PARTIEL}
    )
    assert statistics.located + statistics.dropped == looked_for
    assert max(statistics.relocated, statistics.aligned) <= statistics.located
