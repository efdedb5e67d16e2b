"""Roles: what they grant, and who may change that (spec/http-auth §4)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert
from sqlalchemy.dialects.postgresql import insert as insert_or_skip

from conforme.accounts import account_changes, audit_log, queries
from conforme.accounts.actor import Scope
from conforme.accounts.grants import Grant, Grants, split_suffix
from conforme.accounts.models import Role, RolePermission
from conforme.accounts.queries import RoleGrant, RoleSheet
from conforme.accounts.rules import (
    PROTECTED,
    Administrator,
    require_everywhere,
    require_grantable,
    require_not_above,
    require_unprotected,
)
from conforme.foundation.database import WriteSession
from conforme.foundation.errors import Conflict, Invalid, NotFound


@dataclass(frozen=True, slots=True)
class NewRole:
    key: str
    name: str
    description: str | None
    grants: tuple[RoleGrant, ...]


def merged(grants: Iterable[RoleGrant]) -> tuple[RoleGrant, ...]:
    """One grant a key: flags add up and the widest scope counts for both, since a role states one.

    Raises:
        Invalid: a grant allows neither reading nor writing.
    """
    by_key: dict[str, RoleGrant] = {}
    for grant in grants:
        if not (grant.read or grant.write):
            raise Invalid("Permission grant must enable read and/or write", field="permission_grants")
        known = by_key.get(grant.key, grant)
        by_key[grant.key] = RoleGrant(
            grant.key,
            read=known.read or grant.read,
            write=known.write or grant.write,
            scope=max(known.scope, grant.scope, key=lambda scope: scope.rank),
        )
    return tuple(by_key[key] for key in sorted(by_key))


def of_permission_keys(keys: Iterable[str]) -> tuple[RoleGrant, ...]:
    """What the older form states: `audits.read`, `audits.run`, or a bare `audits` for both; within the groupe."""
    grants: list[RoleGrant] = []
    for given in keys:
        key, write = split_suffix(given)
        grants.append(RoleGrant(key, read=write is not True, write=write is not False, scope=Scope.GROUP))
    return merged(grants)


def allowed_by(grants: Iterable[RoleGrant]) -> Grants:
    """What whoever holds a role of these grants may do."""
    return Grants.of(
        Grant.of_role(grant.key, read=grant.read, write=grant.write, scope=grant.scope) for grant in grants
    )


async def create(session: WriteSession, by: Administrator, new: NewRole) -> RoleSheet:
    """A new role.

    Raises:
        Forbidden: the administrator does not reach over everything, or does not hold what the role grants.
        Invalid: a permission is unknown.
        Conflict: a role has this key.
    """
    require_everywhere(by.actor)
    permissions = await _known_permissions(session, new.grants)
    require_grantable(by.grants, allowed_by(new.grants))
    values = {"key": new.key, "name": new.name, "description": new.description}
    query = insert_or_skip(Role).values(values).on_conflict_do_nothing().returning(Role.id)
    role_id = None if new.key in PROTECTED else await session.scalar(query)
    if role_id is None:
        raise Conflict("A role with this key exists", field="key")
    await write_grants(session, role_id, new.grants, permissions)
    await audit_log.record(
        session, by.actor.name, "role.created", _name(role_id), key=new.key, grants=told(new.grants)
    )
    return await shown(session, role_id)


async def change(
    session: WriteSession,
    by: Administrator,
    role_id: int,
    columns: dict[str, Any],
    grants: tuple[RoleGrant, ...] | None,
) -> RoleSheet:
    """Changes a role's `name` and `description`; `grants`, unless None, replace all it granted.

    Raises:
        NotFound: no such role.
        Forbidden: the administrator does not reach over everything, or the role grants what they do not hold.
        Invalid: the role comes with the product, or a permission is unknown.
    """
    require_everywhere(by.actor)
    before = await _changeable(session, by, role_id, "edit")
    role = await queries.locked_role(session, role_id)
    for name, value in columns.items():
        setattr(role, name, value)
    await session.flush()
    details: dict[str, Any] = {"key": before.key, "fields": sorted(columns)}
    if grants is not None:
        permissions = await _known_permissions(session, grants)
        require_grantable(by.grants, allowed_by(grants))
        await session.execute(delete(RolePermission).where(RolePermission.role_id == role_id))
        await write_grants(session, role_id, grants, permissions)
        details["grants"] = [told(before.grants), told(grants)]
        await account_changes.tell_holders(session, role_id)
    await audit_log.record(session, by.actor.name, "role.changed", _name(role_id), **details)
    return await shown(session, role_id)


async def remove(session: WriteSession, by: Administrator, role_id: int) -> None:
    """Deletes a role that nobody holds.

    Raises:
        NotFound: no such role.
        Forbidden: the administrator does not reach over everything, or the role grants what they do not hold.
        Invalid: the role comes with the product, or somebody holds it.
    """
    require_everywhere(by.actor)
    gone = await _changeable(session, by, role_id, "delete")
    if held := await queries.holders(session, role_id):
        raise Invalid(f"Role is assigned to {held} user(s); remove it from users first")
    await session.execute(delete(Role).where(Role.id == role_id))
    await audit_log.record(
        session, by.actor.name, "role.deleted", _name(role_id), key=gone.key, grants=told(gone.grants)
    )


async def shown(session: queries.Session, role_id: int) -> RoleSheet:
    """Raises `NotFound` for an id that no role has."""
    sheet = await queries.role(session, role_id)
    if sheet is None:
        raise NotFound.of("Role", role_id)
    return sheet


async def write_grants(
    session: WriteSession, role_id: int, grants: Sequence[RoleGrant], permissions: dict[str, int]
) -> None:
    """Grants for a role that has none; `permissions` are the ids of their keys."""
    rows = [
        {
            "role_id": role_id,
            "permission_id": permissions[grant.key],
            "can_read": grant.read,
            "can_write": grant.write,
            "scope": grant.scope,
        }
        for grant in grants
    ]
    if rows:
        await session.execute(insert(RolePermission).values(rows))


def told(grants: Iterable[RoleGrant]) -> list[str]:
    """Grants as the audit log tells them: `audits rw GROUP`."""
    return [f"{grant.key} {'r' * grant.read}{'w' * grant.write} {grant.scope}" for grant in grants]


async def _changeable(session: WriteSession, by: Administrator, role_id: int, done: str) -> RoleSheet:
    await queries.locked_role(session, role_id)
    sheet = await shown(session, role_id)
    require_unprotected(sheet.key, done)
    require_not_above(by.grants, allowed_by(sheet.grants))
    return sheet


async def _known_permissions(session: WriteSession, grants: Sequence[RoleGrant]) -> dict[str, int]:
    found = await queries.permission_ids(session, (grant.key for grant in grants))
    if len(found) < len(grants):
        raise Invalid("Unknown permission key(s)", field="permission_grants")
    return found


def _name(role_id: int) -> str:
    return f"role:{role_id}"
