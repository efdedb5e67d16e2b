"""Callers for tests: of any grants, with or without a session in the database."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

from sqlalchemy import insert, select

from conforme.accounts import access_tokens, identity
from conforme.accounts.access_tokens import Claims
from conforme.accounts.actor import Actor, Caller
from conforme.accounts.grants import KEYS, Grant, Grants, Scope
from conforme.accounts.models import (
    Permission,
    Role,
    RolePermission,
    Session,
    Team,
    TeamGroupe,
    User,
    UserRole,
    UserTeam,
)
from conforme.foundation.database import Database, WriteSession, now
from conforme.settings import Settings

_numbers = count(1)


def everything_within(scope: Scope) -> Grants:
    """Every permission, as far as `scope` reaches."""
    return Grants.of(Grant(key, scope, scope) for key in KEYS)


def caller_like(actor: Actor) -> Caller:
    """A caller who may do everything within the actor's scope."""
    return Caller(actor.name, everything_within(actor.scope), actor.groupes, actor.crm_user_id, actor.user_id)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person of the database with an open session."""

    caller: Caller
    headers: Mapping[str, str]

    @property
    def id(self) -> int:
        assert self.caller.user_id is not None
        return self.caller.user_id


async def signed_in(
    database: Database,
    settings: Settings,
    grants: Grants,
    *,
    groupes: Sequence[str] = (),
    crm_user_id: str | None = None,
) -> SignedIn:
    """A new person with one role of these grants, in one team for each groupe (named and known by it)."""
    async with database.write() as session:
        user_id = await _user(session, crm_user_id)
        await _role(session, user_id, grants)
        for groupe in groupes:
            await _member(session, user_id, groupe)
        query = insert(Session).values(user_id=user_id, expires_at=now() + timedelta(days=1))
        session_id = (await session.execute(query.returning(Session.id))).scalar_one()
    caller = await identity.of_session(database.engine, Claims(user_id, session_id))
    assert caller is not None
    assert caller.person is not None
    token = access_tokens.issue(caller.person, caller.grants, settings, now())
    return SignedIn(caller, {"Authorization": f"Bearer {token}"})


async def _user(session: WriteSession, crm_user_id: str | None) -> int:
    query = insert(User).values(email=f"person{next(_numbers)}@example.test", crm_user_id=crm_user_id)
    return (await session.execute(query.returning(User.id))).scalar_one()


async def _role(session: WriteSession, user_id: int, grants: Grants) -> None:
    """Two roles, since a role states one scope for reading and writing."""
    permissions = await _permissions(session, grants.by_key)
    keys = {write: f"test-{part}-{next(_numbers)}" for part, write in (("reads", False), ("writes", True))}
    made = await session.execute(
        insert(Role).values([{"key": key, "name": key} for key in keys.values()]).returning(Role.key, Role.id)
    )
    roles = dict(made.all())
    await session.execute(
        insert(UserRole).values([{"user_id": user_id, "role_id": role} for role in roles.values()])
    )
    granted = [
        {
            "role_id": roles[keys[write]],
            "permission_id": permissions[grant.key],
            "can_read": not write,
            "can_write": write,
            "scope": scope,
        }
        for write in keys
        for grant in grants.by_key.values()
        if (scope := grant.write if write else grant.read) is not None
    ]
    if granted:
        await session.execute(insert(RolePermission), granted)


async def _permissions(session: WriteSession, keys: Iterable[str]) -> dict[str, int]:
    """The ids of these permissions; those that are missing are made."""
    known = select(Permission.key, Permission.id).where(Permission.key.in_(keys))
    found = dict((await session.execute(known)).all())
    if missing := [{"key": key} for key in keys if key not in found]:
        made = insert(Permission).returning(Permission.key, Permission.id)
        found |= dict((await session.execute(made, missing)).all())
    return found


async def _member(session: WriteSession, user_id: int, groupe: str) -> None:
    team = await session.scalar(select(TeamGroupe.team_id).where(TeamGroupe.groupe == groupe))
    if team is None:
        values = insert(Team).values(crm_group_id=f"crm-{next(_numbers)}", name=groupe)
        team = (await session.execute(values.returning(Team.id))).scalar_one()
        await session.execute(insert(TeamGroupe).values(team_id=team, groupe=groupe))
    await session.execute(insert(UserTeam).values(user_id=user_id, team_id=team))


def granting(keys: Iterable[str], scope: Scope, *, write: bool = False) -> Grants:
    """Those keys, read (and written) within one scope."""
    return Grants.of(Grant(key, scope, scope if write else None) for key in keys)
