"""Who sees which fiche, asked of the database."""

from dataclasses import dataclass
from importlib import import_module

from fiche_room import DAY, details_of, fiche_id_of, fresh, informed, listing, stored
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, text

from conforme.accounts.actor import Actor, Scope
from conforme.crm.schemas import FicheDetails, SalesFiche
from conforme.fiches import store
from conforme.fiches.models import SECTION_TABLES, FicheCache
from conforme.fiches.scope import visible, visible_fiche_cache, visible_fiche_exists, visible_fiche_ids
from conforme.foundation.database import Database, WriteSession

GROUPES = ["EQUIPE R1", "EQUIPE R2", "", "'; drop table fiche_cache --"]
USERS = ["211", "212", ""]


@dataclass(frozen=True)
class Told:
    """What the CRM said of whose a fiche is, at one time; None where it said nothing."""

    groupe: str | None
    user: str | None


@dataclass(frozen=True)
class Owned:
    """A fiche, listed or fetched by id or both, in either order."""

    listed: Told | None
    detailed: Told | None
    details_first: bool

    def is_seen_by(self, actor: Actor) -> bool:
        told = self.detailed or self.listed or Told(None, None)
        match actor.scope:
            case Scope.ALL:
                return True
            case Scope.GROUP:
                return bool(told.groupe) and told.groupe in actor.groupes
            case Scope.SELF:
                return bool(told.user) and told.user == actor.crm_user_id


def _told(
    groupes: st.SearchStrategy[str | None], users: st.SearchStrategy[str | None]
) -> st.SearchStrategy[Told]:
    return st.builds(Told, groupe=groupes, user=users)


in_listing = _told(st.none() | st.sampled_from(GROUPES), st.none() | st.sampled_from(USERS))
in_details = _told(st.sampled_from(GROUPES), st.sampled_from(USERS))
owned = st.builds(
    Owned, listed=st.none() | in_listing, detailed=st.none() | in_details, details_first=st.booleans()
).filter(lambda fiche: fiche.listed is not None or fiche.detailed is not None)
actors = st.builds(
    Actor,
    name=st.just("user:1"),
    scope=st.sampled_from(Scope),
    groupes=st.frozensets(st.sampled_from(GROUPES)),
    crm_user_id=st.none() | st.sampled_from(USERS),
)
LINE = listing(recordings=False)[0].model_dump()
DETAILS = details_of()


def line_of(fiche_id: str, told: Told) -> SalesFiche:
    keys = {"groupe": told.groupe, "attribution_user_id": told.user}
    return SalesFiche.model_validate(
        LINE | {"id": fiche_id} | {key: value for key, value in keys.items() if value is not None}
    )


def details_for(fiche_id: str, told: Told) -> FicheDetails:
    return informed(DETAILS, fiche_id=fiche_id, groupe=told.groupe, attribution_user_id=told.user)


async def tell(session: WriteSession, fiche_id: str, fiche: Owned) -> None:
    """The CRM tells of a fiche in the order that the example says."""
    for details in (fiche.details_first, not fiche.details_first):
        if details and fiche.detailed:
            await store.write_details(session, details_for(fiche_id, fiche.detailed), fresh())
        elif not details and fiche.listed:
            line = line_of(fiche_id, fiche.listed)
            await store.write_summaries(session, [line], fresh(), sales_date=DAY, with_recordings=False)


@settings(max_examples=60)
@given(st.lists(owned, min_size=1, max_size=4), actors)
async def test_an_actor_sees_what_is_theirs_and_nothing_else(
    database: Database, fiches: list[Owned], actor: Actor
) -> None:
    mails = SECTION_TABLES["fiche_cache_mails"]
    async with database.write() as session:
        for number, fiche in enumerate(fiches):
            await tell(session, str(number), fiche)
            query = select(FicheCache.id).where(FicheCache.fiche_id == str(number))
            row = {"fiche_cache_id": await session.scalar(query), "row_index": 1_000}
            await session.execute(insert(mails).values(**row, type_mail=f"of {number}"))
        wanted = {str(number) for number, fiche in enumerate(fiches) if fiche.is_seen_by(actor)}
        everybody = [str(number) for number in range(len(fiches))]
        seen = await session.scalars(select(FicheCache.fiche_id).where(visible(actor)))
        assert set(seen) == wanted
        beside = await session.scalars(
            select(mails.c.type_mail).where(
                visible_fiche_cache(actor, mails.c.fiche_cache_id), mails.c.row_index == 1_000
            )
        )
        assert set(beside) == {f"of {number}" for number in wanted}
        assert await visible_fiche_ids(session, actor, everybody) == wanted
        for number in everybody:
            assert await visible_fiche_exists(session, actor, number) is (number in wanted)
        await session.rollback()


async def test_a_fiche_that_is_not_cached_is_not_seen(database: Database) -> None:
    async with database.read() as session:
        assert not await visible_fiche_exists(session, Actor.system("test"), "900101")


async def test_a_denial_takes_a_fiche_from_nobody(database: Database) -> None:
    details = details_for("900101", Told("EQUIPE R1", "211"))
    await stored(database, details)
    async with database.write() as session:
        await store.mark_not_found(session, fiche_id_of(details), fresh(hours=0.1))
        for actor in (
            Actor("user:1", Scope.GROUP, groupes=frozenset({"EQUIPE R1"})),
            Actor("user:1", Scope.SELF, crm_user_id="211"),
        ):
            assert await visible_fiche_exists(session, actor, "900101")


async def test_a_listing_that_tells_something_else_than_a_text_tells_nothing(database: Database) -> None:
    odd = SalesFiche.model_validate(LINE | {"groupe": {"id": 3}, "attribution_user_id": "2" * 501})
    assert (odd.told("groupe"), odd.told("attribution_user_id")) == (None, None)
    async with database.write() as session:
        assert (
            await store.write_summaries(session, [odd], fresh(), sales_date=DAY, with_recordings=False) == 1
        )
        row = (await session.scalars(select(FicheCache))).one()
    assert (row.groupe, row.attribution_user_id) == (None, None)
    assert row.raw_data["groupe"] == {"id": 3}


async def test_fiches_that_were_cached_before_are_whose_their_details_say(database: Database) -> None:
    backfill = import_module("conforme.foundation.migrations.versions.0007_scope").BACKFILL
    await stored(database, details_for("900101", Told("EQUIPE R1", "211")))
    await stored(database, details_for("900102", Told("", "")))
    async with database.write() as session:
        await session.execute(text("update fiche_cache set groupe = 'KNOWN', attribution_user_id = null"))
        await session.execute(text(backfill))
        rows = await session.scalars(select(FicheCache).order_by(FicheCache.fiche_id))
        assert [(row.groupe, row.attribution_user_id) for row in rows] == [
            ("EQUIPE R1", "211"),
            ("KNOWN", None),
        ]
