"""An account for somebody of the CRM: one person, one account, however often and by whomever it is asked."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from crm_room import Room, crm_room, group, user
from sqlalchemy import func, insert, select, text, update

from conforme.accounts.grants import EVERYTHING, Grant, Grants, Scope
from conforme.accounts.models import (
    AuditLogRow,
    InviteToken,
    Permission,
    Role,
    RolePermission,
    Team,
    User,
    UserRole,
    UserTeam,
)
from conforme.accounts.secrets import token_hash
from conforme.foundation.database import Database, now
from people import SignedIn, everything_within, signed_in
from product_fixtures import SETTINGS

URL = "/api/admin/users/from-crm"
Json = dict[str, Any]
Headers = Mapping[str, str] | None


@pytest.fixture(scope="module")
async def open_room(session_database: Database, database_url: str) -> AsyncGenerator[Room]:
    async with crm_room(session_database, database_url) as room:
        yield room


@pytest.fixture
async def room(open_room: Room, database: Database) -> Room:
    """A CRM with one advisor in the second of its teams, and three roles here."""
    open_room.crm.forget()
    open_room.crm.users = [user("210"), user("211"), user("212")]
    open_room.crm.groups = [group("51", "EQUIPE R1"), group("52", "EQUIPE R2", "211", "212")]
    await _role(database, "viewer", Grant("fiches", Scope.GROUP))
    await _role(database, "operator", Grant("fiches", Scope.GROUP, Scope.GROUP))
    await _role(database, "admin", *EVERYTHING.by_key.values())
    return open_room


async def _role(database: Database, key: str, *grants: Grant) -> None:
    async with database.write() as session:
        role_id = (
            await session.execute(insert(Role).values(key=key, name=key).returning(Role.id))
        ).scalar_one()
        for grant in grants:
            known = await session.scalar(select(Permission.id).where(Permission.key == grant.key))
            if known is None:
                made = insert(Permission).values(key=grant.key).returning(Permission.id)
                known = (await session.execute(made)).scalar_one()
            await session.execute(
                insert(RolePermission).values(
                    role_id=role_id,
                    permission_id=known,
                    can_read=grant.read is not None,
                    can_write=grant.write is not None,
                    scope=grant.read or grant.write,
                )
            )


async def welcomed(room: Room, headers: Headers = None, **body: Any) -> Json:
    answer = await room.http.post(URL, json={"crm_user_id": "211"} | body, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["data"]


async def refused(room: Room, status: int, headers: Headers = None, **body: Any) -> str:
    before = await _state(room.database)
    answer = await room.http.post(URL, json={"crm_user_id": "211"} | body, headers=headers)
    assert answer.status_code == status, answer.text
    assert await _state(room.database) == before, "nothing is half-written"
    return answer.json()["error"]


async def _state(database: Database) -> list[Any]:
    async with database.read() as session:
        counted = [
            await session.scalar(select(func.count()).select_from(table))
            for table in (User, UserRole, Team, UserTeam, InviteToken)
        ]
        changes = select(func.count()).where(AuditLogRow.action != "authorisation.refused")
        counted.append(await session.scalar(changes))
        people = (
            await session.execute(select(User.id, User.email, User.crm_user_id).order_by(User.id))
        ).all()
    return [counted, people]


async def account(database: Database, roles: Sequence[str] = (), **columns: Any) -> int:
    """An account that was here before."""
    async with database.write() as session:
        made = insert(User).values({"email": "ines211@example.test"} | columns).returning(User.id)
        user_id = (await session.execute(made)).scalar_one()
        for key in roles:
            role_id = await session.scalar(select(Role.id).where(Role.key == key))
            await session.execute(insert(UserRole).values(user_id=user_id, role_id=role_id))
    return user_id


async def _roles(database: Database, user_id: int) -> set[str]:
    async with database.read() as session:
        query = select(Role.key).join(UserRole, UserRole.role_id == Role.id)
        return set(await session.scalars(query.where(UserRole.user_id == user_id)))


async def manager(room: Room, grants: Grants = EVERYTHING) -> SignedIn:
    return await signed_in(room.database, SETTINGS, grants, groupes=["EQUIPE R2", "52"])


async def test_somebody_new_is_invited_into_their_team_as_a_viewer(room: Room) -> None:
    made = await welcomed(room)
    assert made["user"] == {
        "id": made["user"]["id"],
        "email": "ines211@example.test",
        "status": "INVITED",
        "roles": ["viewer"],
        "crm_user_id": "211",
    }
    assert made["team"] == {"id": made["team"]["id"], "crm_group_id": "52", "name": "EQUIPE R2"}
    assert made["groupe"] == made["team"]
    async with room.database.read() as session:
        invite = (await session.scalars(select(InviteToken))).one()
        [row] = (await session.scalars(select(AuditLogRow))).all()
    assert invite.token_hash == token_hash(made["invite_token"])
    lasts = invite.expires_at - now()
    assert timedelta(days=6, hours=23) < lasts <= timedelta(seconds=SETTINGS.auth_invite_ttl_seconds)
    assert (row.action, row.target) == ("user.from_crm", f"user:{made['user']['id']}")
    assert row.details == {
        "created": True,
        "roles": ["viewer"],
        "team_id": made["team"]["id"],
        "invited": True,
    }


async def test_the_team_asked_for_wins_and_somebody_may_be_in_none(room: Room) -> None:
    forced = await welcomed(room, crm_group_id="51", crm_user_id=212)
    assert forced["team"]["crm_group_id"] == "51"
    alone = await welcomed(room, crm_user_id="210")
    assert (alone["team"], alone["groupe"]) == (None, None)


async def test_what_the_crm_does_not_say_is_refused(room: Room) -> None:
    room.crm.users = [
        user("211"),
        user("212", email=" "),
        user("213", email=None),
        user("214", email="x y@z"),
    ]
    assert await refused(room, 400, crm_user_id="999") == "Unknown CRM user id"
    assert await refused(room, 400, crm_user_id="212") == "CRM user has no email"
    assert await refused(room, 400, crm_user_id="213") == "CRM user has no email"
    assert await refused(room, 400, crm_user_id="214") == "CRM user has no valid email"
    assert await refused(room, 400, crm_group_id="99") == "Unknown CRM group id"
    room.crm.status = 503
    await refused(room, 502)


@pytest.mark.parametrize(
    "body",
    [
        {"crm_user_id": None},
        {"crm_user_id": ""},
        {"crm_user_id": "x" * 81},
        {"role_keys": []},
        {"role_keys": "viewer"},
        {"role_keys": ["viewer"] * 51},
        {"role_keys": ["viewer\0"]},
        {"crm_group_id": " "},
    ],
)
async def test_a_malformed_request_is_refused_before_the_crm_is_asked(room: Room, body: Json) -> None:
    await refused(room, 400, **body)
    assert room.crm.asked == []


async def test_unknown_and_repeated_roles_are_refused(room: Room) -> None:
    assert await refused(room, 400, role_keys=["nobody"]) == "Unknown role key(s)"
    assert await refused(room, 400, role_keys=["viewer", "viewer"]) == "Unknown role key(s)"


async def test_somebody_known_by_address_is_linked_and_keeps_password_and_roles(room: Room) -> None:
    number = await account(room.database, ["operator"], password_hash="x")
    made = await welcomed(room)
    assert made["user"]["id"] == str(number)
    assert (made["user"]["status"], made["user"]["roles"]) == ("ACTIVE", ["operator"])
    assert made["user"]["crm_user_id"] == "211"
    assert made["invite_token"] is None


async def test_somebody_known_by_crm_id_gets_the_crm_s_address(room: Room) -> None:
    number = await account(room.database, email="old@example.test", crm_user_id="211")
    made = await welcomed(room)
    assert (made["user"]["id"], made["user"]["email"]) == (str(number), "ines211@example.test")
    assert made["invite_token"] is None, "an active account is not invited"


async def test_roles_that_are_given_replace_those_before(room: Room) -> None:
    number = await account(room.database, ["operator"])
    assert (await welcomed(room, role_keys=["viewer"]))["user"]["roles"] == ["viewer"]
    assert await _roles(room.database, number) == {"viewer"}


async def test_links_that_cross_are_refused(room: Room) -> None:
    await account(room.database, crm_user_id="212")
    assert await refused(room, 400) == "App user is already linked to a different CRM user"
    await account(room.database, email="other@example.test", crm_user_id="211")
    assert await refused(room, 400) == "CRM user is already linked to a different app user"


async def test_an_invitation_supersedes_those_before(room: Room) -> None:
    first, second = await welcomed(room), await welcomed(room)
    assert first["user"]["id"] == second["user"]["id"]
    async with room.database.read() as session:
        live = InviteToken.expires_at > func.clock_timestamp()
        rows = (await session.execute(select(InviteToken.token_hash, live.label("live")))).all()
    assert {row.token_hash: row.live for row in rows} == {
        token_hash(first["invite_token"]): False,
        token_hash(second["invite_token"]): True,
    }


async def test_a_disabled_account_is_not_invited(room: Room) -> None:
    await account(room.database, status="DISABLED")
    assert (await welcomed(room))["invite_token"] is None


async def test_two_at_once_end_in_one_account(room: Room) -> None:
    answers = await asyncio.gather(*(welcomed(room) for _ in range(6)))
    assert len({answer["user"]["id"] for answer in answers}) == 1
    async with room.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(User)) == 1
        live = (
            select(func.count())
            .select_from(InviteToken)
            .where(InviteToken.expires_at > func.clock_timestamp())
        )
        assert await session.scalar(live) == 1


async def test_an_account_made_meanwhile_by_another_way_is_a_conflict_or_is_linked(room: Room) -> None:
    """Whoever creates it at that moment, no way of getting between ends in a 500."""

    async def another() -> None:
        await asyncio.sleep(0)
        async with room.database.write() as session:
            session.add(User(email="ines211@example.test"))

    answers = await asyncio.gather(
        room.http.post(URL, json={"crm_user_id": "211"}), another(), return_exceptions=True
    )
    assert not isinstance(answers[0], BaseException)
    assert answers[0].status_code in {201, 409}
    async with room.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(User)) == 1


async def test_an_open_rival_makes_it_a_conflict(room: Room) -> None:
    """A rival who has written the address and not yet committed is waited for."""
    async with room.database.write() as session:
        session.add(User(email="ines211@example.test"))
        await session.flush()
        asked = asyncio.create_task(room.http.post(URL, json={"crm_user_id": "211"}))
        while not await _somebody_waits(room.database):  # noqa: ASYNC110 -- PostgreSQL tells nobody who waits
            await asyncio.sleep(0.01)
    answer = await asked
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert (await welcomed(room))["user"]["email"] == "ines211@example.test"


async def _somebody_waits(database: Database) -> bool:
    query = text(
        "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
    )
    async with database.engine.connect() as connection:
        return bool((await connection.execute(query)).scalar_one())


# Attacks


@pytest.mark.attack("escalation by from-crm")
async def test_attack_granting_roles_one_does_not_hold(room: Room) -> None:
    held = Grants.of([Grant("admin.users", Scope.ALL, Scope.ALL), Grant("fiches", Scope.GROUP)])
    person = await manager(room, held)
    for keys in (["admin"], ["operator"], ["viewer", "admin"]):
        error = await refused(room, 403, person.headers, role_keys=keys)
        assert error == "You cannot grant what you do not hold"
    assert (await welcomed(room, person.headers))["user"]["roles"] == ["viewer"]
    poorer = await manager(room, Grants.of([Grant("admin.users", Scope.ALL, Scope.ALL)]))
    await refused(room, 403, poorer.headers, crm_user_id="212")


@pytest.mark.attack("escalation by from-crm")
async def test_attack_being_invited_to_see_another_team_s_fiches(room: Room) -> None:
    held = Grants.of([Grant("admin.users", Scope.ALL, Scope.ALL), Grant("fiches", Scope.GROUP)])
    stranger = await signed_in(room.database, SETTINGS, held, groupes=["AILLEURS"])
    error = await refused(room, 403, stranger.headers)
    assert error == "You cannot give sight of what you do not see"


@pytest.mark.attack("escalation by from-crm")
async def test_attack_changing_an_account_above_one_s_own(room: Room) -> None:
    """Another address would be a way to take it over."""
    await account(room.database, ["admin"], email="boss@example.test", crm_user_id="211", password_hash="x")
    held = Grants.of([Grant("admin.users", Scope.ALL, Scope.ALL), Grant("fiches", Scope.GROUP, Scope.GROUP)])
    person = await manager(room, held)
    for body in ({}, {"role_keys": ["viewer"]}):
        await refused(room, 403, person.headers, **body)


@pytest.mark.attack("escalation by from-crm")
async def test_attack_from_within_a_narrower_scope(room: Room) -> None:
    for scope in (Scope.SELF, Scope.GROUP):
        person = await manager(room, everything_within(scope))
        assert await refused(room, 403, person.headers) == "Forbidden"
    assert room.crm.asked == []


@pytest.mark.attack("escalation by from-crm")
async def test_attack_taking_the_last_administrator_away(room: Room) -> None:
    number = await account(room.database, ["admin"])
    await refused(room, 409, role_keys=["viewer"])
    other = await account(room.database, ["admin"], email="other@example.test", status="DISABLED")
    await refused(room, 409, role_keys=["viewer"])
    async with room.database.write() as session:
        await session.execute(update(User).where(User.id == other).values(status="ACTIVE"))
    assert (await welcomed(room, role_keys=["viewer"]))["user"]["id"] == str(number)


@pytest.mark.attack("mass assignment")
async def test_attack_by_what_the_body_may_not_say(room: Room) -> None:
    made = await welcomed(room, status="ACTIVE", email="mine@example.test", password_hash="x", id="7")
    assert (made["user"]["status"], made["user"]["email"]) == ("INVITED", "ines211@example.test")
