"""What is told of a fiche, and that nothing told spoils what was told before."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fiche_payloads import payloads
from fiche_room import (
    ANYBODY,
    CALLS,
    DAY,
    NOW,
    counted,
    details_of,
    fiche_id_of,
    found,
    fresh,
    informed,
    known,
    listing,
    shown,
    stored,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import select, text

from conforme.crm.json_text import storable
from conforme.crm.schemas import FicheDetails, SalesFiche
from conforme.fiches import bulk, queries, service, store
from conforme.fiches.days import day_of
from conforme.fiches.models import SECTION_TABLES, FicheCache, information
from conforme.fiches.store import DayFetched, FicheIncomplete, Freshness
from conforme.foundation.database import Database, WriteSession

Json = dict[str, Any]


def as_json(value: Any) -> Any:
    """The value as any reader of JSON sees it: `1e2` and `100` are one number."""
    return json.loads(json.dumps(value), parse_int=Decimal, parse_float=Decimal)


@settings(max_examples=40)
@given(payloads)
async def test_any_fiche_is_read_as_it_was_written(database: Database, payload: Json) -> None:
    assume(payload["information"] is not None)
    details = FicheDetails.model_validate(storable(payload))
    async with database.write() as session:
        fiche = await service.store_details(session, CALLS, details, fresh())
        row = await session.get_one(FicheCache, fiche.fiche_cache_id)
        read = await queries.document(session, ANYBODY, CALLS, row, mail_devis=True)
        await session.rollback()
    assert read is not None
    wanted = details.payload()
    assert as_json(read["recordings"]) == as_json(CALLS.shown(details.recordings))
    assert as_json(_by_id(_as_told(read.pop("recordings")))) == as_json(_by_id(wanted.pop("recordings")))
    assert as_json(read) == as_json({"cle": payload["information"]["cle"], **wanted})


def _as_told(calls: list[Json]) -> list[Json]:
    """The calls of a fiche without what is added to them."""
    assert all({"parsed", "transcription"} <= call.keys() for call in calls)
    return [{key: value for key, value in call.items() if key != "parsed"} for call in calls]


def _by_id(calls: list[Json]) -> dict[str, Json]:
    return {call["call_id"]: {"transcription": None, **call} for call in calls}


async def test_a_real_looking_fiche_keeps_its_order_and_its_calls(database: Database) -> None:
    details = details_of(mail_devis=True)
    await stored(database, details)
    read = await shown(database, fiche_id_of(details), mail_devis=True)
    wanted = details.payload()
    assert _by_id(_as_told(read.pop("recordings"))) == _by_id(wanted.pop("recordings"))
    assert list(read)[:3] == ["success", "message", "cle"]
    del read["cle"]
    assert json.dumps(read) == json.dumps(wanted)


def _grown(details: FicheDetails, times: int) -> FicheDetails:
    payload = details.payload()
    grown = {key: value * times for key, value in payload.items() if isinstance(value, list)}
    return FicheDetails.model_validate({**payload, **grown})


async def test_statements_do_not_grow_with_rows(database: Database) -> None:
    counts: list[tuple[int, int]] = []
    for times in (1, 40):
        details = _grown(details_of(mail_devis=True), times)
        with counted(database) as writing:
            await stored(database, details)
        with counted(database) as reading:
            await shown(database, fiche_id_of(details), mail_devis=True)
        counts.append((len(writing), len(reading)))
    assert counts[0] == counts[1]
    assert counts[0] <= (6, 4)


async def test_new_details_take_the_place_of_the_old_ones(database: Database) -> None:
    details = details_of(mail_devis=True)
    await stored(database, details)
    bare: Json = {"conjoint": None, "enfants": [], "elements_souscription": None, "tarification": []}
    await stored(database, details_of(mail_devis=True, **bare, raw_sections={"b": "2", "a": "1"}))
    read = await shown(database, fiche_id_of(details), mail_devis=True)
    assert {key: read[key] for key in bare} == bare
    assert list(read["raw_sections"]) == ["b", "a"]
    async with database.read() as session:
        orphans = await session.scalar(text("select count(*) from fiche_cache_tarification_formules"))
    assert orphans == 0


async def test_a_write_that_fails_leaves_the_fiche_as_it_was(database: Database) -> None:
    details = details_of()
    await stored(database, details)
    before = await shown(database, fiche_id_of(details))

    async def fails() -> None:
        async with database.write() as session:
            await store.write_details(session, details_of(prospect=None), fresh())
            raise RuntimeError("the process died")

    with pytest.raises(RuntimeError):
        await fails()
    assert await shown(database, fiche_id_of(details)) == before


async def test_a_quote_mail_outlives_a_fetch_that_did_not_ask_for_it(database: Database) -> None:
    with_mail = details_of(mail_devis=True)
    fiche_id = fiche_id_of(with_mail)
    await stored(database, details_of())
    assert not (await found(database, fiche_id)).facts.mail_devis_known
    await stored(database, with_mail)
    await stored(database, details_of())
    assert (await found(database, fiche_id)).facts.mail_devis_known
    read = await shown(database, fiche_id, mail_devis=True)
    assert read["mail_devis"] == with_mail.payload()["mail_devis"]
    assert "mail_devis" not in await shown(database, fiche_id)


async def test_that_there_is_no_quote_mail_is_known_too(database: Database) -> None:
    without = details_of(mail_devis=None)
    fiche_id = fiche_id_of(without)
    await stored(database, details_of(mail_devis=True))
    await stored(database, without)
    await stored(database, details_of(zone="nouvelle"))
    assert (await found(database, fiche_id)).facts.mail_devis_known
    assert (await shown(database, fiche_id, mail_devis=True))["mail_devis"] is None
    read = await shown(database, fiche_id)
    assert "mail_devis" not in read
    assert read["zone"] == "nouvelle"


async def test_details_without_information_are_refused(database: Database) -> None:
    with pytest.raises(FicheIncomplete):
        await stored(database, details_of(information=None))


async def summarised(
    database: Database,
    fiches: Sequence[SalesFiche] = (),
    *,
    with_recordings: bool = True,
    freshness: Freshness | None = None,
) -> int:
    told = fiches or listing(recordings=with_recordings)
    async with database.write() as session:
        return await store.write_summaries(
            session, told, freshness or fresh(), sales_date=DAY, with_recordings=with_recordings
        )


async def test_a_day_of_sales_is_noted_in_two_statements(database: Database) -> None:
    with counted(database) as statements:
        assert await summarised(database) == 4
    assert len(statements) == 2
    async with database.read() as session:
        rows = await queries.of_day(session, ANYBODY, DAY)
    assert {row.fiche_id for row in rows} == {fiche.id for fiche in listing()}
    assert all(row.raw_data["_salesListOnly"] and row.has_recordings for row in rows)
    assert all("cle" not in row.raw_data for row in rows)


async def test_the_same_fiche_twice_in_a_listing_is_one_row(database: Database) -> None:
    assert await summarised(database, [*listing(), *listing()]) == 4


def _content(row: FicheCache, *left_out: str) -> Mapping[str, Any]:
    stored = {column.key for column in FicheCache.__table__.columns if column.computed is None}
    names = stored - {"updated_at", *left_out}
    return {name: getattr(row, name) for name in names}


async def test_a_listing_never_harms_a_fiche_whose_details_are_cached(database: Database) -> None:
    details = details_of()
    fiche_id = fiche_id_of(details)
    await stored(database, details, sales_date=DAY)
    before = await found(database, fiche_id)
    later = NOW + timedelta(days=3)
    await summarised(database, with_recordings=False, freshness=fresh(at=later))
    after = await found(database, fiche_id)
    told = (
        "listed_at",
        "last_revalidated_at",
        "prospect_nom",
        "prospect_prenom",
        "prospect_email",
        "prospect_tel",
    )
    assert _content(after.row, *told, "cle") == _content(before.row, *told, "cle")
    assert (after.row.listed_at, after.row.last_revalidated_at) == (later, later)
    assert after.facts == before.facts


async def test_a_listing_brings_the_key_of_a_fiche_up_to_date(database: Database) -> None:
    details = informed(details_of(), cle="older")
    await stored(database, details)
    await summarised(database)
    async with database.read() as session:
        inside = await session.scalar(select(information.c.cle))
    newer = next(fiche.cle for fiche in listing() if fiche.id == fiche_id_of(details))
    assert inside == newer == (await found(database, fiche_id_of(details))).row.cle


async def test_a_listing_does_not_make_a_denial_last(database: Database) -> None:
    fiche_id = listing()[0].id
    async with database.write() as session:
        await store.mark_not_found(session, fiche_id, fresh(hours=0.1))
    before = await found(database, fiche_id)
    await summarised(database)
    after = await found(database, fiche_id)
    assert after.facts.not_found
    assert (after.row.expires_at, after.row.fetched_at) == (before.row.expires_at, before.row.fetched_at)
    assert after.row.raw_data["_salesListOnly"]


async def test_a_fiche_stays_on_the_day_it_was_sold(database: Database) -> None:
    details = informed(details_of(), date_insertion="03/11/2026 09:12")
    fiche_id = fiche_id_of(details)
    await stored(database, details)
    assert (await found(database, fiche_id)).row.sales_date == "2026-11-03"
    await summarised(database)
    await stored(database, details)
    assert (await found(database, fiche_id)).row.sales_date == "2026-11-20"
    await stored(database, details, sales_date=date(2026, 11, 21))
    assert (await found(database, fiche_id)).row.sales_date == "2026-11-21"


async def test_details_follow_a_listing_and_end_a_denial(database: Database) -> None:
    details = details_of()
    fiche_id = fiche_id_of(details)
    await summarised(database)
    assert not (await found(database, fiche_id)).facts.detailed
    async with database.write() as session:
        await store.mark_not_found(session, fiche_id, fresh(hours=0.1))
    await stored(database, details)
    cached = await found(database, fiche_id)
    assert cached.facts.detailed
    assert cached.facts.success
    assert not cached.facts.not_found
    assert cached.row.raw_data == {}
    assert cached.facts.recordings_told == cached.facts.recordings_stored == len(details.recordings)


async def test_a_denied_fiche_is_not_among_the_sales_of_a_day(database: Database) -> None:
    await summarised(database)
    async with database.write() as session:
        await store.mark_not_found(session, listing()[0].id, fresh(hours=0.1))
        assert len(await queries.of_day(session, ANYBODY, DAY)) == 3


async def test_a_day_without_sales_is_covered_and_a_failed_one_is_not(database: Database) -> None:
    async with database.write() as session:
        await store.note_day(session, DAY, NOW, DayFetched(expected=3, stored=2, quarantined=1))
        await store.note_day(session, DAY, NOW + timedelta(hours=1), DayFetched(error="down"))
        await store.note_day(session, date(2026, 11, 22), NOW, DayFetched())
    async with database.read() as session:
        day = await queries.day_fetched(session, DAY)
        sunday = await queries.day_fetched(session, date(2026, 11, 22))
    assert day
    assert (day.fetched_at, day.stored, day.quarantined, day.error) == (NOW, 2, 1, "down")
    assert sunday
    assert (sunday.fetched_at, sunday.expected, sunday.error) == (NOW, 0, None)


async def test_two_writers_of_one_fiche_wait_for_each_other(database: Database) -> None:
    first, second = details_of(prospect=None), details_of(conjoint=None)
    await asyncio.gather(*(stored(database, each) for each in (first, second) * 5))
    read = await shown(database, fiche_id_of(first))
    assert {key: read[key] for key in ("prospect", "conjoint")} in (
        {key: each.payload()[key] for key in ("prospect", "conjoint")} for each in (first, second)
    )


@pytest.mark.parametrize(
    ("said", "day"),
    [
        ("05/01/2026 09:12", "2026-01-05"),
        ("5/1/2026", "2026-01-05"),
        ("2026-01-05T08:14", "2026-01-05"),
        ("2026-01-05 10:20:11", "2026-01-05"),
        *(
            (said, None)
            for said in ("2025-13-40", "31/02/2026", "", None, "demain", "05/01/20261", "0000-01-01")
        ),
    ],
)
def test_the_day_of_a_date_of_the_crm(said: str | None, day: str | None) -> None:
    assert day_of(said) == day


@given(st.text())
def test_any_text_has_a_day_or_none(said: str) -> None:
    day = day_of(said)
    assert day is None or date.fromisoformat(day)


async def test_every_section_table_is_written_and_read(database: Database) -> None:
    async def rows(session: WriteSession) -> dict[str, int]:
        return {
            name: len((await session.execute(select(table.c.id))).all())
            for name, table in SECTION_TABLES.items()
        }

    details = details_of(mail_devis=True)
    cache_id = await stored(database, details)
    async with database.write() as session:
        written = await rows(session)
        read = await bulk.read_sections(session, ANYBODY, cache_id, mail_devis=True)
        assert read is not None
        assert {name: len(found) for name, found in read.items()} == written
        await session.execute(text("delete from fiche_cache"))
        assert set((await rows(session)).values()) == {0}
    assert await known(database, fiche_id_of(details)) is None


async def test_the_longest_key_there_may_be_fits_its_index(database: Database) -> None:
    longest = "\U0001f4de" * 500
    document = {**details_of().payload()["documents"][0], "document_id": longest}
    details = informed(
        details_of(documents=[document], raw_sections={longest: "x" * 1_000_000}), groupe=longest
    )
    await stored(database, details)
    read = await shown(database, fiche_id_of(details))
    assert read["documents"] == [document]
    assert read["information"]["groupe"] == longest
    with pytest.raises(ValidationError):
        informed(details, groupe=longest + "a")
