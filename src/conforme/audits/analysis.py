"""One step of one case: the question, the model's answer, the quotes looked for, the score. No database, no engine.

The durable workflow and the command line both go through here.
"""

from dataclasses import dataclass, field, replace
from typing import TypedDict

from conforme.audit_configs.rules import StepRule
from conforme.audits import timeline
from conforme.audits.admission import Admission
from conforme.audits.case import Case
from conforme.audits.evidence import Policy, gate
from conforme.audits.lookup import Budget, Looked, Memory, Remembered, look_up
from conforme.audits.prompting import Again, consultation, points_in_force, prompt_version, question
from conforme.audits.scoring import PointMark, StepScore, score_step
from conforme.audits.unsure import doubted
from conforme.audits.verdicts import PointFinding, Statut, StepFinding
from conforme.foundation.llm import LanguageModel, Spent, Usage

OUT_OF_FORCE = "[Auto-check] Règle non applicable à cet appel (date ou origine)."


@dataclass(frozen=True)
class ToolsMode:
    """How a step is analysed in tools mode."""

    budget: Budget
    memory: Memory = field(default_factory=Remembered)


class _Asking(TypedDict):
    cache_key: str
    model: str | None


@dataclass(frozen=True)
class StepAnalysis:
    """What is held about one step, and what asking took."""

    step: StepRule
    finding: StepFinding
    points: tuple[PointFinding, ...]
    """One per control point of the step, those out of force included."""
    score: StepScore
    spent: Spent
    """Of the answer; what tools mode asked before it was told to its memory."""
    looked: Looked | None = None
    """What was looked up, in tools mode."""

    @property
    def usage(self) -> Usage:
        """Of everything that was asked about the step."""
        return self.spent.usage + self.looked.usage if self.looked else self.spent.usage

    @property
    def prompt_version(self) -> str:
        return prompt_version(tools=self.looked is not None)

    @property
    def total_citations(self) -> int:
        return sum(len(point.citations) for point in self.points)


async def analyse_step(  # noqa: PLR0913 -- what is asked, of whom, and how it is judged
    model: LanguageModel,
    case: Case,
    step: StepRule,
    *,
    cache_key: str,
    policy: Policy,
    model_name: str | None = None,
    tools: ToolsMode | None = None,
    again: Again | None = None,
) -> StepAnalysis:
    """Asks the model about one step and keeps what the words support; `again` asks once more, maybe about one point.

    With `tools` the model is given no transcript: it looks for what it needs.

    An incomplete answer is the caller's to judge (`finding.missing`): the money is spent either way.

    Raises:
        ModelUnavailable, ModelRefused, ModelOutputInvalid, Misconfigured: no answer could be had.
    """
    points = points_in_force(step, case.day, case.origins)
    asked = points if again is None else again.asked(points)
    asking: _Asking = {"cache_key": cache_key, "model": model_name}
    looked: Looked | None = None
    if tools is None:
        request = question(case.rules, step, asked, case.transcript, **asking)
        reply = await model.ask(request if again is None else again.added_to(request))
    else:
        calls = timeline.overview(case.timeline)
        consulted = consultation(case.rules, step, asked, calls, **asking)
        if again is not None:
            consulted = replace(consulted, prompt=again.added_to(consulted).prompt)
        reply, looked = await look_up(model, consulted, case.catalogue, tools.budget, tools.memory)
    admission = Admission(case.timeline, policy.sure_of_role, looked.desk if looked else None)
    finding = gate(reply.output, asked, case.index, policy, admission)
    held = tuple(doubted(point, case.index) for point in all_points(step, finding) if _wanted(point, again))
    return StepAnalysis(step, finding, held, score_step(marks(step, held), step.weight), reply.spent, looked)


def _wanted(point: PointFinding, again: Again | None) -> bool:
    return again is None or again.point in {None, point.numero}


def all_points(step: StepRule, finding: StepFinding) -> tuple[PointFinding, ...]:
    """The findings by number; a rule that is not for calls of that day or origin does not apply."""
    by_number = {point.numero: point for point in finding.points}
    numbers = range(1, len(step.control_points) + 1)
    return tuple(
        by_number.get(number, _out_of_force(number))
        for number in numbers
        if number in by_number or number not in finding.missing
    )


def _out_of_force(number: int) -> PointFinding:
    return PointFinding(
        numero=number,
        statut=Statut.NON_APPLICABLE,
        model_statut=Statut.NON_APPLICABLE,
        commentaire=OUT_OF_FORCE,
        citations=(),
        dropped=(),
        minutages=(),
        erreur_transcription_notee=False,
        variation_phonetique_utilisee=None,
    )


def marks(step: StepRule, points: tuple[PointFinding, ...]) -> list[PointMark]:
    """The statuses with what the configuration says of each point."""
    rules = step.control_points
    return [
        PointMark(point.statut, rules[point.numero - 1].weight, rules[point.numero - 1].critical)
        for point in points
    ]
