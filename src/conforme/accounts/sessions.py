"""Sessions of people: how they end."""

from uuid import UUID

from sqlalchemy import update

from conforme.accounts.models import Session
from conforme.foundation.database import WriteSession, now


async def end_sessions(
    session: WriteSession, user_id: int, because: str, except_session: UUID | None = None
) -> None:
    """Ends every open session of a person, but the one named."""
    ended = update(Session).where(Session.user_id == user_id, Session.ended_at.is_(None))
    if except_session is not None:
        ended = ended.where(Session.id != except_session)
    await session.execute(ended.values(ended_at=now(), ended_because=because))
