"""The three people of the demo, one of each scope: an administrator, a manager of a group, and one of its advisors."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert

from conforme.accounts.actor import Scope
from conforme.accounts.models import Team, TeamGroupe, User, UserTeam
from conforme.accounts.queries import RoleGrant
from conforme.accounts.rules import ADMIN, OPERATOR
from conforme.accounts.seeding import Seeded, add_user, ensure_held, ensure_role
from conforme.foundation.database import Database, WriteSession
from conforme.sandbox.dossier import groups, users

BY = "system:demo"
ADVISOR = "advisor"
_OWN = ("fiches", "audits", "recordings", "transcriptions", "realtime", "chat")
ADVISOR_ROLE = Seeded(
    "Advisor",
    "Reads what is their own",
    tuple(RoleGrant(key, read=True, write=key == "chat", scope=Scope.SELF) for key in _OWN)
    + tuple(RoleGrant(key, read=True, write=False, scope=Scope.ALL) for key in ("audit-configs", "products")),
)


@dataclass(frozen=True, slots=True)
class Part:
    """A person of the demo: how they sign in, and what they are shown."""

    email: str
    role: str
    sees: str


ADMINISTRATOR = Part("admin@example.test", ADMIN, "everything")
MANAGER = Part("manager@example.test", OPERATOR, "the fiches of one group")
SELLER = Part("advisor@example.test", ADVISOR, "the fiches of one advisor")
CAST = (ADMINISTRATOR, MANAGER, SELLER)


@dataclass(frozen=True, slots=True)
class Place:
    """The group and the advisor of the CRM to whom a fiche of the demo belongs."""

    groupe: str
    advisor_id: str

    @classmethod
    def of(cls, information: Mapping[str, Any]) -> "Place":
        return cls(information["groupe"], information["attribution_user_id"])


def new_passwords() -> dict[str, str]:
    """A password for each of the cast, by e-mail; minted once for each data folder."""
    return {part.email: secrets.token_urlsafe(9) for part in CAST}


async def settle(database: Database, passwords: Mapping[str, str], place: Place) -> None:
    """Makes those of the cast who are missing, where accounts are seeded; `place` gives the manager a group, and the advisor their fiches."""
    crm_ids = {MANAGER.email: _manager_of(place.groupe), SELLER.email: place.advisor_id}
    async with database.write() as session:
        await ensure_role(session, ADVISOR, ADVISOR_ROLE)
        for part in CAST:
            user_id = await _added(session, part, passwords[part.email], crm_ids.get(part.email))
            if user_id is not None and part is MANAGER:
                await _join(session, user_id, place.groupe)


async def _added(session: WriteSession, part: Part, password: str, crm_user_id: str | None) -> int | None:
    """The id of a person just made; None where their e-mail or CRM user has an account already."""
    same = User.email == part.email
    known = select(User.id).where(same if crm_user_id is None else or_(same, User.crm_user_id == crm_user_id))
    if (await session.scalars(known)).first() is not None:
        return None
    user_id = await add_user(session, BY, part.email, password)
    user = await session.get_one(User, user_id)
    user.crm_user_id = crm_user_id
    await session.flush()
    await ensure_held(session, BY, user_id, part.role)
    return user_id


async def _join(session: WriteSession, user_id: int, groupe: str) -> None:
    group_id = next(group["id"] for group in groups(with_users=False) if group["nom"] == groupe)
    team = {"crm_group_id": group_id, "name": groupe}
    await session.execute(insert(Team).values(team).on_conflict_do_nothing())
    team_id = (await session.execute(select(Team.id).where(Team.crm_group_id == group_id))).scalar_one()
    known = [{"team_id": team_id, "groupe": name} for name in (groupe, group_id)]
    await session.execute(insert(TeamGroupe).values(known).on_conflict_do_nothing())
    await session.execute(insert(UserTeam).values(user_id=user_id, team_id=team_id))


def _manager_of(groupe: str) -> str:
    """The CRM user who leads a group, as the sandbox's directory names them."""
    group = next(each for each in groups(with_users=False) if each["nom"] == groupe)
    return next(
        user["id"]
        for user in users()
        if user["role"] == "Manager" and f"{user['prenom']} {user['nom']}" == group["responsable_1"]
    )


def print_cast(console: Console, url: str, passwords: Mapping[str, str]) -> None:
    """How to sign in as each of them."""
    console.print(f"People     sign in with e-mail and password at {url}/api/auth/login", highlight=False)
    for part in CAST:
        line = f"           {part.email:<21} {passwords[part.email]:<13} sees {part.sees}"
        console.print(line, highlight=False, markup=False)
