"""Tools mode: the model looks for what it needs before it judges a step (spec/audits §6).

One dialogue per step. Each message of the model is one request to the provider; what it asked for is kept with its
cost before it is answered, so that a crash or an outage goes on from there instead of paying for it again. What it is
told follows from the words that the audit pins, and is made anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from conforme.audits.desk import LEAST_ALLOWANCE, Catalogue, Desk, Limits
from conforme.audits.errors import NothingRead
from conforme.audits.verdicts import StepVerdict
from conforme.foundation.ledger import CHARS_PER_TOKEN, tokens_of
from conforme.foundation.llm import (
    Choice,
    Consultation,
    Exchange,
    LanguageModel,
    ModelReply,
    Spent,
    ToolCall,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Budget:
    """How long one dialogue may be."""

    messages: int = 8
    """Messages of the model, the answer included; at least 2: it looks first, and it answers last."""
    prompt_tokens: int = 60_000
    """Prompt tokens of the whole dialogue; near it, less is given out and the answer is asked for."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Asked:
    """One message of the model that asked for something."""

    calls: tuple[ToolCall, ...]
    message: str
    spent: Spent


class Memory(Protocol):
    """Where the dialogue of one step is kept until its verdict is stored."""

    async def recalled(self) -> Sequence[Asked]:
        """What was asked before a crash or an outage, in order."""
        ...

    async def keep(self, number: int, asked: Asked) -> None:
        """Stores the message of that number (from 1) with its cost."""
        ...


class Remembered:
    """A memory as long as the process: what was asked is not paid again by another attempt.

    `tell` hears of each message and its cost once.
    """

    def __init__(self, tell: Callable[[Spent], None] = lambda _spent: None) -> None:
        self._tell = tell
        self._asked: list[Asked] = []

    async def recalled(self) -> Sequence[Asked]:
        return tuple(self._asked)

    async def keep(self, number: int, asked: Asked) -> None:  # noqa: ARG002 -- the protocol's signature
        self._asked.append(asked)
        self._tell(asked.spent)


@dataclass(frozen=True)
class Looked:
    """How a verdict was reached: what was looked up, and what that took (the answer itself excluded)."""

    desk: Desk
    messages: int
    usage: Usage


async def look_up(
    model: LanguageModel,
    question: Consultation[StepVerdict],
    catalogue: Catalogue,
    budget: Budget,
    memory: Memory,
) -> tuple[ModelReply[StepVerdict], Looked]:
    """The answer to a question whose transcript the model reads through tools.

    Raises:
        NothingRead: the budget left no room to read anything.
        ModelUnavailable, ModelRefused, ModelOutputInvalid, Misconfigured: no answer could be had; what was asked so
            far is kept.
    """
    dialogue = _Dialogue(Desk(catalogue, budget.limits), budget)
    for asked in await memory.recalled():
        dialogue.take(asked)
    while True:
        choice = dialogue.choice()
        request = replace(question, exchanges=tuple(dialogue.exchanges), choice=choice)
        reply = await model.consult(request)
        if isinstance(reply, ModelReply):
            if choice == "answer" and not dialogue.desk.fetched:
                raise NothingRead(spent=reply.spent)
            return reply, Looked(dialogue.desk, len(dialogue.exchanges), dialogue.usage)
        asked = Asked(reply.calls, reply.message, reply.spent)
        await memory.keep(len(dialogue.exchanges) + 1, asked)
        dialogue.take(asked)


class _Dialogue:
    """What was asked and told so far, within the budget."""

    def __init__(self, desk: Desk, budget: Budget) -> None:
        self.desk = desk
        self.exchanges: list[Exchange] = []
        self.usage = Usage()
        self._budget = budget
        self._next_tokens = 0
        """Prompt tokens of the next request, as far as they are known."""

    def take(self, asked: Asked) -> None:
        """Answers what was asked, within what the budget leaves for one more request."""
        self.usage += asked.spent.usage
        last = asked.spent.usage.prompt_tokens + asked.spent.usage.output_tokens
        allowance = CHARS_PER_TOKEN * (self._budget.prompt_tokens - self.usage.prompt_tokens - last)
        results: list[tuple[ToolCall, str]] = []
        for call in asked.calls:
            told = self.desk.answer(call, allowance)
            allowance -= len(told)
            results.append((call, told))
        self._next_tokens = last + tokens_of(sum(len(told) for _, told in results))
        self.exchanges.append(Exchange(asked.message, tuple(results)))

    def choice(self) -> Choice:
        if not self.exchanges:
            return "look"
        return "answer" if self._last() else "free"

    def _last(self) -> bool:
        """Whether the next message has to be the answer: by number, or because no further one could be paid."""
        after = self._budget.prompt_tokens - self.usage.prompt_tokens - 2 * self._next_tokens
        return len(self.exchanges) + 1 >= self._budget.messages or after < LEAST_ALLOWANCE // CHARS_PER_TOKEN
