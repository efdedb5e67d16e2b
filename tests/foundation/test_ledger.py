"""The cost ledger: what a call costs, that it is billed once, and what an audit has cost."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from conforme.foundation.database import Database
from conforme.foundation.errors import Misconfigured
from conforme.foundation.ledger import (
    NO_CURRENCY,
    Call,
    LedgerSummary,
    Plan,
    PriceTable,
    estimate,
    model_call,
    record_call,
    summaries,
    summary,
    tokens_of,
)
from conforme.foundation.llm import Spent, Usage

TABLE = PriceTable.model_validate(
    {
        "as_of": "2026-01-01",
        "currency": "EUR",
        "models": [
            {"provider": "openai*", "models": ["big-mini"], "input": 1, "cached_input": "0.1", "output": 4},
            {"provider": "openai*", "models": ["big", "big-*"], "input": 10, "cached_input": 1, "output": 40},
        ],
        "speech": [{"provider": "ear", "models": ["*"], "per_hour": "0.22"}],
    }
)
CALL = Call(
    kind="model",
    provider="openai",
    model="big",
    purpose="audit-step",
    milliseconds=1200,
    usage=Usage(1000, 800, 100),
    audit_id=7,
    step_position=1,
    reference="audit-step-7-1",
)

tokens = st.integers(0, 2_000_000)
usages = st.builds(Usage, tokens, tokens, tokens)


@contextmanager
def counted_statements(database: Database) -> Generator[list[str]]:
    seen: list[str] = []

    def note(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


def test_cached_tokens_are_paid_at_their_own_price() -> None:
    cost = TABLE.model_cost("openai", "big", Usage(1000, 800, 100))
    assert cost.micros == 200 * 10 + 800 * 1 + 100 * 40
    assert cost.amount == Decimal("0.0068")
    assert (cost.currency, cost.priced) == ("EUR", True)


def test_the_first_entry_that_fits_counts() -> None:
    usage = Usage(1_000_000, 0, 0)
    assert TABLE.model_cost("openai-chat", "big-mini", usage).amount == 1
    assert TABLE.model_cost("openai-chat", "big-2026-01-01", usage).amount == 10


@pytest.mark.parametrize(("provider", "model"), [("openai", "other"), ("mistral", "big"), ("openai", "")])
def test_an_unknown_model_costs_nothing_and_says_that_it_is_not_priced(provider: str, model: str) -> None:
    cost = TABLE.model_cost(provider, model, Usage(1000, 0, 1000))
    assert (cost.micros, cost.priced) == (0, False)


def test_half_a_micro_unit_is_rounded_up() -> None:
    assert TABLE.model_cost("openai", "big-mini", Usage(5, 5, 0)).micros == 1
    assert TABLE.model_cost("openai", "big-mini", Usage(4, 4, 0)).micros == 0


def test_speech_is_paid_by_the_hour() -> None:
    assert TABLE.speech_cost("ear", "any", Decimal(1800)).amount == Decimal("0.11")


@given(usages, usages)
def test_more_tokens_never_cost_less(one: Usage, more: Usage) -> None:
    fresh, extra = replace(one, cached_tokens=0), replace(more, cached_tokens=0)
    assert (
        TABLE.model_cost("openai", "big", fresh).micros
        <= TABLE.model_cost("openai", "big", fresh + extra).micros
    )


@given(usages)
def test_a_cache_never_makes_a_call_dearer_nor_negative(usage: Usage) -> None:
    warm = TABLE.model_cost("openai", "big", usage).micros
    cold = TABLE.model_cost("openai", "big", replace(usage, cached_tokens=0)).micros
    assert 0 <= warm <= cold


@given(st.integers(0, 200_000), st.lists(st.integers(0, 5000), max_size=30), st.integers(0, 4000))
def test_an_estimate_with_the_cache_is_at_most_the_one_without(
    shared: int, own: list[int], output: int
) -> None:
    plan = Plan(provider="openai", model="big", shared_chars=shared, own_chars=own, output_tokens=output)
    seen = estimate(plan, TABLE)
    assert seen.expected.micros <= seen.at_most.micros
    assert seen.usage.prompt_tokens == sum(tokens_of(shared) + tokens_of(chars) for chars in own)
    assert seen.usage.cached_tokens <= seen.usage.prompt_tokens


@given(st.integers(0, 10_000_000))
def test_tokens_are_rounded_up(chars: int) -> None:
    assert 3 * tokens_of(chars) >= chars > 3 * (tokens_of(chars) - 1) or chars == 0


def test_an_estimate_prices_the_shared_beginning_once() -> None:
    plan = Plan(provider="openai", model="big", shared_chars=30_000, own_chars=[300] * 18, output_tokens=500)
    seen = estimate(plan, TABLE)
    assert seen.usage == Usage(18 * 10_100, 17 * 10_000, 9000)
    assert seen.expected.amount == Decimal("0.648")
    assert seen.at_most.amount == Decimal("2.178")


def test_the_shipped_table_prices_the_default_models() -> None:
    shipped = PriceTable.load()
    assert shipped.model_cost("openai", "gpt-5.2", Usage(1_000_000, 0, 0)).amount == Decimal("1.75")
    assert shipped.model_cost("openai", "gpt-5.2-2025-12-11", Usage(0, 0, 1)).priced
    assert shipped.model_cost("openai", "gpt-5.2-pro", Usage(0, 0, 1_000_000)).amount == Decimal(168)
    assert not shipped.model_cost("openai", "gpt-5.2-unheard-of", Usage(0, 0, 1)).priced
    assert shipped.speech_cost("elevenlabs", "scribe_v2", Decimal(3600)).amount == Decimal("0.22")


def test_a_table_of_ones_own_replaces_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"as_of": "2026-02-02", "currency": "CHF", "models": []}))
    assert PriceTable.load(path).currency == "CHF"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"as_of": "x", "currency": "euro", "models": []}', '{"models": [{}]}']
)
def test_a_broken_table_is_named_by_its_setting(tmp_path: Path, content: str) -> None:
    path = tmp_path / f"{abs(hash(content))}.json"
    path.write_text(content)
    with pytest.raises(Misconfigured, match="PRICE_TABLE"):
        PriceTable.load(path)


def test_a_missing_table_is_named_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="PRICE_TABLE"):
        PriceTable.load(tmp_path / "none.json")


async def test_a_call_is_billed_once_however_often_it_is_told(database: Database) -> None:
    for _ in range(3):
        async with database.write() as session:
            assert await record_call(session, CALL, TABLE) == Decimal("0.0068")
    async with database.read() as session:
        assert await summary(session, 7) == LedgerSummary(
            calls=1,
            prompt_tokens=1000,
            cached_tokens=800,
            output_tokens=100,
            cost=Decimal("0.0068"),
            milliseconds=1200,
            currency="EUR",
        )


async def test_calls_without_a_reference_are_all_billed(database: Database) -> None:
    async with database.write() as session:
        await record_call(session, replace(CALL, reference=None), TABLE)
        await record_call(session, replace(CALL, reference=None), TABLE)
    async with database.read() as session:
        assert (await summary(session, 7)).calls == 2


async def test_an_audit_sums_its_model_and_speech_calls_and_no_others(database: Database) -> None:
    speech = Call(
        kind="speech",
        provider="ear",
        model="scribe",
        purpose="transcription",
        milliseconds=900,
        audio_seconds=Decimal("1800.5"),
        audit_id=7,
        recording_id=3,
        reference="speech-3",
    )
    async with database.write() as session:
        for call in (CALL, speech, replace(CALL, audit_id=8, reference="audit-step-8-1")):
            await record_call(session, call, TABLE)
    async with database.read() as session:
        seven = await summary(session, 7)
    assert (seven.calls, seven.audio_seconds, seven.milliseconds) == (2, Decimal("1800.5"), 2100)
    assert seven.cost == Decimal("0.0068") + Decimal("0.110031")


async def test_the_ledgers_of_many_audits_are_read_in_one_statement(database: Database) -> None:
    async with database.write() as session:
        for audit_id in range(1, 6):
            await record_call(session, replace(CALL, audit_id=audit_id, reference=f"step-{audit_id}"), TABLE)
    async with database.read() as session:
        with counted_statements(database) as seen:
            found = await summaries(session, range(1, 8))
    assert len(seen) == 1
    assert [found[audit_id].calls for audit_id in range(1, 8)] == [1, 1, 1, 1, 1, 0, 0]


async def test_sums_over_several_currencies_name_none(database: Database) -> None:
    async with database.write() as session:
        await record_call(session, CALL, TABLE)
        await record_call(
            session, replace(CALL, reference="other"), TABLE.model_copy(update={"currency": "USD"})
        )
    async with database.read() as session:
        assert (await summary(session, 7)).currency == NO_CURRENCY


async def test_a_name_with_a_nul_is_stored_without_it(database: Database) -> None:
    async with database.write() as session:
        await record_call(session, replace(CALL, model="big\x00" * 200), TABLE)
    async with database.read() as session:
        assert (await summary(session, 7)).calls == 1


async def test_an_unpriced_model_is_told_once(database: Database) -> None:
    with structlog.testing.capture_logs() as lines:
        async with database.write() as session:
            for step in range(3):
                await record_call(session, replace(CALL, model="never-priced", reference=f"s{step}"), TABLE)
    assert [line["model"] for line in lines if line["event"] == "price_unknown"] == ["never-priced"]


async def test_a_failed_question_is_billed_for_what_it_spent(database: Database) -> None:
    spent = Spent(Usage(500, 0, 60), "openai", "big", milliseconds=80, attempts=2)
    async with database.write() as session:
        await record_call(session, model_call(spent, purpose="audit-step", audit_id=7, reference="r"), TABLE)
    async with database.read() as session:
        assert (await summary(session, 7)).cost == Decimal("0.0074")
