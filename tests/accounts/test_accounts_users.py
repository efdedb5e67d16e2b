"""Administrators make, change, invite, sign out and delete people, and none of them reaches beyond themselves."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import pytest
from admin_room import (
    PASSWORD,
    data,
    fits,
    give,
    logged,
    new_role,
    new_user,
    open_sessions,
    refusal,
    seeded,
    user_row,
)
from sqlalchemy import func, select, text, update

from conforme.accounts import queries
from conforme.accounts.grants import EVERYTHING, Grant, Grants, Scope
from conforme.accounts.models import InviteToken, User, UserRole
from conforme.accounts.secrets import token_hash
from conforme.foundation.database import Database
from people import everything_within, granting, signed_in
from product_fixtures import SETTINGS

FORBIDDEN_GRANT = (403, "AUTHORIZATION_ERROR", "You cannot grant what you do not hold")
FORBIDDEN_ABOVE = (403, "AUTHORIZATION_ERROR", "You cannot change what may do more than you")
FORBIDDEN_SELF = (
    403,
    "AUTHORIZATION_ERROR",
    "You cannot change your own roles or status, nor delete yourself",
)
LAST = (409, "CONFLICT", "The last administrator cannot be removed")


@pytest.fixture(autouse=True)
async def roles(database: Database) -> None:
    await seeded(database)


async def test_people_are_listed_by_id_with_status_and_roles(api: httpx2.AsyncClient) -> None:
    first = await new_user(api, "b@example.test", ["viewer", "operator"])
    second = await new_user(api, "a@example.test")
    listed = await data(await api.get("/api/admin/users"))
    assert listed == {
        "users": [
            {
                "id": str(first),
                "email": "b@example.test",
                "status": "ACTIVE",
                "roles": ["operator", "viewer"],
            },
            {"id": str(second), "email": "a@example.test", "status": "ACTIVE", "roles": ["viewer"]},
        ],
        "count": 2,
        "total": 2,
    }


async def test_a_page_counts_its_rows_and_tells_the_total(api: httpx2.AsyncClient) -> None:
    ids = [await new_user(api, f"p{number}@example.test") for number in range(3)]
    page = await data(await api.get("/api/admin/users?limit=2&offset=1"))
    assert [user["id"] for user in page["users"]] == [str(ids[1]), str(ids[2])]
    assert (page["count"], page["total"]) == (2, 3)
    assert (await data(await api.get("/api/admin/users?limit=1&offset=2")))["count"] == 1
    for query in ("limit=0", "limit=501", "offset=-1", "limit=x"):
        assert (await api.get(f"/api/admin/users?{query}")).status_code == 400


async def test_a_person_is_made_active_as_viewer_with_their_password(
    api: httpx2.AsyncClient, database: Database
) -> None:
    answer = await api.post("/api/admin/users", json={"email": " Ana@Example.Test ", "password": PASSWORD})
    made = (await data(answer, 201))["user"]
    assert made == {"id": made["id"], "email": "ana@example.test", "status": "ACTIVE", "roles": ["viewer"]}
    row = await user_row(database, int(made["id"]))
    assert row is not None
    assert row.password_hash is not None
    assert fits(PASSWORD, row.password_hash)
    assert not fits(PASSWORD + "!", row.password_hash)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": "a@b"}, "email"),
        ({"email": f"{'a' * 250}@example.test"}, "email"),
        ({"email": None}, "email"),
        ({"email": "a\u0000@example.test"}, "email"),
        ({"password": "1234567"}, "password"),
        ({"password": "x" * 201}, "password"),
        ({"role_keys": []}, "role_keys"),
        ({"role_keys": "viewer"}, "role_keys"),
    ],
)
async def test_bad_input_names_its_field_and_makes_nobody(
    api: httpx2.AsyncClient, database: Database, changed: dict[str, object], field: str
) -> None:
    body = {"email": "ana@example.test", "password": PASSWORD} | changed
    answer = await api.post("/api/admin/users", json=body)
    assert refusal(answer)[:2] == (400, "VALIDATION_ERROR")
    assert answer.json()["details"][0]["field"].startswith(field)
    assert (await data(await api.get("/api/admin/users")))["total"] == 0


async def test_a_password_that_is_no_text_is_refused(api: httpx2.AsyncClient) -> None:
    body = b'{"email": "ana@example.test", "password": "' + rb"\ud800" * 9 + b'"}'
    headers = {"Content-Type": "application/json"}
    answer = await api.post("/api/admin/users", content=body, headers=headers)
    assert refusal(answer)[:2] == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("keys", [["nothing"], ["viewer", "nothing"], ["viewer", "viewer"]])
async def test_unknown_and_repeated_role_keys_are_refused(api: httpx2.AsyncClient, keys: list[str]) -> None:
    body = {"email": "ana@example.test", "password": PASSWORD, "role_keys": keys}
    expected = (400, "VALIDATION_ERROR", "Unknown role key(s)")
    assert refusal(await api.post("/api/admin/users", json=body)) == expected
    user_id = await new_user(api, "ana@example.test")
    answer = await api.patch(f"/api/admin/users/{user_id}", json={"role_keys": keys})
    assert refusal(answer) == expected
    assert (await data(await api.get("/api/admin/users")))["users"][0]["roles"] == ["viewer"]


async def test_one_email_is_one_person_even_when_asked_for_at_once(
    api: httpx2.AsyncClient, database: Database
) -> None:
    body = {"email": "ana@example.test", "password": PASSWORD}
    answers = await asyncio.gather(*(api.post("/api/admin/users", json=body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    again = await api.post("/api/admin/users", json=body | {"email": "ANA@example.test"})
    assert refusal(again) == (409, "CONFLICT", "A user with this email exists")
    assert again.json()["details"][0]["field"] == "email"
    assert len(await logged(database, "user.created")) == 1


@pytest.mark.attack("mass assignment")
async def test_a_body_sets_nothing_but_what_it_may(api: httpx2.AsyncClient, database: Database) -> None:
    smuggled = {
        "id": "4711",
        "created_at": "2001-01-01T00:00:00Z",
        "password_hash": "known",
        "crm_user_id": "211",
        "status": "DISABLED",
        "permissions": [{"key": "audits", "read": True, "write": True, "scope": "ALL"}],
        "permission_grants": [{"key": "audits", "read": True, "scope": "ALL"}],
        "roles": ["admin"],
    }
    body = smuggled | {"email": "ana@example.test", "password": PASSWORD}
    made = (await data(await api.post("/api/admin/users", json=body), 201))["user"]
    assert (made["status"], made["roles"]) == ("ACTIVE", ["viewer"])
    assert made["id"] != "4711"
    del smuggled["status"]
    patched = await api.patch(f"/api/admin/users/{made['id']}", json=smuggled | {"role_keys": ["operator"]})
    assert (await data(patched))["user"] == made | {"roles": ["operator"]}
    alone = await api.patch(f"/api/admin/users/{made['id']}", json=smuggled)
    assert refusal(alone)[:2] == (400, "VALIDATION_ERROR")
    row = await user_row(database, int(made["id"]))
    assert row is not None
    assert row.crm_user_id is None
    assert row.password_hash != "known"
    assert row.created_at.year > 2001


async def test_a_change_replaces_roles_and_leaves_the_rest(
    api: httpx2.AsyncClient, database: Database
) -> None:
    user_id = await new_user(api, "ana@example.test", ["viewer", "operator"])
    path = f"/api/admin/users/{user_id}"
    assert (await data(await api.patch(path, json={"role_keys": ["operator"]})))["user"] == {
        "id": str(user_id),
        "email": "ana@example.test",
        "status": "ACTIVE",
        "roles": ["operator"],
    }
    row = await user_row(database, user_id)
    assert row is not None
    assert fits(PASSWORD, row.password_hash)
    assert refusal(await api.patch(path, json={}))[:2] == (400, "VALIDATION_ERROR")
    assert refusal(await api.patch(path, json={"status": "GONE"}))[:2] == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("user_id", ["x", "0", "-1", "1.0", "0x1", "9223372036854775808", "%201"])
async def test_an_id_that_is_none_is_named(api: httpx2.AsyncClient, user_id: str) -> None:
    for answer in (
        await api.patch(f"/api/admin/users/{user_id}", json={"status": "ACTIVE"}),
        await api.delete(f"/api/admin/users/{user_id}"),
        await api.post(f"/api/admin/users/{user_id}/invite"),
        await api.post(f"/api/admin/users/{user_id}/logout"),
    ):
        assert refusal(answer) == (400, "VALIDATION_ERROR", "Invalid user id")


def _mutations(api: httpx2.AsyncClient, user_id: int) -> list[Callable[..., Awaitable[httpx2.Response]]]:
    path = f"/api/admin/users/{user_id}"
    return [
        lambda **more: api.patch(path, json={"status": "DISABLED"}, **more),
        lambda **more: api.patch(path, json={"password": "another password"}, **more),
        lambda **more: api.patch(path, json={"role_keys": ["viewer"]}, **more),
        lambda **more: api.delete(path, **more),
        lambda **more: api.post(f"{path}/invite", **more),
        lambda **more: api.post(f"{path}/logout", **more),
    ]


async def test_nobody_of_that_id_is_404(api: httpx2.AsyncClient) -> None:
    for mutate in _mutations(api, 4711):
        assert refusal(await mutate()) == (404, "NOT_FOUND", "User with ID '4711' not found")


@pytest.mark.parametrize("change", [{"status": "DISABLED"}, {"status": "INVITED"}, {"password": PASSWORD}])
async def test_who_is_disabled_or_gets_another_password_is_signed_out_at_once(
    api: httpx2.AsyncClient, database: Database, change: dict[str, str]
) -> None:
    person = await signed_in(database, SETTINGS, everything_within(Scope.ALL))
    assert (await api.get("/api/admin/users", headers=person.headers)).status_code == 200
    await data(await api.patch(f"/api/admin/users/{person.id}", json=change))
    assert (await api.get("/api/admin/users", headers=person.headers)).status_code == 401
    assert await open_sessions(database, person.id) == 0


async def test_a_person_is_signed_out_everywhere_and_may_sign_in_again(
    api: httpx2.AsyncClient, database: Database
) -> None:
    person = await signed_in(database, SETTINGS, everything_within(Scope.ALL))
    answer = await api.post(f"/api/admin/users/{person.id}/logout")
    assert await data(answer) == {"logged_out": True}
    assert (await api.get("/api/admin/users", headers=person.headers)).status_code == 401
    row = await user_row(database, person.id)
    assert row is not None
    assert row.status == "ACTIVE"


async def test_a_deleted_person_is_gone_with_their_sessions(
    api: httpx2.AsyncClient, database: Database
) -> None:
    person = await signed_in(database, SETTINGS, everything_within(Scope.ALL), groupes=["EQUIPE R1"])
    assert await data(await api.delete(f"/api/admin/users/{person.id}")) == {"deleted": True}
    assert (await api.get("/api/admin/users", headers=person.headers)).status_code == 401
    assert await user_row(database, person.id) is None
    assert (await api.delete(f"/api/admin/users/{person.id}")).status_code == 404


async def _without_password(database: Database, status: str) -> int:
    async with database.write() as session:
        user = User(email=f"{status.lower()}@example.test", status=status)
        session.add(user)
        await session.flush()
        return user.id


@pytest.mark.parametrize("status", ["INVITED", "ACTIVE"])
async def test_a_new_invitation_supersedes_the_one_before(
    api: httpx2.AsyncClient, database: Database, status: str
) -> None:
    user_id = await _without_password(database, status)
    path = f"/api/admin/users/{user_id}/invite"
    first, second = [await data(await api.post(path)) for _ in range(2)]
    assert first["user"] == {
        "id": str(user_id),
        "email": f"{status.lower()}@example.test",
        "status": "INVITED",
        "roles": [],
    }
    good = (InviteToken.used_at.is_(None), InviteToken.expires_at > func.now())
    query = select(InviteToken.token_hash).where(*good)
    async with database.read() as session:
        assert (await session.scalars(query)).all() == [token_hash(second["invite_token"])]
    assert first["invite_token"] != second["invite_token"]
    rows = await logged(database, "invite.minted")
    assert [row.target for row in rows] == [f"user:{user_id}"] * 2
    assert not any(second["invite_token"] in str(row.details) for row in rows)


async def test_who_can_sign_in_or_is_disabled_is_not_invited(
    api: httpx2.AsyncClient, database: Database
) -> None:
    able = await new_user(api, "ana@example.test")
    answer = await api.post(f"/api/admin/users/{able}/invite")
    assert refusal(answer) == (409, "CONFLICT", "The user has a password already")
    disabled = await _without_password(database, "DISABLED")
    answer = await api.post(f"/api/admin/users/{disabled}/invite")
    assert refusal(answer) == (409, "CONFLICT", "The user is disabled")


@pytest.mark.attack("id guessing")
@pytest.mark.parametrize("scope", [Scope.GROUP, Scope.SELF])
async def test_people_outside_the_scope_are_as_if_absent(
    api: httpx2.AsyncClient, database: Database, scope: Scope
) -> None:
    caller = await signed_in(database, SETTINGS, everything_within(scope), groupes=["EQUIPE R1"])
    mate = await signed_in(database, SETTINGS, granting(["audits"], Scope.SELF), groupes=["EQUIPE R1"])
    stranger = await signed_in(database, SETTINGS, Grants.of([]), groupes=["EQUIPE R2"])
    listed = await data(await api.get("/api/admin/users", headers=caller.headers))
    seen = [caller.id, mate.id] if scope is Scope.GROUP else [caller.id]
    assert [int(user["id"]) for user in listed["users"]] == seen
    assert (listed["count"], listed["total"]) == (len(seen), len(seen))
    hidden = [stranger.id] if scope is Scope.GROUP else [stranger.id, mate.id]
    for user_id in hidden:
        absent = (404, "NOT_FOUND", f"User with ID '{user_id}' not found")
        for mutate in _mutations(api, user_id):
            assert refusal(await mutate(headers=caller.headers)) == absent
        assert await open_sessions(database, user_id) == 1
        assert await user_row(database, user_id) is not None
    body = {"email": "ana@example.test", "password": PASSWORD}
    made = await api.post("/api/admin/users", json=body, headers=caller.headers)
    assert refusal(made) == (403, "AUTHORIZATION_ERROR", "Forbidden")


async def test_a_manager_of_a_group_changes_people_of_their_teams(
    api: httpx2.AsyncClient, database: Database
) -> None:
    caller = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R1"])
    mate = await signed_in(database, SETTINGS, granting(["audits"], Scope.SELF), groupes=["EQUIPE R1"])
    path = f"/api/admin/users/{mate.id}"
    disabled = await api.patch(path, json={"status": "DISABLED"}, headers=caller.headers)
    assert (await data(disabled))["user"]["status"] == "DISABLED"


async def test_reading_people_does_not_let_one_change_them(
    api: httpx2.AsyncClient, database: Database
) -> None:
    reader = await signed_in(database, SETTINGS, granting(["admin.users"], Scope.ALL))
    other = await new_user(api, "ana@example.test")
    for mutate in _mutations(api, other):
        answer = await mutate(headers=reader.headers)
        assert refusal(answer) == (403, "AUTHORIZATION_ERROR", "Missing permission")
    nobody = await signed_in(database, SETTINGS, granting(["audits"], Scope.ALL))
    assert (await api.get("/api/admin/users", headers=nobody.headers)).status_code == 403
    assert (await api.get("/api/admin/users", headers={"Authorization": ""})).status_code == 401


@pytest.mark.attack("escalation by role")
async def test_nobody_assigns_a_role_that_grants_what_they_do_not_hold(
    api: httpx2.AsyncClient, database: Database
) -> None:
    clerk = await signed_in(database, SETTINGS, granting(["admin.users", "audits"], Scope.ALL, write=True))
    await new_role(api, "auditors", [{"key": "audits", "read": True, "write": True, "scope": "ALL"}])
    user_id = await new_user(api, "ana@example.test", ["auditors"], headers=clerk.headers)
    for keys in (["admin"], ["viewer"], ["auditors", "admin"]):
        body = {"email": "eve@example.test", "password": PASSWORD, "role_keys": keys}
        made = await api.post("/api/admin/users", json=body, headers=clerk.headers)
        assert refusal(made) == FORBIDDEN_GRANT
        patched = await api.patch(
            f"/api/admin/users/{user_id}", json={"role_keys": keys}, headers=clerk.headers
        )
        assert refusal(patched) == FORBIDDEN_GRANT
    listed = (await data(await api.get("/api/admin/users")))["users"]
    assert [user["roles"] for user in listed if user["email"] == "ana@example.test"] == [["auditors"]]
    assert "eve@example.test" not in {user["email"] for user in listed}


@pytest.mark.attack("taking an account over")
async def test_nobody_touches_a_person_who_may_do_more(api: httpx2.AsyncClient, database: Database) -> None:
    clerk = await signed_in(database, SETTINGS, granting(["admin.users", "audits"], Scope.ALL, write=True))
    above = await signed_in(database, SETTINGS, EVERYTHING)
    for mutate in _mutations(api, above.id):
        status, code, error = refusal(await mutate(headers=clerk.headers))
        assert (status, code, error) in {FORBIDDEN_ABOVE, FORBIDDEN_GRANT}
    assert await open_sessions(database, above.id) == 1
    assert (await api.get("/api/admin/users", headers=above.headers)).status_code == 200


@pytest.mark.attack("escalation by invite")
async def test_an_invitation_of_a_person_who_may_do_more_is_refused(
    api: httpx2.AsyncClient, database: Database
) -> None:
    clerk = await signed_in(database, SETTINGS, granting(["admin.users"], Scope.ALL, write=True))
    invited = await _without_password(database, "INVITED")
    await give(database, invited, "operator")
    answer = await api.post(f"/api/admin/users/{invited}/invite", headers=clerk.headers)
    assert refusal(answer) == FORBIDDEN_GRANT


@pytest.mark.attack("taking an account over")
@pytest.mark.parametrize(
    ("scope", "groupes", "crm_user_id"),
    [
        (Scope.GROUP, ["EQUIPE R1", "EQUIPE R2"], None),
        (Scope.SELF, ["EQUIPE R1"], "212"),
    ],
)
async def test_a_colleague_who_sees_other_fiches_is_not_taken_over(
    api: httpx2.AsyncClient, database: Database, scope: Scope, groupes: list[str], crm_user_id: str | None
) -> None:
    manager = await signed_in(
        database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R1"], crm_user_id="211"
    )
    held = granting(["fiches"], scope)
    mate = await signed_in(database, SETTINGS, held, groupes=groupes, crm_user_id=crm_user_id)
    path = f"/api/admin/users/{mate.id}"
    refused = (403, "AUTHORIZATION_ERROR", "You cannot take over an account that sees what you do not")
    reset = await api.patch(path, json={"password": PASSWORD}, headers=manager.headers)
    assert refusal(reset) == refused
    assert refusal(await api.post(f"{path}/invite", headers=manager.headers)) == refused
    assert await open_sessions(database, mate.id) == 1
    assert (await api.post(f"{path}/logout", headers=manager.headers)).status_code == 200
    assert (await api.patch(path, json={"password": PASSWORD})).status_code == 200


@pytest.mark.attack("escalation by role")
async def test_nobody_changes_their_own_roles_or_status_nor_deletes_themselves(
    api: httpx2.AsyncClient, database: Database
) -> None:
    person = await signed_in(database, SETTINGS, EVERYTHING)
    await signed_in(database, SETTINGS, EVERYTHING)
    path = f"/api/admin/users/{person.id}"
    for answer in (
        await api.patch(path, json={"role_keys": ["admin"]}, headers=person.headers),
        await api.patch(path, json={"status": "ACTIVE"}, headers=person.headers),
        await api.patch(path, json={"status": "DISABLED"}, headers=person.headers),
        await api.delete(path, headers=person.headers),
    ):
        assert refusal(answer) == FORBIDDEN_SELF
    assert (await api.get("/api/admin/users", headers=person.headers)).status_code == 200


async def _administrators(api: httpx2.AsyncClient, database: Database, count: int) -> list[int]:
    return [await new_user(api, f"admin{number}@example.test", ["admin"]) for number in range(count)]


@pytest.mark.attack("removing the last administrator")
async def test_the_last_administrator_stays(api: httpx2.AsyncClient, database: Database) -> None:
    (only,) = await _administrators(api, database, 1)
    await new_user(api, "ana@example.test", ["operator"])
    dormant = await new_user(api, "old@example.test", ["admin"])
    await data(await api.patch(f"/api/admin/users/{dormant}", json={"status": "DISABLED"}))
    path = f"/api/admin/users/{only}"
    for answer in (
        await api.patch(path, json={"status": "DISABLED"}),
        await api.patch(path, json={"status": "INVITED", "password": "another password"}),
        await api.patch(path, json={"role_keys": ["viewer", "operator"]}),
        await api.delete(path),
    ):
        assert refusal(answer) == LAST
    row = await user_row(database, only)
    assert row is not None
    assert row.status == "ACTIVE"
    assert fits(PASSWORD, row.password_hash)
    await data(await api.patch(path, json={"role_keys": ["admin", "viewer"]}))
    await _administrators_and_the_first_may_go(api, only)


async def _administrators_and_the_first_may_go(api: httpx2.AsyncClient, first: int) -> None:
    await new_user(api, "second@example.test", ["admin"])
    assert (await api.delete(f"/api/admin/users/{first}")).status_code == 200


@pytest.mark.attack("removing the last administrator")
@pytest.mark.parametrize("how", ["disable", "demote", "delete"])
async def test_two_administrators_who_remove_each_other_at_once_leave_one(
    api: httpx2.AsyncClient, database: Database, how: str
) -> None:
    pair = [await signed_in(database, SETTINGS, EVERYTHING) for _ in range(2)]
    for person in pair:
        await give(database, person.id, "admin")

    async def remove(by: int, whom: int) -> int:
        path, headers = f"/api/admin/users/{pair[whom].id}", pair[by].headers
        if how == "delete":
            return (await api.delete(path, headers=headers)).status_code
        body = {"status": "DISABLED"} if how == "disable" else {"role_keys": ["viewer"]}
        return (await api.patch(path, json=body, headers=headers)).status_code

    statuses = await asyncio.gather(remove(0, 1), remove(1, 0))
    # Whoever comes second finds themselves the last one, or removed already.
    assert sorted(statuses) in ([200, 409], [200, 401], [200, 403])
    holders = select(func.count()).select_from(UserRole).join(User, User.id == UserRole.user_id)
    admin = (await data(await api.get("/api/admin/roles?limit=1")))["roles"][0]["id"]
    async with database.read() as session:
        left = holders.where(UserRole.role_id == int(admin), User.status == "ACTIVE")
        assert await session.scalar(left) == 1


async def _somebody_waits(database: Database) -> None:
    """Until a statement waits for a lock that another transaction holds."""
    waiting = text(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    async with asyncio.timeout(20):
        while True:
            async with database.read() as session:
                if await session.scalar(waiting):
                    return


async def test_who_goes_waits_for_whoever_is_going(api: httpx2.AsyncClient, database: Database) -> None:
    first, second = await _administrators(api, database, 2)
    async with database.write() as session:
        await queries.hold_role(session, "admin")
        await session.execute(update(User).where(User.id == first).values(status="DISABLED"))
        asked = asyncio.create_task(api.delete(f"/api/admin/users/{second}"))
        await _somebody_waits(database)
    assert refusal(await asked) == LAST


async def test_every_change_of_a_person_is_in_the_audit_log_without_their_email(
    api: httpx2.AsyncClient, database: Database
) -> None:
    person = await signed_in(database, SETTINGS, EVERYTHING)
    user_id = await new_user(api, "ana@example.test", headers=person.headers)
    path = f"/api/admin/users/{user_id}"
    change = {"status": "DISABLED", "role_keys": ["operator"], "password": "another password"}
    await data(await api.patch(path, json=change, headers=person.headers))
    await data(await api.post(f"{path}/logout", headers=person.headers))
    await data(await api.delete(path, headers=person.headers))
    told = [
        (row.action, row.details)
        for action in ("user.created", "user.changed", "user.logged_out", "user.deleted")
        for row in await logged(database, action)
        if row.actor == f"user:{person.id}" and row.target == f"user:{user_id}"
    ]
    assert told == [
        ("user.created", {"status": "ACTIVE", "roles": ["viewer"]}),
        (
            "user.changed",
            {"status": ["ACTIVE", "DISABLED"], "roles": [["viewer"], ["operator"]], "password": True},
        ),
        ("user.logged_out", {}),
        ("user.deleted", {"roles": ["operator"]}),
    ]


async def test_what_is_refused_is_not_in_the_log_of_changes(
    api: httpx2.AsyncClient, database: Database
) -> None:
    (only,) = await _administrators(api, database, 1)
    await api.delete(f"/api/admin/users/{only}")
    await api.patch(f"/api/admin/users/{only}", json={"role_keys": ["nothing"]})
    assert await logged(database, "user.deleted") == []
    assert await logged(database, "user.changed") == []


async def test_an_own_password_may_be_set_by_an_administrator_of_oneself(
    api: httpx2.AsyncClient, database: Database
) -> None:
    self_grants = Grants.of([Grant("admin.users", Scope.SELF, Scope.SELF)])
    person = await signed_in(database, SETTINGS, self_grants)
    path = f"/api/admin/users/{person.id}"
    await data(await api.patch(path, json={"password": PASSWORD}, headers=person.headers))
    assert await open_sessions(database, person.id) == 0
