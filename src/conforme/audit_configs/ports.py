"""What configurations ask of the room above them; the application connects it at its start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from conforme.accounts.actor import Actor
from conforme.foundation.database import ReadSession
from conforme.foundation.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Usage:
    """How a configuration was used, over the audits that the caller may see, deleted ones included."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    compliant: int = 0
    """Of those completed."""
    average_score: Decimal | None = None
    average_duration_ms: Decimal | None = None
    last_used_at: datetime | None = None


class UsageReader(Protocol):
    async def __call__(
        self, session: ReadSession, actor: Actor, config_ids: Sequence[int]
    ) -> Mapping[int, Usage]:
        """The use of these configurations, of all when none is named; in one statement."""
        ...


class _Switchboard:
    usage: UsageReader | None = None


def connect(usage: UsageReader) -> None:
    """Gives this room its neighbour; once per process, before its first request."""
    _Switchboard.usage = usage


def usage_reader() -> UsageReader:
    """The neighbour.

    Raises:
        Misconfigured: the process was started without it.
    """
    if _Switchboard.usage is None:
        raise Misconfigured("Configurations are not connected to audits")
    return _Switchboard.usage
