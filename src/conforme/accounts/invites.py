"""Invitations: a token with which somebody sets their first password."""

from datetime import timedelta

from sqlalchemy import insert, update

from conforme.accounts.models import InviteToken
from conforme.accounts.secrets import opaque_token, token_hash
from conforme.foundation.database import WriteSession, now


async def mint_invite(session: WriteSession, user_id: int, ttl: timedelta) -> str:
    """A new invitation; those before it are good for nothing any more."""
    open_ones = update(InviteToken).where(InviteToken.user_id == user_id, InviteToken.used_at.is_(None))
    await session.execute(open_ones.values(used_at=now()))
    token = opaque_token()
    await session.execute(
        insert(InviteToken).values(user_id=user_id, token_hash=token_hash(token), expires_at=now() + ttl)
    )
    return token
