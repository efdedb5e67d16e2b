"""What `conforme users …` and `conforme audit-log verify` do."""

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from conforme.accounts import audit_log, queries
from conforme.accounts.actor import Actor
from conforme.accounts.admin_schemas import Email, Password
from conforme.accounts.audit_log import Verdict
from conforme.accounts.models import ACTIVE
from conforme.accounts.passwords import hashed
from conforme.accounts.queries import Account, Slice
from conforme.accounts.rules import ADMIN
from conforme.accounts.seeding import add_user, ensure_held, seed_roles
from conforme.accounts.sessions import end_sessions
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.errors import Invalid

ACTOR = Actor.system("cli")
MAX_LISTED = 10_000
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)
_PASSWORD: TypeAdapter[str] = TypeAdapter(Password)


@dataclass(frozen=True, slots=True)
class Made:
    """What became of `create-admin`."""

    user_id: int
    created: bool


def checked_email(given: str) -> str:
    """Raises `Invalid` for what is no e-mail address."""
    try:
        return _EMAIL.validate_python(given)
    except ValidationError:
        raise Invalid("--email must be an e-mail address") from None


def checked_password(given: str) -> str:
    """Raises `Invalid` for a password that is too short or too long."""
    try:
        return _PASSWORD.validate_python(given)
    except ValidationError:
        raise Invalid("The password must have 8 to 200 characters") from None


async def create_admin(session: WriteSession, email: str, password: str) -> Made:
    """An active administrator with this e-mail and password.

    Whoever has the e-mail becomes one: active, with this password, signed out everywhere.

    Raises:
        Invalid: the e-mail or the password cannot be used.
    """
    email, password = checked_email(email), checked_password(password)
    await seed_roles(session)
    user = await queries.user_with_email(session, email)
    if user is None:
        user_id = await add_user(session, ACTOR.name, email, password)
    else:
        user_id, status = user.id, user.status
        user.password_hash, user.status = await hashed(password), ACTIVE
        await session.flush()
        await end_sessions(session, user_id, "password")
        await audit_log.record(
            session,
            ACTOR.name,
            "user.changed",
            f"user:{user_id}",
            status=[status, ACTIVE],
            password=True,
        )
    await ensure_held(session, ACTOR.name, user_id, ADMIN)
    return Made(user_id, created=user is None)


async def listing(session: ReadSession) -> list[Account]:
    """Everybody, by id."""
    return (await queries.accounts(session, ACTOR, Slice(MAX_LISTED, 0)))[0]


async def verdict(session: ReadSession) -> Verdict:
    """What a walk along the audit log finds."""
    return await audit_log.verify(session)


def told(found: Verdict) -> str:
    """The verdict in one line; the hash is what to keep elsewhere."""
    if found.broken_at is None:
        return f"{found.rows} rows, unbroken; head {found.head.hex()}"
    return f"Broken at id {found.broken_at}; {found.rows} rows before it are good, up to {found.head.hex()}"
