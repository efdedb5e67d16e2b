"""Knowing who calls costs a request one statement at most, and a list of audits no more for who sees a part of them."""

import re
from collections.abc import Mapping

import httpx2
import pytest
from fastapi import FastAPI
from sql_statements import sent_to
from sqlalchemy import insert, text

from audit_rows import audit, configured
from conforme.accounts.grants import Scope
from conforme.accounts.models import ApiToken
from conforme.accounts.secrets import token_hash
from conforme.foundation.database import Database
from people import everything_within, signed_in
from product_fixtures import API_TOKEN, SETTINGS

TOKEN = "cfm_a-token-of-the-house"
PATHS = (
    "/api/audits",
    "/api/audits/1",
    "/api/audits/by-fiche/900000",
    "/api/fiches/900000/cache",
    "/api/recordings/900000",
)


@pytest.fixture
def served(api_app: FastAPI) -> Database:
    """The database as the application holds it."""
    return api_app.state.resources.database


async def _counts(api: httpx2.AsyncClient, served: Database, headers: Mapping[str, str]) -> list[int]:
    counts: list[int] = []
    for path in PATHS:
        with sent_to(served) as sent:
            answer = await api.get(path, headers=dict(headers))
        assert answer.status_code == 200, answer.text
        counts.append(len(sent))
    return counts


async def test_authorisation_adds_at_most_one_statement(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    pinned = await configured(database)
    async with database.write() as session:
        await audit(session, pinned, 0)
        await session.execute(text("update fiche_cache set attribution_user_id = '211', listed_at = now()"))
        grants = [
            {"key": key, "read": True, "write": False, "scope": "GROUP"}
            for key in ("audits", "fiches", "recordings")
        ]
        values = {
            "name": "n",
            "hint": TOKEN[:8],
            "made_by": "test",
            "grants": grants,
            "groupes": ["EQUIPE R1"],
        }
        await session.execute(insert(ApiToken).values(token_hash=token_hash(TOKEN), **values))
    without = await _counts(api, served, {"Authorization": f"Bearer {API_TOKEN}"})
    assert without[:3] == [2, 7, 4]  # a token of the environment is known without asking
    one_more = [count + 1 for count in without]
    assert await _counts(api, served, {"X-API-Key": TOKEN, "Authorization": ""}) == one_more
    for scope in Scope:
        person = await signed_in(
            database,
            SETTINGS,
            everything_within(scope),
            groupes=["EQUIPE R1"],
            crm_user_id="211" if scope is Scope.SELF else None,
        )
        assert await _counts(api, served, person.headers) == one_more


async def test_a_page_of_audits_is_found_without_reading_a_row(
    api: httpx2.AsyncClient, database: Database, served: Database
) -> None:
    """Both statements for who sees a part, by index alone; that indexes are fit for it is what is tested."""
    person = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R1"])
    with sent_to(served) as sent:
        assert (await api.get("/api/audits", headers=person.headers)).status_code == 200
    [found] = [statement for statement in sent.statements if "seen AS" in statement]
    assert "AS MATERIALIZED" in found.upper()
    async with database.write() as session:
        await session.execute(text("set local enable_seqscan = off"))
        await session.execute(text("set local enable_bitmapscan = off"))
        plan = await session.execute(
            text(
                "explain select id, created_at from audits where is_latest is true and deleted_at is null"
                " and fiche_cache_id = any(array(select id from fiche_cache where groupe in ('A', 'B')))"
            )
        )
        shown = "\n".join(row[0] for row in plan)
    assert re.search("Index Only Scan using ix_audits_(listed|facts)_", shown)
    assert "Index Only Scan using ix_fiche_cache_groupe" in shown
