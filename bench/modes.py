"""Prompt mode against tools mode on a call of three hours: prompt tokens, cost, and what of the truth is quoted."""

import asyncio

from conforme.audit_configs.shipped import COMPLETE, SHORT, Shipped, shipped
from conforme.audits.evidence import Policy
from conforme.audits.files import Auditor, FileAudit, audit_call
from conforme.audits.lookup import Budget
from conforme.audits.normalise import normalise
from conforme.foundation.jobs import Retry
from conforme.foundation.ledger import PriceTable
from conforme.foundation.llm import model_from
from conforme.foundation.outbound import Outbound
from conforme.sandbox.corpus import WrittenCall, load_corpus
from conforme.sandbox.long_calls import WORDS_A_SECOND, drawn_out
from conforme.sandbox.world import Sandbox
from conforme.settings import Settings, settings_with
from conforme.transcriptions.heard import HeardCall

SCENARIO = "retraitee-dentaire"
THREE_HOURS = int(3 * 3600 * WORDS_A_SECOND)


def main() -> None:
    for config in (SHORT, COMPLETE):
        asyncio.run(_compare(config))


async def _compare(config: Shipped) -> None:
    written = load_corpus().call(SCENARIO)
    spoken = drawn_out(written, THREE_HOURS)
    call = HeardCall(spoken, int(len(spoken) / WORDS_A_SECOND))
    async with Sandbox() as sandbox:
        settings = settings_with(Settings(), sandbox.environment())
        outbound = Outbound(settings)
        reports: list[FileAudit] = []
        for budget in (None, Budget()):
            retry = Retry(1, 0.1, 0.1, when=lambda _: False)
            model, prices = model_from(settings, outbound), PriceTable.load(None)
            auditor = Auditor(model, shipped(config), Policy(), retry, prices, budget)
            reports.append(await audit_call(auditor, call, SCENARIO))
        await outbound.aclose()
    prompt, tools = reports
    for name, report in (("prompt", prompt), ("tools", tools)):
        _say(f"{config}, {name} mode", report, written)
    ratio = tools.spending.usage.prompt_tokens / prompt.spending.usage.prompt_tokens
    print(f"{config}: prompt tokens of tools mode {ratio:.1%} of prompt mode (goal: 30 %)")


def _say(name: str, report: FileAudit, written: WrittenCall) -> None:
    spending, usage = report.spending, report.spending.usage
    print(
        f"{name:<40}{usage.prompt_tokens:>10} prompt tokens ({usage.cached_tokens} cached), {spending.requests} requests,"
        f" {spending.cost:.3f} {spending.currency}, {report.evidence.located} quotes,"
        f" {len(topics(report, written))} topics of the truth"
    )


def topics(report: FileAudit, written: WrittenCall) -> set[str]:
    """The topics of which the report quotes words that are true of the written call."""
    quoted = [
        normalise(quote.texte) for step in report.steps for point in step.points for quote in point.citations
    ]
    return {
        topic
        for topic, truth in written.truth.items()
        for quote in truth.quotes
        if any(normalise(quote.text) in said or said in normalise(quote.text) for said in quoted)
    }
