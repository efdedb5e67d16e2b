"""What accounts start with: permissions, the three roles of the product, and an administrator where one is set.

Safe when many replicas start at once, and again at every start: what a person changed stays changed (spec/http-auth
§3.1).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr, TypeAdapter, ValidationError
from sqlalchemy import delete, text
from sqlalchemy.dialects.postgresql import insert

from conforme.accounts import audit_log, queries, roles
from conforme.accounts.actor import Scope
from conforme.accounts.admin_schemas import Email, Password
from conforme.accounts.grants import KEYS
from conforme.accounts.models import ACTIVE, Permission, Role, RolePermission, User, UserRole
from conforme.accounts.passwords import hashed
from conforme.accounts.queries import RoleGrant
from conforme.accounts.rules import ADMIN, OPERATOR, VIEWER
from conforme.foundation.database import Database, WriteSession
from conforme.foundation.errors import Misconfigured
from conforme.settings import Settings

LOCK_KEY = 7_266_013_003
"""Advisory lock under which one process seeds at a time."""
SEEDER = "system:seed"
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)
_PASSWORD: TypeAdapter[str] = TypeAdapter(Password)


@dataclass(frozen=True, slots=True)
class Seeded:
    """A role that comes with the product."""

    name: str
    description: str
    grants: tuple[RoleGrant, ...]


def _granting(keys: Iterable[str], scope: Scope, *, write: bool = False) -> tuple[RoleGrant, ...]:
    return tuple(RoleGrant(key, read=True, write=write, scope=scope) for key in keys)


_OPERATED = ("fiches", "audits", "automation", "transcriptions", "chat", "realtime")
_VIEWED = ("fiches", "audits", "automation", "recordings", "transcriptions", "realtime")
_OF_THE_HOUSE = ("audit-configs", "products")

ROLES: Mapping[str, Seeded] = {
    ADMIN: Seeded("Administrator", "Everything", _granting(KEYS, Scope.ALL, write=True)),
    OPERATOR: Seeded(
        "Operator",
        "Runs and reviews audits of their groups",
        _granting(_OPERATED, Scope.GROUP, write=True)
        + _granting(["recordings"], Scope.GROUP)
        + _granting(_OF_THE_HOUSE, Scope.ALL),
    ),
    VIEWER: Seeded(
        "Viewer",
        "Reads what is of their groups",
        _granting(_VIEWED, Scope.GROUP)
        + _granting(_OF_THE_HOUSE, Scope.ALL)
        + _granting(["chat"], Scope.GROUP, write=True),
    ),
}


async def seed(database: Database, settings: Settings) -> None:
    """Seeds permissions, roles and, where the settings name one, an administrator.

    Raises:
        Misconfigured: the administrator's e-mail or password cannot be used.
    """
    async with database.write() as session:
        await seed_roles(session)
        email, password = settings.auth_seed_admin_email, settings.auth_seed_admin_password
        if email and password:
            await _seed_admin(session, email, password)


async def seed_roles(session: WriteSession) -> None:
    """Permissions and the product's roles; a role that grants anything keeps what it grants."""
    await session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
    known = [{"key": key, "description": described} for key, described in KEYS.items()]
    await session.execute(insert(Permission).values(known).on_conflict_do_nothing())
    for key, seeded in ROLES.items():
        await ensure_role(session, key, seeded)


async def ensure_role(session: WriteSession, key: str, seeded: Seeded) -> int:
    """The id of a role, made if there is none, with its grants if it has none."""
    values = {"key": key, "name": seeded.name, "description": seeded.description}
    query = insert(Role).values(values).on_conflict_do_nothing().returning(Role.id)
    made = await session.scalar(query)
    role_id = made or await queries.hold_role(session, key)
    assert role_id is not None  # noqa: S101 -- it was there, or it was made
    if not await queries.has_active_grant(session, role_id):
        await session.execute(delete(RolePermission).where(RolePermission.role_id == role_id))
        permissions = await queries.permission_ids(session, (grant.key for grant in seeded.grants))
        await roles.write_grants(session, role_id, seeded.grants, permissions)
        action = "role.created" if made else "role.changed"
        await audit_log.record(
            session, SEEDER, action, f"role:{role_id}", key=key, grants=roles.told(seeded.grants)
        )
    return role_id


async def _seed_admin(session: WriteSession, email: str, password: SecretStr) -> None:
    try:
        address = _EMAIL.validate_python(email)
    except ValidationError:
        raise Misconfigured("AUTH_SEED_ADMIN_EMAIL must be an e-mail address") from None
    try:
        secret = _PASSWORD.validate_python(password.get_secret_value())
    except ValidationError:
        raise Misconfigured("AUTH_SEED_ADMIN_PASSWORD must have 8 to 200 characters") from None
    user = await queries.user_with_email(session, address)
    user_id = user.id if user else await add_user(session, SEEDER, address, secret)
    await ensure_held(session, SEEDER, user_id, ADMIN)


async def add_user(session: WriteSession, by: str, email: str, password: str) -> int:
    """An active person without roles, whose e-mail nobody has."""
    values = {"email": email, "password_hash": await hashed(password), "status": ACTIVE}
    user_id = (await session.execute(insert(User).values(values).returning(User.id))).scalar_one()
    await audit_log.record(session, by, "user.created", f"user:{user_id}", status=ACTIVE, roles=[])
    return user_id


async def ensure_held(session: WriteSession, by: str, user_id: int, key: str) -> None:
    """Gives a person a role they do not hold yet."""
    role_id = await queries.hold_role(session, key)
    held = {"user_id": user_id, "role_id": role_id}
    given = insert(UserRole).values(held).on_conflict_do_nothing().returning(UserRole.role_id)
    if await session.scalar(given) is not None:
        await audit_log.record(session, by, "user.changed", f"user:{user_id}", added_roles=[key])
