"""A range of days is fetched by one search, each of its days ends once, and what is known is not asked for again."""

import pytest
from fiche_room import Crm
from range_room import ask, asked, day, fetched, known, sold_on

from conforme.foundation.database import Database
from conforme.foundation.resources import Resources

WEEKEND = frozenset({5, 6})


@pytest.fixture(autouse=True)
def _closed_on_weekends(crm: Crm) -> None:
    crm.gateway.population.closed_weekdays = WEEKEND


async def test_a_month_of_sales_is_one_search_and_then_none(
    working: Resources, crm: Crm, database: Database
) -> None:
    crm.gateway.population.sales_per_day = 200
    job = await fetched(working, asked(0, 30))
    open_days = [day(rank) for rank in range(31) if day(rank).weekday() not in WEEKEND]
    assert (job.status, job.progress, job.completed_days) == ("complete", 100, 31)
    assert job.total_fiches == len(open_days) * 200 == len(await sold_on(database))
    assert crm.gateway.searches == [(day(0), day(30))]
    assert (await known(database, 0, 30)).complete
    assert await ask(working, asked(0, 30)) is None
    assert len(crm.gateway.searches) == 1
