"""Sessions: one login, and the refresh tokens that come of it one after the other (spec/http-auth §2.5; RFC 9700 §4.14).

Each refresh token is good for one use. One that is used a second time was copied: the whole session ends, whoever of
the two is its owner. Two tabs that refresh at the same moment look alike for an instant, and are only refused.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, insert, select, text, update

from conforme.accounts import account_changes, audit_log
from conforme.accounts.models import ACTIVE, RefreshToken, Session, User
from conforme.accounts.secrets import opaque_token, token_hash
from conforme.foundation.database import WriteSession
from conforme.foundation.errors import Unauthenticated
from conforme.settings import Settings

LOGOUT: Final = "logout"
REPLAY: Final = "replay"
PASSWORD: Final = "password"  # noqa: S105 -- why a session ended
DISABLED: Final = "disabled"
EVERYWHERE: Final = "everywhere"


class UnknownRefreshToken(Unauthenticated):
    """Invalid refresh token"""


class RefreshTokenRevoked(Unauthenticated):
    """Refresh token revoked"""


class RefreshTokenExpired(Unauthenticated):
    """Refresh token expired"""


class UserDisabled(Unauthenticated):
    """User is disabled"""


@dataclass(frozen=True, slots=True)
class Client:
    """Where a session was opened or refreshed from; kept with it."""

    address: str | None
    agent: str | None


@dataclass(frozen=True, slots=True)
class Opened:
    """An open session and the refresh token that continues it."""

    session_id: UUID
    user_id: int
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a token does not refresh."""

    error: Unauthenticated
    harmless: bool = False
    """The second of two uses at the same moment."""


async def open_session(session: WriteSession, user_id: int, client: Client, settings: Settings) -> Opened:
    """A new session, whatever others there are."""
    values = insert(Session).values(
        user_id=user_id,
        expires_at=func.now() + timedelta(seconds=settings.auth_session_max_seconds),
        created_by_ip=client.address,
        user_agent=client.agent,
    )
    session_id = (await session.execute(values.returning(Session.id))).scalar_one()
    token = opaque_token()
    await _add_token(session, _Held(user_id, session_id, token, client), settings)
    return Opened(session_id, user_id, token)


@dataclass(frozen=True, slots=True)
class _Held:
    """A refresh token about to be stored."""

    user_id: int
    session_id: UUID
    token: str
    client: Client


async def _add_token(session: WriteSession, held: _Held, settings: Settings) -> int:
    """Stores a token, which ends no later than its session."""
    end = select(Session.expires_at).where(Session.id == held.session_id).scalar_subquery()
    values = insert(RefreshToken).values(
        user_id=held.user_id,
        session_id=held.session_id,
        token_hash=token_hash(held.token),
        created_by_ip=held.client.address,
        user_agent=held.client.agent,
        expires_at=func.least(func.now() + timedelta(seconds=settings.auth_refresh_ttl_seconds), end),
    )
    return (await session.execute(values.returning(RefreshToken.id))).scalar_one()


async def rotate(session: WriteSession, token: str, client: Client, settings: Settings) -> Opened | Refused:
    """Uses a refresh token up and gives the next one.

    Of any number of uses at once one gets through: the others wait on the row and find it used. A refusal is returned,
    not raised, so that what it changed (the end of a session) is committed.
    """
    used = await _use_up(session, token)
    if used is None:
        return await _why_not(session, token, settings)
    opened = Opened(used.session_id, used.user_id, opaque_token())
    held = _Held(opened.user_id, opened.session_id, opened.refresh_token, client)
    successor = await _add_token(session, held, settings)
    await session.execute(
        update(RefreshToken).where(RefreshToken.id == used.id).values(replaced_by_id=successor)
    )
    return opened


async def _use_up(session: WriteSession, token: str) -> Row[int, UUID, int] | None:
    """Marks a token as used in one statement, if it is good: neither used, expired, nor of an ended session."""
    query = (
        update(RefreshToken)
        .where(
            RefreshToken.token_hash == token_hash(token),
            RefreshToken.revoked_at.is_(None),
            RefreshToken.expires_at > func.now(),
            Session.id == RefreshToken.session_id,
            Session.ended_at.is_(None),
            Session.expires_at > func.now(),
            User.id == RefreshToken.user_id,
            User.status == ACTIVE,
        )
        .values(revoked_at=func.clock_timestamp())
        .returning(RefreshToken.id, RefreshToken.session_id, RefreshToken.user_id)
    )
    return (await session.execute(query)).one_or_none()


WHY_NOT = text(
    """
    select t.session_id, t.user_id, u.status = 'ACTIVE' as active,
           t.revoked_at is not null as used, s.ended_at is not null as ended,
           least(t.expires_at, s.expires_at) <= now() as expired,
           t.revoked_at > clock_timestamp() - make_interval(secs => :grace)
             and next.revoked_at is null as harmless
      from refresh_tokens t
      join sessions s on s.id = t.session_id
      join users u on u.id = t.user_id
      left join refresh_tokens next on next.id = t.replaced_by_id
     where t.token_hash = :token_hash
    """
)


async def _why_not(session: WriteSession, token: str, settings: Settings) -> Refused:
    values = {"token_hash": token_hash(token), "grace": settings.auth_refresh_grace_seconds}
    found = (await session.execute(WHY_NOT, values)).one_or_none()
    if found is None:
        return Refused(UnknownRefreshToken())
    if found.used and not found.ended and not found.harmless:
        await _end_replayed(session, found.session_id, found.user_id)
    if found.used:
        return Refused(RefreshTokenRevoked(), harmless=found.harmless and not found.ended)
    if found.expired:
        return Refused(RefreshTokenExpired())
    return Refused(RefreshTokenRevoked() if found.active else UserDisabled())


async def _end_replayed(session: WriteSession, session_id: UUID, user_id: int) -> None:
    if await _end(session, Session.id == session_id, because=REPLAY):
        user = f"user:{user_id}"
        await audit_log.record(session, user, "session.replayed", user, session_id=str(session_id))


async def end_session(session: WriteSession, session_id: UUID, because: str) -> None:
    """Ends one session at once, with its access and refresh tokens."""
    await _end(session, Session.id == session_id, because=because)


async def end_session_of(session: WriteSession, token: str, because: str) -> None:
    """Ends the session that a refresh token belongs to, used or not; an unknown token ends nothing."""
    named = select(RefreshToken.session_id).where(RefreshToken.token_hash == token_hash(token))
    await _end(session, Session.id == named.scalar_subquery(), because=because)


async def end_sessions(
    session: WriteSession, user_id: int, because: str, except_session: UUID | None = None
) -> int:
    """Ends all sessions of a user, and says how many were open.

    Called in the transaction that disables them, deletes them or changes their password, after that change: a login
    under way then either is seen here, or sees the change and is refused.
    """
    await session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    kept = [] if except_session is None else [Session.id != except_session]
    return await _end(session, Session.user_id == user_id, *kept, because=because)


async def _end(session: WriteSession, *which: ColumnElement[bool], because: str) -> int:
    query = update(Session).where(*which, Session.ended_at.is_(None)).returning(Session.user_id)
    rows = await session.scalars(query.values(ended_at=func.now(), ended_because=because))
    ended = rows.all()
    await account_changes.tell(session, ended)
    return len(ended)
