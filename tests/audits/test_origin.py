"""Rules for calls of one origin apply where the CRM tells that origin, or does not tell of any."""

from datetime import UTC, datetime
from typing import get_args

import httpx2
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import insert

from audit_rows import audit, configured, fiche
from conforme.audit_configs.rules import ANY_ORIGIN, CallOrigin
from conforme.audit_configs.service import import_rules
from conforme.audits import stages
from conforme.audits.case import freeze, open_case, thaw
from conforme.audits.origin import Told, meanings, origins_of
from conforme.audits.prompting import points_in_force
from conforme.audits.queries import row, snapshot
from conforme.audits.timeline import Call, build, from_json, to_json
from conforme.audits.validity import outside
from conforme.fiches.models import information
from conforme.foundation.database import Database, WriteSession
from conforme.recordings.models import Recording
from conforme.settings import Settings
from conforme.transcriptions.words import Word, pack
from rubrics import rules, step

MEANING = meanings(["Web = requested", "FICHIER=unsolicited", "PORTEFEUILLE=client"])
ORIGINS: tuple[CallOrigin, ...] = get_args(CallOrigin)
WORDS = (Word("Bonjour", 0.0, 1.0, "speaker_0"),)


@pytest.mark.parametrize(
    ("names", "directions", "may_be"),
    [
        (["WEB", None], ["out"], {"requested"}),
        ([" web ", ""], [], {"requested"}),
        (["FICHIER", None], ["out", "in"], {"unsolicited"}),
        ([None, "Portefeuille"], ["in"], {"client"}),
        (["ANNUAIRE", None], ["out"], ANY_ORIGIN),
        ([None, None], ["in", "in"], {"requested", "client"}),
        ([None, None], ["in", "out"], ANY_ORIGIN),
        ([None, None], ["in", None], ANY_ORIGIN),
        ([None, None], [], ANY_ORIGIN),
        (["WEB", "FICHIER"], ["out"], {"requested", "unsolicited"}),
        (["FICHIER", None], ["in"], ANY_ORIGIN),
    ],
)
def test_the_origin_is_what_the_crm_says_and_nothing_where_it_is_silent_or_contradicts_itself(
    names: list[str | None], directions: list[str | None], may_be: set[str]
) -> None:
    assert origins_of(Told(names, directions), MEANING) == may_be


def test_without_the_setting_no_name_of_a_provenance_means_anything() -> None:
    assert origins_of(Told(["WEB", "FICHIER"], ["out"]), {}) == ANY_ORIGIN


@given(st.sets(st.sampled_from(ORIGINS), min_size=1), st.sampled_from(ORIGINS))
def test_a_rule_stands_unless_its_origin_is_known_not_to_be_that_of_the_call(
    may_be: set[CallOrigin], origin: CallOrigin
) -> None:
    origins = frozenset(may_be)
    points = [{"text": "Réservé.", "call_origin": origin}, "Toujours."]
    numbers = [number for number, _ in points_in_force(step(1, control_points=points), None, origins)]
    assert numbers == ([1, 2] if origin in origins else [2])
    assert (outside(rules(call_origin=origin), None, origins) is None) == (origin in origins)


@given(st.sets(st.sampled_from(ORIGINS), min_size=1))
def test_the_origin_is_frozen_with_the_words_and_its_absence_changes_no_byte(may_be: set[CallOrigin]) -> None:
    words = build([Call("1", WORDS)], frozenset(may_be))
    assert from_json(to_json(words)) == words
    assert ("origins" in to_json(words)) == (may_be != ANY_ORIGIN)


def test_a_configuration_for_one_origin_is_used_for_that() -> None:
    case = open_case(rules(call_origin="client"), build([Call("1", WORDS)]))
    assert case.origins == {"client"}


@pytest.mark.parametrize("entry", ["WEB", "WEB=", "=client", "WEB=inbound"])
def test_a_setting_that_says_no_origin_is_refused_at_start(entry: str) -> None:
    with pytest.raises(ValidationError, match="NAME=unsolicited"):
        Settings(audit_call_origins=(entry,))


async def _sale(session: WriteSession, provenance: str | None, *directions: str | None) -> int:
    cache_id = await fiche(session, "900001")
    if provenance is not None:
        columns = {"fiche_cache_id": cache_id, "provenance_nom": provenance}
        await session.execute(insert(information).values(columns))
    session.add_all(
        Recording(
            fiche_cache_id=cache_id,
            call_id=f"c-{number}",
            direction=direction,
            start_time=datetime(2026, 11, 17, 9, number, tzinfo=UTC),
            has_transcription=True,
            transcription_words=pack(WORDS),
        )
        for number, direction in enumerate(directions)
    )
    await session.flush()
    return cache_id


async def test_a_request_by_a_configuration_for_calls_of_another_origin_is_refused(
    api: httpx2.AsyncClient, database: Database
) -> None:
    """Who called in was not solicited."""
    async with database.write() as session:
        await _sale(session, None, "in", "in")
        cold, warm = [
            (await import_rules(session, rules(origin, call_origin=origin))).id
            for origin in ("unsolicited", "requested")
        ]
    refused = await api.post("/api/audits/run", json={"fiche_id": "900001", "audit_config_id": cold})
    assert (refused.status_code, refused.json()["code"]) == (409, "CONFIG_NOT_IN_FORCE")
    assert "unsolicited" in refused.json()["error"]
    assert (await api.get("/api/audits")).json()["pagination"]["total"] == 0
    taken = await api.post("/api/audits/run", json={"fiche_id": "900001", "audit_config_id": warm})
    assert taken.status_code == 200, taken.text


async def test_an_audit_freezes_the_origin_that_the_setting_gives_the_fiche_s_provenance(
    api_app: FastAPI, api: httpx2.AsyncClient, database: Database
) -> None:
    settings = Settings(audit_call_origins=("WEB=requested",))
    pinned = await configured(database)
    async with database.write() as session:
        cache_id = await _sale(session, "WEB", "out")
        audit_id = await audit(session, pinned, 1, fiche_id="900001", fiche_cache_id=cache_id)
        heard, _ = await stages.heard(session, await row(session, audit_id), settings)
        frozen = await snapshot(session, await freeze(session, "900001", heard))
        assert thaw(frozen.content).origins == {"requested"}
        silent, _ = await stages.heard(session, await row(session, audit_id), Settings())
        assert silent.origins == ANY_ORIGIN
