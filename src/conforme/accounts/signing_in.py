"""How people get in: by password, by refresh token, by invitation (spec/http-auth §2.5).

Each way goes the same: there must be a key to sign with, the attempt is counted, the secret is checked outside of any
transaction, and what it opens is written in one.
"""

from sqlalchemy import Row, func, select, update

from conforme.accounts import access_tokens, attempts, audit_log, identity, invites, passwords, sessions
from conforme.accounts.access_tokens import Claims, signing_key
from conforme.accounts.actor import Caller, Person
from conforme.accounts.attempts import Limits
from conforme.accounts.models import ACTIVE, User
from conforme.accounts.sessions import Client, Opened, Refused, UserDisabled
from conforme.foundation.database import ReadSession, WriteSession, now
from conforme.foundation.errors import Unauthenticated
from conforme.foundation.resources import Resources


class WrongPassword(Unauthenticated):
    """Invalid email or password"""


class WrongCurrentPassword(Unauthenticated):
    """Invalid current password"""


async def login(resources: Resources, email: str, password: str, client: Client) -> Opened:
    """A new session for the person of an e-mail address and a password.

    Raises:
        WrongPassword: no such account, none that is active, or another password: nobody can tell which.
        TooMany: too many have failed.
        Misconfigured: there is no key to sign with.
    """
    signing_key(resources.settings)
    limits = Limits.of(resources.settings, client.address, email)
    await attempts.count(resources, limits)
    async with resources.database.read() as session:
        known = await _account(session, email)
    verdict = await passwords.checked(password, known.password_hash if known else None)
    if known is None or not verdict.right:
        raise WrongPassword
    renewed = await passwords.hashed(password) if verdict.outdated else known.password_hash
    async with resources.database.write() as session:
        if not await _noted(session, known, renewed):
            raise WrongPassword
        opened = await sessions.open_session(session, known.id, client, resources.settings)
    await attempts.succeeded(resources, limits)
    return opened


async def _account(session: ReadSession, email: str) -> Row[int, str | None] | None:
    """The active account of an address, with its password's hash."""
    query = select(User.id, User.password_hash).where(User.email == email, User.status == ACTIVE)
    return (await session.execute(query)).one_or_none()


async def _noted(session: WriteSession, known: Row[int, str | None], password_hash: str | None) -> bool:
    """Notes a login, unless the account or its password changed while it was checked."""
    query = (
        update(User)
        .where(User.id == known.id, User.status == ACTIVE, User.password_hash == known.password_hash)
        .values(last_login_at=func.now(), password_hash=password_hash)
        .returning(User.id)
    )
    return (await session.execute(query)).one_or_none() is not None


async def refresh(resources: Resources, token: str, client: Client) -> Opened:
    """The next refresh token of a session, for one that is used up by this.

    Raises:
        UnknownRefreshToken, RefreshTokenRevoked, RefreshTokenExpired, UserDisabled: it is good for nothing, and why.
        TooMany: too many have failed from this address.
        Misconfigured: there is no key to sign with.
    """
    signing_key(resources.settings)
    limits = Limits.of(resources.settings, client.address)
    await attempts.count(resources, limits)
    async with resources.database.write() as session:
        outcome = await sessions.rotate(session, token, client, resources.settings)
    if isinstance(outcome, Opened) or outcome.harmless:
        await attempts.succeeded(resources, limits)
    if isinstance(outcome, Refused):
        raise outcome.error
    return outcome


async def accept_invite(resources: Resources, token: str, password: str, client: Client) -> Opened:
    """The first session of a person who was invited, with the password they set.

    Raises:
        UnknownInvite, InviteUsed, InviteExpired, NotInvited: the invitation is good for nothing, and why.
        TooMany: too many have failed from this address.
        Misconfigured: there is no key to sign with.
    """
    signing_key(resources.settings)
    limits = Limits.of(resources.settings, client.address)
    await attempts.count(resources, limits)
    async with resources.database.read() as session:
        await invites.invited(session, token)
    password_hash = await passwords.hashed(password)
    async with resources.database.write() as session:
        user_id = await invites.accept(session, token, password_hash)
        await sessions.end_sessions(session, user_id, sessions.PASSWORD)
        opened = await sessions.open_session(session, user_id, client, resources.settings)
        await audit_log.record(session, f"user:{user_id}", "invite.accepted", f"user:{user_id}")
    await attempts.succeeded(resources, limits)
    return opened


async def change_password(
    resources: Resources, person: Person, current: str, new: str, client: Client
) -> Opened:
    """Sets a password and ends every session of its owner: the one that asked goes on as a new one.

    Raises:
        WrongCurrentPassword: `current` is not their password.
        TooMany: too many have failed; guesses count together with those at the login.
    """
    limits = Limits.of(resources.settings, client.address, person.email)
    await attempts.count(resources, limits)
    async with resources.database.read() as session:
        known = await _account(session, person.email)
    verdict = await passwords.checked(current, known.password_hash if known else None)
    if known is None or known.id != person.id or not verdict.right:
        raise WrongCurrentPassword
    password_hash = await passwords.hashed(new)
    async with resources.database.write() as session:
        if not await _noted(session, known, password_hash):
            raise WrongCurrentPassword
        await sessions.end_sessions(session, person.id, sessions.PASSWORD)
        opened = await sessions.open_session(session, person.id, client, resources.settings)
        await audit_log.record(session, f"user:{person.id}", "password.changed", f"user:{person.id}")
    await attempts.succeeded(resources, limits)
    return opened


async def signed(resources: Resources, opened: Opened) -> tuple[str, Caller, Person]:
    """An access token for a session, with what its person may do now.

    Raises:
        UserDisabled: the account or the session ended in this very moment.
    """
    caller = await identity.of_session(resources.database.engine, Claims(opened.user_id, opened.session_id))
    if caller is None or caller.person is None:
        raise UserDisabled
    return (
        access_tokens.issue(caller.person, caller.grants, resources.settings, now()),
        caller,
        caller.person,
    )


async def exists(session: ReadSession, user_id: int) -> bool:
    """Whether there is an account of this id, active or not."""
    return await session.scalar(select(User.id).where(User.id == user_id)) is not None
