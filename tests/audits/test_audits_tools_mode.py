"""Tools mode from end to end: the model looks, answers, and is held to what it was shown."""

from collections.abc import Iterator

import pytest
from pydantic_ai.models import override_allow_model_requests

from conforme.audit_configs.shipped import SHORT, shipped
from conforme.audits.errors import NothingRead
from conforme.audits.evidence import Policy
from conforme.audits.files import Auditor, FileAudit, audit_call, case_of_file
from conforme.audits.lookup import Asked, Budget, Remembered, look_up
from conforme.audits.normalise import normalise
from conforme.audits.prompting import consultation, points_in_force
from conforme.audits.timeline import overview
from conforme.foundation.jobs import Retry
from conforme.foundation.ledger import PriceTable
from conforme.foundation.llm import LanguageModel, model_from
from conforme.foundation.outbound import Outbound
from conforme.sandbox.corpus import WrittenCall, load_corpus
from conforme.sandbox.long_calls import WORDS_A_SECOND, drawn_out
from conforme.sandbox.world import Sandbox
from conforme.settings import Settings, settings_with
from conforme.transcriptions.formats import HeardCall

THREE_HOURS = int(3 * 3600 * WORDS_A_SECOND)


@pytest.fixture(autouse=True)
def may_ask_the_sandbox() -> Iterator[None]:
    with override_allow_model_requests(True):
        yield


def heard(call: WrittenCall, words: int = 0) -> HeardCall:
    spoken = drawn_out(call, words)
    return HeardCall(spoken, int(len(spoken) / WORDS_A_SECOND))


async def audited(call: HeardCall, budget: Budget | None, provider: str = "openai") -> FileAudit:
    async with Sandbox() as sandbox:
        settings = settings_with(Settings(), sandbox.environment() | {"LLM_PROVIDER": provider})
        outbound = Outbound(settings)
        model = model_from(settings, outbound)
        retry = Retry(1, 0.01, 0.1, when=lambda _: False)
        auditor = Auditor(model, shipped(SHORT), Policy(), retry, PriceTable.load(None), budget)
        try:
            return await audit_call(auditor, call, "call")
        finally:
            await outbound.aclose()


def shown(report: FileAudit, call: WrittenCall) -> set[str]:
    """The topics of the written call of which the report quotes words that are true of it."""
    quoted = [
        normalise(each.texte) for step in report.steps for point in step.points for each in point.citations
    ]
    return {
        topic
        for topic, truth in call.truth.items()
        for quote in truth.quotes
        if any(normalise(quote.text) in said or said in normalise(quote.text) for said in quoted)
    }


async def test_on_a_call_of_three_hours_tools_mode_takes_at_most_30_percent_for_the_same_evidence() -> None:
    written = load_corpus().call("retraitee-dentaire")
    call = heard(written, THREE_HOURS)
    prompt, tools = await audited(call, None), await audited(call, Budget())
    assert tools.spending.usage.prompt_tokens <= 0.3 * prompt.spending.usage.prompt_tokens
    assert shown(tools, written) >= shown(prompt, written)
    assert len(shown(prompt, written)) > 10
    assert [point.statut for step in tools.steps for point in step.points] == [
        point.statut for step in prompt.steps for point in step.points
    ]


@pytest.mark.parametrize("provider", ["openai", "openai-chat"])
async def test_both_protocols_look_before_they_answer(provider: str) -> None:
    report = await audited(heard(load_corpus().call("famille-optique")), Budget(), provider)
    assert not report.not_analysed
    assert report.evidence.located > 10
    assert report.evidence.dropped == 0
    for step in report.steps:
        assert step.looked is not None
        assert step.looked.desk.searches
        assert step.looked.desk.fetched
        assert step.usage.prompt_tokens > step.spent.usage.prompt_tokens
        assert step.prompt_version.startswith("tools-1-")


class Ground:
    """The first step of a call, and a model that may fail."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.case = case_of_file(shipped(SHORT), heard(load_corpus().call("famille-optique")))

    async def look_up(self, budget: Budget, memory: Remembered) -> int:
        step = self.case.step(1)
        points = points_in_force(step, None)
        calls = overview(self.case.timeline)
        asked = consultation(self.case.rules, step, points, calls, cache_key="k")
        _, looked = await look_up(self.model, asked, self.case.catalogue, budget, memory)
        return looked.usage.prompt_tokens


async def test_a_budget_that_leaves_no_room_to_read_is_an_outage_not_a_verdict() -> None:
    async with Sandbox() as sandbox:
        settings = settings_with(Settings(), sandbox.environment())
        outbound = Outbound(settings)
        ground = Ground(model_from(settings, outbound))
        with pytest.raises(NothingRead):
            await ground.look_up(Budget(messages=2), Remembered())
        await outbound.aclose()


async def test_a_dialogue_stays_within_its_tokens() -> None:
    async with Sandbox() as sandbox:
        settings = settings_with(Settings(), sandbox.environment())
        outbound = Outbound(settings)
        memory = Remembered()
        await Ground(model_from(settings, outbound)).look_up(Budget(prompt_tokens=20_000), memory)
        spent = sandbox.stand_in.usage
        await outbound.aclose()
    assert spent["input_tokens"] <= 20_000
    assert spent["calls"] == 3


async def test_what_was_asked_before_an_outage_is_not_paid_again() -> None:
    async with Sandbox() as sandbox:
        settings = settings_with(Settings(), sandbox.environment())
        outbound = Outbound(settings)
        ground = Ground(model_from(settings, outbound))
        first = Remembered()
        await ground.look_up(Budget(), first)
        kept: list[Asked] = list(await first.recalled())
        again = Remembered()
        for number, asked in enumerate(kept, 1):
            await again.keep(number, asked)
        before = sandbox.stand_in.usage["calls"]
        await ground.look_up(Budget(), again)
        assert sandbox.stand_in.usage["calls"] - before == 1
        await outbound.aclose()
