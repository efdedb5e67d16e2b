"""Who sees which fiche, asked of the database."""

from dataclasses import dataclass

from fiche_room import NOW
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from conforme.accounts.actor import Actor, Scope
from conforme.fiches.models import SECTION_TABLES, FicheCache, information
from conforme.fiches.scope import visible, visible_fiche_cache, visible_fiche_exists
from conforme.foundation.database import Database

GROUPES = ["EQUIPE R1", "EQUIPE R2", "", "'; drop table fiche_cache --"]
USERS = ["211", "212", ""]


@dataclass(frozen=True)
class Owned:
    """What the cache says of whose a fiche is; `detailed` without which the last two are not known."""

    cached_groupe: str | None
    detailed: bool
    groupe: str | None
    user: str | None

    def is_seen_by(self, actor: Actor) -> bool:
        match actor.scope:
            case Scope.ALL:
                return True
            case Scope.GROUP:
                told = self.groupe if self.detailed else None
                groupe = told or self.cached_groupe
                return bool(groupe) and groupe in actor.groupes
            case Scope.SELF:
                return self.detailed and bool(actor.crm_user_id) and self.user == actor.crm_user_id


owned = st.builds(
    Owned,
    cached_groupe=st.none() | st.sampled_from(GROUPES),
    detailed=st.booleans(),
    groupe=st.none() | st.sampled_from(GROUPES),
    user=st.none() | st.sampled_from(USERS),
)
actors = st.builds(
    Actor,
    name=st.just("user:1"),
    scope=st.sampled_from(Scope),
    groupes=st.frozensets(st.sampled_from(GROUPES)),
    crm_user_id=st.none() | st.sampled_from(USERS),
)


@settings(max_examples=60)
@given(st.lists(owned, min_size=1, max_size=6), actors)
async def test_an_actor_sees_what_is_theirs_and_nothing_else(
    database: Database, fiches: list[Owned], actor: Actor
) -> None:
    mails = SECTION_TABLES["fiche_cache_mails"]
    async with database.write() as session:
        for number, fiche in enumerate(fiches):
            row = FicheCache(fiche_id=str(number), groupe=fiche.cached_groupe, expires_at=NOW)
            session.add(row)
            await session.flush()
            await session.execute(
                insert(mails).values(fiche_cache_id=row.id, row_index=1, type_mail=str(number))
            )
            if fiche.detailed:
                told = {"groupe": fiche.groupe, "attribution_user_id": fiche.user}
                await session.execute(insert(information).values(fiche_cache_id=row.id, **told))
        wanted = {str(number) for number, fiche in enumerate(fiches) if fiche.is_seen_by(actor)}
        seen = await session.scalars(select(FicheCache.fiche_id).where(visible(actor)))
        assert set(seen) == wanted
        beside = await session.scalars(
            select(mails.c.type_mail).where(visible_fiche_cache(actor, mails.c.fiche_cache_id))
        )
        assert set(beside) == wanted
        for number in range(len(fiches)):
            assert await visible_fiche_exists(session, actor, str(number)) is (str(number) in wanted)
        await session.rollback()


async def test_a_fiche_that_is_not_cached_is_not_seen(database: Database) -> None:
    async with database.read() as session:
        assert not await visible_fiche_exists(session, Actor.system("test"), "900101")
