"""Gives a person of the CRM an account, their team and, where they have no password yet, an invitation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from conforme.accounts import account_changes, audit_log, queries, team_queries, teams, users
from conforme.accounts.invites import mint_invite
from conforme.accounts.models import INVITED, Team, User, UserRole
from conforme.accounts.queries import Account
from conforme.accounts.rules import (
    ADMIN,
    VIEWER,
    Administrator,
    require_everywhere,
    require_grantable,
    require_no_further,
    require_not_above,
)
from conforme.crm.directory import CrmDirectory
from conforme.crm.directory_schemas import CrmGroup
from conforme.foundation.database import WriteSession
from conforme.foundation.errors import Conflict, Invalid

DEFAULT_ROLES = (VIEWER,)
MAX_EMAIL = 320
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody the CRM knows, and the group they are to be in."""

    crm_user_id: str
    email: str
    group: CrmGroup | None


@dataclass(frozen=True, slots=True)
class Welcomed:
    user: User
    roles: list[str]
    team: Team | None
    invite_token: str | None


async def look_up(directory: CrmDirectory, crm_user_id: str, crm_group_id: str | None) -> Newcomer:
    """Asks the CRM who somebody is and where they work: in the group given, else the first that lists them.

    Raises:
        Invalid: the CRM does not know them or the group, or has no address of theirs.
        GatewayFailed: the CRM does not answer as agreed.
    """
    users = (await directory.users()).items
    known = next((user for user in users if user.id == crm_user_id), None)
    if known is None:
        raise Invalid("Unknown CRM user id", field="crm_user_id")
    email = _email(known.email)
    groups = (await directory.groups(include_users=True)).items
    return Newcomer(crm_user_id, email, _group(groups, crm_user_id, crm_group_id))


def _email(told: str | None) -> str:
    email = (told or "").strip().lower()
    if not email:
        raise Invalid("CRM user has no email", field="crm_user_id")
    if len(email) > MAX_EMAIL or not _EMAIL.fullmatch(email):
        raise Invalid("CRM user has no valid email", field="crm_user_id")
    return email


def _group(groups: Sequence[CrmGroup], crm_user_id: str, crm_group_id: str | None) -> CrmGroup | None:
    if crm_group_id is None:
        return next((group for group in groups if crm_user_id in (group.user_ids or ())), None)
    forced = next((group for group in groups if group.id == crm_group_id), None)
    if forced is None:
        raise Invalid("Unknown CRM group id", field="crm_group_id")
    return forced


async def welcome(
    session: WriteSession,
    by: Administrator,
    newcomer: Newcomer,
    *,
    role_keys: Sequence[str] | None,
    invite_ttl: timedelta,
) -> Welcomed:
    """Creates or updates the account, its team and its invitation; an existing account keeps its roles unless some are given.

    Raises:
        Forbidden: the caller does not see everything, grants what they do not hold, the account is above theirs, or they
            would get an invitation to see what they do not.
        Invalid: a role is not known, or the person is linked elsewhere.
        Conflict: the last administrator would be none, or another account took the address or the CRM id at the same moment.
    """
    require_everywhere(by.actor)
    await teams.one_at_a_time(session)
    await queries.hold_role(session, ADMIN)
    known = await _known(session, newcomer)
    if known is not None:
        require_not_above(by.grants, await queries.grants_of_user(session, known.id))
    keys = role_keys if known is not None or role_keys is not None else DEFAULT_ROLES
    roles = None if keys is None else await _roles(session, by, keys)
    user = await _saved(session, newcomer, known)
    if roles is not None:
        await _replace_roles(session, user.id, roles)
    team = await _placed(session, by, user, newcomer.group)
    invite_token = await _invited(session, by, user, invite_ttl)
    await account_changes.tell(session, [user.id])
    held = list((await _account(session, user.id)).roles)
    await audit_log.record(
        session,
        by.actor.name,
        "user.from_crm",
        f"user:{user.id}",
        created=known is None,
        roles=held,
        team_id=None if team is None else str(team.id),
        invited=invite_token is not None,
    )
    return Welcomed(user, held, team, invite_token)


async def _invited(session: WriteSession, by: Administrator, user: User, ttl: timedelta) -> str | None:
    """An invitation for whoever has no password; who holds it can sign in as them."""
    if user.status != INVITED or user.password_hash is not None:
        return None
    require_no_further(by.reach, await users.reach(session, user))
    return await mint_invite(session, user.id, ttl)


async def _account(session: WriteSession, user_id: int) -> Account:
    account = await queries.account(session, user_id)
    assert account is not None  # noqa: S101 -- held by this transaction
    return account


async def _known(session: WriteSession, newcomer: Newcomer) -> User | None:
    """The account of this CRM id or address, held until the transaction ends."""
    found = await team_queries.accounts_to_change(session, newcomer.crm_user_id, newcomer.email)
    if len(found) > 1:
        raise Invalid("CRM user is already linked to a different app user")
    known = found[0] if found else None
    if known is not None and known.crm_user_id not in (None, newcomer.crm_user_id):
        raise Invalid("App user is already linked to a different CRM user")
    return known


async def _roles(session: WriteSession, by: Administrator, keys: Sequence[str]) -> list[int]:
    roles = await queries.assignable_roles(session, keys)
    if len(roles) != len(keys):
        raise Invalid("Unknown role key(s)", field="role_keys")
    require_grantable(by.grants, await queries.grants_of_roles(session, roles.values()))
    return list(roles.values())


async def _saved(session: WriteSession, newcomer: Newcomer, known: User | None) -> User:
    # An account may be made under our feet by a way that does not wait in line with us.
    try:
        async with session.begin_nested():
            user = known or User(status=INVITED)
            user.email, user.crm_user_id = newcomer.email, newcomer.crm_user_id
            session.add(user)
            await session.flush()
    except IntegrityError:
        raise Conflict("Another account was given this address or CRM id meanwhile; try again") from None
    return user


async def _replace_roles(session: WriteSession, user_id: int, role_ids: Sequence[int]) -> None:
    before = await _account(session, user_id)
    await session.execute(
        delete(UserRole).where(UserRole.user_id == user_id, UserRole.role_id.not_in(role_ids))
    )
    rows = [{"user_id": user_id, "role_id": role_id} for role_id in role_ids]
    await session.execute(insert(UserRole).values(rows).on_conflict_do_nothing())
    if ADMIN not in (await _account(session, user_id)).roles:
        await users.require_another_administrator(session, before)


async def _placed(
    session: WriteSession, by: Administrator, user: User, group: CrmGroup | None
) -> Team | None:
    if group is None:
        return None
    team_id = (await teams.told(session, [group]))[group.id]
    team = await session.get_one(Team, team_id)
    await teams.require_sight(session, by, user, team)
    await teams.join(session, user.id, team_id)
    return team
