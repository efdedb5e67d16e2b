"""How often a caller may do something within a window of time, on all replicas together."""

from dataclasses import dataclass
from datetime import timedelta

from conforme.accounts.attempts import COUNT, TAKE_BACK
from conforme.foundation.database import WriteSession


@dataclass(frozen=True, slots=True)
class Allowance:
    """`times` in each window; the window begins with the first time."""

    what: str
    times: int
    window: timedelta

    def key(self, who: str) -> str:
        return f"{self.what}:{who}"


async def take(session: WriteSession, allowance: Allowance, who: str) -> bool:
    """Counts one more; whether that was still allowed. `who` is the name of an actor."""
    values = {"key": allowance.key(who), "window": allowance.window.total_seconds()}
    counted = (await session.execute(COUNT, values)).one()
    return counted[0] <= allowance.times


async def give_back(session: WriteSession, allowance: Allowance, who: str) -> None:
    """Takes back what was counted and turned out to be in order."""
    await session.execute(TAKE_BACK, {"key": allowance.key(who)})
