"""Calls out of files, audited by the real protocol against the sandbox's model."""

import json
from dataclasses import replace
from typing import Any

import pytest

from conforme.audits.files import Auditor, FileAudit, audit_call, persistently
from conforme.audits.verdicts import Niveau, Statut
from conforme.foundation.errors import External
from conforme.foundation.jobs import Retry
from conforme.foundation.llm import ModelRequest
from conforme.sandbox.model import ModelOptions
from conforme.sandbox.weather import FaultPlan
from conforme.transcriptions.formats import read_call
from file_audit_calls import BREAKDOWN, CHAT, desk

CALL = read_call(json.dumps(CHAT).encode(), "chat.json")


async def _audited(auditor: Auditor, name: str = "chat.json") -> FileAudit:
    return await audit_call(auditor, CALL, name)


async def test_every_quote_is_word_for_word_in_the_file_and_numbered_as_there() -> None:
    async with desk() as given:
        audit = await _audited(given.auditor)
    messages = [" ".join(each["content"].split()) for each in CHAT["message_list"]]
    quotes = [quote for step in audit.steps for point in step.points for quote in point.citations]
    assert {audit.call.turn_of(quote.first_word) for quote in quotes} == {1, 3}
    for quote in quotes:
        assert quote.texte in messages[audit.call.turn_of(quote.first_word) - 1]
        assert (quote.start_ms, quote.end_ms, quote.minutage_secondes) == (None, None, None)
    assert [point.statut for step in audit.steps for point in step.points] == [Statut.PRESENT, Statut.PRESENT]
    assert audit.score.niveau is Niveau.EXCELLENT


async def test_fabricated_quotes_are_dropped_and_counted() -> None:
    async with desk(options=ModelOptions(fabricated_share=1.0)) as given:
        audit = await _audited(given.auditor)
        planted = {quote.text for quote in given.stand_in.planted.values()}
    kept = {quote.texte for step in audit.steps for point in step.points for quote in point.citations}
    assert planted
    assert not planted & kept
    assert audit.evidence.dropped >= len(planted)


async def test_an_outage_leaves_steps_unanalysed_and_judges_nothing() -> None:
    async with desk() as given:
        given.service.faults = FaultPlan(down=True)
        audit = await _audited(given.auditor)
    assert [each.position for each in audit.not_analysed] == [1, 2]
    assert all(each.reason for each in audit.not_analysed)
    assert (audit.steps, audit.score.niveau, audit.score.is_compliant) == ((), Niveau.PENDING, False)


async def test_a_provider_that_fails_now_and_then_is_asked_again() -> None:
    async with desk(attempts=20) as given:
        given.service.faults = FaultPlan.of_rate(0.4, retry_after_seconds=0, hang_seconds=0.01)
        audit = await _audited(given.auditor)
    assert audit.not_analysed == ()
    assert audit.score.niveau is Niveau.EXCELLENT


async def test_tokens_and_cost_are_summed_and_nothing_is_priced_without_a_table() -> None:
    async with desk() as given:
        paid = await _audited(given.auditor)
        free = await _audited(replace(given.auditor, prices=None))
        billed = given.stand_in.usage
    assert paid.spending.usage.prompt_tokens + free.spending.usage.prompt_tokens == billed["input_tokens"]
    assert paid.spending.cost > 0
    assert (free.spending.cost, free.spending.currency) == (0, "")


async def test_progress_is_told_step_by_step() -> None:
    told: list[tuple[int, int]] = []
    async with desk() as given:
        await audit_call(given.auditor, CALL, "chat.json", lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


async def test_the_provider_never_reads_the_name_of_the_file() -> None:
    asked: list[ModelRequest[Any]] = []

    class Listening:
        name = provider = "listening"

        async def ask(self, request: ModelRequest[Any]) -> Any:
            asked.append(request)
            raise External("nobody answers")

    async with desk() as given:
        listening = replace(given.auditor, model=Listening())
        await _audited(listening, "Jeanne Petit 06 39 98 00 01.json")
    assert len(asked) == len(BREAKDOWN.steps)
    assert len({request.cache_key for request in asked}) == 1
    assert not any(
        "Petit" in f"{request.cache_key}{request.prompt}{request.instructions}" for request in asked
    )


@pytest.mark.parametrize(("failures", "attempts", "succeeds"), [(0, 1, True), (2, 3, True), (3, 3, False)])
async def test_what_is_worth_retrying_is_attempted_as_often_as_allowed(
    failures: int, attempts: int, *, succeeds: bool
) -> None:
    made = 0

    async def attempt() -> str:
        nonlocal made
        made += 1
        if made <= failures:
            raise External("not yet", retryable=True)
        return "done"

    retry = Retry(attempts, 0, 0, when=lambda _: True)
    if succeeds:
        assert await persistently(retry, attempt) == "done"
    else:
        with pytest.raises(External):
            await persistently(retry, attempt)
    assert made == min(failures + 1, attempts)


async def test_what_is_not_worth_retrying_is_attempted_once() -> None:
    made = 0

    async def attempt() -> None:
        nonlocal made
        made += 1
        raise External("no")

    with pytest.raises(External):
        await persistently(Retry(5, 0, 0, when=lambda _: False), attempt)
    assert made == 1
