"""Invitations: a token that lets a person set their first password (spec/http-auth §2.5)."""

from datetime import timedelta

from sqlalchemy import func, insert, select, update

from conforme.accounts.models import ACTIVE, INVITED, InviteToken, User
from conforme.accounts.secrets import opaque_token, token_hash
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.errors import Unauthenticated


class UnknownInvite(Unauthenticated):
    """Invalid invite token"""


class InviteUsed(Unauthenticated):
    """Invite token already used"""


class InviteExpired(Unauthenticated):
    """Invite token expired"""


class NotInvited(Unauthenticated):
    """Invite token invalid"""


async def mint_invite(session: WriteSession, user_id: int, ttl: timedelta) -> str:
    """A new invitation, told once; older ones that were not used expire now.

    Others who mint or accept one of the same person wait until this transaction ends.
    """
    await session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    at = func.clock_timestamp()
    older = (InviteToken.user_id == user_id, InviteToken.used_at.is_(None), InviteToken.expires_at > at)
    await session.execute(update(InviteToken).where(*older).values(expires_at=at))
    token = opaque_token()
    values = {"user_id": user_id, "token_hash": token_hash(token), "expires_at": func.now() + ttl}
    await session.execute(insert(InviteToken).values(values))
    return token


async def invited(session: ReadSession | WriteSession, token: str) -> int:
    """Whom an invitation is for.

    Raises:
        UnknownInvite, InviteUsed, InviteExpired, NotInvited: it is good for nothing, and why.
    """
    query = (
        select(
            InviteToken.user_id,
            InviteToken.used_at.is_not(None).label("used"),
            (InviteToken.expires_at <= func.clock_timestamp()).label("expired"),
            User.status,
        )
        .join(User, User.id == InviteToken.user_id)
        .where(InviteToken.token_hash == token_hash(token))
    )
    found = (await session.execute(query)).one_or_none()
    if found is None:
        raise UnknownInvite
    if found.used:
        raise InviteUsed
    if found.expired:
        raise InviteExpired
    if found.status != INVITED:
        raise NotInvited
    return found.user_id


async def accept(session: WriteSession, token: str, password_hash: str) -> int:
    """Uses an invitation up: its person is active, with this password. Of several uses at once one gets through.

    Raises:
        UnknownInvite, InviteUsed, InviteExpired, NotInvited: as `invited`.
    """
    user_id = await invited(session, token)
    # The person before the invitation: in the order in which `mint_invite` locks them.
    activate = (
        update(User)
        .where(User.id == user_id, User.status == INVITED)
        .values(status=ACTIVE, password_hash=password_hash, last_login_at=func.now())
    )
    consume = (
        update(InviteToken)
        .where(
            InviteToken.token_hash == token_hash(token),
            InviteToken.used_at.is_(None),
            InviteToken.expires_at > func.clock_timestamp(),
        )
        .values(used_at=func.now())
    )
    for change, key in ((activate, User.id), (consume, InviteToken.id)):
        if (await session.execute(change.returning(key))).one_or_none() is None:
            await invited(session, token)  # tells what another has changed in the meantime
            raise NotInvited
    return user_id
