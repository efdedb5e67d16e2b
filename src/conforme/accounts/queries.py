"""Every SELECT on people and roles. People are seen within the scope of an actor; roles belong to the house."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, false, func, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by, array
from sqlalchemy.types import Text

from conforme.accounts.actor import Actor, Scope
from conforme.accounts.grants import Grants
from conforme.accounts.models import (
    ACTIVE,
    Permission,
    Role,
    RolePermission,
    TeamGroupe,
    User,
    UserRole,
    UserTeam,
)
from conforme.accounts.wire import grants_of_rows
from conforme.foundation.database import ReadSession, WriteSession

Session = ReadSession | WriteSession


@dataclass(frozen=True, slots=True)
class Account:
    """A person as administrators see them."""

    id: int
    email: str
    status: str
    roles: tuple[str, ...]
    """Keys, in order."""


@dataclass(frozen=True, slots=True)
class RoleGrant:
    """What a role states of one key: one scope for reading and writing."""

    key: str
    read: bool
    write: bool
    scope: Scope


@dataclass(frozen=True, slots=True)
class RoleSheet:
    """A role and what it grants, by key."""

    id: int
    key: str
    name: str
    description: str | None
    grants: tuple[RoleGrant, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """One page of a list."""

    limit: int
    offset: int


def within_reach(actor: Actor) -> ColumnElement[bool]:
    """Which people an actor sees: all, those who share a team with them and themselves, or themselves alone."""
    if actor.scope is Scope.ALL:
        return true()
    if actor.user_id is None:
        return false()
    oneself = User.id == actor.user_id
    if actor.scope is Scope.SELF:
        return oneself
    teams = select(UserTeam.team_id).where(UserTeam.user_id == actor.user_id)
    return or_(oneself, User.id.in_(select(UserTeam.user_id).where(UserTeam.team_id.in_(teams))))


_ROLE_KEYS = (
    select(
        func.coalesce(
            func.array_agg(aggregate_order_by(Role.key, Role.key), type_=ARRAY(Text)), array([], type_=Text)
        )
    )
    .select_from(UserRole)
    .join(Role, Role.id == UserRole.role_id)
    .where(UserRole.user_id == User.id)
    .correlate(User)
    .scalar_subquery()
)


def _accounts() -> Select[*tuple[Any, ...]]:
    return select(User.id, User.email, User.status, _ROLE_KEYS.label("roles"))


def _account(row: Any) -> Account:
    return Account(row.id, row.email, row.status, tuple(row.roles))


async def accounts(session: Session, actor: Actor, page: Slice) -> tuple[list[Account], int]:
    """The people an actor sees, by id, and how many they are."""
    seen = within_reach(actor)
    total = await session.scalar(select(func.count()).select_from(User).where(seen))
    rows = await session.execute(
        _accounts().where(seen).order_by(User.id).limit(page.limit).offset(page.offset)
    )
    return [_account(row) for row in rows], total or 0


async def account(session: Session, user_id: int) -> Account | None:
    """A person by id, whoever asks: for what was checked already."""
    row = (await session.execute(_accounts().where(User.id == user_id))).one_or_none()
    return None if row is None else _account(row)


async def locked_user(session: WriteSession, actor: Actor, user_id: int) -> User | None:
    """A person the actor sees, held against every other change until the transaction ends."""
    query = select(User).where(User.id == user_id, within_reach(actor)).with_for_update()
    return await session.scalar(query.execution_options(populate_existing=True))


async def user_with_email(session: Session, email: str) -> User | None:
    return await session.scalar(select(User).where(User.email == email))


def _grant_rows() -> Select[*tuple[Any, ...]]:
    return (
        select(
            RolePermission.role_id,
            Permission.key,
            RolePermission.can_read.label("read"),
            RolePermission.can_write.label("write"),
            RolePermission.scope,
        )
        .join(Permission, Permission.id == RolePermission.permission_id)
        .order_by(Permission.key)
    )


async def grants_of_user(session: Session, user_id: int) -> Grants:
    """All that a person may do."""
    held = select(UserRole.role_id).where(UserRole.user_id == user_id)
    return await _grants(session, RolePermission.role_id.in_(held))


async def groupes_of_user(session: Session, user_id: int) -> frozenset[str]:
    """What a fiche may say its groupe is when a person's team sees it."""
    query = (
        select(TeamGroupe.groupe)
        .join(UserTeam, UserTeam.team_id == TeamGroupe.team_id)
        .where(UserTeam.user_id == user_id)
    )
    return frozenset((await session.scalars(query)).all())


async def grants_of_roles(session: Session, role_ids: Iterable[int]) -> Grants:
    """All that these roles give together."""
    return await _grants(session, RolePermission.role_id.in_(list(role_ids)))


async def _grants(session: Session, which: ColumnElement[bool]) -> Grants:
    rows = (await session.execute(_grant_rows().where(which))).mappings()
    return grants_of_rows(dict(row) for row in rows)


async def assignable_roles(session: WriteSession, keys: Iterable[str]) -> dict[str, int]:
    """Ids of the roles of these keys; what they grant stays as it is until the transaction ends."""
    query = (
        select(Role.key, Role.id).where(Role.key.in_(list(keys))).order_by(Role.id).with_for_update(read=True)
    )
    return dict((await session.execute(query)).all())


async def hold_role(session: WriteSession, key: str) -> int | None:
    """The id of a role; whoever else asks for it here waits until the transaction ends."""
    return await session.scalar(select(Role.id).where(Role.key == key).with_for_update())


async def active_holders(session: Session, key: str, *, besides: int) -> int:
    """How many active people hold a role, one of them not counted."""
    query = (
        select(func.count())
        .select_from(UserRole)
        .join(Role, Role.id == UserRole.role_id)
        .join(User, User.id == UserRole.user_id)
        .where(Role.key == key, User.status == ACTIVE, User.id != besides)
    )
    return await session.scalar(query) or 0


async def roles(session: Session, page: Slice) -> tuple[list[RoleSheet], int]:
    """Roles by key, and how many there are."""
    total = await session.scalar(select(func.count()).select_from(Role))
    query = select(Role).order_by(Role.key).limit(page.limit).offset(page.offset)
    return await _sheets(session, (await session.scalars(query)).all()), total or 0


async def role(session: Session, role_id: int) -> RoleSheet | None:
    found = (await session.scalars(select(Role).where(Role.id == role_id))).all()
    return next(iter(await _sheets(session, found)), None)


async def locked_role(session: WriteSession, role_id: int) -> Role | None:
    """A role, held against every other change and assignment until the transaction ends."""
    query = select(Role).where(Role.id == role_id).with_for_update()
    return await session.scalar(query.execution_options(populate_existing=True))


async def _sheets(session: Session, found: Sequence[Role]) -> list[RoleSheet]:
    granted: dict[int, list[RoleGrant]] = {each.id: [] for each in found}
    active = or_(RolePermission.can_read, RolePermission.can_write)
    query = _grant_rows().where(RolePermission.role_id.in_(list(granted)), active)
    for row in await session.execute(query):
        granted[row.role_id].append(RoleGrant(row.key, row.read, row.write, Scope(row.scope)))
    return [
        RoleSheet(each.id, each.key, each.name, each.description, tuple(granted[each.id])) for each in found
    ]


async def holders(session: Session, role_id: int) -> int:
    """How many people hold a role, active or not."""
    query = select(func.count()).select_from(UserRole).where(UserRole.role_id == role_id)
    return await session.scalar(query) or 0


async def has_active_grant(session: Session, role_id: int) -> bool:
    active = or_(RolePermission.can_read, RolePermission.can_write)
    return bool(await session.scalar(select(exists().where(RolePermission.role_id == role_id, active))))


async def permissions(session: Session, page: Slice) -> tuple[Sequence[Permission], int]:
    """Permissions by key, and how many there are."""
    total = await session.scalar(select(func.count()).select_from(Permission))
    query = select(Permission).order_by(Permission.key).limit(page.limit).offset(page.offset)
    return (await session.scalars(query)).all(), total or 0


async def permission_ids(session: Session, keys: Iterable[str]) -> dict[str, int]:
    """Ids of those of these permissions that exist."""
    query = select(Permission.key, Permission.id).where(Permission.key.in_(list(keys)))
    return dict((await session.execute(query)).all())
