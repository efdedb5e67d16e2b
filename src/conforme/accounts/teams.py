"""Teams: what gives people sight of the fiches of a groupe.

Data is matched by `team_groupes`: the names the CRM told for a group, and its id there. They are only ever added, and
only by who sees everything or by the CRM itself; what people call a team here shows and hides nothing.

The log of changes is written last in each transaction: whoever waits for its lock then holds all they need.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Text, any_, delete, func, literal, literal_column, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert

from conforme.accounts import account_changes, audit_log, queries, team_queries
from conforme.accounts.actor import Actor, Scope
from conforme.accounts.models import Team, TeamGroupe, User, UserTeam
from conforme.accounts.rules import (
    Administrator,
    Reach,
    require_everywhere,
    require_not_above,
    require_seen,
)
from conforme.crm.directory import Listed
from conforme.crm.directory_schemas import CrmGroup
from conforme.foundation.database import WriteSession
from conforme.foundation.errors import Forbidden, Invalid, NotFound

DIRECTORY_LOCK = 7_266_013_003
"""Advisory lock of whatever the CRM's directory changes here: one after the other."""
HAS_MEMBERS = "Team has members; remove members first or pass ?force=true"
ONLY_ADDED = "Memberships are only added: whoever left a team in the CRM is still a member here."


async def state(
    session: WriteSession, actor: Actor, crm_group_id: str, columns: Mapping[str, str | None]
) -> tuple[Team, bool]:
    """Creates a team, or changes how one is shown; and whether it is new.

    A new one sees what the CRM calls by its id or by the name given.
    """
    require_everywhere(actor)
    values = {"crm_group_id": crm_group_id, **columns}
    upsert = insert(Team).values(values)
    row = (
        await session.execute(
            upsert.on_conflict_do_update(
                index_elements=[Team.crm_group_id], set_={**columns, "updated_at": func.now()}
            ).returning(Team, literal_column("(xmax = 0)"))
        )
    ).one()
    team, created = row[0], bool(row[1])
    if created:
        await _know(session, [(team.id, groupe) for groupe in (crm_group_id, columns["name"]) if groupe])
    action = "team.created" if created else "team.changed"
    await audit_log.record(session, actor.name, action, f"team:{team.id}", changed=sorted(columns))
    return team, created


async def change(
    session: WriteSession, actor: Actor, team_id: int, columns: Mapping[str, str | None]
) -> Team:
    """Changes how a team is shown; not what it sees. Raises `Forbidden`, `NotFound`."""
    require_everywhere(actor)
    team = _existing(await team_queries.team_to_change(session, team_id), team_id)
    for name, value in columns.items():
        setattr(team, name, value)
    await session.flush()
    await audit_log.record(session, actor.name, "team.changed", f"team:{team.id}", changed=sorted(columns))
    return team


async def remove(session: WriteSession, actor: Actor, team_id: int, *, force: bool) -> Team:
    """Deletes a team; with `force` also one that has members.

    Raises:
        Forbidden: the caller does not see everything.
        NotFound: there is no such team.
        Invalid: it has members.
    """
    require_everywhere(actor)
    team = _existing(await team_queries.team_to_change(session, team_id), team_id)
    members = await team_queries.members_count(session, team_id)
    if members and not force:
        raise Invalid(HAS_MEMBERS)
    await account_changes.tell_members(session, team_id)
    await session.execute(delete(Team).where(Team.id == team_id))
    await audit_log.record(session, actor.name, "team.deleted", f"team:{team_id}", members=members)
    return team


@dataclass(frozen=True, slots=True)
class Membership:
    """Who is to be in which team, or no longer."""

    team_id: int
    user_id: int


async def add_member(session: WriteSession, by: Administrator, membership: Membership) -> tuple[Team, User]:
    """Puts a person into a team; one who is in it already stays.

    Raises:
        Forbidden: the caller may not, the person may do more than they, or would see what they do not.
        NotFound: the caller sees no such team or person.
    """
    team, user = await _allowed(session, by, membership)
    await require_sight(session, by, user, team)
    added = insert(UserTeam).values(team_id=team.id, user_id=user.id).on_conflict_do_nothing()
    if (await session.execute(added.returning(UserTeam.user_id))).first():
        await _record_member(session, by.actor, "team.member_added", membership)
    return team, user


async def remove_member(session: WriteSession, by: Administrator, membership: Membership) -> None:
    """Takes a person out of a team; for who sees everything it is no matter whether either exists.

    Raises:
        Forbidden: the caller may not, or the person may do more than they.
        NotFound: the caller, who does not see everything, sees no such team or person.
    """
    if by.actor.scope is not Scope.ALL:
        await _allowed(session, by, membership)
    gone = delete(UserTeam).where(
        UserTeam.team_id == membership.team_id, UserTeam.user_id == membership.user_id
    )
    if (await session.execute(gone.returning(UserTeam.user_id))).first():
        await _record_member(session, by.actor, "team.member_removed", membership)


async def require_sight(session: WriteSession, by: Administrator, user: User, team: Team) -> None:
    """What a person sees by a team, whoever puts them into it must see too. Raises `BeyondOwnSight`."""
    grants = await queries.grants_of_user(session, user.id)
    groupes = await team_queries.groupes_of(session, team.id)
    require_seen(by.reach, Reach(grants.by_groupe(), groupes, None))


async def _allowed(session: WriteSession, by: Administrator, membership: Membership) -> tuple[Team, User]:
    actor = by.actor
    if actor.scope is Scope.SELF:
        raise Forbidden
    team = _existing(await team_queries.team(session, actor, membership.team_id), membership.team_id)
    user = await team_queries.person(session, actor, membership.user_id)
    if user is None:
        raise NotFound.of("User", membership.user_id)
    if actor.scope is not Scope.ALL:
        require_not_above(by.grants, await queries.grants_of_user(session, user.id))
    return team, user


async def _record_member(session: WriteSession, actor: Actor, action: str, membership: Membership) -> None:
    await account_changes.tell(session, [membership.user_id])
    await audit_log.record(
        session, actor.name, action, f"team:{membership.team_id}", user_id=str(membership.user_id)
    )


@dataclass(frozen=True, slots=True)
class Sync:
    """What a synchronisation did."""

    teams: int
    members: int
    note: str


async def sync(session: WriteSession, actor: Actor, groups: Listed[CrmGroup]) -> Sync:
    """Takes over the CRM's groups, and the members they tell of who have a linked account; removes nothing.

    Raises `Forbidden` when the caller does not see everything.
    """
    require_everywhere(actor)
    await one_at_a_time(session)
    team_ids = await told(session, groups.items)
    added = await _join(session, await _told_members(session, groups.items, team_ids))
    await account_changes.tell(session, [user_id for user_id, _ in added])
    await audit_log.record(
        session,
        actor.name,
        "team.synced",
        "teams",
        team_ids=sorted(map(str, team_ids.values())),
        added=[{"team_id": str(team_id), "user_id": str(user_id)} for user_id, team_id in added],
        skipped=groups.skipped,
    )
    note = f"{ONLY_ADDED} Malformed groups skipped: {groups.skipped}." if groups.skipped else ONLY_ADDED
    return Sync(len(team_ids), len(added), note)


async def one_at_a_time(session: WriteSession) -> None:
    """Waits for whoever else takes over the CRM's directory; must be the first thing its transaction does."""
    await session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": DIRECTORY_LOCK})


async def told(session: WriteSession, groups: Sequence[CrmGroup]) -> dict[str, int]:
    """Stores groups as the CRM tells them, and adds what they are called now; gives the team's id by the group's."""
    by_id = {group.id: group for group in reversed(groups)}
    if not by_id:
        return {}
    listed = [by_id[crm_group_id] for crm_group_id in sorted(by_id)]
    columns = {
        "crm_group_id": [group.id for group in listed],
        "name": [group.nom if group.nom.strip() else f"CRM Group {group.id}" for group in listed],
        "responsable_1": [group.responsable_1 for group in listed],
        "responsable_2": [group.responsable_2 for group in listed],
        "responsable_3": [group.responsable_3 for group in listed],
    }
    upsert = insert(Team).from_select(
        list(columns), select(*(func.unnest(literal(values, ARRAY(Text))) for values in columns.values()))
    )
    changed = {name: upsert.excluded[name] for name in columns if name != "crm_group_id"}
    upsert = upsert.on_conflict_do_update(
        index_elements=[Team.crm_group_id], set_={**changed, "updated_at": func.now()}
    )
    rows = await session.execute(upsert.returning(Team.crm_group_id, Team.id))
    team_ids = {str(row.crm_group_id): int(row.id) for row in rows}
    await _know(session, [(team_ids[group.id], name) for group in listed for name in (group.id, group.nom)])
    return team_ids


async def join(session: WriteSession, user_id: int, team_id: int) -> None:
    """Makes a person a member, if they are none yet."""
    await _join(session, [(user_id, team_id)])


async def _told_members(
    session: WriteSession, groups: Iterable[CrmGroup], team_ids: Mapping[str, int]
) -> list[tuple[int, int]]:
    """Pairs of person and team."""
    wanted = {(number, team_ids[group.id]) for group in groups for number in group.user_ids or ()}
    numbers = literal(sorted({number for number, _ in wanted}), ARRAY(Text))
    rows = await session.execute(select(User.crm_user_id, User.id).where(User.crm_user_id == any_(numbers)))
    user_ids = {str(number): user_id for number, user_id in rows}
    return sorted((user_ids[number], team_id) for number, team_id in wanted if number in user_ids)


async def _join(session: WriteSession, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Adds memberships; gives those that were missing."""
    rows = await session.execute(
        insert(UserTeam)
        .from_select(["user_id", "team_id"], _unnested(pairs, BigInteger(), BigInteger()))
        .on_conflict_do_nothing()
        .returning(UserTeam.user_id, UserTeam.team_id)
    )
    return [(user_id, team_id) for user_id, team_id in rows]


async def _know(session: WriteSession, pairs: Sequence[tuple[int, str]]) -> None:
    """Adds what fiches may say of a team; a blank name says nothing."""
    named = [(team_id, groupe) for team_id, groupe in pairs if groupe.strip()]
    await session.execute(
        insert(TeamGroupe)
        .from_select(["team_id", "groupe"], _unnested(named, BigInteger(), Text()))
        .on_conflict_do_nothing()
    )


def _unnested(pairs: Sequence[tuple[Any, Any]], one: Any, other: Any) -> Any:
    return select(
        func.unnest(literal([pair[0] for pair in pairs], ARRAY(one))),
        func.unnest(literal([pair[1] for pair in pairs], ARRAY(other))),
    )


def _existing(team: Team | None, team_id: int) -> Team:
    if team is None:
        raise NotFound.of("Team", team_id)
    return team
