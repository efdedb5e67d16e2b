"""Roles are made, changed and deleted by those who hold what they grant; the product's own stay as they are."""

import asyncio
from typing import Any

import httpx2
import pytest
from admin_room import data, give, logged, new_role, new_user, refusal, seeded
from hypothesis import given
from hypothesis import strategies as st

from conforme.accounts.actor import Scope
from conforme.accounts.grants import KEYS, Grants
from conforme.accounts.queries import RoleGrant
from conforme.accounts.roles import allowed_by, merged, of_permission_keys
from conforme.foundation.database import Database
from people import everything_within, granting, signed_in
from product_fixtures import SETTINGS

READS_AUDITS: dict[str, Any] = {"key": "audits", "read": True, "write": False, "scope": "GROUP"}
BEYOND = (403, "AUTHORIZATION_ERROR", "You cannot grant what you do not hold")

role_grants = st.builds(
    RoleGrant, st.sampled_from(sorted(KEYS)), st.booleans(), st.booleans(), st.sampled_from(Scope)
).filter(lambda grant: grant.read or grant.write)


@pytest.fixture
async def roles(database: Database) -> None:
    await seeded(database)


@given(grants=st.lists(role_grants, max_size=8))
def test_merged_grants_are_one_a_key_and_allow_all_that_each_did(grants: list[RoleGrant]) -> None:
    joined = merged(grants)
    assert [grant.key for grant in joined] == sorted({grant.key for grant in grants})
    assert allowed_by(joined).covers(allowed_by(grants))
    for grant in joined:
        same = [each for each in grants if each.key == grant.key]
        assert grant.read is any(each.read for each in same)
        assert grant.write is any(each.write for each in same)
        assert grant.scope is max((each.scope for each in same), key=lambda scope: scope.rank)


@given(key=st.sampled_from(sorted(KEYS)), suffix=st.sampled_from(["", ".read", ".auth", ".write", ".run"]))
def test_the_older_form_reads_writes_or_both_within_the_groupe(key: str, suffix: str) -> None:
    (grant,) = of_permission_keys([key + suffix])
    read, write = suffix in {"", ".read", ".auth"}, suffix in {"", ".write", ".run"}
    assert grant == RoleGrant(key, read=read, write=write, scope=Scope.GROUP)


async def test_a_role_is_made_listed_shown_changed_and_deleted(
    api: httpx2.AsyncClient, database: Database, roles: None
) -> None:
    body = {"key": "Qualite", "name": "Qualité", "permission_grants": [READS_AUDITS]}
    made = (await data(await api.post("/api/admin/roles", json=body), 201))["role"]
    assert made == {
        "id": made["id"],
        "key": "qualite",
        "name": "Qualité",
        "description": None,
        "permissions": ["audits"],
        "permission_grants": [READS_AUDITS],
    }
    path = f"/api/admin/roles/{made['id']}"
    assert (await data(await api.get(path)))["role"] == made
    listed = await data(await api.get("/api/admin/roles"))
    assert [role["key"] for role in listed["roles"]] == ["admin", "operator", "qualite", "viewer"]
    assert listed["roles"][2] == made
    assert (listed["count"], listed["total"]) == (4, 4)
    grants = [{"key": "fiches", "read": True}, {"key": "chat", "write": True, "scope": "ALL"}]
    patched = await api.patch(path, json={"description": "Écoute", "permission_grants": grants})
    changed = (await data(patched))["role"]
    assert changed == made | {
        "description": "Écoute",
        "permissions": ["chat", "fiches"],
        "permission_grants": [
            {"key": "chat", "read": False, "write": True, "scope": "ALL"},
            {"key": "fiches", "read": True, "write": False, "scope": "SELF"},
        ],
    }
    cleared = await api.patch(path, json={"description": None, "name": "Écoute"})
    assert (await data(cleared))["role"] == changed | {"description": None, "name": "Écoute"}
    assert await data(await api.delete(path)) == {"deleted": True}
    gone = f"Role with ID '{made['id']}' not found"
    for answer in (await api.get(path), await api.delete(path), await api.patch(path, json={"name": "x"})):
        assert refusal(answer) == (404, "NOT_FOUND", gone)


async def test_roles_and_permissions_are_paged(api: httpx2.AsyncClient, roles: None) -> None:
    page = await data(await api.get("/api/admin/roles?limit=1&offset=1"))
    assert [role["key"] for role in page["roles"]] == ["operator"]
    assert (page["count"], page["total"]) == (1, 3)
    page = await data(await api.get("/api/admin/permissions?limit=5&offset=10"))
    assert (page["count"], page["total"]) == (2, 12)
    assert (await api.get("/api/admin/permissions?limit=501")).status_code == 400


async def test_permissions_are_listed_by_key(api: httpx2.AsyncClient, roles: None) -> None:
    listed = await data(await api.get("/api/admin/permissions"))
    assert [each["key"] for each in listed["permissions"]] == sorted(KEYS)
    assert all(each["id"].isdigit() and each["description"] for each in listed["permissions"])
    assert (listed["count"], listed["total"]) == (12, 12)


async def test_grants_of_one_key_are_merged(api: httpx2.AsyncClient, roles: None) -> None:
    grants = [
        {"key": "audits", "read": True, "scope": "GROUP"},
        {"key": "audits", "write": True, "scope": "SELF"},
    ]
    role_id = await new_role(api, "both", grants)
    role = (await data(await api.get(f"/api/admin/roles/{role_id}")))["role"]
    assert role["permission_grants"] == [{"key": "audits", "read": True, "write": True, "scope": "GROUP"}]


async def test_the_older_form_of_grants_is_understood(api: httpx2.AsyncClient, roles: None) -> None:
    body = {"key": "old", "name": "old", "permission_keys": ["audits.run", "fiches", "admin.users.read"]}
    role = (await data(await api.post("/api/admin/roles", json=body), 201))["role"]
    assert role["permission_grants"] == [
        {"key": "admin.users", "read": True, "write": False, "scope": "GROUP"},
        {"key": "audits", "read": False, "write": True, "scope": "GROUP"},
        {"key": "fiches", "read": True, "write": True, "scope": "GROUP"},
    ]


@pytest.mark.parametrize(
    ("grants", "error"),
    [
        ({"permission_grants": [{"key": "nothing", "read": True}]}, "Unknown permission key(s)"),
        ({"permission_grants": [{"key": "audits.read", "read": True}]}, "Unknown permission key(s)"),
        ({"permission_keys": ["audits", "nothing"]}, "Unknown permission key(s)"),
        ({"permission_grants": [{"key": "audits"}]}, "Permission grant must enable read and/or write"),
    ],
)
async def test_grants_that_are_none_are_refused(
    api: httpx2.AsyncClient, roles: None, grants: dict[str, Any], error: str
) -> None:
    made = await api.post("/api/admin/roles", json={"key": "new", "name": "new"} | grants)
    assert refusal(made) == (400, "VALIDATION_ERROR", error)
    role_id = await new_role(api, "kept", [READS_AUDITS])
    patched = await api.patch(f"/api/admin/roles/{role_id}", json={"name": "changed"} | grants)
    assert refusal(patched) == (400, "VALIDATION_ERROR", error)
    kept = (await data(await api.get(f"/api/admin/roles/{role_id}")))["role"]
    assert (kept["name"], kept["permission_grants"]) == ("kept", [READS_AUDITS])


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"key": ""}, "key"),
        ({"key": "a b"}, "key"),
        ({"key": "é"}, "key"),
        ({"key": "k" * 81}, "key"),
        ({"name": " "}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"name": "a\u0000"}, "name"),
        ({"description": "d" * 5001}, "description"),
        ({"permission_grants": [{"key": "audits", "read": True, "scope": "WORLD"}]}, "permission_grants"),
        ({"permission_grants": [{"key": "audits", "read": "yes"}]}, "permission_grants"),
        ({"permission_grants": [READS_AUDITS] * 201}, "permission_grants"),
    ],
)
async def test_bad_input_names_its_field(
    api: httpx2.AsyncClient, roles: None, changed: dict[str, Any], field: str
) -> None:
    answer = await api.post("/api/admin/roles", json={"key": "new", "name": "new"} | changed)
    assert refusal(answer)[:2] == (400, "VALIDATION_ERROR")
    assert answer.json()["details"][0]["field"].startswith(field)
    assert (await data(await api.get("/api/admin/roles")))["total"] == 3


async def test_one_key_is_one_role_even_when_asked_for_at_once(api: httpx2.AsyncClient, roles: None) -> None:
    body = {"key": "new", "name": "new"}
    answers = await asyncio.gather(*(api.post("/api/admin/roles", json=body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    again = await api.post("/api/admin/roles", json=body | {"key": "NEW"})
    assert refusal(again) == (409, "CONFLICT", "A role with this key exists")
    assert again.json()["details"][0]["field"] == "key"


async def test_the_name_of_a_role_of_the_product_is_taken_even_before_it_exists(
    api: httpx2.AsyncClient, database: Database
) -> None:
    answer = await api.post("/api/admin/roles", json={"key": "Admin", "name": "admin"})
    assert refusal(answer) == (409, "CONFLICT", "A role with this key exists")


@pytest.mark.attack("mass assignment")
async def test_a_body_sets_nothing_but_what_it_may(api: httpx2.AsyncClient, roles: None) -> None:
    smuggled = {"id": "4711", "created_at": "2001-01-01T00:00:00Z", "permissions": ["audits"], "users": [1]}
    made = await api.post("/api/admin/roles", json=smuggled | {"key": "new", "name": "new"})
    role = (await data(made, 201))["role"]
    assert role["id"] != "4711"
    assert role["permissions"] == []
    patched = await api.patch(f"/api/admin/roles/{role['id']}", json=smuggled | {"key": "x", "name": "y"})
    assert (await data(patched))["role"] == role | {"name": "y"}
    nothing = await api.patch(f"/api/admin/roles/{role['id']}", json=smuggled | {"key": "x"})
    assert refusal(nothing)[:2] == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("role_id", ["x", "0", "9223372036854775808"])
async def test_an_id_that_is_none_is_named(api: httpx2.AsyncClient, database: Database, role_id: str) -> None:
    for answer in (
        await api.get(f"/api/admin/roles/{role_id}"),
        await api.patch(f"/api/admin/roles/{role_id}", json={"name": "x"}),
        await api.delete(f"/api/admin/roles/{role_id}"),
    ):
        assert refusal(answer) == (400, "VALIDATION_ERROR", "Invalid role id")


@pytest.mark.attack("escalation by role edit")
async def test_roles_of_the_product_are_neither_edited_nor_deleted(
    api: httpx2.AsyncClient, roles: None
) -> None:
    before = await data(await api.get("/api/admin/roles"))
    for role in before["roles"]:
        path = f"/api/admin/roles/{role['id']}"
        deleted = await api.delete(path)
        assert refusal(deleted) == (400, "VALIDATION_ERROR", "Cannot delete protected role")
        for body in ({"name": "x"}, {"permission_grants": []}, {"permission_keys": ["audits"]}):
            edited = await api.patch(path, json=body)
            assert refusal(edited) == (400, "VALIDATION_ERROR", "Cannot edit protected role")
    assert await data(await api.get("/api/admin/roles")) == before


async def test_a_role_that_people_hold_is_not_deleted(api: httpx2.AsyncClient, roles: None) -> None:
    role_id = await new_role(api, "held", [READS_AUDITS])
    holders = [await new_user(api, f"p{number}@example.test", ["held", "viewer"]) for number in range(2)]
    in_use = "Role is assigned to 2 user(s); remove it from users first"
    assert refusal(await api.delete(f"/api/admin/roles/{role_id}")) == (400, "VALIDATION_ERROR", in_use)
    for user_id in holders:
        await data(await api.patch(f"/api/admin/users/{user_id}", json={"role_keys": ["viewer"]}))
    assert (await api.delete(f"/api/admin/roles/{role_id}")).status_code == 200


@pytest.mark.attack("escalation by role edit")
async def test_nobody_makes_or_widens_a_role_beyond_what_they_hold(
    api: httpx2.AsyncClient, database: Database, roles: None
) -> None:
    held = granting(["admin.roles", "audits"], Scope.ALL, write=True)
    clerk = await signed_in(database, SETTINGS, held)
    role_id = await new_role(api, "mine", [READS_AUDITS], headers=clerk.headers)
    for grant in (
        {"key": "fiches", "read": True, "scope": "SELF"},
        {"key": "admin.users", "write": True, "scope": "ALL"},
    ):
        body = {"key": "wide", "name": "wide", "permission_grants": [READS_AUDITS, grant]}
        assert refusal(await api.post("/api/admin/roles", json=body, headers=clerk.headers)) == BEYOND
        patched = await api.patch(
            f"/api/admin/roles/{role_id}", json={"permission_grants": [grant]}, headers=clerk.headers
        )
        assert refusal(patched) == BEYOND
    kept = (await data(await api.get(f"/api/admin/roles/{role_id}")))["role"]
    assert kept["permission_grants"] == [READS_AUDITS]


@pytest.mark.attack("escalation by role edit")
async def test_nobody_changes_a_role_that_grants_what_they_do_not_hold(
    api: httpx2.AsyncClient, database: Database, roles: None
) -> None:
    clerk = await signed_in(database, SETTINGS, granting(["admin.roles"], Scope.ALL, write=True))
    role_id = await new_role(api, "above", [READS_AUDITS])
    path = f"/api/admin/roles/{role_id}"
    above = (403, "AUTHORIZATION_ERROR", "You cannot change what may do more than you")
    assert refusal(await api.patch(path, json={"name": "x"}, headers=clerk.headers)) == above
    stripped = await api.patch(path, json={"permission_grants": []}, headers=clerk.headers)
    assert refusal(stripped) == above
    assert refusal(await api.delete(path, headers=clerk.headers)) == above


@pytest.mark.attack("escalation by role edit")
@pytest.mark.parametrize("scope", [Scope.SELF, Scope.GROUP])
async def test_roles_are_changed_only_by_a_permission_over_everything(
    api: httpx2.AsyncClient, database: Database, roles: None, scope: Scope
) -> None:
    caller = await signed_in(database, SETTINGS, everything_within(scope))
    role_id = await new_role(api, "any", [])
    refused = (403, "AUTHORIZATION_ERROR", "Forbidden")
    body = {"key": "new", "name": "new"}
    assert refusal(await api.post("/api/admin/roles", json=body, headers=caller.headers)) == refused
    path = f"/api/admin/roles/{role_id}"
    assert refusal(await api.patch(path, json={"name": "x"}, headers=caller.headers)) == refused
    assert refusal(await api.delete(path, headers=caller.headers)) == refused
    assert (await api.get(path, headers=caller.headers)).status_code == 200


async def test_each_part_asks_for_its_own_permission(
    api: httpx2.AsyncClient, database: Database, roles: None
) -> None:
    paths = {
        "admin.users": "/api/admin/users",
        "admin.roles": "/api/admin/roles",
        "admin.permissions": "/api/admin/permissions",
    }
    for key in paths:
        person = await signed_in(database, SETTINGS, granting([key], Scope.ALL))
        for other, path in paths.items():
            expected = 200 if other == key else 403
            assert (await api.get(path, headers=person.headers)).status_code == expected
        body = {"key": "new", "name": "new"}
        assert (await api.post("/api/admin/roles", json=body, headers=person.headers)).status_code == 403


async def test_what_a_role_loses_its_holders_lose_at_once(
    api: httpx2.AsyncClient, database: Database, roles: None
) -> None:
    role_id = await new_role(api, "readers", [READS_AUDITS])
    person = await signed_in(database, SETTINGS, Grants.of([]))
    await give(database, person.id, "readers")
    assert (await api.get("/api/audits", headers=person.headers)).status_code == 200
    await data(await api.patch(f"/api/admin/roles/{role_id}", json={"permission_grants": []}))
    assert (await api.get("/api/audits", headers=person.headers)).status_code == 403


async def test_every_change_of_a_role_is_in_the_audit_log(
    api: httpx2.AsyncClient, database: Database, roles: None
) -> None:
    role_id = await new_role(api, "new", [READS_AUDITS])
    path = f"/api/admin/roles/{role_id}"
    grants = [{"key": "audits", "read": True, "write": True, "scope": "ALL"}]
    await data(await api.patch(path, json={"name": "x", "permission_grants": grants}))
    await data(await api.delete(path))
    told = [
        (row.action, row.details)
        for action in ("role.created", "role.changed", "role.deleted")
        for row in await logged(database, action)
        if row.target == f"role:{role_id}"
    ]
    assert told == [
        ("role.created", {"key": "new", "grants": ["audits r GROUP"]}),
        (
            "role.changed",
            {"key": "new", "fields": ["name"], "grants": [["audits r GROUP"], ["audits rw ALL"]]},
        ),
        ("role.deleted", {"key": "new", "grants": ["audits rw ALL"]}),
    ]
