"""How often a caller may do something within a window of time, on all replicas together."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import case, func, literal, update
from sqlalchemy.dialects.postgresql import insert

from conforme.accounts.models import Attempt
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
    ended = Attempt.window_ends <= func.now()
    fresh = insert(Attempt).values(
        key=allowance.key(who), window_ends=func.now() + literal(allowance.window), count=1
    )
    counted = fresh.on_conflict_do_update(
        index_elements=[Attempt.key],
        set_={
            "count": case((ended, 1), else_=Attempt.count + 1),
            "window_ends": case((ended, fresh.excluded.window_ends), else_=Attempt.window_ends),
        },
    )
    count = (await session.execute(counted.returning(Attempt.count))).scalar_one()
    return count <= allowance.times


async def give_back(session: WriteSession, allowance: Allowance, who: str) -> None:
    """Takes back what was counted and turned out to be in order."""
    await session.execute(
        update(Attempt)
        .where(Attempt.key == allowance.key(who), Attempt.count > 0)
        .values(count=Attempt.count - 1)
    )
