"""Accounts start with the product's permissions and roles, however often and by however many they are seeded."""

import asyncio

import httpx2
import pytest
from admin_room import PASSWORD, data, fits, logged, user_row
from pydantic import SecretStr
from sqlalchemy import delete, func, select, update

from conforme.accounts import queries
from conforme.accounts.grants import EVERYTHING, KEYS, Grants, Scope
from conforme.accounts.models import Permission, Role, RolePermission, User, UserRole
from conforme.accounts.seeding import seed
from conforme.foundation.database import Database
from conforme.foundation.errors import Misconfigured
from conforme.settings import Settings
from people import granting

NOBODY = Settings()
ADMIN = Settings(
    auth_seed_admin_email=" First.Admin@Example.Test ", auth_seed_admin_password=SecretStr(PASSWORD)
)

GROUP_WRITTEN = ["fiches", "audits", "automation", "transcriptions", "chat", "realtime"]
GROUP_READ = ["fiches", "audits", "automation", "recordings", "transcriptions", "realtime"]


def _joined(*parts: Grants) -> Grants:
    return Grants.of(grant for part in parts for grant in part.by_key.values())


EXPECTED = {
    "admin": EVERYTHING,
    "operator": _joined(
        granting(GROUP_WRITTEN, Scope.GROUP, write=True),
        granting(["recordings"], Scope.GROUP),
        granting(["audit-configs", "products"], Scope.ALL),
    ),
    "viewer": _joined(
        granting(GROUP_READ, Scope.GROUP),
        granting(["audit-configs", "products"], Scope.ALL),
        granting(["chat"], Scope.GROUP, write=True),
    ),
}


async def _granted(database: Database) -> dict[str, Grants]:
    async with database.read() as session:
        ids = (await session.execute(select(Role.key, Role.id))).all()
        return {key: await queries.grants_of_roles(session, [role_id]) for key, role_id in ids}


async def test_the_roles_of_the_product_grant_what_the_contract_says(database: Database) -> None:
    await seed(database, NOBODY)
    assert await _granted(database) == EXPECTED
    async with database.read() as session:
        described = (await session.execute(select(Permission.key, Permission.description))).all()
        assert dict(described) == dict(KEYS)
        assert await session.scalar(select(func.count()).select_from(User)) == 0


async def test_ten_replicas_that_start_at_once_seed_once(database: Database) -> None:
    await asyncio.gather(*(seed(database, ADMIN) for _ in range(10)))
    await seed(database, ADMIN)
    assert await _granted(database) == EXPECTED
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(User)) == 1
        assert await session.scalar(select(func.count()).select_from(Role)) == 3
    assert [len(await logged(database, action)) for action in ("role.created", "user.created")] == [3, 1]


async def test_a_role_that_grants_anything_keeps_what_it_grants(database: Database) -> None:
    await seed(database, NOBODY)
    async with database.write() as session:
        viewer = await session.scalar(select(Role.id).where(Role.key == "viewer"))
        audits = select(Permission.id).where(Permission.key == "audits").scalar_subquery()
        await session.execute(
            delete(RolePermission).where(
                RolePermission.role_id == viewer, RolePermission.permission_id != audits
            )
        )
        await session.execute(update(Role).where(Role.id == viewer).values(name="Lecture"))
    await seed(database, NOBODY)
    assert (await _granted(database))["viewer"] == granting(["audits"], Scope.GROUP)
    async with database.read() as session:
        assert await session.scalar(select(Role.name).where(Role.key == "viewer")) == "Lecture"


async def test_a_role_without_active_grants_gets_its_own_back(database: Database) -> None:
    await seed(database, NOBODY)
    async with database.write() as session:
        await session.execute(update(RolePermission).values(can_read=False, can_write=False))
    await seed(database, NOBODY)
    assert await _granted(database) == EXPECTED


async def _seeded_admin(database: Database) -> User:
    async with database.read() as session:
        found = await queries.user_with_email(session, "first.admin@example.test")
    assert found is not None
    return found


async def test_the_administrator_of_the_settings_is_made_active(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await seed(database, ADMIN)
    user = await _seeded_admin(database)
    assert fits(PASSWORD, user.password_hash)
    listed = await data(await api.get("/api/admin/users"))
    assert listed["users"] == [
        {"id": str(user.id), "email": "first.admin@example.test", "status": "ACTIVE", "roles": ["admin"]}
    ]


async def test_an_existing_password_is_never_changed_and_the_role_is_given_back(
    database: Database,
) -> None:
    await seed(database, ADMIN)
    before = await _seeded_admin(database)
    async with database.write() as session:
        await session.execute(delete(UserRole))
    other = ADMIN.model_copy(update={"auth_seed_admin_password": SecretStr("another password")})
    await seed(database, other)
    after = await user_row(database, before.id)
    assert after is not None
    assert after.password_hash == before.password_hash
    async with database.read() as session:
        account = await queries.account(session, before.id)
    assert account is not None
    assert account.roles == ("admin",)


@pytest.mark.parametrize("missing", [{"auth_seed_admin_email": None}, {"auth_seed_admin_password": None}])
async def test_half_an_administrator_is_none(database: Database, missing: dict[str, None]) -> None:
    await seed(database, ADMIN.model_copy(update=missing))
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(User)) == 0


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"auth_seed_admin_email": "nobody"}, "AUTH_SEED_ADMIN_EMAIL"),
        ({"auth_seed_admin_password": SecretStr("1234567")}, "AUTH_SEED_ADMIN_PASSWORD"),
        ({"auth_seed_admin_password": SecretStr("x" * 201)}, "AUTH_SEED_ADMIN_PASSWORD"),
    ],
)
async def test_an_administrator_who_cannot_be_made_is_said_by_the_setting(
    database: Database, wrong: dict[str, object], name: str
) -> None:
    with pytest.raises(Misconfigured, match=name) as refused:
        await seed(database, ADMIN.model_copy(update=wrong))
    assert "1234567" not in str(refused.value)
    assert await _granted(database) == {}
