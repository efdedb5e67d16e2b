"""Asking twice: a key, a double click and a crowd lead to one audit."""

import httpx2
import pytest
from pipeline_audits import Client, asked, configured, rows, together
from sqlalchemy import text

from conforme.audit_configs.shipped import COMPLETE
from conforme.foundation.database import Database

FICHE = "2054000"


@pytest.fixture
def client(api: httpx2.AsyncClient) -> Client:
    return Client(api)


@pytest.fixture
async def config_id(database: Database) -> int:
    return await configured(database)


async def _audits(database: Database) -> int:
    return (await rows(database, "select count(*) from audits"))[0][0]


async def _jobs(database: Database) -> int:
    return (await rows(database, "select count(*) from dbos.workflow_status where name = 'audit/run'"))[0][0]


async def test_the_same_key_is_the_same_audit_even_much_later(
    client: Client, config_id: int, database: Database
) -> None:
    first = asked(await client.run(FICHE, config_id, key="monday"))
    async with database.write() as session:
        await session.execute(
            text("update audits set created_at = now() - interval '2 days', status = 'failed'")
        )
    assert asked(await client.run(FICHE, config_id, key="monday")) == first
    assert (await _audits(database), await _jobs(database)) == (1, 1)


async def test_a_key_does_not_serve_for_another_request(
    client: Client, config_id: int, database: Database
) -> None:
    asked(await client.run(FICHE, config_id, key="monday"))
    for other in ((f"{FICHE}1", config_id), (FICHE, await configured(database, COMPLETE))):
        refused = await client.run(*other, key="monday")
        assert (refused.status_code, refused.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert await _audits(database) == 1


async def test_a_key_whose_request_was_refused_is_free_again(
    client: Client, config_id: int, database: Database
) -> None:
    assert (await client.run(FICHE, 999_999, key="monday")).status_code == 404
    asked(await client.run(FICHE, config_id, key="monday"))


async def test_a_double_click_is_one_audit_and_a_later_request_is_another(
    client: Client, config_id: int, database: Database
) -> None:
    first = asked(await client.run(FICHE, config_id))
    assert asked(await client.run(FICHE, config_id)) == first
    async with database.write() as session:
        await session.execute(text("update audits set created_at = created_at - interval '1 minute'"))
    second = asked(await client.run(FICHE, config_id))
    assert second.db_id != first.db_id
    versions = await rows(database, "select version, is_latest from audits order by id")
    assert versions == [(1, False), (2, True)]


@pytest.mark.parametrize("key", [None, "monday"])
async def test_ten_requests_at_the_same_moment_are_one_audit(
    client: Client, config_id: int, database: Database, key: str | None
) -> None:
    answers = await together(10, lambda: client.run(FICHE, config_id, key=key))
    assert len({asked(answer) for answer in answers}) == 1
    assert (await _audits(database), await _jobs(database)) == (1, 1)


async def test_requests_for_different_sales_do_not_wait_for_each_other_s_names(
    client: Client, config_id: int, database: Database
) -> None:
    sales = iter(range(10))
    answers = await together(10, lambda: client.run(f"{FICHE}{next(sales)}", config_id))
    assert len({asked(answer) for answer in answers}) == 10 == await _audits(database)
