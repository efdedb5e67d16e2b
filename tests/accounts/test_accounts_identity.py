"""A credential gives a caller, for exactly as long as it is good."""

import httpx2
from sqlalchemy import delete, update

from conforme.accounts.grants import Scope
from conforme.accounts.models import Session, TeamGroupe, User, UserRole
from conforme.foundation.database import Database, now
from people import everything_within, granting, signed_in
from product_fixtures import SETTINGS


async def test_a_session_calls_with_what_its_person_may_do(
    api: httpx2.AsyncClient, database: Database
) -> None:
    person = await signed_in(
        database, SETTINGS, granting(["audits"], Scope.GROUP), groupes=["EQUIPE R1"], crm_user_id="211"
    )
    assert person.caller.groupes == {"EQUIPE R1"}
    assert person.caller.crm_user_id == "211"
    assert (await api.get("/api/audits", headers=person.headers)).status_code == 200
    refused = await api.post("/api/audits/run", json={}, headers=person.headers)
    assert (refused.status_code, refused.json()["error"]) == (403, "Missing permission")
    assert refused.json()["code"] == "AUTHORIZATION_ERROR"
    assert (await api.get("/api/audit-configs", headers=person.headers)).status_code == 403


async def test_what_is_taken_away_counts_at_once(api: httpx2.AsyncClient, database: Database) -> None:
    for change, status in (
        (delete(UserRole), 403),
        (update(User).values(status="DISABLED"), 401),
        (update(Session).values(ended_at=now()), 401),
        (update(Session).values(expires_at=now()), 401),
        (delete(User), 401),
    ):
        person = await signed_in(database, SETTINGS, everything_within(Scope.ALL))
        assert (await api.get("/api/audits", headers=person.headers)).status_code == 200
        async with database.write() as session:
            await session.execute(change)
        assert (await api.get("/api/audits", headers=person.headers)).status_code == status


async def test_a_team_shows_what_the_crm_called_it(database: Database) -> None:
    person = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R1"])
    async with database.write() as session:
        team = (
            await session.execute(update(TeamGroupe).returning(TeamGroupe.team_id).values(groupe="A"))
        ).scalar()
        session.add(TeamGroupe(team_id=team, groupe="B"))
    again = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["A"])
    assert again.caller.groupes == {"A", "B"}
    assert again.id != person.id
