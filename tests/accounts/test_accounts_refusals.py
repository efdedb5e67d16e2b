"""Whoever is known and is refused leaves a row in the audit log, before they hear of it."""

import httpx2
import pytest
from admin_room import logged, refusal, seeded
from sqlalchemy.exc import OperationalError

from conforme.accounts import audit_log
from conforme.accounts.actor import Scope
from conforme.accounts.grants import Grants
from conforme.foundation.database import Database
from people import everything_within, granting, signed_in
from product_fixtures import SETTINGS

ACTION = "authorisation.refused"


async def test_a_missing_permission_is_recorded_with_what_was_needed(
    api: httpx2.AsyncClient, database: Database
) -> None:
    person = await signed_in(database, SETTINGS, granting(["audits"], Scope.ALL))
    headers = dict(person.headers) | {"X-Request-Id": "asked-by-a-test"}
    answer = await api.get("/api/admin/users?limit=3", headers=headers)
    assert refusal(answer) == (403, "AUTHORIZATION_ERROR", "Missing permission")
    (row,) = await logged(database, ACTION)
    assert (row.actor, row.target) == (f"user:{person.id}", "GET /api/admin/users")
    assert row.details == {"status": 403, "needed": ["admin.users.read"]}
    assert row.request_id == "asked-by-a-test"


async def test_a_refusal_by_a_rule_is_recorded_by_the_route_and_never_by_its_values(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await seeded(database)
    person = await signed_in(database, SETTINGS, everything_within(Scope.ALL))
    path = f"/api/admin/users/{person.id}"
    assert (await api.delete(path, headers=person.headers)).status_code == 403
    (row,) = await logged(database, ACTION)
    assert row.target == "DELETE /api/admin/users/{user_id}"
    assert row.details == {"status": 403, "needed": ["admin.users.write"]}


async def test_every_route_that_asks_for_a_permission_records_its_refusal(
    api: httpx2.AsyncClient, database: Database
) -> None:
    person = await signed_in(database, SETTINGS, Grants.of([]))
    document = (await api.get("/api-docs.json")).json()
    refused: list[str] = []
    for path, methods in document["paths"].items():
        for method in methods:
            if path.startswith("/api/auth"):  # asks for no permission, and signs people out
                continue
            filled = path.replace("{", "").replace("}", "")
            answer = await api.request(method, filled, headers=person.headers)
            if answer.status_code == 403:
                refused.append(f"{method.upper()} {path}")
    assert len(refused) > 30
    assert [row.target for row in await logged(database, ACTION)] == refused


async def test_a_stranger_leaves_no_row(api: httpx2.AsyncClient, database: Database) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer nonsense"}):
        assert (await api.get("/api/admin/users", headers=headers)).status_code == 401
    assert await logged(database, ACTION) == []


async def test_what_is_allowed_or_absent_leaves_no_row(api: httpx2.AsyncClient, database: Database) -> None:
    assert (await api.get("/api/admin/users")).status_code == 200
    assert (await api.delete("/api/admin/users/4711")).status_code == 404
    assert await logged(database, ACTION) == []


@pytest.mark.parametrize("trouble", [OperationalError("insert", {}, Exception("down")), TimeoutError()])
async def test_the_answer_is_the_same_when_the_refusal_cannot_be_recorded(
    api: httpx2.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    person = await signed_in(database, SETTINGS, Grants.of([]))
    before = await api.get("/api/admin/users", headers=person.headers)

    async def fail(*_arguments: object, **_details: object) -> None:
        raise trouble

    monkeypatch.setattr(audit_log, "record", fail)
    after = await api.get("/api/admin/users", headers=person.headers)
    assert (after.status_code, after.content) == (before.status_code, before.content)
    assert after.status_code == 403
    assert len(await logged(database, ACTION)) == 1
