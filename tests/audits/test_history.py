"""What holds follows from what was said, in the order it was said in; people stand above the model."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from conforme.audits import history
from conforme.audits.history import Fact
from conforme.audits.scoring import score_step
from rubrics import step

POINTS = 3
RULE = step(
    weight=5,
    is_critical=True,
    control_points=[{"text": f"Point {each}", "weight": each} for each in (1, 2, 3)],
)
STATUTS = ("PRESENT", "ABSENT", "PARTIEL", "NON_APPLICABLE")
NIVEAUX = {"CONFORME": "BON", "PARTIEL": "ACCEPTABLE", "NON_CONFORME": "INSUFFISANT"}


def finding(number: int, statut: str, doubts: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {
        "numero": number,
        "point": f"Point {number}",
        "statut": statut,
        "model_statut": statut,
        "commentaire": f"Avis : {statut}",
        "minutages": [],
        "erreur_transcription_notee": False,
        "variation_phonetique_utilisee": None,
        "doubts": list(doubts),
        "citations": [],
        "dropped": [],
    }


def whole(statuts: Sequence[str]) -> dict[str, Any]:
    points = [finding(number, statut, [DOUBT]) for number, statut in enumerate(statuts, 1)]
    return {"raw_result": {}, "points": points}


DOUBT = {"reason": "near_miss", "certainty": 0.5}
statuts = st.sampled_from(STATUTS)
answers = st.tuples(*[statuts] * POINTS).map(whole)
numbers = st.integers(1, POINTS)
runs = st.builds(Fact, st.just("run"), answers)
reruns = st.builds(Fact, st.just("rerun"), answers, st.none(), st.booleans())
confirmations = st.builds(
    Fact,
    st.just("confirmation"),
    st.dictionaries(numbers.map(str), statuts, min_size=1).map(lambda found: {"statuts": found}),
)
decisions = st.builds(
    lambda conforme, score, traite: Fact(
        "review",
        {"traite": traite, "conforme": conforme, "score": score, "niveau_conformite": NIVEAUX[conforme]},
    ),
    st.sampled_from(sorted(NIVEAUX)),
    st.integers(0, 5),
    st.booleans(),
)


@st.composite
def point_reruns(draw: st.DrawFn) -> Fact:
    number = draw(numbers)
    said = {"point": "", "finding": finding(number, draw(statuts), [DOUBT])}
    return Fact("rerun", said, number, draw(st.booleans()))


@st.composite
def point_reviews(draw: st.DrawFn) -> Fact:
    said: dict[str, Any] = {"point": ""}
    if draw(st.booleans()):
        said["statut"] = draw(statuts)
    if "statut" not in said or draw(st.booleans()):
        said["commentaire"] = "Réécouté."
    return Fact("review", said, draw(numbers))


later = st.lists(st.one_of(reruns, confirmations, decisions, point_reruns(), point_reviews()), max_size=10)
histories = st.builds(lambda first, rest: [first, *rest], runs, later)


def _last_finding(facts: Sequence[Fact], number: int) -> tuple[int, str]:
    """Read backwards: who spoke last of this point for the model, and what was said."""
    for at in range(len(facts) - 1, -1, -1):
        fact = facts[at]
        if fact.kind in {"run", "rerun"} and fact.point is None:
            return at, fact.content["points"][number - 1]["statut"]
        if fact.kind == "rerun" and fact.point == number:
            return at, fact.content["finding"]["statut"]
    raise AssertionError("every history begins with a run")


def _replaces(fact: Fact, number: int) -> bool:
    return fact.kind == "rerun" and fact.replaces_reviews and fact.point in {None, number}


def _expected_statut(facts: Sequence[Fact], number: int) -> str:
    for fact in reversed(facts):
        if _replaces(fact, number):
            break
        if fact.kind == "review" and fact.point == number and "statut" in fact.content:
            return fact.content["statut"]
    return _last_finding(facts, number)[1]


def _expected_decision(facts: Sequence[Fact]) -> dict[str, Any] | None:
    for at in range(len(facts) - 1, -1, -1):
        fact = facts[at]
        if fact.kind == "rerun" and fact.point is None and fact.replaces_reviews:
            return None
        if fact.kind == "review" and fact.point is not None and "statut" in fact.content:
            return None
        if fact.kind == "review" and fact.point is None:
            answered = any(each.kind in {"run", "rerun"} and each.point is None for each in facts[at + 1 :])
            return None if answered and not fact.content["traite"] else dict(fact.content)
    return None


@given(histories)
def test_what_holds_is_what_the_history_says_read_from_its_end(facts: list[Fact]) -> None:
    now = history.held(facts)
    assert now.numbers == [1, 2, 3]
    for number in now.numbers:
        assert now.point(number)["statut"] == _expected_statut(facts, number)
    assert now.decided == _expected_decision(facts)


@given(histories)
def test_what_was_said_last_is_added_to_what_held_before_it(facts: list[Fact]) -> None:
    assert history.held(facts) == history.after(history.held(facts[:-1]), facts[-1])


@given(histories, st.lists(st.one_of(reruns, point_reruns()), max_size=5), numbers, statuts)
def test_a_person_s_status_stands_whatever_the_model_says_later_unless_it_may_replace_it(
    facts: list[Fact], again: list[Fact], number: int, statut: str
) -> None:
    said = [*facts, Fact("review", {"point": "", "statut": statut}, number)]
    protected = [Fact(each.kind, each.content, each.point) for each in again]
    assert history.held([*said, *protected]).point(number)["statut"] == statut
    replacing = Fact("rerun", whole(["PARTIEL"] * POINTS), None, replaces_reviews=True)
    assert history.held([*said, *protected, replacing]).point(number)["statut"] == "PARTIEL"


@given(histories)
def test_a_score_is_the_statuses_or_what_a_person_concluded_and_never_exceeds_the_weight(
    facts: list[Fact],
) -> None:
    now = history.held(facts)
    outcome, result = history.outcome(RULE, now), history.score(RULE, now)
    if now.decided is None:
        assert outcome.marks is not None
        assert result == score_step(outcome.marks, RULE.weight)
    elif now.decided["traite"]:
        assert result is not None
        assert (result.score, result.conforme) == (now.decided["score"], now.decided["conforme"])
    else:
        assert result is None
    assert result is None or result.score is None or 0 <= result.score <= RULE.weight


@given(histories, numbers)
def test_a_review_settles_a_point_until_the_model_speaks_of_it_again_in_its_own_right(
    facts: list[Fact], number: int
) -> None:
    seen = Fact("review", {"point": "", "commentaire": "Réécouté."}, number)
    settled = history.held([*facts, seen])
    assert settled.point(number)["doubts"] == []
    again = Fact("rerun", {"point": "", "finding": finding(number, "PRESENT", [DOUBT])}, number, True)
    assert history.after(settled, again).point(number)["doubts"] == [DOUBT]


@given(histories, st.lists(statuts, min_size=POINTS, max_size=POINTS))
def test_a_second_opinion_changes_no_status_and_doubts_those_it_does_not_share(
    facts: list[Fact], others: list[str]
) -> None:
    before = history.held([*facts, Fact("rerun", whole(["PRESENT"] * POINTS), None, True)])
    said = {"statuts": {str(number): statut for number, statut in enumerate(others, 1)}}
    now = history.after(before, Fact("confirmation", said))
    for number, other in enumerate(others, 1):
        assert now.point(number)["statut"] == "PRESENT"
        reasons = {doubt["reason"] for doubt in now.point(number)["doubts"]}
        assert ("runs_disagree" in reasons) is (other != "PRESENT")


def test_a_person_may_judge_a_step_that_the_model_never_answered() -> None:
    said = {"traite": True, "conforme": "CONFORME", "score": 5, "niveau_conformite": "BON"}
    now = history.held([Fact("review", said)])
    result = history.score(RULE, now)
    assert result is not None
    assert (result.score, result.conforme, history.outcome(RULE, now).critical) == (5, "CONFORME", True)


def test_that_a_step_was_not_judged_is_no_verdict_to_protect() -> None:
    said = {"traite": False, "conforme": "NON_CONFORME", "score": 0, "niveau_conformite": "INSUFFISANT"}
    unjudged = [Fact("run", whole(["PRESENT"] * POINTS)), Fact("review", said)]
    assert history.score(RULE, history.held(unjudged)) is None
    again = Fact("rerun", whole(["PRESENT"] * POINTS))
    result = history.score(RULE, history.held([*unjudged, again]))
    assert result is not None
    assert result.score == RULE.weight
