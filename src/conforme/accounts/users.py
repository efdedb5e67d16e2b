"""People: made, changed, invited again, signed out and deleted by administrators (spec/http-auth §4).

Locks are taken in one order: the admin role, the person, the roles assigned, and last the audit log.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, insert
from sqlalchemy.dialects.postgresql import insert as insert_or_skip

from conforme.accounts import account_changes, audit_log, queries
from conforme.accounts.invites import mint_invite
from conforme.accounts.models import ACTIVE, DISABLED, INVITED, User, UserRole
from conforme.accounts.queries import Account
from conforme.accounts.rules import (
    ADMIN,
    Administrator,
    Reach,
    require_everywhere,
    require_grantable,
    require_no_further,
    require_not_above,
    require_somebody_else,
)
from conforme.accounts.sessions import end_sessions
from conforme.foundation.database import WriteSession
from conforme.foundation.errors import Conflict, Invalid, NotFound

LAST_ADMINISTRATOR = "The last administrator cannot be removed"


@dataclass(frozen=True, slots=True)
class NewUser:
    email: str
    """Lower case."""
    password_hash: str | None
    role_keys: tuple[str, ...]
    status: str = ACTIVE


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to change; None leaves it as it is."""

    status: str | None = None
    password_hash: str | None = None
    role_keys: tuple[str, ...] | None = None


async def create(session: WriteSession, by: Administrator, new: NewUser) -> Account:
    """A new person, in no team yet.

    Raises:
        Forbidden: the administrator does not reach over everybody, or does not hold what the roles grant.
        Invalid: a role is unknown or named twice.
        Conflict: somebody has this e-mail.
    """
    require_everywhere(by.actor)
    roles = await _grantable_roles(session, by, new.role_keys, held=())
    values = {"email": new.email, "password_hash": new.password_hash, "status": new.status}
    query = insert_or_skip(User).values(values).on_conflict_do_nothing().returning(User.id)
    user_id = await session.scalar(query)
    if user_id is None:
        raise Conflict("A user with this email exists", field="email")
    await _assign(session, user_id, roles.values())
    await audit_log.record(
        session, by.actor.name, "user.created", _name(user_id), status=new.status, roles=sorted(roles)
    )
    return await _shown(session, user_id)


async def change(session: WriteSession, by: Administrator, user_id: int, changes: Changes) -> Account:
    """Changes a person; who is disabled or gets another password is signed out everywhere.

    Raises:
        NotFound: nobody whom the administrator sees.
        Forbidden: the person may do more than the administrator, or is the administrator, or is to get more.
        Invalid: a role is unknown or named twice.
        Conflict: nobody would be left to administer.
    """
    await queries.hold_role(session, ADMIN)
    user = await _within_reach(session, by, user_id)
    before = await _shown(session, user_id)
    if changes.status is not None or changes.role_keys is not None:
        require_somebody_else(by.actor, user_id)
    require_not_above(by.grants, await queries.grants_of_user(session, user_id))
    if changes.password_hash is not None:
        require_no_further(by.reach, await reach(session, user))
    roles = set(before.roles)
    if changes.role_keys is not None:
        roles = set(await _replace_roles(session, by, before, changes.role_keys))
    status = changes.status or before.status
    if not (status == ACTIVE and ADMIN in roles):
        await require_another_administrator(session, before)
    user.status = status
    if changes.password_hash is not None:
        user.password_hash = changes.password_hash
    await session.flush()
    await _sign_out(session, before, changes)
    await account_changes.tell(session, [user_id])
    after = await _shown(session, user_id)
    await _record_change(session, by, before, after, changes)
    return after


async def remove(session: WriteSession, by: Administrator, user_id: int) -> None:
    """Deletes a person with their sessions, invitations, memberships and API tokens.

    Raises:
        NotFound: nobody whom the administrator sees.
        Forbidden: the person may do more than the administrator, or is the administrator.
        Conflict: nobody would be left to administer.
    """
    await queries.hold_role(session, ADMIN)
    await _within_reach(session, by, user_id)
    require_somebody_else(by.actor, user_id)
    require_not_above(by.grants, await queries.grants_of_user(session, user_id))
    gone = await _shown(session, user_id)
    await require_another_administrator(session, gone)
    await end_sessions(session, user_id, "disabled")
    await account_changes.tell(session, [user_id])
    await session.execute(delete(User).where(User.id == user_id))
    await audit_log.record(session, by.actor.name, "user.deleted", _name(user_id), roles=list(gone.roles))


async def invite_again(
    session: WriteSession, by: Administrator, user_id: int, ttl: timedelta
) -> tuple[Account, str]:
    """A new invitation for whoever cannot sign in yet; those before it are good for nothing any more.

    Returns:
        The person, who is invited from now on, and the token.

    Raises:
        NotFound: nobody whom the administrator sees.
        Forbidden: the person may do more than the administrator, or is the administrator.
        Conflict: the person has a password, or is disabled.
    """
    await queries.hold_role(session, ADMIN)
    user = await _within_reach(session, by, user_id)
    require_somebody_else(by.actor, user_id)
    require_grantable(by.grants, await queries.grants_of_user(session, user_id))
    require_no_further(by.reach, await reach(session, user))
    if user.status == DISABLED:
        raise Conflict("The user is disabled")
    if user.status == ACTIVE and user.password_hash is not None:
        raise Conflict("The user has a password already")
    await require_another_administrator(session, await _shown(session, user_id))
    user.status = INVITED
    await session.flush()
    token = await mint_invite(session, user_id, ttl)
    await audit_log.record(session, by.actor.name, "invite.minted", _name(user_id))
    return await _shown(session, user_id), token


async def log_out(session: WriteSession, by: Administrator, user_id: int) -> None:
    """Ends every session of a person.

    Raises:
        NotFound: nobody whom the administrator sees.
        Forbidden: the person may do more than the administrator.
    """
    await _within_reach(session, by, user_id)
    require_not_above(by.grants, await queries.grants_of_user(session, user_id))
    await end_sessions(session, user_id, "everywhere")
    await audit_log.record(session, by.actor.name, "user.logged_out", _name(user_id))


async def _within_reach(session: WriteSession, by: Administrator, user_id: int) -> User:
    user = await queries.locked_user(session, by.actor, user_id)
    if user is None:
        raise NotFound.of("User", user_id)
    return user


async def reach(session: WriteSession, user: User) -> Reach:
    """What somebody sees and may do now."""
    grants = await queries.grants_of_user(session, user.id)
    return Reach(grants, await queries.groupes_of_user(session, user.id), user.crm_user_id)


async def _shown(session: WriteSession, user_id: int) -> Account:
    account = await queries.account(session, user_id)
    if account is None:
        raise NotFound.of("User", user_id)
    return account


async def _grantable_roles(
    session: WriteSession, by: Administrator, keys: tuple[str, ...], held: Collection[str]
) -> Mapping[str, int]:
    """The roles of these keys; what those not held yet grant must be the administrator's to give."""
    found = await queries.assignable_roles(session, keys)
    if len(found) < len(keys):
        raise Invalid("Unknown role key(s)", field="role_keys")
    added = [role_id for key, role_id in found.items() if key not in held]
    require_grantable(by.grants, await queries.grants_of_roles(session, added))
    return found


async def _replace_roles(
    session: WriteSession, by: Administrator, before: Account, keys: tuple[str, ...]
) -> Mapping[str, int]:
    roles = await _grantable_roles(session, by, keys, held=before.roles)
    await session.execute(delete(UserRole).where(UserRole.user_id == before.id))
    await _assign(session, before.id, roles.values())
    return roles


async def _assign(session: WriteSession, user_id: int, role_ids: Collection[int]) -> None:
    rows = [{"user_id": user_id, "role_id": role_id} for role_id in role_ids]
    await session.execute(insert(UserRole).values(rows))


async def require_another_administrator(session: WriteSession, leaving: Account) -> None:
    """For whoever holds the admin role: the lock on it makes two who remove each other come one after the other."""
    if leaving.status != ACTIVE or ADMIN not in leaving.roles:
        return
    if not await queries.active_holders(session, ADMIN, besides=leaving.id):
        raise Conflict(LAST_ADMINISTRATOR)


async def _sign_out(session: WriteSession, before: Account, changes: Changes) -> None:
    if changes.password_hash is not None:
        await end_sessions(session, before.id, "password")
    if changes.status not in {None, ACTIVE}:
        await end_sessions(session, before.id, "disabled")


async def _record_change(
    session: WriteSession, by: Administrator, before: Account, after: Account, changes: Changes
) -> None:
    details: dict[str, object] = {}
    if changes.status is not None:
        details["status"] = [before.status, after.status]
    if changes.role_keys is not None:
        details["roles"] = [list(before.roles), list(after.roles)]
    if changes.password_hash is not None:
        details["password"] = True
    await audit_log.record(session, by.actor.name, "user.changed", _name(after.id), **details)


def _name(user_id: int) -> str:
    return f"user:{user_id}"
