"""The demo has three people, one of each scope, who see fiches of the sandbox."""

from datetime import timedelta

from admin_room import fits, seeded
from rich.console import Console
from sqlalchemy import func, insert, select

from conforme.accounts import identity, queries
from conforme.accounts.access_tokens import Claims
from conforme.accounts.actor import Caller, Scope
from conforme.accounts.models import Session, User
from conforme.demo_people import (
    ADMINISTRATOR,
    CAST,
    MANAGER,
    SELLER,
    Place,
    new_passwords,
    print_cast,
    settle,
)
from conforme.foundation.database import Database, now
from conforme.sandbox.dossier import groups, users

GROUP = groups(with_users=True)[1]
PLACE = Place(GROUP["nom"], GROUP["user_ids"][0])


async def _signed_in(database: Database, email: str) -> Caller:
    async with database.write() as session:
        user = await queries.user_with_email(session, email)
        assert user is not None
        query = insert(Session).values(user_id=user.id, expires_at=now() + timedelta(days=1))
        session_id = (await session.execute(query.returning(Session.id))).scalar_one()
    caller = await identity.of_session(database.engine, Claims(user.id, session_id))
    assert caller is not None
    return caller


async def test_each_person_of_the_demo_sees_as_far_as_their_part(database: Database) -> None:
    await seeded(database)
    await settle(database, new_passwords(), PLACE)
    administrator = (await _signed_in(database, ADMINISTRATOR.email)).acting(["fiches.read"])
    manager = (await _signed_in(database, MANAGER.email)).acting(["fiches.read"])
    advisor = (await _signed_in(database, SELLER.email)).acting(["fiches.read"])
    assert administrator.scope is Scope.ALL
    assert (manager.scope, manager.groupes) == (Scope.GROUP, {GROUP["nom"], GROUP["id"]})
    assert (advisor.scope, advisor.crm_user_id) == (Scope.SELF, PLACE.advisor_id)
    leader = next(user for user in users() if user["id"] == manager.crm_user_id)
    assert f"{leader['prenom']} {leader['nom']}" == GROUP["responsable_1"]


async def test_the_people_of_the_demo_are_made_once(database: Database) -> None:
    await seeded(database)
    passwords = new_passwords()
    for place in (PLACE, PLACE, Place(groups(with_users=False)[0]["nom"], "999")):
        await settle(database, passwords, place)
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(User)) == len(CAST)
        for part in CAST:
            user = await queries.user_with_email(session, part.email)
            assert user is not None
            assert fits(passwords[part.email], user.password_hash)


def test_the_demo_says_how_each_of_them_signs_in() -> None:
    passwords = new_passwords()
    console = Console(record=True, width=120, quiet=False, file=None)
    with console.capture() as captured:
        print_cast(console, "http://127.0.0.1:3002", passwords)
    lines = captured.get().splitlines()
    assert "http://127.0.0.1:3002/api/auth/login" in lines[0]
    for part, line in zip(CAST, lines[1:], strict=True):
        assert line.split()[:2] == [part.email, passwords[part.email]]
