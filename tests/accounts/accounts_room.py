"""People who sign in, for the tests of accounts: an application of any settings, and a browser in front of it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
from fastapi import FastAPI
from sqlalchemy import insert, select, text

from conforme.accounts.models import AuditLogRow, Permission, Role, RolePermission, User, UserRole
from conforme.app import Role as ProcessRole
from conforme.app import build
from conforme.foundation.database import Database
from conforme.settings import Settings
from product_fixtures import SETTINGS

EMAIL = "camille.orvane@example.test"
PASSWORD = "a long enough one"
ARGON2 = "$argon2id$v=19$m=19456,t=2,p=1$3dAn8gVD9L69daqtllGyRA$fA9ATuoH37nm4upReWtueFEKbHzuTfmNvqXVZrd7uh8"
"""Stored of `PASSWORD`."""
WRONG = "not the right one"
SCRYPT = (
    "scrypt$1$16384$8$1$AAECAwQFBgcICQoLDA0ODw"
    "$tnV_VBvboYTthmZW2NUcuHdXOHQ3_DJ5TCcJgmN9Pvwgbk3nSJgt9vnXmMfVms81FaGg1OmWFCfHID5uCfBSrA"
)
"""The vector of the contract: salt 00..0f, password `change-me-123`."""
SCRYPT_PASSWORD = "change-me-123"


def settings_of(**changes: Any) -> Settings:
    return Settings.model_validate(SETTINGS.model_dump() | changes)


def with_settings(app: FastAPI, settings: Settings) -> FastAPI:
    """Another replica, on the same database."""
    resources = replace(app.state.resources, settings=settings)
    other = build(settings, resources.database.url, ProcessRole.API)
    other.state.resources = resources
    return other


@asynccontextmanager
async def browsing(
    app: FastAPI,
    *,
    settings: Settings | None = None,
    address: str = "127.0.0.1",
    base: str = "https://conforme.test",
) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client that keeps cookies and holds no token; with `settings`, another replica that has these."""
    app = app if settings is None else with_settings(app, settings)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False, client=(address, 50_000))
    async with httpx2.AsyncClient(transport=transport, base_url=base) as client:
        yield client


async def account(
    database: Database,
    *,
    email: str = EMAIL,
    password_hash: str | None = "",
    status: str = "ACTIVE",
    keys: Sequence[str] = (),
) -> int:
    """An account with `PASSWORD` unless another hash is given, and a role that reads and writes `keys`, scope GROUP."""
    stored = ARGON2 if password_hash == "" else password_hash
    async with database.write() as session:
        crm_user_id = "211" if email == EMAIL else None
        values = insert(User).values(
            email=email, password_hash=stored, status=status, crm_user_id=crm_user_id
        )
        user_id = (await session.execute(values.returning(User.id))).scalar_one()
        if keys:
            role = insert(Role).values(key="auditor", name="Auditor").returning(Role.id)
            role_id = (await session.execute(role)).scalar_one()
            await session.execute(insert(UserRole).values(user_id=user_id, role_id=role_id))
            for key in keys:
                permission = insert(Permission).values(key=key).returning(Permission.id)
                permission_id = (await session.execute(permission)).scalar_one()
                await session.execute(
                    insert(RolePermission).values(
                        role_id=role_id,
                        permission_id=permission_id,
                        can_read=True,
                        can_write=True,
                        scope="GROUP",
                    )
                )
    return user_id


async def login(
    client: httpx2.AsyncClient, *, email: str = EMAIL, password: str = PASSWORD
) -> httpx2.Response:
    return await client.post("/api/auth/login", json={"email": email, "password": password})


async def signed_in_at(client: httpx2.AsyncClient) -> dict[str, str]:
    """Signs in, keeps the cookie, and gives the header of the access token."""
    answer = await login(client)
    assert answer.status_code == 200, answer.text
    return bearer(answer)


def bearer(answer: httpx2.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {answer.json()['data']['access_token']}"}


def refresh_token(answer: httpx2.Response) -> str:
    return answer.cookies["refresh_token"]


def told(answer: httpx2.Response) -> tuple[int, str]:
    """Status and sentence of a refusal."""
    return answer.status_code, answer.json()["error"]


async def run(database: Database, statement: str, **values: Any) -> None:
    async with database.write() as session:
        await session.execute(text(statement), values)


async def value(database: Database, statement: str, **values: Any) -> Any:
    async with database.read() as session:
        return (await session.execute(text(statement), values)).scalar_one()


async def logged(database: Database) -> list[tuple[str, str, str]]:
    """Actor, action and target of the audit log, in order."""
    async with database.read() as session:
        query = select(AuditLogRow.actor, AuditLogRow.action, AuditLogRow.target).order_by(AuditLogRow.id)
        return [(row.actor, row.action, row.target) for row in await session.execute(query)]
