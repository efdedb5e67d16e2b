"""`conforme audit`: calls out of files through the same analysis as everywhere, without CRM or database."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from conforme.audit_configs.rules import Rules
from conforme.audits.analysis import StepAnalysis, analyse_step, marks
from conforme.audits.case import Case, open_case
from conforme.audits.errors import AnswerIncomplete
from conforme.audits.evidence import Gating
from conforme.audits.scoring import AuditScore, StepOutcome, score_audit
from conforme.audits.timeline import Call, build
from conforme.audits.verdicts import EvidenceStatistics, Niveau
from conforme.foundation.errors import ConformeError, External
from conforme.foundation.jobs import Retry
from conforme.foundation.ledger import PriceTable, model_call
from conforme.foundation.llm import LanguageModel, ModelError, Usage
from conforme.transcriptions.formats import HeardCall

AT_ONCE = 8
"""Steps of one call asked at the same moment, behind the first."""


@dataclass(frozen=True)
class Auditor:
    """What every call of a run is audited with."""

    model: LanguageModel
    rules: Rules
    gating: Gating
    retry: Retry
    prices: PriceTable


@dataclass(frozen=True)
class NotAnalysed:
    """A step without a verdict, and why."""

    position: int
    name: str
    reason: str


@dataclass
class Spending:
    """What the questions of one call took, answered or not."""

    usage: Usage = field(default_factory=Usage)
    cost: Decimal = Decimal(0)
    currency: str = ""


@dataclass(frozen=True)
class FileAudit:
    """One call, audited."""

    name: str
    case: Case
    score: AuditScore
    steps: tuple[StepAnalysis, ...]
    not_analysed: tuple[NotAnalysed, ...]
    spending: Spending
    seconds: float

    @property
    def evidence(self) -> EvidenceStatistics:
        return sum((step.finding.statistics for step in self.steps), EvidenceStatistics())


def case_of_file(rules: Rules, call: HeardCall, name: str) -> Case:
    """The case of one heard call; nothing is known of when it took place."""
    return open_case(rules, build([Call(name, call.words, duration_seconds=call.duration_seconds)]))


async def audit_call(
    auditor: Auditor,
    call: HeardCall,
    name: str,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> FileAudit:
    """Audits one call: the first step alone (it fills the provider's prefix cache), then the rest side by side.

    `tell` hears how many steps of how many have ended. A step that cannot be analysed is reported, never judged.
    """
    began = time.perf_counter()
    case = await asyncio.to_thread(case_of_file, auditor.rules, call, name)
    spending, gate = Spending(), asyncio.Semaphore(AT_ONCE)
    ended = 0

    async def one(position: int) -> StepAnalysis | NotAnalysed:
        nonlocal ended
        async with gate:
            result = await _step(auditor, case, position, name, spending)
        ended += 1
        tell(ended, len(auditor.rules.steps))
        return result

    positions = sorted(step.position for step in auditor.rules.steps)
    results = [await one(positions[0])]
    results += await asyncio.gather(*(one(position) for position in positions[1:]))
    return _report(name, case, results, spending, time.perf_counter() - began)


async def _step(
    auditor: Auditor, case: Case, position: int, name: str, spending: Spending
) -> StepAnalysis | NotAnalysed:
    step = case.step(position)
    failed = 0
    while True:
        try:
            return await _attempt(auditor, case, position, name, spending)
        except ConformeError as error:
            failed += 1
            retryable = isinstance(error, External) and error.retryable
            if not retryable or failed >= auditor.retry.attempts:
                return NotAnalysed(position, step.name, error.message)
            wait = auditor.retry.wait_seconds(failed, error)
        await asyncio.sleep(wait)


async def _attempt(
    auditor: Auditor, case: Case, position: int, name: str, spending: Spending
) -> StepAnalysis:
    try:
        analysis = await analyse_step(
            auditor.model, case, case.step(position), cache_key=f"file-{name[:60]}", gating=auditor.gating
        )
    except ModelError as error:
        _spend(auditor, spending, error)
        raise
    _spend(auditor, spending, analysis)
    if analysis.finding.missing:
        raise AnswerIncomplete(analysis.finding.missing)
    return analysis


def _spend(auditor: Auditor, spending: Spending, what: StepAnalysis | ModelError) -> None:
    if what.spent is None:
        return
    cost = model_call(what.spent, purpose="audit-step").cost(auditor.prices)
    spending.usage = spending.usage + what.spent.usage
    spending.cost += cost.amount
    spending.currency = cost.currency


def _report(
    name: str, case: Case, results: list[StepAnalysis | NotAnalysed], spending: Spending, seconds: float
) -> FileAudit:
    analysed = tuple(result for result in results if isinstance(result, StepAnalysis))
    missing = tuple(result for result in results if isinstance(result, NotAnalysed))
    held = {analysis.step.position: tuple(marks(analysis.step, analysis.points)) for analysis in analysed}
    outcomes = [
        StepOutcome(step.position, step.weight, step.is_critical, held.get(step.position))
        for step in case.rules.steps
    ]
    score = score_audit(outcomes, Niveau(case.rules.compliant_from))
    return FileAudit(name, case, score, analysed, missing, spending, seconds)
