"""Where tools mode remembers what it asked about a step, until the verdict is stored.

A message and its line in the cost ledger are one transaction: whoever goes on after a crash or an outage finds what
was answered, and what it cost is known. What the model was told is not stored: it follows from the pinned words.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ForeignKey, Text, UniqueConstraint, delete, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from conforme.audits.lookup import Asked
from conforme.foundation.database import Base, Identified, Writer
from conforme.foundation.ledger import PriceTable, line_of, model_call
from conforme.foundation.llm import Spent, ToolCall, Usage
from conforme.foundation.resources import Resources
from conforme.foundation.rows import Rows, write_rows

PURPOSE = "audit-step-lookup"
"""What the ledger calls a message that asked for something."""


class DialogueMessage(Identified, Base):
    """One message of the model that asked for something; gone once the step's verdict is stored, or given up."""

    __tablename__ = "audit_step_dialogues"
    __table_args__ = (
        UniqueConstraint("audit_id", "step_position", "number", name="uq_audit_step_dialogues_place"),
    )

    audit_id: Mapped[int] = mapped_column(ForeignKey("audits.id", ondelete="CASCADE"))
    step_position: Mapped[int]
    number: Mapped[int]
    """From 1."""
    message: Mapped[str] = mapped_column(Text)
    """The provider's message as JSON."""
    calls: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    spent: Mapped[dict[str, Any]] = mapped_column(JSONB)


class StoredDialogue:
    """The memory (`lookup.Memory`) of one step of one audit."""

    def __init__(self, resources: Resources, audit_id: int, position: int) -> None:
        self._resources = resources
        self._audit_id = audit_id
        self._position = position

    async def recalled(self) -> Sequence[Asked]:
        query = (
            select(DialogueMessage)
            .where(
                DialogueMessage.audit_id == self._audit_id, DialogueMessage.step_position == self._position
            )
            .order_by(DialogueMessage.number)
        )
        async with self._resources.database.read() as session:
            return [_asked(row) for row in await session.scalars(query)]

    async def keep(self, number: int, asked: Asked) -> None:
        """Stores the message and its price; another execution that was first stays first, and both have paid."""
        row = {
            "audit_id": self._audit_id,
            "step_position": self._position,
            "number": number,
            "message": asked.message,
            "calls": [
                {"id": call.id, "name": call.name, "arguments": call.arguments} for call in asked.calls
            ],
            "spent": _spent_json(asked.spent),
        }
        call = model_call(asked.spent, purpose=PURPOSE, audit_id=self._audit_id, step_position=self._position)
        bill = line_of(call, PriceTable.load(self._resources.settings.price_table))
        async with self._resources.database.transaction() as connection:
            await write_rows(connection, bill, Rows(DialogueMessage, [row], "on conflict do nothing"))


async def forget(session: Writer, audit_id: int, position: int) -> None:
    """The step is settled: what was asked on the way serves nobody any more."""
    await session.execute(
        delete(DialogueMessage).where(
            DialogueMessage.audit_id == audit_id, DialogueMessage.step_position == position
        )
    )


def _asked(row: DialogueMessage) -> Asked:
    calls = tuple(ToolCall(each["id"], each["name"], each["arguments"]) for each in row.calls)
    return Asked(calls, row.message, _spent(row.spent))


def _spent_json(spent: Spent) -> dict[str, Any]:
    usage = spent.usage
    return {
        "usage": [usage.prompt_tokens, usage.cached_tokens, usage.output_tokens],
        "provider": spent.provider,
        "model": spent.model,
        "milliseconds": spent.milliseconds,
        "attempts": spent.attempts,
    }


def _spent(stored: dict[str, Any]) -> Spent:
    rest = {name: value for name, value in stored.items() if name != "usage"}
    return Spent(Usage(*stored["usage"]), **rest)
