"""The wire of people, roles and the audit log (spec/http-auth §4): snake_case, ids as strings.

Unknown keys of a body are dropped: ids, hashes and grants of a person come from nowhere but the rules.
"""

import re
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    model_validator,
)

from conforme.accounts.actor import Scope
from conforme.accounts.models import AuditLogRow
from conforme.accounts.queries import RoleGrant, RoleSheet
from conforme.accounts.roles import NewRole, merged, of_permission_keys
from conforme.accounts.rules import VIEWER
from conforme.foundation.web import Pagination, Text, WireId, WireTime

T = TypeVar("T")

MAX_EMAIL = 254
MAX_ROLES = 100
MAX_GRANTS = 200
_EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_ROLE_KEY = re.compile(r"[a-z0-9._:-]+")


def _lowered(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _email(value: str) -> str:
    if len(value) > MAX_EMAIL or not _EMAIL.fullmatch(value):
        raise ValueError("must be an e-mail address")
    return value


def _role_key(value: str) -> str:
    if not _ROLE_KEY.fullmatch(value):
        raise ValueError("may hold letters, digits and . _ : - alone")
    return value


def _unblank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value.strip()


Email = Annotated[Text, BeforeValidator(_lowered), AfterValidator(_email)]
"""Trimmed, in lower case, ASCII."""
Password = Annotated[Text, Field(min_length=8, max_length=200)]
Status = Literal["INVITED", "ACTIVE", "DISABLED"]
RoleKeys = Annotated[
    tuple[Annotated[Text, BeforeValidator(_lowered), Field(max_length=80)], ...],
    Field(min_length=1, max_length=MAX_ROLES),
]
NewKey = Annotated[
    Text, BeforeValidator(_lowered), Field(min_length=1, max_length=80), AfterValidator(_role_key)
]
Name = Annotated[Text, Field(min_length=1, max_length=200), AfterValidator(_unblank)]
Description = Annotated[Text, Field(max_length=5000)]


class CreateUser(BaseModel):
    email: Email
    password: Password
    role_keys: RoleKeys = (VIEWER,)


class UpdateUser(BaseModel):
    status: Status | None = None
    password: Password | None = None
    role_keys: RoleKeys | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.status is None and self.password is None and self.role_keys is None:
            raise ValueError("name at least one of status, password and role_keys")
        return self


class GrantIn(BaseModel):
    key: Annotated[Text, Field(max_length=200)]
    read: StrictBool = False
    write: StrictBool = False
    scope: Scope = Scope.SELF

    def grant(self) -> RoleGrant:
        return RoleGrant(self.key, self.read, self.write, self.scope)


class _WithGrants(BaseModel):
    """Where both forms are given, `permission_grants` counts."""

    permission_grants: Annotated[tuple[GrantIn, ...], Field(max_length=MAX_GRANTS)] | None = None
    permission_keys: (
        Annotated[tuple[Annotated[Text, Field(max_length=200)], ...], Field(max_length=MAX_GRANTS)] | None
    ) = None

    def grants(self) -> tuple[RoleGrant, ...] | None:
        """None when the body names no grants. Raises `Invalid` for one that allows nothing."""
        if self.permission_grants is not None:
            return merged(each.grant() for each in self.permission_grants)
        return None if self.permission_keys is None else of_permission_keys(self.permission_keys)


class CreateRole(_WithGrants):
    key: NewKey
    name: Name
    description: Description | None = None

    def new_role(self) -> NewRole:
        return NewRole(self.key, self.name, self.description, self.grants() or ())


class UpdateRole(_WithGrants):
    name: Name | None = None
    description: Description | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.columns() and self.permission_grants is None and self.permission_keys is None:
            raise ValueError("name at least one of name, description, permission_grants and permission_keys")
        return self

    def columns(self) -> dict[str, str | None]:
        """What is to change; null clears the description."""
        named: dict[str, str | None] = {} if self.name is None else {"name": self.name}
        return named | ({"description": self.description} if "description" in self.model_fields_set else {})


class UserOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: WireId
    email: str
    status: Status
    roles: list[str]


class UserData(BaseModel):
    user: UserOut


class InviteData(UserData):
    invite_token: str
    """Shown this once."""


class Counted(BaseModel):
    count: int
    """On this page."""
    total: int


class UsersData(Counted):
    users: list[UserOut]


class GrantOut(BaseModel):
    key: str
    read: bool
    write: bool
    scope: Scope


class RoleOut(BaseModel):
    id: WireId
    key: str
    name: str
    description: str | None
    permissions: list[str]
    permission_grants: list[GrantOut]

    @classmethod
    def of(cls, role: RoleSheet) -> Self:
        grants = [
            GrantOut(key=each.key, read=each.read, write=each.write, scope=each.scope) for each in role.grants
        ]
        return cls(
            id=role.id,
            key=role.key,
            name=role.name,
            description=role.description,
            permissions=[each.key for each in role.grants],
            permission_grants=grants,
        )


class RoleData(BaseModel):
    role: RoleOut


class RolesData(Counted):
    roles: list[RoleOut]


class PermissionOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: WireId
    key: str
    description: str | None


class PermissionsData(Counted):
    permissions: list[PermissionOut]


class Deleted(BaseModel):
    deleted: Literal[True] = True


class LoggedOut(BaseModel):
    logged_out: Literal[True] = True


class EntryOut(BaseModel):
    id: WireId
    at: WireTime
    actor: str
    action: str
    target: str
    details: dict[str, Any]
    request_id: str | None
    hash: str
    """SHA-256 of the entry and of the hash before it, in hexadecimal."""

    @classmethod
    def of(cls, row: AuditLogRow) -> Self:
        return cls(
            id=row.id,
            at=row.at,
            actor=row.actor,
            action=row.action,
            target=row.target,
            details=row.details,
            request_id=row.request_id,
            hash=row.hash.hex(),
        )


class AuditLogData(BaseModel):
    entries: list[EntryOut]
    pagination: Pagination
