"""`/api/admin`: teams, the CRM's directory, and accounts made from it (spec/http-auth §4)."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Response

from conforme.accounts import from_crm, team_queries, teams
from conforme.accounts.actor import Actor
from conforme.accounts.auth import administering, may
from conforme.accounts.models import Team, User
from conforme.accounts.rules import Administrator, require_everywhere
from conforme.accounts.team_schemas import (
    AddMember,
    ChangeTeam,
    CrmTeamLine,
    CrmTeamList,
    CrmTeamWithUsers,
    CrmUserLine,
    CrmUserList,
    FromCrm,
    FromCrmOut,
    InvitedOut,
    MemberAdded,
    MemberOut,
    MemberRemoved,
    PersonOut,
    Synced,
    TeamAnswer,
    TeamDeleted,
    TeamList,
    TeamName,
    TeamOut,
    TeamWithMembers,
    UpsertTeam,
)
from conforme.crm.directory import CrmDirectory
from conforme.crm.directory_schemas import CrmGroup, CrmUser
from conforme.foundation.web import ERRORS, Answer, Page, Pagination, ResourcesDep, path_id

router = APIRouter(prefix="/api/admin", tags=["teams"], responses=ERRORS)

Reader = Annotated[Actor, may("admin.users.read")]
Writer = Annotated[Actor, may("admin.users.write")]
Administering = Annotated[Administrator, administering("admin.users.write")]
MAX_LISTED = 500
Limit = Annotated[int, Query(ge=1, le=MAX_LISTED)]
Offset = Annotated[int, Query(ge=0, le=1_000_000_000)]
TEAM_LABEL = "team id"
USER_LABEL = "user id"

Item = TypeVar("Item")


@router.get("/crm/users")
async def crm_users(
    resources: ResourcesDep, actor: Reader, limit: Limit = MAX_LISTED, offset: Offset = 0
) -> Answer[CrmUserList]:
    """The people of the CRM, each with the account linked to them: by CRM id, else by e-mail address."""
    require_everywhere(actor)
    listed = await _directory(resources).users()
    page = Page(limit=limit, offset=offset)
    shown = _cut(listed.items, page)
    async with resources.database.read() as session:
        accounts = await team_queries.linked_people(
            session, [user.id for user in shown], [_address(user) for user in shown]
        )
    lines = _with_accounts(shown, accounts)
    paging = _paging(page, len(listed.items))
    return Answer(
        data=CrmUserList(utilisateurs=lines, count=len(lines), skipped=listed.skipped, pagination=paging)
    )


@router.get("/crm/teams")
async def crm_teams(
    resources: ResourcesDep,
    actor: Reader,
    include_users: str = "",
    limit: Limit = MAX_LISTED,
    offset: Offset = 0,
) -> Answer[CrmTeamList]:
    """The sales teams of the CRM; with the CRM ids of their members when `include_users` is `true`."""
    require_everywhere(actor)
    with_users = include_users == "true"
    listed = await _directory(resources).groups(include_users=with_users)
    page = Page(limit=limit, offset=offset)
    lines = [_crm_team(group, with_users=with_users) for group in _cut(listed.items, page)]
    paging = _paging(page, len(listed.items))
    return Answer(
        data=CrmTeamList(groupes=lines, count=len(lines), skipped=listed.skipped, pagination=paging)
    )


@router.post("/teams/sync-from-crm")
async def sync_from_crm(resources: ResourcesDep, actor: Writer, sync_members: str = "") -> Answer[Synced]:
    """Takes over the CRM's teams and, when `sync_members` is `true`, memberships of linked people; removes nothing."""
    require_everywhere(actor)
    groups = await _directory(resources).groups(include_users=sync_members == "true")
    async with resources.database.write() as session:
        done = await teams.sync(session, actor, groups)
    return Answer(data=Synced(teams_upserted=done.teams, members_added=done.members, note=done.note))


@router.get("/teams")
async def listing(
    resources: ResourcesDep,
    actor: Reader,
    include_users: str = "",
    limit: Limit = MAX_LISTED,
    offset: Offset = 0,
) -> Answer[TeamList]:
    """Teams by name: all with scope ALL, else the caller's own; with their members when `include_users` is `true`."""
    page, with_users = Page(limit=limit, offset=offset), include_users == "true"
    async with resources.database.read() as session:
        listed, total = await team_queries.teams(session, actor, page)
        if with_users:
            listed = await team_queries.with_members(session, actor, listed)
    lines = [_with_members(each) if with_users else _team(each.team, each.members_count) for each in listed]
    return Answer(data=TeamList(teams=lines, count=len(lines), pagination=_paging(page, total)))


@router.post("/teams", status_code=201, responses={200: {"model": Answer[TeamAnswer]}})
async def upsert(
    resources: ResourcesDep, actor: Writer, body: UpsertTeam, response: Response
) -> Answer[TeamAnswer]:
    """Creates a team, 201, or changes how one is shown, 200. A new one sees the groupe of its CRM id and of its name."""
    columns = body.model_dump(exclude={"crm_group_id"})
    async with resources.database.write() as session:
        team, created = await teams.state(session, actor, body.crm_group_id, columns)
        count = await team_queries.members_count(session, team.id)
    response.status_code = 201 if created else 200
    return Answer(data=TeamAnswer(team=_team(team, count)))


@router.patch("/teams/{team_id}")
async def change(
    resources: ResourcesDep, actor: Writer, team_id: str, body: ChangeTeam
) -> Answer[TeamAnswer]:
    """Changes how a team is shown, never what its members see."""
    number = path_id(team_id, TEAM_LABEL)
    async with resources.database.write() as session:
        team = await teams.change(session, actor, number, body.changes())
        count = await team_queries.members_count(session, number)
    return Answer(data=TeamAnswer(team=_team(team, count)))


@router.delete("/teams/{team_id}")
async def delete(
    resources: ResourcesDep, actor: Writer, team_id: str, force: str = ""
) -> Answer[TeamDeleted]:
    """Deletes a team without members, or any when `force` is `true`."""
    number = path_id(team_id, TEAM_LABEL)
    async with resources.database.write() as session:
        team = await teams.remove(session, actor, number, force=force == "true")
    return Answer(data=TeamDeleted(team=_name(team)))


@router.post("/teams/{team_id}/members")
async def add_member(
    resources: ResourcesDep, by: Administering, team_id: str, body: AddMember
) -> Answer[MemberAdded]:
    """Puts a person into a team; whoever is in it already stays."""
    membership = teams.Membership(path_id(team_id, TEAM_LABEL), body.user_id)
    async with resources.database.write() as session:
        team, user = await teams.add_member(session, by, membership)
    return Answer(data=MemberAdded(team=_name(team), user=_person(user)))


@router.delete("/teams/{team_id}/members/{user_id}")
async def remove_member(
    resources: ResourcesDep, by: Administering, team_id: str, user_id: str
) -> Answer[MemberRemoved]:
    """Takes a person out of a team, if they are in it."""
    membership = teams.Membership(path_id(team_id, TEAM_LABEL), path_id(user_id, USER_LABEL))
    async with resources.database.write() as session:
        await teams.remove_member(session, by, membership)
    return Answer(data=MemberRemoved())


@router.post("/users/from-crm", status_code=201)
async def user_from_crm(
    resources: ResourcesDep, by: Administering, body: FromCrm, response: Response
) -> Answer[FromCrmOut]:
    """Gives a person of the CRM an account, their team and, until they have a password, an invitation."""
    require_everywhere(by.actor)
    newcomer = await from_crm.look_up(_directory(resources), body.crm_user_id, body.crm_group_id)
    async with resources.database.write() as session:
        welcomed = await from_crm.welcome(
            session,
            by,
            newcomer,
            role_keys=body.role_keys,
            invite_ttl=timedelta(seconds=resources.settings.auth_invite_ttl_seconds),
        )
    response.headers["Cache-Control"] = "no-store"
    return Answer(data=_welcomed(welcomed))


def _directory(resources: ResourcesDep) -> CrmDirectory:
    return CrmDirectory(resources.outbound, resources.settings)


def _cut(items: Sequence[Item], page: Page) -> Sequence[Item]:
    return items[page.offset : page.offset + page.limit]


def _paging(page: Page, total: int) -> Pagination:
    return Pagination.model_validate(page.describe(total))


def _address(user: CrmUser) -> str:
    return (user.email or "").strip().lower()


def _with_accounts(users: Sequence[CrmUser], accounts: Sequence[User]) -> list[CrmUserLine]:
    by_number: Mapping[str | None, User] = {each.crm_user_id: each for each in accounts if each.crm_user_id}
    by_address = {each.email: each for each in accounts}
    lines: list[CrmUserLine] = []
    for user in users:
        account = by_number.get(user.id) or by_address.get(_address(user))
        linked = None if account is None else _person(account)
        lines.append(CrmUserLine(**user.model_dump(), app_user=linked))
    return lines


def _crm_team(group: CrmGroup, *, with_users: bool) -> CrmTeamLine:
    told = group.model_dump(exclude={"user_ids"})
    return CrmTeamWithUsers(**told, user_ids=group.user_ids or []) if with_users else CrmTeamLine(**told)


def _name(team: Team) -> TeamName:
    return TeamName(id=team.id, crm_group_id=team.crm_group_id, name=team.name)


def _columns(team: Team, members_count: int) -> dict[str, Any]:
    names = ("id", "crm_group_id", "name", "responsable_1", "responsable_2", "responsable_3")
    return {name: getattr(team, name) for name in names} | {"membres_count": members_count}


def _team(team: Team, members_count: int) -> TeamOut:
    return TeamOut(**_columns(team, members_count))


def _with_members(listed: team_queries.Listed) -> TeamWithMembers:
    members = [
        MemberOut(user_id=user.id, email=user.email, status=user.status, crm_user_id=user.crm_user_id)
        for user in listed.members
    ]
    shown = [user.id for user in listed.members]
    return TeamWithMembers(**_columns(listed.team, listed.members_count), members=members, user_ids=shown)


def _person(user: User) -> PersonOut:
    return PersonOut(id=user.id, email=user.email, status=user.status, crm_user_id=user.crm_user_id)


def _welcomed(welcomed: from_crm.Welcomed) -> FromCrmOut:
    user = InvitedOut(**_person(welcomed.user).model_dump(), roles=welcomed.roles)
    team = None if welcomed.team is None else _name(welcomed.team)
    return FromCrmOut(user=user, team=team, groupe=team, invite_token=welcomed.invite_token)
