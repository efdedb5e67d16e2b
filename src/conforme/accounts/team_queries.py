"""Every SELECT on teams and their members; each takes the actor where what it shows depends on who asks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, func, or_, select, true

from conforme.accounts.actor import Actor, Scope
from conforme.accounts.grants import Grants
from conforme.accounts.models import ACTIVE, Permission, Role, RolePermission, Team, User, UserRole, UserTeam
from conforme.accounts.wire import grants_of_rows
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.web import Page

Session = ReadSession | WriteSession


@dataclass(frozen=True, slots=True)
class Listed:
    """A team, how many members it has, and those that the actor may see."""

    team: Team
    members_count: int
    members: list[User] = field(default_factory=list[User])


def seen_teams(actor: Actor) -> ColumnElement[bool]:
    """All with scope ALL; else those that the caller is a member of."""
    if actor.scope is Scope.ALL:
        return true()
    return Team.id.in_(select(UserTeam.team_id).where(UserTeam.user_id == actor.user_id))


def seen_people(actor: Actor) -> ColumnElement[bool]:
    """All with scope ALL, the members of the caller's teams with GROUP, and always the caller."""
    if actor.scope is Scope.ALL:
        return true()
    if actor.scope is Scope.SELF:
        return User.id == actor.user_id
    own_teams = select(UserTeam.team_id).where(UserTeam.user_id == actor.user_id)
    return or_(
        User.id == actor.user_id,
        User.id.in_(select(UserTeam.user_id).where(UserTeam.team_id.in_(own_teams))),
    )


async def teams(session: Session, actor: Actor, page: Page) -> tuple[list[Listed], int]:
    """The teams that the actor sees, by name and id, and how many there are."""
    seen = seen_teams(actor)
    total = await session.scalar(select(func.count()).select_from(Team).where(seen))
    query = select(Team, _MEMBERS).where(seen).order_by(Team.name, Team.id)
    rows = await session.execute(query.limit(page.limit).offset(page.offset))
    return [Listed(team, count) for team, count in rows], total or 0


async def with_members(session: Session, actor: Actor, listed: Sequence[Listed]) -> list[Listed]:
    """The same teams with the members that the actor sees, by id."""
    query = (
        select(UserTeam.team_id, User)
        .join(User, User.id == UserTeam.user_id)
        .where(UserTeam.team_id.in_([each.team.id for each in listed]), seen_people(actor))
        .order_by(User.id)
    )
    members: dict[int, list[User]] = {}
    for team_id, user in await session.execute(query):
        members.setdefault(team_id, []).append(user)
    return [Listed(each.team, each.members_count, members.get(each.team.id, [])) for each in listed]


async def team(session: WriteSession, actor: Actor, team_id: int) -> Team | None:
    """A team the actor sees; it stays until the transaction ends."""
    query = select(Team).where(Team.id == team_id, seen_teams(actor))
    return await session.scalar(query.with_for_update(read=True, key_share=True))


async def team_to_change(session: WriteSession, team_id: int) -> Team | None:
    """A team, held against everybody else who would change it or its members."""
    return await session.scalar(select(Team).where(Team.id == team_id).with_for_update())


async def person(session: WriteSession, actor: Actor, user_id: int) -> User | None:
    """A person the actor sees; they stay until the transaction ends."""
    query = select(User).where(User.id == user_id, seen_people(actor))
    return await session.scalar(query.with_for_update(read=True, key_share=True))


async def members_count(session: Session, team_id: int) -> int:
    query = select(func.count()).select_from(UserTeam).where(UserTeam.team_id == team_id)
    return await session.scalar(query) or 0


async def grants_held(session: Session, user_id: int) -> Grants:
    """All that a person's roles grant them."""
    held = select(UserRole.role_id).where(UserRole.user_id == user_id)
    return await _granted(session, RolePermission.role_id.in_(held))


async def grants_of_roles(session: Session, role_ids: Iterable[int]) -> Grants:
    """All that these roles grant together."""
    return await _granted(session, RolePermission.role_id.in_(list(role_ids)))


async def _granted(session: Session, by: ColumnElement[bool]) -> Grants:
    query = select(
        Permission.key, RolePermission.can_read, RolePermission.can_write, RolePermission.scope
    ).join(RolePermission, RolePermission.permission_id == Permission.id)
    rows = await session.execute(query.where(by))
    return grants_of_rows(
        {"key": row.key, "read": row.can_read, "write": row.can_write, "scope": row.scope} for row in rows
    )


async def roles_named(session: Session, keys: Sequence[str]) -> list[Role]:
    return list((await session.scalars(select(Role).where(Role.key.in_(keys)).order_by(Role.key))).all())


async def active_holders(session: WriteSession, role_key: str) -> list[int]:
    """Active people who hold a role; it is held against others who would take it from somebody, too."""
    role_id = await session.scalar(select(Role.id).where(Role.key == role_key).with_for_update())
    query = select(User.id).join(UserRole, UserRole.user_id == User.id)
    query = query.where(UserRole.role_id == role_id, User.status == ACTIVE)
    return list((await session.scalars(query)).all())


async def role_keys_of(session: Session, user_id: int) -> list[str]:
    query = select(Role.key).join(UserRole, UserRole.role_id == Role.id).where(UserRole.user_id == user_id)
    return list((await session.scalars(query.order_by(Role.key))).all())


async def accounts_to_change(session: WriteSession, crm_user_id: str, email: str) -> list[User]:
    """The accounts of a CRM id or of an address, held against everybody else who would change them."""
    query = select(User).where(or_(User.crm_user_id == crm_user_id, User.email == email)).order_by(User.id)
    return list((await session.scalars(query.with_for_update())).all())


async def linked_people(
    session: Session, crm_user_ids: Iterable[str], emails: Iterable[str] = ()
) -> list[User]:
    """The people of these CRM ids or lower-case e-mail addresses."""
    query = select(User).where(or_(User.crm_user_id.in_(list(crm_user_ids)), User.email.in_(list(emails))))
    return list((await session.scalars(query.order_by(User.id))).all())


_MEMBERS = select(func.count()).where(UserTeam.team_id == Team.id).correlate(Team).scalar_subquery()
