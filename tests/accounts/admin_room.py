"""What the tests of administration share: seeded roles, and requests as administrators make them."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from sqlalchemy import func, select

from conforme.accounts.models import AuditLogRow, Role, Session, User, UserRole
from conforme.accounts.seeding import seed_roles
from conforme.foundation.database import Database

PASSWORD = "une phrase de passe"
Headers = Mapping[str, str]


async def seeded(database: Database) -> None:
    async with database.write() as session:
        await seed_roles(session)


async def data(answer: httpx2.Response, status: int = 200) -> Any:
    """The data of a success."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["success"] is True
    return body["data"]


def refusal(answer: httpx2.Response) -> tuple[int, str, str]:
    body = answer.json()
    assert body["success"] is False
    return answer.status_code, body["code"], body["error"]


async def new_user(
    api: httpx2.AsyncClient, email: str, roles: Sequence[str] = ("viewer",), headers: Headers | None = None
) -> int:
    """A person made over HTTP; their id."""
    body = {"email": email, "password": PASSWORD, "role_keys": list(roles)}
    answer = await api.post("/api/admin/users", json=body, headers=headers)
    return int((await data(answer, 201))["user"]["id"])


async def new_role(
    api: httpx2.AsyncClient, key: str, grants: Sequence[Mapping[str, Any]], headers: Headers | None = None
) -> int:
    body = {"key": key, "name": key, "permission_grants": list(grants)}
    answer = await api.post("/api/admin/roles", json=body, headers=headers)
    return int((await data(answer, 201))["role"]["id"])


def fits(password: str, stored: str | None) -> bool:
    """Whether `stored` is the Argon2id hash of this password."""
    assert stored is not None
    assert stored.startswith("$argon2id$")
    try:
        return PasswordHasher().verify(stored, password)
    except VerifyMismatchError:
        return False


async def give(database: Database, user_id: int, *keys: str) -> None:
    """Roles by the back door."""
    async with database.write() as session:
        for role_id in await session.scalars(select(Role.id).where(Role.key.in_(keys))):
            session.add(UserRole(user_id=user_id, role_id=role_id))


async def user_row(database: Database, user_id: int) -> User | None:
    async with database.read() as session:
        return await session.get(User, user_id)


async def open_sessions(database: Database, user_id: int) -> int:
    query = select(func.count()).where(Session.user_id == user_id, Session.ended_at.is_(None))
    async with database.read() as session:
        return await session.scalar(query) or 0


async def logged(database: Database, action: str) -> list[AuditLogRow]:
    """Rows of the audit log with this action, oldest first."""
    query = select(AuditLogRow).where(AuditLogRow.action == action).order_by(AuditLogRow.id)
    async with database.read() as session:
        return list((await session.scalars(query)).all())
