"""Teams give sight of fiches: who may make them, who may join, and that a name shows and hides nothing."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx2
import pytest
from crm_room import Room, crm_room, group, user
from sqlalchemy import func, select, update
from sqlalchemy.pool import QueuePool

from conforme.accounts import identity
from conforme.accounts.access_tokens import Claims
from conforme.accounts.grants import EVERYTHING, Grant, Grants, Scope
from conforme.accounts.models import AuditLogRow, Team, TeamGroupe, User, UserTeam
from conforme.foundation.database import Database
from people import SignedIn, everything_within, granting, signed_in
from product_fixtures import SETTINGS

URL = "/api/admin/teams"
Json = dict[str, Any]
Headers = Mapping[str, str] | None
MANAGER = Grants.of([Grant("admin.users", Scope.GROUP, Scope.GROUP), Grant("fiches", Scope.GROUP)])


@pytest.fixture(scope="module")
async def open_room(session_database: Database, database_url: str) -> AsyncGenerator[Room]:
    async with crm_room(session_database, database_url) as room:
        yield room


@pytest.fixture
def room(open_room: Room, database: Database) -> Room:
    open_room.crm.forget()
    return open_room


async def stated(api: httpx2.AsyncClient, crm_group_id: str, name: str, **body: Any) -> Json:
    answer = await api.post(URL, json={"crm_group_id": crm_group_id, "name": name, **body})
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()["data"]["team"]


async def sight(database: Database, person: SignedIn) -> frozenset[str]:
    """What a person's fiches may say their groupe is, as a request finds it."""
    assert person.caller.person is not None
    caller = await identity.of_session(database.engine, Claims(person.id, person.caller.person.session_id))
    assert caller is not None
    return caller.groupes


async def groupes_of(database: Database, team_id: str) -> set[str]:
    async with database.read() as session:
        return set(await session.scalars(select(TeamGroupe.groupe).where(TeamGroupe.team_id == int(team_id))))


async def team_of(database: Database, name: str) -> str:
    async with database.read() as session:
        return str(await session.scalar(select(Team.id).where(Team.name == name)))


async def members(database: Database, team_id: str) -> set[int]:
    async with database.read() as session:
        return set(await session.scalars(select(UserTeam.user_id).where(UserTeam.team_id == int(team_id))))


async def logged(database: Database) -> list[AuditLogRow]:
    async with database.read() as session:
        return list((await session.scalars(select(AuditLogRow).order_by(AuditLogRow.id))).all())


# What the contract says


async def test_a_team_is_created_once_and_then_changed(api: httpx2.AsyncClient, database: Database) -> None:
    body = {"crm_group_id": "51", "name": "EQUIPE R1", "responsable_1": "Luc VANNIER"}
    answer = await api.post(URL, json=body)
    assert answer.status_code == 201
    team = answer.json()["data"]["team"]
    assert team == {
        "id": "1",
        "crm_group_id": "51",
        "name": "EQUIPE R1",
        "responsable_1": "Luc VANNIER",
        "responsable_2": None,
        "responsable_3": None,
        "membres_count": 0,
    }
    again = await api.post(URL, json={"crm_group_id": 51, "name": "R1"})
    assert again.status_code == 200
    assert again.json()["data"]["team"] == team | {"name": "R1", "responsable_1": None}
    changed = await api.patch(f"{URL}/1", json={"responsable_2": "Zoé PIC"})
    assert changed.json()["data"]["team"] == team | {
        "name": "R1",
        "responsable_1": None,
        "responsable_2": "Zoé PIC",
    }
    assert [row.action for row in await logged(database)] == ["team.created", "team.changed", "team.changed"]
    assert all("PIC" not in str(row.details) for row in await logged(database))


async def test_the_same_team_stated_at_once_is_one(api: httpx2.AsyncClient, database: Database) -> None:
    answers = await asyncio.gather(
        *(api.post(URL, json={"crm_group_id": "51", "name": "EQUIPE R1"}) for _ in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Team)) == 1


async def test_teams_are_listed_by_name_with_members_on_demand(
    api: httpx2.AsyncClient, database: Database
) -> None:
    person = await signed_in(database, SETTINGS, Grants.of([]), groupes=["B", "A"], crm_user_id="211")
    await stated(api, "c", "C")
    plain = (await api.get(URL)).json()["data"]
    assert [(team["name"], team["membres_count"]) for team in plain["teams"]] == [
        ("A", 1),
        ("B", 1),
        ("C", 0),
    ]
    assert plain["count"] == 3
    assert all("members" not in team and "user_ids" not in team for team in plain["teams"])
    full = (await api.get(URL, params={"include_users": "true", "limit": 1, "offset": 1})).json()["data"]
    [team] = full["teams"]
    async with database.read() as session:
        email = await session.scalar(select(User.email))
    assert team["name"] == "B"
    assert team["user_ids"] == [str(person.id)]
    assert team["members"] == [
        {"user_id": str(person.id), "email": email, "status": "ACTIVE", "crm_user_id": "211"}
    ]
    assert (full["count"], full["pagination"]["total"]) == (1, 3)
    for query in ({"limit": 0}, {"limit": 501}, {"offset": -1}):
        assert (await api.get(URL, params=query)).status_code == 400


async def test_a_team_with_members_is_deleted_by_force_alone(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await signed_in(database, SETTINGS, Grants.of([]), groupes=["EQUIPE R1"])
    number = await team_of(database, "EQUIPE R1")
    refused = await api.delete(f"{URL}/{number}")
    assert (refused.status_code, refused.json()["error"]) == (
        400,
        "Team has members; remove members first or pass ?force=true",
    )
    assert (await api.delete(f"{URL}/{number}?force=1")).status_code == 400
    answer = await api.delete(f"{URL}/{number}?force=true")
    assert answer.json()["data"]["deleted"] is True
    assert answer.json()["data"]["team"].keys() == {"id", "crm_group_id", "name"}
    assert (await api.delete(f"{URL}/{number}?force=true")).status_code == 404
    assert [row.action for row in await logged(database)] == ["team.deleted"]


async def test_members_come_and_go(api: httpx2.AsyncClient, database: Database) -> None:
    person = await signed_in(database, SETTINGS, EVERYTHING, crm_user_id="211")
    number = (await stated(api, "51", "EQUIPE R1"))["id"]
    for _ in range(2):
        answer = await api.post(f"{URL}/{number}/members", json={"user_id": str(person.id)})
        assert answer.status_code == 200
        added = answer.json()["data"]
        assert added["added"] is True
        assert added["team"] == {"id": number, "crm_group_id": "51", "name": "EQUIPE R1"}
        assert added["user"].keys() == {"id", "email", "status", "crm_user_id"}
        assert (added["user"]["id"], added["user"]["crm_user_id"]) == (str(person.id), "211")
    assert await sight(database, person) == {"51", "EQUIPE R1"}
    for member in (person.id, person.id, 999):
        gone = await api.delete(f"{URL}/{number}/members/{member}")
        assert (gone.status_code, gone.json()["data"]) == (200, {"removed": True})
    assert await sight(database, person) == frozenset()
    rows = [row for row in await logged(database) if "member" in row.action]
    assert [(row.action, row.target, row.details) for row in rows] == [
        ("team.member_added", f"team:{number}", {"user_id": str(person.id)}),
        ("team.member_removed", f"team:{number}", {"user_id": str(person.id)}),
    ]


async def test_unknown_and_malformed_ids_are_told_apart(api: httpx2.AsyncClient) -> None:
    number = (await stated(api, "51", "EQUIPE R1"))["id"]
    for method, path, body, status, error in (
        ("PATCH", "x", {"name": "A"}, 400, "Invalid team id"),
        ("DELETE", "0", {}, 400, "Invalid team id"),
        ("POST", "-1/members", {"user_id": "1"}, 400, "Invalid team id"),
        ("DELETE", f"{number}/members/x", {}, 400, "Invalid user id"),
        ("PATCH", "99", {"name": "A"}, 404, "Team with ID '99' not found"),
        ("DELETE", "99", {}, 404, "Team with ID '99' not found"),
        ("POST", "99/members", {"user_id": "1"}, 404, "Team with ID '99' not found"),
        ("POST", f"{number}/members", {"user_id": "77"}, 404, "User with ID '77' not found"),
    ):
        answer = await api.request(method, f"{URL}/{path}", json=body)
        assert (answer.status_code, answer.json()["error"]) == (status, error)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"crm_group_id": "51"},
        {"crm_group_id": "51", "name": " "},
        {"crm_group_id": " ", "name": "A"},
        {"crm_group_id": "x" * 81, "name": "A"},
        {"crm_group_id": "51", "name": "x" * 201},
        {"crm_group_id": "51", "name": "a\0"},
        {"crm_group_id": "51", "name": "A", "responsable_1": "x" * 201},
        {"crm_group_id": ["51"], "name": "A"},
    ],
)
async def test_a_malformed_team_is_refused(api: httpx2.AsyncClient, database: Database, body: Json) -> None:
    answer = await api.post(URL, json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Team)) == 0


@pytest.mark.parametrize("body", [{}, {"name": None}, {"name": ""}, {"crm_group_id": "52"}])
async def test_a_change_changes_something(api: httpx2.AsyncClient, body: Json) -> None:
    number = (await stated(api, "51", "EQUIPE R1"))["id"]
    assert (await api.patch(f"{URL}/{number}", json=body)).status_code == 400


# The CRM's directory


async def test_the_crm_s_people_are_shown_with_their_accounts(room: Room) -> None:
    room.crm.users = [user("211"), user("212"), user("213", email=None), "x"]
    by_number = await signed_in(room.database, SETTINGS, Grants.of([]), crm_user_id="211")
    by_address = await signed_in(room.database, SETTINGS, Grants.of([]))
    async with room.database.write() as session:
        await session.execute(
            update(User).where(User.id == by_address.id).values(email="ines212@example.test")
        )
    answer = (await room.http.get("/api/admin/crm/users")).json()["data"]
    accounts = [line["app_user"] and line["app_user"]["id"] for line in answer["utilisateurs"]]
    assert accounts == [str(by_number.id), str(by_address.id), None]
    assert answer["utilisateurs"][1]["app_user"] == {
        "id": str(by_address.id),
        "email": "ines212@example.test",
        "status": "ACTIVE",
        "crm_user_id": None,
    }
    assert answer["utilisateurs"][0]["nom"] == "COLLET"
    assert (answer["count"], answer["skipped"], answer["pagination"]["total"]) == (3, 1, 3)
    page = (await room.http.get("/api/admin/crm/users?limit=1&offset=1")).json()["data"]
    assert [line["id"] for line in page["utilisateurs"]] == ["212"]


async def test_the_crm_s_teams_are_shown_with_members_on_demand(room: Room) -> None:
    room.crm.groups = [group("51", "EQUIPE R1", "211", responsable_1="Luc VANNIER"), {"id": "52"}]
    plain = (await room.http.get("/api/admin/crm/teams")).json()["data"]
    assert plain["groupes"] == [
        {
            "id": "51",
            "nom": "EQUIPE R1",
            "membres_count": 1,
            "responsable_1": "Luc VANNIER",
            "responsable_2": None,
            "responsable_3": None,
        }
    ]
    assert (plain["count"], plain["skipped"]) == (1, 1)
    full = (await room.http.get("/api/admin/crm/teams?include_users=true")).json()["data"]
    assert full["groupes"] == [plain["groupes"][0] | {"user_ids": ["211"]}]


async def test_a_crm_that_fails_is_a_502_and_changes_nothing(room: Room) -> None:
    room.crm.status = 500
    for method, path in (("GET", "crm/users"), ("GET", "crm/teams"), ("POST", "teams/sync-from-crm")):
        answer = await room.http.request(method, f"/api/admin/{path}")
        assert (answer.status_code, answer.json()["code"]) == (502, "EXTERNAL_API_ERROR")
    async with room.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Team)) == 0


async def test_sync_takes_over_teams_and_members_and_removes_nothing(room: Room) -> None:
    person = await signed_in(room.database, SETTINGS, Grants.of([]), groupes=["Old"], crm_user_id="211")
    room.crm.groups = [
        group("52", " "),
        group("51", "EQUIPE R1", "211", "999", responsable_2="Zoé PIC"),
        {"id": "53"},
    ]
    first = (await room.http.post(f"{URL}/sync-from-crm")).json()["data"]
    assert (first["synced"], first["teams_upserted"], first["members_added"]) == (True, 2, 0)
    assert isinstance(first["note"], str)
    assert "1" in first["note"], "what was skipped is told"
    second = (await room.http.post(f"{URL}/sync-from-crm?sync_members=true")).json()["data"]
    assert (second["teams_upserted"], second["members_added"]) == (2, 1)
    assert await sight(room.database, person) == {"Old", "51", "EQUIPE R1"}
    assert await groupes_of(room.database, await team_of(room.database, "CRM Group 52")) == {"52"}
    room.crm.groups = [group("51", "EQUIPE R1 bis")]
    third = (await room.http.post(f"{URL}/sync-from-crm?sync_members=true")).json()["data"]
    assert (third["teams_upserted"], third["members_added"]) == (1, 0)
    assert await sight(room.database, person) == {"Old", "51", "EQUIPE R1", "EQUIPE R1 bis"}
    rows = await logged(room.database)
    assert [row.action for row in rows] == ["team.synced"] * 3
    number = await team_of(room.database, "EQUIPE R1 bis")
    assert rows[1].details["added"] == [{"team_id": number, "user_id": str(person.id)}]
    assert all(word not in str(row.details) for row in rows for word in ("EQUIPE", "PIC"))


async def test_syncs_at_once_all_succeed(room: Room) -> None:
    await signed_in(room.database, SETTINGS, Grants.of([]), crm_user_id="211")
    room.crm.groups = [group(str(number), f"EQUIPE {number}", "211") for number in range(20)]
    answers = await asyncio.gather(
        *(room.http.post(f"{URL}/sync-from-crm?sync_members=true") for _ in range(4))
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    assert sum(answer.json()["data"]["members_added"] for answer in answers) == 20


async def test_a_group_told_twice_is_one_team(room: Room) -> None:
    room.crm.groups = [group("51", "EQUIPE R1"), group("51", "EQUIPE R2")]
    assert (await room.http.post(f"{URL}/sync-from-crm")).json()["data"]["teams_upserted"] == 1


async def test_no_connection_is_held_while_the_crm_is_asked(room: Room) -> None:
    held: list[int] = []

    async def look() -> None:
        pool = room.own.engine.sync_engine.pool
        assert isinstance(pool, QueuePool)
        held.append(pool.checkedout())

    room.crm.meanwhile = look
    room.crm.users = [user("211")]
    for method, path, body in (
        ("GET", "crm/users", None),
        ("GET", "crm/teams", None),
        ("POST", "teams/sync-from-crm?sync_members=true", None),
        ("POST", "users/from-crm", {"crm_user_id": "211"}),
    ):
        await room.http.request(method, f"/api/admin/{path}", json=body)
    assert held == [0] * 5


# Attacks


@pytest.mark.attack("escalation by team rename")
async def test_attack_renaming_one_s_team_to_another_groupe(
    api: httpx2.AsyncClient, database: Database
) -> None:
    person = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R1"])
    await stated(api, "52", "EQUIPE R2")
    number = await team_of(database, "EQUIPE R1")
    refused = await api.patch(f"{URL}/{number}", json={"name": "EQUIPE R2"}, headers=person.headers)
    assert refused.status_code == 403
    # Even when somebody who may does it, nothing new is seen.
    async with database.read() as session:
        crm_group_id = await session.scalar(select(Team.crm_group_id).where(Team.id == int(number)))
    assert (await api.patch(f"{URL}/{number}", json={"name": "EQUIPE R2"})).status_code == 200
    await stated(api, str(crm_group_id), "EQUIPE R2")
    assert await sight(database, person) == {"EQUIPE R1"}


async def test_renaming_a_team_hides_nothing(api: httpx2.AsyncClient, database: Database) -> None:
    person = await signed_in(database, SETTINGS, EVERYTHING)
    number = (await stated(api, "51", "EQUIPE R1"))["id"]
    await api.post(f"{URL}/{number}/members", json={"user_id": person.id})
    await api.patch(f"{URL}/{number}", json={"name": "Les Lynx"})
    assert await sight(database, person) == {"51", "EQUIPE R1"}


@pytest.mark.attack("escalation by team rename")
async def test_attack_creating_a_team_with_another_groupe_s_name(
    room: Room,
) -> None:
    room.crm.groups = [group("52", "EQUIPE R2")]
    for scope in (Scope.SELF, Scope.GROUP):
        person = await signed_in(room.database, SETTINGS, everything_within(scope), groupes=["EQUIPE R1"])
        number = await team_of(room.database, "EQUIPE R1")
        for method, path, body in (
            ("POST", "teams", {"crm_group_id": "52", "name": "EQUIPE R2"}),
            ("POST", "teams/sync-from-crm?sync_members=true", None),
            ("PATCH", f"teams/{number}", {"name": "EQUIPE R2"}),
            ("DELETE", f"teams/{number}?force=true", None),
            ("DELETE", "teams/999?force=true", None),
            ("GET", "crm/users", None),
            ("GET", "crm/teams", None),
        ):
            answer = await room.http.request(method, f"/api/admin/{path}", json=body, headers=person.headers)
            assert (answer.status_code, answer.json()["error"]) == (403, "Forbidden"), path
        assert await sight(room.database, person) == {"EQUIPE R1"}
    assert room.crm.asked == [], "who may not is refused before the CRM is asked"


@pytest.mark.attack("escalation by membership")
async def test_attack_adding_oneself_to_a_foreign_team(api: httpx2.AsyncClient, database: Database) -> None:
    foreign = (await stated(api, "52", "EQUIPE R2"))["id"]
    for scope, status in ((Scope.GROUP, 404), (Scope.SELF, 403)):
        person = await signed_in(database, SETTINGS, everything_within(scope), groupes=["EQUIPE R1"])
        answer = await api.post(
            f"{URL}/{foreign}/members", json={"user_id": person.id}, headers=person.headers
        )
        assert answer.status_code == status
        assert await sight(database, person) == {"EQUIPE R1"}
    assert await members(database, foreign) == set()


async def test_a_manager_moves_people_between_their_own_teams_alone(
    api: httpx2.AsyncClient, database: Database
) -> None:
    manager = await signed_in(database, SETTINGS, MANAGER, groupes=["EQUIPE R1", "EQUIPE R2"])
    colleague = await signed_in(database, SETTINGS, granting(["fiches"], Scope.GROUP), groupes=["EQUIPE R1"])
    stranger = await signed_in(database, SETTINGS, Grants.of([]), groupes=["EQUIPE R3"])
    own, foreign = await team_of(database, "EQUIPE R2"), await team_of(database, "EQUIPE R3")

    async def asked(method: str, path: str, **body: Any) -> int:
        answer = await api.request(method, f"{URL}/{path}", json=body, headers=manager.headers)
        return answer.status_code

    assert await asked("POST", f"{own}/members", user_id=stranger.id) == 404
    assert await asked("POST", f"{foreign}/members", user_id=colleague.id) == 404
    assert await asked("DELETE", f"{foreign}/members/{stranger.id}") == 404
    assert await asked("DELETE", f"{own}/members/{stranger.id}") == 404
    assert await members(database, foreign) == {stranger.id}
    assert await asked("POST", f"{own}/members", user_id=colleague.id) == 200
    assert await members(database, own) == {manager.id, colleague.id}
    assert await asked("DELETE", f"{own}/members/{colleague.id}") == 200
    assert await members(database, own) == {manager.id}


@pytest.mark.attack("escalation by membership")
async def test_a_manager_moves_nobody_who_may_do_more_than_they(
    api: httpx2.AsyncClient, database: Database
) -> None:
    manager = await signed_in(database, SETTINGS, MANAGER, groupes=["EQUIPE R1", "EQUIPE R2"])
    above = await signed_in(database, SETTINGS, granting(["fiches"], Scope.ALL), groupes=["EQUIPE R1"])
    own, other = await team_of(database, "EQUIPE R1"), await team_of(database, "EQUIPE R2")
    added = await api.post(f"{URL}/{other}/members", json={"user_id": above.id}, headers=manager.headers)
    gone = await api.delete(f"{URL}/{own}/members/{above.id}", headers=manager.headers)
    assert (added.status_code, gone.status_code) == (403, 403)
    assert above.id in await members(database, own)


async def test_one_sees_one_s_own_teams_and_in_them_whom_one_may_see(
    api: httpx2.AsyncClient, database: Database
) -> None:
    shown: dict[Scope, list[Json]] = {}
    people: dict[Scope, SignedIn] = {}
    await signed_in(database, SETTINGS, Grants.of([]), groupes=["EQUIPE R1", "EQUIPE R2"])
    for scope in Scope:
        people[scope] = await signed_in(
            database, SETTINGS, granting(["admin.users"], scope), groupes=["EQUIPE R1"]
        )
    for scope, person in people.items():
        answer = await api.get(f"{URL}?include_users=true", headers=person.headers)
        shown[scope] = answer.json()["data"]["teams"]
    assert [team["name"] for team in shown[Scope.ALL]] == ["EQUIPE R1", "EQUIPE R2"]
    for scope in (Scope.GROUP, Scope.SELF):
        assert [team["name"] for team in shown[scope]] == ["EQUIPE R1"]
    assert len(shown[Scope.GROUP][0]["members"]) == 4
    assert shown[Scope.SELF][0]["user_ids"] == [str(people[Scope.SELF].id)]


async def test_a_team_that_goes_while_somebody_joins_is_no_error(
    api: httpx2.AsyncClient, database: Database
) -> None:
    person = await signed_in(database, SETTINGS, Grants.of([]))
    for number in range(5):
        team = (await stated(api, f"c{number}", "EQUIPE"))["id"]
        answers = await asyncio.gather(
            api.post(f"{URL}/{team}/members", json={"user_id": person.id}),
            api.delete(f"{URL}/{team}?force=true"),
            api.post(f"{URL}/{team}/members", json={"user_id": person.id}),
        )
        assert answers[1].status_code == 200
        assert {answer.status_code for answer in answers} <= {200, 404}


@pytest.mark.parametrize("write", [False, True])
async def test_only_who_manages_people_manages_teams(
    api: httpx2.AsyncClient, database: Database, write: bool
) -> None:
    held = granting(["admin.users"], Scope.ALL) if write else granting(["fiches"], Scope.ALL, write=True)
    person = await signed_in(database, SETTINGS, held)
    for method, path in (
        ("POST", "teams"),
        ("POST", "teams/sync-from-crm"),
        ("PATCH", "teams/1"),
        ("DELETE", "teams/1"),
        ("POST", "teams/1/members"),
        ("DELETE", "teams/1/members/1"),
        ("POST", "users/from-crm"),
        *([] if write else [("GET", "teams"), ("GET", "crm/users"), ("GET", "crm/teams")]),
    ):
        body = {"crm_group_id": "1", "name": "A", "user_id": "1", "crm_user_id": "1"}
        answer = await api.request(method, f"/api/admin/{path}", json=body, headers=person.headers)
        assert (answer.status_code, answer.json()["error"]) == (403, "Missing permission"), path
        stranger = await api.request(method, f"/api/admin/{path}", json=body, headers={"Authorization": ""})
        assert stranger.status_code == 401


@pytest.mark.attack("escalation by membership")
async def test_attack_giving_oneself_sight_by_the_right_to_place_everybody(
    api: httpx2.AsyncClient, database: Database
) -> None:
    """Placing people is no right to see: who sees one groupe's fiches cannot put themselves into another's team."""
    held = Grants.of([Grant("admin.users", Scope.ALL, Scope.ALL), Grant("fiches", Scope.GROUP, Scope.GROUP)])
    insider = await signed_in(database, SETTINGS, held, groupes=["EQUIPE R1"])
    made = await api.post("/api/admin/teams", json={"crm_group_id": "52", "name": "EQUIPE R2"})
    url = f"/api/admin/teams/{made.json()['data']['team']['id']}/members"
    answer = await api.post(url, json={"user_id": str(insider.id)}, headers=insider.headers)
    assert (answer.status_code, answer.json()["error"]) == (
        403,
        "You cannot give sight of what you do not see",
    )
    assert (await api.post(url, json={"user_id": str(insider.id)})).status_code == 200
