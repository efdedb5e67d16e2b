"""What speaks against a verdict is noticed where its quotes are looked for."""

import pytest

from conforme.audits.case import open_case
from conforme.audits.evidence import Policy, gate
from conforme.audits.timeline import build
from conforme.audits.unsure import LOW_RECOGNITION, doubted
from conforme.audits.verdicts import PointFinding, StepVerdict
from judged_audits import NEAR, QUOTE, spoken
from rubrics import rules, step


def found(quotes: list[str], confidence: float | None, statut: str = "PRESENT") -> PointFinding:
    """The finding on one point, its quotes looked for in a call that was heard with this confidence."""
    case = open_case(rules(), build([spoken(confidence)]))
    citations = [{"texte": quote, "enregistrement": 1, "tour": 1} for quote in quotes]
    answer = StepVerdict.model_validate(
        {
            "conforme": "CONFORME",
            "niveau_conformite": "BON",
            "points_controle": [{"numero": 1, "statut": statut, "citations": citations}],
        }
    )
    [point] = gate(answer, [(1, step().control_points[0])], case.index, Policy()).points
    return doubted(point, case.index)


@pytest.mark.parametrize(
    ("confidence", "reasons"),
    [
        (None, []),
        (0.95, []),
        (LOW_RECOGNITION, []),
        (LOW_RECOGNITION - 0.01, ["low_recognition"]),
        (0.0, ["low_recognition"]),
    ],
)
def test_words_that_were_hardly_recognised_are_no_firm_ground(
    confidence: float | None, reasons: list[str]
) -> None:
    point = found([QUOTE], confidence)
    assert point.statut == "PRESENT"
    assert [doubt.reason for doubt in point.doubts] == reasons
    assert all(doubt.certainty == pytest.approx(confidence) for doubt in point.doubts)


def test_a_quote_that_nearly_says_what_was_said_is_a_doubt_about_the_status_that_fell_with_it() -> None:
    point = found([NEAR], None)
    assert (point.statut, point.model_statut) == ("ABSENT", "PRESENT")
    assert [doubt.reason for doubt in point.doubts] == ["near_miss"]


def test_a_quote_that_resembles_nothing_is_no_doubt() -> None:
    point = found(["le contrat couvre les lunettes et les dents de lait"], None)
    assert point.statut == "ABSENT"
    assert point.doubts == ()


def test_a_near_miss_beside_real_evidence_is_no_doubt() -> None:
    assert found([NEAR, QUOTE], 0.9).doubts == ()


def test_a_point_that_is_absent_for_the_model_too_is_not_in_doubt() -> None:
    assert found([], None, "ABSENT").doubts == ()
