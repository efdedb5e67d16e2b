"""The simulated CRM: shapes of the real gateway, an invented population that never changes its mind, faults."""

import json
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from conforme.crm.schemas import FicheDetails, SalesFiche
from conforme.sandbox import audio, dossier
from conforme.sandbox.chassis import Service
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.crm import DEFAULT_BEARER, Gateway, GatewayFaults, crm_app
from conforme.sandbox.population import FIRST_DAY, Population
from conforme.sandbox.weather import Fault, FaultPlan

CORPUS = load_corpus()
DAY = date(2026, 11, 20)
SHAPE = json.loads((Path(__file__).parent / "gateway_shape.json").read_text("utf-8"))
LISTED = {
    "start_date": "2026-11-20",
    "end_date": "2026-11-20",
    "status_id": "53",
    "include_recordings": "true",
}
FICTION = re.compile(r"(?:0|33)(?:199 ?00|639 ?98)\d{4}")


def _population(**options: Any) -> Population:
    return Population(CORPUS, **options)


@asynccontextmanager
async def _gateway(
    faults: GatewayFaults | None = None, weather: FaultPlan | None = None, **options: Any
) -> AsyncGenerator[tuple[Gateway, httpx2.AsyncClient]]:
    app = crm_app(_population(**options), faults=faults)
    headers = {"authorization": f"Bearer {DEFAULT_BEARER}"}
    async with (
        Service("crm", app, faults=weather) as service,
        httpx2.AsyncClient(base_url=service.url, headers=headers) as client,
    ):
        yield app.state.gateway, client


def _extras(model: BaseModel) -> Iterable[str]:
    """Keys that the schema of the gateway does not know."""
    yield from model.model_extra or {}
    for value in model.__dict__.values():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, BaseModel):
                yield from _extras(one)


def _missing(shape: Any, value: Any, path: str = "") -> Iterable[str]:
    """Keys of the shape that the value lacks; free-form maps and nulls end the walk."""
    if isinstance(shape, dict) and isinstance(value, dict):
        for key, inner in shape.items():
            if key in value:
                yield from _missing(inner, value[key], f"{path}.{key}")
            elif path.rsplit(".", 1)[-1] not in {"garanties", "subcategories", "details", "raw_sections"}:
                yield f"{path}.{key}"
    elif isinstance(shape, list) and isinstance(value, list) and shape:
        for one in value:
            yield from _missing(shape[0], one, path)


@pytest.mark.parametrize("rank", range(24))
def test_a_fiche_has_every_mandatory_key_and_no_other(rank: int) -> None:
    population = _population(sales_per_day=24)
    sale = population.sales(DAY)[rank]
    file = dossier.details(population, sale, recordings_at="http://crm.test", mail_devis=True)
    read = FicheDetails.model_validate(file)
    assert list(_extras(read)) == []
    optional = {".mail_devis.garanties_details.garanties.soins.subcategories.med"}
    assert set(_missing(SHAPE["details"], file)) <= optional
    assert read.mail_devis is not None


def test_a_fiche_gives_its_quotation_mail_on_request_only() -> None:
    population = _population()
    file = dossier.details(population, population.sales(DAY)[0], recordings_at=None, mail_devis=False)
    assert "mail_devis" not in file
    assert file["recordings"] == []


def test_every_line_of_a_listing_fits_the_gateway_s_shape() -> None:
    population = _population(sales_per_day=40)
    for sale in population.sales(DAY):
        item = dossier.listing_item(population, sale, recordings_at="http://crm.test")
        assert list(_extras(SalesFiche.model_validate(item))) == []
        assert list(_missing(SHAPE["listing"]["fiches"][0], item)) == []


def test_a_day_has_good_and_bad_sales_among_its_first_six() -> None:
    population = _population(sales_per_day=6)
    for offset in range(60):
        sales = population.sales(DAY + timedelta(days=offset))
        assert {"bon", "moyen", "mauvais"} == {CORPUS.scenarios[sale.scenario].quality for sale in sales}


def test_all_scenarios_are_met_in_a_month() -> None:
    population = _population(sales_per_day=20)
    sales = [sale for offset in range(31) for sale in population.sales(DAY + timedelta(days=offset))]
    played = {one.reference.scenario for sale in sales for one in population.recordings(sale)}
    assert played == set(CORPUS.scenarios)
    assert {len(population.recordings(sale)) for sale in sales} == {1, 2, 3}


def test_the_population_is_decided_by_its_seed_alone() -> None:
    one, same, other = _population(seed=7), _population(seed=7), _population(seed=8)
    assert one.sales(DAY) == same.sales(DAY)
    assert one.sales(DAY) != other.sales(DAY)


def test_a_growing_population_keeps_the_sales_already_seen() -> None:
    population = _population(sales_per_day=5)
    before = population.sales(DAY)
    population.sales_per_day = 9
    assert population.sales(DAY)[:5] == before


def test_with_a_clock_sales_appear_as_their_hour_comes() -> None:
    clock = [datetime(2026, 11, 20, tzinfo=UTC)]
    population = _population(now=lambda: clock[0])
    assert population.sales(DAY) == ()
    clock[0] += timedelta(hours=13)
    some = population.sales(DAY)
    assert 0 < len(some) < 12
    clock[0] += timedelta(hours=11)
    assert len(population.sales(DAY)) == 12
    assert all(population.find(sale.fiche_id) for sale in some)


def test_closed_weekdays_have_no_sale_and_no_fiche() -> None:
    friday = _population().sales(DAY)[0]
    closed = _population(closed_weekdays=frozenset({4}))
    assert closed.sales(DAY) == ()
    assert closed.find(friday.fiche_id) is None


@given(st.dates(FIRST_DAY, date(2035, 1, 1)), st.integers(0, 11))
def test_a_sale_is_found_by_its_id_and_its_recordings_by_their_names(day: date, rank: int) -> None:
    population = _population()
    sale = population.sales(day)[rank]
    assert population.find(sale.fiche_id) == sale
    for recording in population.recordings(sale):
        assert population.recording(recording.file_name) == recording
        assert FICTION.fullmatch(recording.from_number)
        assert FICTION.fullmatch(recording.to_number)
    assert FICTION.fullmatch(sale.phone)


@pytest.mark.parametrize(
    "fiche_id", ["", "0", "abc", "999999", "1000012", "9999999999", "١٠٠٠٠٠٠", "1000000\n"]
)
def test_an_id_that_nobody_has_finds_nobody(fiche_id: str) -> None:
    assert _population().find(fiche_id) is None


def test_the_written_call_names_the_people_and_the_price_of_its_fiche() -> None:
    population = _population()
    for sale in population.sales(DAY):
        said = " ".join(turn.text for call in population.calls(sale) for turn in call.turns)
        assert sale.cast.client.family_name in said
        assert sale.cast.advisor.first_name in said
        assert f"{int(sale.cast.offer.monthly)} euros" in said


@pytest.mark.parametrize("attempts", [0, 1, 2])
def test_attempts_before_a_sale_are_calls_of_their_own_and_change_nothing_of_the_sale(attempts: int) -> None:
    plain, tried = _population(sales_per_day=24), _population(sales_per_day=24, attempts_per_sale=attempts)
    for known, sale in zip(plain.sales(DAY), tried.sales(DAY), strict=True):
        assert sale == known
        references = [one.reference for one in tried.recordings(sale)]
        assert references[attempts:] == [one.reference for one in plain.recordings(known)]
        assert len(set(references)) == len(references), "no two recordings of a sale are the same"
        starts = [one.start for one in tried.recordings(sale)]
        assert min(starts[attempts:]) > max(starts[:attempts], default=datetime.min.replace(tzinfo=UTC))


def test_more_sales_than_a_day_can_number_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1000"):
        _population(sales_per_day=1001)


async def test_a_listing_may_be_refused_for_one_of_its_days_or_be_cut_short() -> None:
    faults = GatewayFaults(unlistable=frozenset({DAY + timedelta(days=1)}), longest_listing=3)
    async with _gateway(sales_per_day=8, faults=faults) as (_, client):
        short = (await client.get("/api/fiches/sales-with-calls", params=LISTED)).json()
        assert (len(short["fiches"]), short["total"]) == (3, 8)
        refused = await client.get("/api/fiches/sales-with-calls", params=LISTED | {"end_date": "2026-11-21"})
        assert refused.status_code == 422


async def test_the_listing_gives_a_day_or_a_range_of_sales() -> None:
    async with _gateway(sales_per_day=8) as (_, client):
        one = (await client.get("/api/fiches/sales-with-calls", params=LISTED)).json()
        two = (
            await client.get("/api/fiches/sales-with-calls", params=LISTED | {"end_date": "2026-11-21"})
        ).json()
    assert one["total"] == len(one["fiches"]) == 8
    assert two["total"] == 16
    assert one["fiches"] == two["fiches"][:8]


async def test_the_listing_names_recordings_only_when_asked() -> None:
    async with _gateway() as (_, client):
        without = await client.get(
            "/api/fiches/sales-with-calls", params=LISTED | {"include_recordings": "false"}
        )
        other_status = await client.get("/api/fiches/sales-with-calls", params=LISTED | {"status_id": "12"})
    assert all(item["recordings"] == [] for item in without.json()["fiches"])
    assert other_status.json() == {"fiches": [], "total": 0}


@pytest.mark.parametrize(
    "dates",
    [
        {},
        {"start_date": "2026-11-20"},
        {"start_date": "20/11/2026", "end_date": "2026-11-20"},
        {"start_date": "2026-13-40", "end_date": "2026-13-41"},
        {"start_date": "2026-11-21", "end_date": "2026-11-20"},
        {"start_date": "2020-01-01", "end_date": "2026-11-20"},
    ],
)
async def test_dates_that_make_no_sense_are_refused(dates: dict[str, str]) -> None:
    async with _gateway() as (_, client):
        answer = await client.get("/api/fiches/sales-with-calls", params=dates)
    assert answer.status_code == 400
    assert answer.json()["success"] is False


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", DEFAULT_BEARER, f"Basic {DEFAULT_BEARER}"])
async def test_the_gateway_answers_only_to_its_token(authorization: str) -> None:
    async with _gateway() as (_, client):
        answer = await client.get("/api/utilisateurs", headers={"authorization": authorization})
        health = await client.get("/health", headers={"authorization": authorization})
    assert answer.status_code == 401
    assert health.json() == {"status": "ok"}


async def test_a_fiche_is_given_by_id_with_recordings_that_play() -> None:
    async with _gateway() as (gateway, client):
        sale = gateway.population.sales(DAY)[0]
        wanted = {"include_recordings": "true", "include_mail_devis": "true"}
        file = (await client.get(f"/api/fiches/by-id/{sale.fiche_id}", params=wanted)).json()
        url = file["recordings"][0]["recording_url"]
        played = await client.get(url)
        part = await client.get(url, headers={"range": "bytes=100-199"})
        tail = await client.get(url, headers={"range": f"bytes={len(played.content) - 5}-"})
        beyond = await client.get(url, headers={"range": f"bytes={len(played.content)}-"})
    recording = gateway.population.recordings(sale)[0]
    assert file["information"]["fiche_id"] == sale.fiche_id
    assert played.headers["content-type"] == "audio/mpeg"
    assert audio.reference_in(played.content) == recording.reference
    assert audio.seconds_of(played.content) == pytest.approx(
        file["recordings"][0]["duration_seconds"], rel=0.06, abs=1
    )
    assert (part.status_code, part.content) == (206, played.content[100:200])
    assert tail.content == played.content[-5:]
    assert beyond.status_code == 416


async def test_unknown_fiches_recordings_and_routes_are_not_found() -> None:
    async with _gateway() as (_, client):
        for path in ("/api/fiches/by-id/12", "/recordings/x.mp3", "/api/fiches/by-id/1;drop", "/elsewhere"):
            answer = await client.get(path)
            assert answer.status_code == 404
            assert answer.json()["success"] is False


async def test_the_directory_names_every_advisor_and_group_of_the_fiches() -> None:
    async with _gateway() as (gateway, client):
        users = (await client.get("/api/utilisateurs")).json()["data"]
        plain = (await client.get("/api/utilisateurs/groupes")).json()["data"]
        groups = (await client.get("/api/utilisateurs/groupes", params={"include_users": "true"})).json()[
            "data"
        ]
        sales = gateway.population.sales(DAY)
    ids = {user["id"] for user in users["utilisateurs"]}
    assert users["total_count"] == len(ids)
    assert {sale.cast.advisor.id for sale in sales} <= ids
    assert all("user_ids" not in group for group in plain["groupes"])
    assert {member for group in groups["groupes"] for member in group["user_ids"]} <= ids


async def test_a_spurious_404_goes_away_when_asked_again() -> None:
    async with _gateway(GatewayFaults(spurious_not_found=1.0)) as (gateway, client):
        path = f"/api/fiches/by-id/{gateway.population.sales(DAY)[0].fiche_id}"
        assert [(await client.get(path)).status_code for _ in range(2)] == [404, 200]


async def test_a_missing_fiche_stays_missing_and_an_unsuccessful_one_says_so() -> None:
    async with _gateway() as (gateway, client):
        gone, failed, quiet = (sale.fiche_id for sale in gateway.population.sales(DAY)[:3])
        gateway.faults = GatewayFaults(
            missing=frozenset({gone}), unsuccessful=frozenset({failed}), without_recordings=frozenset({quiet})
        )
        statuses = [(await client.get(f"/api/fiches/by-id/{gone}")).status_code for _ in range(3)]
        unsuccessful = await client.get(f"/api/fiches/by-id/{failed}")
        silent = await client.get(f"/api/fiches/by-id/{quiet}", params={"include_recordings": "true"})
        listed = (await client.get("/api/fiches/sales-with-calls", params=LISTED)).json()["fiches"]
    assert statuses == [404, 404, 404]
    assert (unsuccessful.status_code, unsuccessful.json()["success"]) == (200, False)
    assert silent.json()["recordings"] == []
    assert next(item for item in listed if item["id"] == quiet)["recordings"] == []


async def test_malformed_lines_stand_among_good_ones_and_are_always_the_same() -> None:
    async with _gateway(GatewayFaults(malformed_items=0.3), sales_per_day=30) as (_, client):
        first, again = [
            (await client.get("/api/fiches/sales-with-calls", params=LISTED)).json()["fiches"]
            for _ in range(2)
        ]
    bad = [item["id"] for item in first if "nom" not in item]
    assert 0 < len(bad) < 30
    assert first == again


async def test_a_malformed_answer_of_the_chassis_is_one_bad_line() -> None:
    weather = FaultPlan(shares={Fault.MALFORMED: 1.0})
    async with _gateway(weather=weather) as (_, client):
        items = (await client.get("/api/fiches/sales-with-calls", params=LISTED)).json()["fiches"]
    assert sum("nom" not in item for item in items) == 1
