"""`conforme audit`: calls out of files through the same analysis as everywhere, without CRM or database."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from conforme.audit_configs.rules import Rules
from conforme.audits.analysis import StepAnalysis, ToolsMode, analyse_step, marks
from conforme.audits.case import Case, open_case
from conforme.audits.errors import AnswerIncomplete
from conforme.audits.evidence import Policy
from conforme.audits.lookup import Budget, Remembered
from conforme.audits.scoring import AuditScore, StepOutcome, score_audit
from conforme.audits.speakers import decided_by_rules, roles_of
from conforme.audits.timeline import Call, build
from conforme.audits.verdicts import EvidenceStatistics, Niveau
from conforme.foundation.errors import ConformeError
from conforme.foundation.jobs import Retry
from conforme.foundation.ledger import PriceTable, model_call
from conforme.foundation.llm import LanguageModel, ModelError, Spent, Usage
from conforme.transcriptions.heard import HeardCall
from conforme.transcriptions.words import turns_of

AT_ONCE = 8
"""Steps of one call asked at the same moment, behind the first."""

T = TypeVar("T")


@dataclass(frozen=True)
class Auditor:
    """What every call of a run is audited with."""

    model: LanguageModel
    rules: Rules
    policy: Policy
    retry: Retry
    prices: PriceTable | None
    """`None` when nothing is paid."""
    tools: Budget | None = None
    """Tools mode and how much it may use; `None` puts the whole transcript into each question."""
    tell_spent: Callable[[Spent], None] = lambda _spent: None
    """Hears of each request and what it took."""


@dataclass(frozen=True)
class NotAnalysed:
    """A step without a verdict, and why."""

    position: int
    name: str
    reason: str


@dataclass
class Spending:
    """What the questions of one call took, answered or not."""

    requests: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: Decimal = Decimal(0)
    currency: str = ""


@dataclass(frozen=True)
class FileAudit:
    """One call, audited."""

    name: str
    call: HeardCall
    rules: Rules
    score: AuditScore
    steps: tuple[StepAnalysis, ...]
    not_analysed: tuple[NotAnalysed, ...]
    spending: Spending
    seconds: float

    @property
    def evidence(self) -> EvidenceStatistics:
        return sum((step.finding.statistics for step in self.steps), EvidenceStatistics())


def case_of_file(rules: Rules, call: HeardCall) -> Case:
    """The case of one heard call; nothing is known of when it took place."""
    roles = roles_of(decided_by_rules(turns_of(call.words)))
    return open_case(
        rules, build([Call("call", call.words, duration_seconds=call.duration_seconds, roles=roles)])
    )


async def audit_call(
    auditor: Auditor,
    call: HeardCall,
    name: str,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> FileAudit:
    """Audits one call: the first step alone (it fills the provider's prefix cache), then the rest side by side.

    Args:
        auditor: what to audit with.
        call: the words.
        name: what the report calls it; the model never reads it.
        tell: hears how many steps of how many have ended.

    Returns:
        The audit; a step that cannot be analysed is reported, never judged.
    """
    case = await asyncio.to_thread(case_of_file, auditor.rules, call)
    return await audit_case(auditor, case, call, name, tell)


async def audit_case(
    auditor: Auditor,
    case: Case,
    call: HeardCall,
    name: str,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> FileAudit:
    """The same for a case that is open already; `call` is only passed on."""
    began = time.perf_counter()
    questions = _Questions(auditor, case)
    positions = sorted(step.position for step in auditor.rules.steps)
    gate = asyncio.Semaphore(AT_ONCE)
    results: dict[int, StepAnalysis | NotAnalysed] = {}

    async def one(position: int) -> None:
        async with gate:
            results[position] = await questions.ask(position)
        tell(len(results), len(positions))

    await one(positions[0])
    async with asyncio.TaskGroup() as rest:
        for position in positions[1:]:
            rest.create_task(one(position))
    ordered = [results[position] for position in positions]
    analysed = tuple(result for result in ordered if isinstance(result, StepAnalysis))
    missing = tuple(result for result in ordered if isinstance(result, NotAnalysed))
    score = _score(auditor.rules, analysed)
    seconds = time.perf_counter() - began
    return FileAudit(name, call, auditor.rules, score, analysed, missing, questions.spending, seconds)


def _score(rules: Rules, analysed: tuple[StepAnalysis, ...]) -> AuditScore:
    held = {each.step.position: tuple(marks(each.step, each.points)) for each in analysed}
    outcomes = [
        StepOutcome(step.position, step.weight, step.is_critical, held.get(step.position))
        for step in rules.steps
    ]
    return score_audit(outcomes, Niveau(rules.compliant_from))


class _Questions:
    """The questions on one case, and what they take."""

    def __init__(self, auditor: Auditor, case: Case) -> None:
        self.spending = Spending()
        self._auditor = auditor
        self._case = case
        self._looked_up: dict[int, Remembered] = {}
        # Names of files may be names of people: the provider gets a digest.
        self._cache_key = f"file-{hashlib.sha256(case.transcript.encode()).hexdigest()[:24]}"

    async def ask(self, position: int) -> StepAnalysis | NotAnalysed:
        """The analysis of a step, or why there is none once every attempt has failed."""
        try:
            return await persistently(self._auditor.retry, lambda: self._attempt(position))
        except ConformeError as error:
            return NotAnalysed(position, self._case.step(position).name, error.message)

    async def _attempt(self, position: int) -> StepAnalysis:
        budget, looked_up = self._auditor.tools, self._looked_up.setdefault(position, Remembered(self._spend))
        try:
            analysis = await analyse_step(
                self._auditor.model,
                self._case,
                self._case.step(position),
                cache_key=self._cache_key,
                policy=self._auditor.policy,
                tools=None if budget is None else ToolsMode(budget, looked_up),
            )
        except ModelError as error:
            self._spend(error.spent)
            raise
        self._spend(analysis.spent)
        if analysis.finding.missing:
            raise AnswerIncomplete(analysis.finding.missing)
        return analysis

    def _spend(self, spent: Spent | None) -> None:
        if spent is None:
            return
        self._auditor.tell_spent(spent)
        self.spending.requests += spent.attempts
        self.spending.usage = self.spending.usage + spent.usage
        if self._auditor.prices is not None:
            cost = model_call(spent, purpose="audit-step").cost(self._auditor.prices)
            self.spending.cost += cost.amount
            self.spending.currency = cost.currency


async def persistently(retry: Retry, attempt: Callable[[], Awaitable[T]]) -> T:
    """The result of the first attempt that succeeds.

    Raises:
        Exception: the last attempt's error, or one that `retry.when` says is not worth another.
    """
    failed = 0
    while True:
        try:
            return await attempt()
        except Exception as error:
            failed += 1
            if failed >= retry.attempts or not retry.when(error):
                raise
            wait = retry.wait_seconds(failed, error)
        await asyncio.sleep(wait)
