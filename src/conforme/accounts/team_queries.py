"""Every SELECT on teams and their members; each takes the actor where what it shows depends on who asks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, func, or_, select, true

from conforme.accounts.actor import Actor, Scope
from conforme.accounts.models import Team, TeamGroupe, User, UserTeam
from conforme.accounts.queries import Session, within_reach
from conforme.foundation.database import WriteSession
from conforme.foundation.web import Page


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
        .where(UserTeam.team_id.in_([each.team.id for each in listed]), within_reach(actor))
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
    query = select(User).where(User.id == user_id, within_reach(actor))
    return await session.scalar(query.with_for_update(read=True, key_share=True))


async def groupes_of(session: Session, team_id: int) -> frozenset[str]:
    """What a fiche may say its groupe is when this team sees it."""
    query = select(TeamGroupe.groupe).where(TeamGroupe.team_id == team_id)
    return frozenset((await session.scalars(query)).all())


async def members_count(session: Session, team_id: int) -> int:
    query = select(func.count()).select_from(UserTeam).where(UserTeam.team_id == team_id)
    return await session.scalar(query) or 0


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
