"""What holds of a step, out of all that was ever said of it (pure).

Verdicts are appended (`audit_verdicts`); what holds is derived by `held`, from the oldest to the newest:

- a run of the model, or a rerun of the step, is what the step rests on; a rerun of one point replaces that point alone;
- words that came after their time (chronology) make a point that is met one that is met in part;
- a second opinion (confirmation) changes nothing: where it differs, the point is in doubt;
- what a person says of a point, or of the step, stands above the model, whatever the model says later, unless a rerun
  was allowed to replace it. A person's status for a point also ends what a person concluded on the step before.

Contents are JSON values as they are stored:

    run, rerun of a step    {commentaire_global, mots_cles_trouves, erreurs_transcription_tolerees, total_tokens,
                             raw_result, points: [point]}
    rerun of a point        {point (text), finding: point}
    chronology              {late: {number: note}}
    confirmation            {statuts: {number: statut}}
    review of a point       {point (text), statut?, commentaire?}
    review of a step        {traite, conforme, score, niveau_conformite}

where `point` is {numero, point, statut, model_statut, commentaire, minutages, erreur_transcription_notee,
variation_phonetique_utilisee, doubts, citations, dropped}.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Final, Literal

from conforme.audit_configs.rules import StepRule
from conforme.audits import doubts
from conforme.audits.doubts import Doubt, DoubtReason
from conforme.audits.scoring import VALUES, Decision, PointMark, StepOutcome, StepScore
from conforme.audits.verdicts import Conforme, Niveau, Statut

Kind = Literal["run", "confirmation", "rerun", "review", "chronology"]
Json = Mapping[str, Any]

LATE: Final = 0.7
"""Certainty that a point whose words came after their time is met in part only."""
STRANGE: Final = 0.3
"""Certainty of a point that one opinion judges and the other does not find applicable."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One appended verdict on a step; `point` is the number of the control point it is about, if on one alone."""

    kind: Kind
    content: Json
    point: int | None = None
    replaces_reviews: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """What holds of one step: the model's findings, and what people said above them."""

    step: Json | None = None
    """What the model said of the step as a whole; None when it never answered."""
    points: Mapping[int, Json] = field(default_factory=dict[int, Json])
    """The model's latest finding on each point."""
    reviewed: Mapping[int, Json] = field(default_factory=dict[int, Json])
    """What people said of points."""
    decided: Json | None = None
    """What a person concluded on the step."""
    settled: frozenset[int] = frozenset()
    """Points that a person has looked at since the model spoke of them."""

    @property
    def analysed(self) -> bool:
        """Whether the step counts: a person's word on that comes first."""
        return bool(self.decided["traite"]) if self.decided is not None else self.step is not None

    @property
    def numbers(self) -> list[int]:
        return sorted(self.points)

    def point(self, number: int) -> dict[str, Any]:
        """The finding on a point as it holds now."""
        said = {name: self.reviewed.get(number, {}).get(name) for name in ("statut", "commentaire")}
        over = {name: value for name, value in said.items() if value is not None}
        settled: dict[str, Any] = {"doubts": []} if number in self.settled else {}
        return {**self.points[number], **over, **settled}


NOTHING: Final = Held()


def held(facts: Iterable[Fact]) -> Held:
    """What holds once all of this was said, in this order."""
    return reduce(after, facts, NOTHING)


def after(before: Held, fact: Fact) -> Held:
    """What holds once one more thing was said."""
    match fact.kind:
        case "run":
            return _judged_anew(before, fact)
        case "rerun":
            return _judged_anew(before, fact) if fact.point is None else _point_judged_anew(before, fact)
        case "confirmation":
            return _compared(before, fact.content["statuts"])
        case "chronology":
            return _timed(before, fact.content["late"])
        case "review":
            return _decided(before, fact) if fact.point is None else _point_reviewed(before, fact)


def _judged_anew(before: Held, fact: Fact) -> Held:
    step = {name: value for name, value in fact.content.items() if name != "points"}
    points = {int(point["numero"]): point for point in fact.content["points"]}
    if fact.replaces_reviews:
        return Held(step, points)
    # That a person found the step not judged is no verdict to protect: now it is judged.
    decided = before.decided if before.decided is not None and before.decided["traite"] else None
    return Held(step, points, before.reviewed, decided, frozenset(before.reviewed))


def _point_judged_anew(before: Held, fact: Fact) -> Held:
    number = int(fact.content["finding"]["numero"])
    points = {**before.points, number: fact.content["finding"]}
    reviewed = dict(before.reviewed)
    if fact.replaces_reviews:
        reviewed.pop(number, None)
    settled = before.settled if number in reviewed else before.settled - {number}
    return replace(before, points=points, reviewed=reviewed, settled=settled)


def _compared(before: Held, statuts: Json) -> Held:
    points = {
        number: _doubted(point, Statut(statuts[str(number)])) if str(number) in statuts else point
        for number, point in before.points.items()
    }
    return replace(before, points=points)


def _timed(before: Held, late: Json) -> Held:
    """Points that were met after their time are met in part; said once, it changes nothing more."""
    points = {
        number: _too_late(point, late[str(number)]) if str(number) in late else point
        for number, point in before.points.items()
    }
    return replace(before, points=points)


def _too_late(point: Json, note: str) -> Json:
    known = doubts.from_json(point["doubts"])
    if any(doubt.reason is DoubtReason.CHRONOLOGY for doubt in known):
        return point
    told = doubts.to_json(doubts.merged((*known, Doubt(DoubtReason.CHRONOLOGY, LATE))))
    statut = Statut.PARTIEL if point["statut"] == Statut.PRESENT else Statut(point["statut"])
    comment = f"{point['commentaire']} {note}".strip()
    return {**point, "statut": statut.value, "commentaire": comment, "doubts": told}


def _doubted(point: Json, other: Statut) -> Json:
    statut = Statut(point["statut"])
    if statut is other:
        return point
    both = statut in VALUES and other in VALUES
    certainty = 1 - float(abs(VALUES[statut] - VALUES[other])) if both else STRANGE
    doubt = Doubt(DoubtReason.RUNS_DISAGREE, certainty)
    return {**point, "doubts": doubts.to_json(doubts.merged((*doubts.from_json(point["doubts"]), doubt)))}


def _point_reviewed(before: Held, fact: Fact) -> Held:
    assert fact.point is not None  # noqa: S101 -- the caller has looked
    said = {name: value for name, value in fact.content.items() if name != "point"}
    reviewed = {**before.reviewed, fact.point: {**before.reviewed.get(fact.point, {}), **said}}
    decided = None if "statut" in said else before.decided
    return replace(before, reviewed=reviewed, decided=decided, settled=before.settled | {fact.point})


def _decided(before: Held, fact: Fact) -> Held:
    return replace(before, decided=dict(fact.content), settled=frozenset(before.points))


# What it comes to


def outcome(step: StepRule, now: Held) -> StepOutcome:
    """The step as `scoring` takes it: statuses, and what a person concluded instead."""
    statuts = [(number, now.point(number)["statut"]) for number in now.numbers]
    return outcome_of(step, statuts if now.step is not None else None, now.decided, analysed=now.analysed)


def outcome_of(
    step: StepRule, statuts: Iterable[tuple[int, str]] | None, decided: Json | None, *, analysed: bool
) -> StepOutcome:
    """The same out of what is stored; `statuts` of numbered points is None where there are none."""
    if not analysed:
        return StepOutcome(step.position, step.weight, step.is_critical, None)
    marks = None if statuts is None else tuple(_marks(step, statuts))
    return StepOutcome(step.position, step.weight, step.is_critical, marks, _decision(decided))


def _marks(step: StepRule, statuts: Iterable[tuple[int, str]]) -> Iterable[PointMark]:
    for number, statut in statuts:
        rule = step.control_points[number - 1]
        yield PointMark(Statut(statut), rule.weight, rule.critical)


def _decision(decided: Json | None) -> Decision | None:
    if decided is None:
        return None
    conforme, niveau = Conforme(decided["conforme"]), Niveau(decided["niveau_conformite"])
    return Decision(conforme, niveau, int(decided["score"]))


def score(step: StepRule, now: Held) -> StepScore | None:
    return outcome(step, now).result


def step_shape(step: StepRule, now: Held) -> dict[str, Any]:
    """A step as the trails write it (spec/audits §9.3)."""
    result = score(step, now)
    said = now.decided or {}
    return {
        "traite": now.analysed,
        "conforme": result.conforme.value if result else said.get("conforme"),
        "score": result.score if result else said.get("score"),
        "niveau_conformite": result.niveau.value if result else said.get("niveau_conformite"),
        "total_citations": sum(len(point["citations"]) for point in now.points.values()),
    }


def point_shape(step: StepRule, now: Held, number: int) -> dict[str, Any]:
    """A point as the trails write it, with what its step comes to."""
    point, whole = now.point(number), step_shape(step, now)
    return {
        "statut": point["statut"],
        "commentaire": point["commentaire"],
        "citations": len(point["citations"]),
        "minutages": list(point["minutages"]),
        "step_score": whole["score"],
        "step_conforme": whole["conforme"],
    }
