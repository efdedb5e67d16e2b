"""Whatever narrows somebody's rights is told, so that what they have open ends."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from conforme.accounts.grants import Scope
from conforme.accounts.models import Team, UserRole
from conforme.foundation.database import Database
from conforme.foundation.events import EventRow
from people import SignedIn, everything_within, signed_in
from product_fixtures import SETTINGS

Change = Callable[[dict[str, Any]], tuple[str, str, Any]]
CHANGES: dict[str, Change] = {
    "disabled": lambda at: ("PATCH", f"/api/admin/users/{at['user']}", {"status": "DISABLED"}),
    "another password": lambda at: ("PATCH", f"/api/admin/users/{at['user']}", {"password": "change-me-456"}),
    "other roles": lambda at: ("PATCH", f"/api/admin/users/{at['user']}", {"role_keys": [at["role_key"]]}),
    "deleted": lambda at: ("DELETE", f"/api/admin/users/{at['user']}", None),
    "signed out": lambda at: ("POST", f"/api/admin/users/{at['user']}/logout", None),
    "out of the team": lambda at: (
        "DELETE",
        f"/api/admin/teams/{at['team']}/members/{at['user']}",
        None,
    ),
    "team deleted": lambda at: ("DELETE", f"/api/admin/teams/{at['team']}?force=true", None),
    "role edited": lambda at: (
        "PATCH",
        f"/api/admin/roles/{at['role']}",
        {"permission_grants": [{"key": "audits", "read": True, "scope": "SELF"}]},
    ),
}


@pytest.mark.parametrize("change", list(CHANGES))
async def test_a_change_is_told_to_whom_it_concerns(
    api: httpx2.AsyncClient, database: Database, change: str
) -> None:
    person = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R1"])
    bystander = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R2"])
    method, url, body = CHANGES[change](await _around(database, person))
    answer = await api.request(method, url, json=body)
    assert answer.is_success, answer.text
    told = await _told(database)
    assert f"private-user-{person.id}" in told
    assert f"private-user-{bystander.id}" not in told


async def test_a_logout_and_a_revoked_token_are_told(api: httpx2.AsyncClient, database: Database) -> None:
    person = await signed_in(database, SETTINGS, everything_within(Scope.ALL))
    grant = {"key": "audits", "read": True, "scope": "ALL"}
    body = {"name": "export", "permission_grants": [grant]}
    made = await api.post("/api/admin/api-tokens", json=body, headers=person.headers)
    assert await _told(database) == []
    url = f"/api/admin/api-tokens/{made.json()['data']['api_token']['id']}"
    assert (await api.delete(url, headers=person.headers)).is_success
    assert await _told(database) == [f"private-user-{person.id}"]
    assert (await api.post("/api/auth/logout", headers=person.headers)).is_success
    assert await _told(database) == [f"private-user-{person.id}"] * 2


async def _around(database: Database, person: SignedIn) -> dict[str, Any]:
    """Ids of what belongs to a person."""
    async with database.read() as session:
        role = await session.scalar(select(UserRole.role_id).where(UserRole.user_id == person.id).limit(1))
        team = await session.scalar(select(Team.id).where(Team.name == "EQUIPE R1"))
    assert person.caller.person is not None
    return {
        "user": person.id,
        "role": role,
        "role_key": person.caller.person.roles[0],
        "team": team,
    }


async def _told(database: Database) -> list[str]:
    async with database.read() as session:
        rows = await session.scalars(select(EventRow.channels).where(EventRow.name == "account.changed"))
        return [channel for channels in rows for channel in channels]
