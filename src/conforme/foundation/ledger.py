"""What providers were paid: one row per call that costs money, priced from a table that is data.

Amounts are whole micro-units of the table's currency (1 000 000 = one unit), rounded half-up once per call; sums are
exact. A price per million tokens is therefore a number of micro-units per token.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import CheckConstraint, Index, Integer, Numeric, Text, distinct, func, select, text
from sqlalchemy.orm import Mapped, mapped_column

from conforme.foundation.database import Base, Identified, ReadSession, WriteSession
from conforme.foundation.errors import Misconfigured
from conforme.foundation.llm import NO_USAGE, Spent, Usage
from conforme.foundation.rows import Rows, write_rows

MICROS = 1_000_000
NO_CURRENCY = "XXX"
"""ISO 4217 for "no currency": an empty sum, or one over several currencies."""

CHARS_PER_TOKEN = 3
"""A careful rate for French: tokenisers in use give 3.3 to 4.2 characters per token."""

_SECONDS_PER_HOUR = 3600
_MAX_TEXT = 200

_log = structlog.get_logger(__name__)


class LlmCall(Base, Identified):
    """A paid call to a model or to speech-to-text."""

    __tablename__ = "llm_calls"
    __table_args__ = (
        CheckConstraint("kind in ('model', 'speech')", name="kind"),
        Index(None, "created_at"),
        Index(
            "uq_llm_calls_reference", "reference", unique=True, postgresql_where=text("reference is not null")
        ),
    )

    kind: Mapped[str] = mapped_column(Text)
    provider: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)
    audit_id: Mapped[int | None] = mapped_column(index=True)
    step_position: Mapped[int | None] = mapped_column(Integer)
    recording_id: Mapped[int | None] = mapped_column(index=True)
    reference: Mapped[str | None] = mapped_column(Text)
    """Name of the call, unique: a step that is run again after a crash is not billed twice."""
    prompt_tokens: Mapped[int] = mapped_column(Integer, server_default="0")
    cached_tokens: Mapped[int] = mapped_column(Integer, server_default="0")
    output_tokens: Mapped[int] = mapped_column(Integer, server_default="0")
    audio_seconds: Mapped[Decimal | None] = mapped_column(Numeric)
    cost_micros: Mapped[int] = mapped_column(server_default="0")
    currency: Mapped[str] = mapped_column(Text)
    milliseconds: Mapped[int] = mapped_column(Integer)
    attempts: Mapped[int] = mapped_column(Integer, server_default="1")


class _Priced(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    """Pattern (`*` stands for anything) of the provider's name."""
    models: tuple[str, ...] = Field(min_length=1)
    """Patterns of the model's name."""

    def fits(self, provider: str, model: str) -> bool:
        return fnmatchcase(provider, self.provider) and any(
            fnmatchcase(model, pattern) for pattern in self.models
        )


class ModelPrice(_Priced):
    """Units of the currency per million tokens."""

    input: Decimal = Field(ge=0)
    cached_input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)

    def micros(self, usage: Usage) -> Decimal:
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        fresh = usage.prompt_tokens - cached
        return fresh * self.input + cached * self.cached_input + usage.output_tokens * self.output


class SpeechPrice(_Priced):
    per_hour: Decimal = Field(ge=0)


@dataclass(frozen=True, slots=True)
class Cost:
    micros: int
    currency: str
    priced: bool = True
    """False when the table knows no price: then the cost is 0, which means unknown rather than free."""

    @property
    def amount(self) -> Decimal:
        """In units of the currency."""
        return Decimal(self.micros) / MICROS


class PriceTable(BaseModel):
    """The prices of one date in one currency; the first entry whose patterns fit counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str = ""
    as_of: str
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    models: tuple[ModelPrice, ...]
    speech: tuple[SpeechPrice, ...] = ()

    @classmethod
    def load(cls, path: Path | None = None) -> "PriceTable":
        """The table at `path` (setting PRICE_TABLE), or the shipped one. Raises `Misconfigured` when it is no table."""
        return _load(path)

    def model_cost(self, provider: str, model: str, usage: Usage) -> Cost:
        price = next((entry for entry in self.models if entry.fits(provider, model)), None)
        return self._cost(price.micros(usage) if price else None)

    def speech_cost(self, provider: str, model: str, seconds: Decimal) -> Cost:
        price = next((entry for entry in self.speech if entry.fits(provider, model)), None)
        return self._cost(price.per_hour * seconds * MICROS / _SECONDS_PER_HOUR if price else None)

    def _cost(self, micros: Decimal | None) -> Cost:
        return Cost(_half_up(micros or Decimal(0)), self.currency, priced=micros is not None)


@lru_cache(maxsize=8)
def _load(path: Path | None) -> PriceTable:
    source = path or files("conforme.foundation").joinpath("prices.json")
    try:
        return PriceTable.model_validate_json(source.read_bytes())
    except (OSError, ValidationError) as error:
        raise Misconfigured("PRICE_TABLE is not a readable price table", field="PRICE_TABLE") from error


def _half_up(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), rounding=ROUND_HALF_UP))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A paid call, answered or not, and what it was for."""

    kind: Literal["model", "speech"]
    provider: str
    model: str
    purpose: str
    """`audit-step`, `transcription`…"""
    milliseconds: int
    usage: Usage = NO_USAGE
    audio_seconds: Decimal | None = None
    attempts: int = 1
    audit_id: int | None = None
    step_position: int | None = None
    recording_id: int | None = None
    reference: str | None = None
    """Unique name of the call, for example `audit-step-12-3`; recorded once however often it is told."""

    def cost(self, prices: PriceTable) -> Cost:
        if self.kind == "model":
            return prices.model_cost(self.provider, self.model, self.usage)
        return prices.speech_cost(self.provider, self.model, self.audio_seconds or Decimal(0))


def model_call(
    spent: Spent,
    *,
    purpose: str,
    audit_id: int | None = None,
    step_position: int | None = None,
    reference: str | None = None,
) -> Call:
    """The ledger's line for a question to the model: `reply.spent`, or `error.spent` of a failed one."""
    return Call(
        kind="model",
        provider=spent.provider,
        model=spent.model,
        purpose=purpose,
        milliseconds=spent.milliseconds,
        usage=spent.usage,
        attempts=spent.attempts,
        audit_id=audit_id,
        step_position=step_position,
        reference=reference,
    )


async def record_call(session: WriteSession, call: Call, prices: PriceTable) -> Decimal:
    """Writes one line, once per `reference`, and returns its cost in units of the currency."""
    await write_rows(session, line_of(call, prices))
    return call.cost(prices).amount


def line_of(call: Call, prices: PriceTable) -> Rows:
    """A call's line, to be written with what the call was for."""
    cost = call.cost(prices)
    if not cost.priced:
        _warn_unpriced(call.kind, call.provider, call.model)
    line = {
        "kind": call.kind,
        "provider": _plain(call.provider),
        "model": _plain(call.model),
        "purpose": _plain(call.purpose),
        "audit_id": call.audit_id,
        "step_position": call.step_position,
        "recording_id": call.recording_id,
        "reference": call.reference,
        "prompt_tokens": call.usage.prompt_tokens,
        "cached_tokens": call.usage.cached_tokens,
        "output_tokens": call.usage.output_tokens,
        "audio_seconds": None if call.audio_seconds is None else str(call.audio_seconds),
        "cost_micros": cost.micros,
        "currency": cost.currency,
        "milliseconds": call.milliseconds,
        "attempts": call.attempts,
    }
    return Rows(LlmCall, [line], "on conflict do nothing")


@lru_cache(maxsize=256)
def _warn_unpriced(kind: str, provider: str, model: str) -> None:
    """Says once per process that a model has no price; the ledger then counts it as 0."""
    _log.warning("price_unknown", kind=kind, provider=provider, model=model)


def _plain(name: str) -> str:
    """A provider may name its model as it likes; PostgreSQL stores no NUL."""
    return name.replace("\x00", "")[:_MAX_TEXT]


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """What a set of calls took together; `cost` in units of `currency`."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    audio_seconds: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    milliseconds: int = 0
    currency: str = NO_CURRENCY


async def summary(session: ReadSession | WriteSession, audit_id: int) -> LedgerSummary:
    """One audit's ledger; all zeros when nothing was paid."""
    return (await summaries(session, [audit_id]))[audit_id]


async def summaries(
    session: ReadSession | WriteSession, audit_ids: Collection[int]
) -> dict[int, LedgerSummary]:
    """The ledgers of several audits, in one statement; every id asked for is a key."""
    sums = (
        select(
            LlmCall.audit_id,
            func.count(),
            func.sum(LlmCall.prompt_tokens),
            func.sum(LlmCall.cached_tokens),
            func.sum(LlmCall.output_tokens),
            func.coalesce(func.sum(LlmCall.audio_seconds), 0),
            func.sum(LlmCall.cost_micros),
            func.sum(LlmCall.milliseconds),
            func.min(LlmCall.currency),
            func.count(distinct(LlmCall.currency)),
        )
        .where(LlmCall.audit_id.in_(audit_ids))
        .group_by(LlmCall.audit_id)
    )
    found = {audit_id: LedgerSummary() for audit_id in audit_ids}
    rows = await session.execute(sums)
    return found | {audit_id: _summary(rest) for audit_id, *rest in rows if audit_id is not None}


def _summary(sums: Sequence[Any]) -> LedgerSummary:
    calls, prompt, cached, output, seconds, micros, milliseconds, currency, currencies = sums
    return LedgerSummary(
        calls=calls,
        prompt_tokens=int(prompt),
        cached_tokens=int(cached),
        output_tokens=int(output),
        audio_seconds=Decimal(seconds),
        cost=Decimal(int(micros)) / MICROS,
        milliseconds=int(milliseconds),
        currency=currency if currencies == 1 else NO_CURRENCY,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Questions about to be asked that share a beginning: the first one warms the provider's cache for the rest."""

    provider: str
    model: str
    shared_chars: int
    """Characters all questions begin with: rules, configuration, transcript."""
    own_chars: Sequence[int]
    """Characters that each question adds."""
    output_tokens: int
    """Tokens expected per answer, reasoning included."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """`expected` counts on the provider's cache, `at_most` does not."""

    usage: Usage
    expected: Cost
    at_most: Cost


def estimate(plan: Plan, prices: PriceTable) -> Estimate:
    """What a plan would cost, before any of it is spent."""
    shared = tokens_of(plan.shared_chars)
    prompt = sum(shared + tokens_of(chars) for chars in plan.own_chars)
    cached = shared * max(len(plan.own_chars) - 1, 0)
    usage = Usage(prompt, cached, plan.output_tokens * len(plan.own_chars))
    cold = Usage(prompt, 0, usage.output_tokens)
    return Estimate(
        usage,
        expected=prices.model_cost(plan.provider, plan.model, usage),
        at_most=prices.model_cost(plan.provider, plan.model, cold),
    )


def tokens_of(chars: int) -> int:
    """Tokens that many characters of French make, rounded up."""
    return -(-chars // CHARS_PER_TOKEN)
