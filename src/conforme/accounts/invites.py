"""Invitations: a token with which a person sets the first password of an account."""

from datetime import timedelta

from sqlalchemy import insert, update

from conforme.accounts.models import InviteToken
from conforme.accounts.secrets import opaque_token, token_hash
from conforme.foundation.database import WriteSession, now


async def mint_invite(session: WriteSession, user_id: int, ttl: timedelta) -> str:
    """A new invitation for `ttl`; those before it are spent."""
    at, token = now(), opaque_token()
    older = update(InviteToken).where(InviteToken.user_id == user_id, InviteToken.used_at.is_(None))
    await session.execute(older.values(used_at=at))
    await session.execute(
        insert(InviteToken).values(user_id=user_id, token_hash=token_hash(token), expires_at=at + ttl)
    )
    return token
