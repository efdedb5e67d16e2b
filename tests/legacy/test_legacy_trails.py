"""Whatever was overruled and judged again in the original, what was appended makes what holds."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from conforme.audits import history
from conforme.audits.history import Fact
from conforme.audits.verdicts import Conforme, Niveau, Statut
from conforme.legacy.mapping_trails import Said, unfolded

STEP = {
    "commentaire_global": "",
    "mots_cles_trouves": [],
    "erreurs_transcription_tolerees": 0,
    "total_tokens": 0,
    "raw_result": {},
}
STATUTS = st.sampled_from([each.value for each in Statut])
BEGAN = datetime(2026, 1, 5, tzinfo=UTC)


def finding(number: int, statut: str) -> dict[str, Any]:
    return {
        "numero": number,
        "point": f"Point {number}",
        "statut": statut,
        "model_statut": statut,
        "commentaire": f"Vu {statut}",
        "minutages": ["00:01"],
        "erreur_transcription_notee": False,
        "variation_phonetique_utilisee": None,
        "doubts": [],
        "citations": [],
        "dropped": [],
    }


POINTS = st.lists(STATUTS, max_size=4).map(
    lambda statuts: {number: finding(number, statut) for number, statut in enumerate(statuts, 1)}
)
STEP_SAID = st.fixed_dictionaries(
    {
        "traite": st.booleans(),
        "conforme": st.sampled_from([*(each.value for each in Conforme), None, "?"]),
        "score": st.integers(0, 12) | st.none(),
        "niveau_conformite": st.sampled_from([*(each.value for each in Niveau), None]),
    }
)
POINT_SAID = st.fixed_dictionaries(
    {"statut": STATUTS | st.none(), "commentaire": st.text(max_size=5) | st.none()}
)


@st.composite
def entries(draw: st.DrawFn) -> Said:
    """An entry that may or may not fit the rest."""
    point = draw(st.none() | st.integers(0, 5))
    said = STEP_SAID if point is None else POINT_SAID
    return Said(
        at=BEGAN + timedelta(minutes=draw(st.integers(0, 500))),
        kind=draw(st.sampled_from(["review", "rerun"])),
        point=point,
        text="",
        author=None,
        reason=None,
        reference=None,
        event_id=None,
        custom_prompt=None,
        before=draw(said),
        after=draw(said),
    )


TRAILS = st.lists(entries(), max_size=6).map(lambda said: sorted(said, key=lambda each: each.at))


@given(POINTS, TRAILS)
def test_what_was_said_in_order_makes_the_statuses_and_comments_that_hold(
    points: dict[int, Any], said: list[Said]
) -> None:
    told = unfolded(STEP, points, said)
    held = history.held(Fact(each.kind, each.content, each.point, each.kind == "rerun") for each in told)
    assert held.numbers == sorted(points)
    for number, point in points.items():
        now = held.point(number)
        assert (now["statut"], now["commentaire"]) == (point["statut"], point["commentaire"])


@given(POINTS, TRAILS)
def test_nothing_is_made_up_of_a_finding_that_was_replaced(points: dict[int, Any], said: list[Said]) -> None:
    told = unfolded(STEP, points, said)
    assert told[0].kind == "run"
    again = any(each.kind == "rerun" and each.point is None for each in said)
    assert (told[0].content["points"] == []) == (again or not points)


@given(TRAILS)
def test_a_step_that_was_never_analysed_has_no_run(said: list[Said]) -> None:
    told = unfolded(None, {}, said)
    assert {(each.kind, each.point) for each in told} <= {("review", None)}
    assert history.held(Fact(each.kind, each.content, each.point) for each in told).points == {}
