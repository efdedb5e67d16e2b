"""`/api/admin`: people, roles, permissions and the audit log (spec/http-auth §4)."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from conforme.accounts import audit_log, queries, roles, users
from conforme.accounts.actor import Actor
from conforme.accounts.admin_schemas import (
    AuditLogData,
    CreateRole,
    CreateUser,
    Deleted,
    EntryOut,
    InviteData,
    LoggedOut,
    PermissionOut,
    PermissionsData,
    RoleData,
    RoleOut,
    RolesData,
    UpdateRole,
    UpdateUser,
    UserData,
    UserOut,
    UsersData,
)
from conforme.accounts.auth import administering, may
from conforme.accounts.passwords import hashed
from conforme.accounts.queries import Slice
from conforme.accounts.rules import Administrator, require_everywhere
from conforme.accounts.users import Changes, NewUser
from conforme.foundation.database import ReadSession
from conforme.foundation.web import ERRORS, INT64_MAX, Answer, Page, Pagination, ResourcesDep, Text, path_id

MAX_PAGE = 500
MAX_LOG_PAGE = 200
USER, ROLE = "user id", "role id"

router = APIRouter(prefix="/api/admin", tags=["admin"], responses=ERRORS)


UserReader = Annotated[Actor, may("admin.users.read")]
UserWriter = Annotated[Administrator, administering("admin.users.write")]
RoleReader = Annotated[Actor, may("admin.roles.read")]
RoleWriter = Annotated[Administrator, administering("admin.roles.write")]
PermissionReader = Annotated[Actor, may("admin.permissions.read")]
Offset = Annotated[int, Query(ge=0, le=INT64_MAX)]


async def slice_of(limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE, offset: Offset = 0) -> Slice:
    """Which part of a list is asked for."""
    return Slice(limit, offset)


Paged = Annotated[Slice, Depends(slice_of)]


@router.get("/users")
async def list_users(resources: ResourcesDep, actor: UserReader, page: Paged) -> Answer[UsersData]:
    """People by id: all, those of the caller's teams, or the caller alone, as the permission reaches."""
    async with resources.database.read() as session:
        found, total = await queries.accounts(session, actor, page)
    shown = [UserOut.model_validate(each) for each in found]
    return Answer(data=UsersData(users=shown, count=len(shown), total=total))


@router.post("/users", status_code=201)
async def create_user(resources: ResourcesDep, by: UserWriter, body: CreateUser) -> Answer[UserData]:
    """Makes an active person who signs in with this password; needs `admin.users` over everything."""
    require_everywhere(by.actor)
    new = NewUser(body.email, await hashed(body.password), body.role_keys)
    async with resources.database.write() as session:
        account = await users.create(session, by, new)
    return Answer(data=UserData(user=UserOut.model_validate(account)))


@router.patch("/users/{user_id}")
async def change_user(
    resources: ResourcesDep, by: UserWriter, user_id: str, body: UpdateUser
) -> Answer[UserData]:
    """Changes status, password or roles; who is disabled or gets another password is signed out at once."""
    known = path_id(user_id, USER)
    password_hash = None if body.password is None else await hashed(body.password)
    async with resources.database.write() as session:
        account = await users.change(session, by, known, Changes(body.status, password_hash, body.role_keys))
    return Answer(data=UserData(user=UserOut.model_validate(account)))


@router.delete("/users/{user_id}")
async def delete_user(resources: ResourcesDep, by: UserWriter, user_id: str) -> Answer[Deleted]:
    """Deletes a person with their sessions, memberships and API tokens."""
    async with resources.database.write() as session:
        await users.remove(session, by, path_id(user_id, USER))
    return Answer(data=Deleted())


@router.post("/users/{user_id}/invite")
async def invite_user(resources: ResourcesDep, by: UserWriter, user_id: str) -> Answer[InviteData]:
    """A new invitation for whoever has no password yet; earlier ones are good for nothing any more."""
    ttl = timedelta(seconds=resources.settings.auth_invite_ttl_seconds)
    async with resources.database.write() as session:
        account, token = await users.invite_again(session, by, path_id(user_id, USER), ttl)
    return Answer(data=InviteData(user=UserOut.model_validate(account), invite_token=token))


@router.post("/users/{user_id}/logout")
async def log_user_out(resources: ResourcesDep, by: UserWriter, user_id: str) -> Answer[LoggedOut]:
    """Ends every session of a person."""
    async with resources.database.write() as session:
        await users.log_out(session, by, path_id(user_id, USER))
    return Answer(data=LoggedOut())


@router.get("/roles")
async def list_roles(resources: ResourcesDep, _actor: RoleReader, page: Paged) -> Answer[RolesData]:
    """Roles by key, with what they grant."""
    async with resources.database.read() as session:
        found, total = await queries.roles(session, page)
    return Answer(data=RolesData(roles=[RoleOut.of(each) for each in found], count=len(found), total=total))


@router.post("/roles", status_code=201)
async def create_role(resources: ResourcesDep, by: RoleWriter, body: CreateRole) -> Answer[RoleData]:
    """Makes a role that grants no more than the caller holds; needs `admin.roles` over everything."""
    async with resources.database.write() as session:
        role = await roles.create(session, by, body.new_role())
    return Answer(data=RoleData(role=RoleOut.of(role)))


@router.get("/roles/{role_id}")
async def one_role(resources: ResourcesDep, _actor: RoleReader, role_id: str) -> Answer[RoleData]:
    """One role with what it grants."""
    async with resources.database.read() as session:
        role = await roles.shown(session, path_id(role_id, ROLE))
    return Answer(data=RoleData(role=RoleOut.of(role)))


@router.patch("/roles/{role_id}")
async def change_role(
    resources: ResourcesDep, by: RoleWriter, role_id: str, body: UpdateRole
) -> Answer[RoleData]:
    """Changes what the body names; grants replace all the role granted, and count at once."""
    known = path_id(role_id, ROLE)
    async with resources.database.write() as session:
        role = await roles.change(session, by, known, body.columns(), body.grants())
    return Answer(data=RoleData(role=RoleOut.of(role)))


@router.delete("/roles/{role_id}")
async def delete_role(resources: ResourcesDep, by: RoleWriter, role_id: str) -> Answer[Deleted]:
    """Deletes a role that nobody holds."""
    async with resources.database.write() as session:
        await roles.remove(session, by, path_id(role_id, ROLE))
    return Answer(data=Deleted())


@router.get("/permissions")
async def list_permissions(
    resources: ResourcesDep, _actor: PermissionReader, page: Paged
) -> Answer[PermissionsData]:
    """Everything a role can grant, by key."""
    async with resources.database.read() as session:
        found, total = await queries.permissions(session, page)
    shown = [PermissionOut.model_validate(each) for each in found]
    return Answer(data=PermissionsData(permissions=shown, count=len(shown), total=total))


@router.get("/audit-log")
async def read_audit_log(
    resources: ResourcesDep,
    actor: UserReader,
    limit: Annotated[int, Query(ge=1, le=MAX_LOG_PAGE)] = 50,
    offset: Offset = 0,
    action: Annotated[Text | None, Query(max_length=100)] = None,
) -> Answer[AuditLogData]:
    """What was changed and what was refused, newest first; needs `admin.users` over everything."""
    require_everywhere(actor)
    page = Page(limit=limit, offset=offset)
    async with resources.database.read() as session:
        return Answer(data=await _log_page(session, page, action))


async def _log_page(session: ReadSession, page: Page, action: str | None) -> AuditLogData:
    rows, total = await audit_log.page(session, limit=page.limit, offset=page.offset, action=action)
    pagination = Pagination.model_validate(page.describe(total))
    return AuditLogData(entries=[EntryOut.of(row) for row in rows], pagination=pagination)
