"""Tells that somebody's rights changed, in the transaction of the change.

Requests need no telling: they read who calls from the database. What was authorised once and stays open does: streams
of that person end, on every replica, and are judged anew when they come back.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import select

from conforme.accounts.models import UserRole, UserTeam
from conforme.foundation import events
from conforme.foundation.database import WriteSession

CHANGED: Final = "account.changed"


async def tell(session: WriteSession, user_ids: Iterable[int]) -> None:
    """For whenever a person is disabled, a session or token of theirs ends, or their roles or teams change."""
    drafts = [
        events.Draft(CHANGED, {"user_id": str(user_id)}, [events.user_channel(user_id)])
        for user_id in sorted(set(user_ids))
    ]
    await events.record_all(session, drafts)


async def tell_holders(session: WriteSession, role_id: int) -> None:
    """The same for everybody who holds a role; before it is deleted, while it is known who does."""
    await tell(session, await session.scalars(select(UserRole.user_id).where(UserRole.role_id == role_id)))


async def tell_members(session: WriteSession, team_id: int) -> None:
    """The same for everybody in a team; before it is deleted, while it is known who is."""
    await tell(session, await session.scalars(select(UserTeam.user_id).where(UserTeam.team_id == team_id)))
