"""A range of days is fetched by one search, each of its days ends once, and what is known is not asked for again."""

import asyncio
from datetime import date, timedelta

import pytest
from fiche_room import Crm, counted
from pydantic import SecretStr
from range_room import ask, asked, begun, day, ended, fetched, job_of, known, later, sold_on, told
from sqlalchemy import text

from conforme.accounts.actor import Actor, Scope
from conforme.fiches import job_queries, noting, range_fetch, range_search, range_workflows, service
from conforme.fiches.coverage import DayState, Span, days_between, today
from conforme.fiches.models import ProgressiveFetchJob
from conforme.fiches.ports import Session
from conforme.fiches.range_fetch import RangeAsked
from conforme.foundation.database import Database
from conforme.foundation.errors import Invalid
from conforme.foundation.resources import Resources
from conforme.sandbox.crm import DEFAULT_BEARER

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
    assert any(not each.facts.stored for each in (await known(database, 0, 30)).days), "days without sales"
    asked_so_far = crm.service.counts()["routes"]
    again = await begun(working, asked(0, 30))
    assert (again.id, again.status) == (job.id, "complete")
    await later(database, created_at="6 minutes")
    assert await ask(working, asked(0, 30)) is None
    assert crm.service.counts()["routes"] == asked_so_far, "the CRM is not asked for anything any more"


async def test_every_day_is_told_of_once_and_the_end_last(
    working: Resources, crm: Crm, database: Database
) -> None:
    job = await fetched(working, asked(0, 6))
    log = await told(database, job.id)
    family = "fiches.progressive_fetch."
    assert [event.name.removeprefix(family) for event in log] == ["created", *["progress"] * 7, "complete"]
    created, *progress, complete = [event.payload for event in log]
    assert created == {
        "jobId": job.id,
        "status": "processing",
        "startDate": "2026-01-05",
        "endDate": "2026-01-11",
        "progress": 0,
        "completedDays": 0,
        "totalDays": 7,
        "totalFiches": 0,
        "datesCompleted": [],
        "datesRemaining": [day(rank).isoformat() for rank in range(7)],
        "datesFailed": [],
    }
    assert [each["latestDate"] for each in progress] == created["datesRemaining"]
    assert [each["progress"] for each in progress] == [14, 29, 43, 57, 71, 86, 100]
    assert {each["status"] for each in progress} == {"processing"}
    last_words = progress[-1] | {"status": "complete"}
    assert last_words.pop("latestDate") == "2026-01-11"
    assert complete == last_words
    assert (complete["totalFiches"], complete["datesRemaining"]) == (20, [])


async def test_only_what_is_not_known_is_searched(working: Resources, crm: Crm, database: Database) -> None:
    await fetched(working, asked(2, 3))
    job = await fetched(working, asked(0, 5))
    assert crm.gateway.searches == [(day(2), day(3)), (day(0), day(5))]
    assert (job.days_known, job.completed_days, job.total_days) == (2, 6, 6)
    assert (await told(database, job.id))[0].payload["datesCompleted"] == ["2026-01-07", "2026-01-08"]


async def test_a_day_that_the_crm_cannot_list_fails_alone_and_is_all_that_is_searched_again(
    working: Resources, crm: Crm, database: Database
) -> None:
    crm.gateway.faults.unlistable = frozenset({day(5)})
    crm.gateway.population.closed_weekdays = frozenset()
    job = await fetched(working, asked(0, 7))
    assert (job.status, job.dates_failed, job.completed_days, job.progress) == ("failed", [day(5)], 7, 100)
    assert job.error == "1 date(s) failed during progressive fetch"
    assert list(job.date_errors) == ["2026-01-10"]
    assert "status=422" in job.date_errors["2026-01-10"]
    assert (await told(database, job.id))[-1].payload["datesFailed"] == ["2026-01-10"]
    assert (await known(database, 0, 7)).failed.keys() == {day(5)}
    crm.gateway.searches.clear()
    again = await begun(working, asked(0, 7))
    assert (again.id, again.status, crm.gateway.searches) == (job.id, "failed", []), "it has just failed"
    await later(database, attempted_at="2 minutes")
    crm.gateway.faults.unlistable = frozenset()
    resumed = await fetched(working, asked(0, 7))
    assert (resumed.status, resumed.days_known) == ("complete", 7)
    assert crm.gateway.searches == [(day(5), day(5))]


async def test_a_crm_that_is_away_is_not_asked_for_every_day(
    working: Resources, crm: Crm, database: Database
) -> None:
    crm.gateway.token = "changed"
    job = await fetched(working, asked(0, 30))
    assert (job.status, len(job.dates_failed), job.dates_remaining) == ("failed", 31, [])
    assert crm.service.counts()["routes"]["GET /api/fiches/sales-with-calls"]["requests"] <= 7
    assert len(await told(database, job.id)) == 33


async def test_a_listing_that_is_cut_short_is_fetched_in_shorter_ranges(
    working: Resources, crm: Crm, database: Database
) -> None:
    crm.gateway.faults.longest_listing = 8
    job = await fetched(working, asked(0, 3))
    assert (job.status, job.total_fiches) == ("complete", 16)
    assert crm.gateway.searches == [(day(0), day(3)), (day(0), day(1)), (day(2), day(3))]


async def test_a_day_that_is_cut_short_is_kept_and_not_taken_for_known(
    working: Resources, crm: Crm, database: Database
) -> None:
    crm.gateway.faults.longest_listing = 3
    job = await fetched(working, asked(0, 0))
    assert (job.status, job.total_fiches) == ("failed", 3)
    assert (await known(database, 0, 0)).failed == {day(0): "The CRM sent fewer sales than it announced"}


async def test_malformed_sales_are_set_aside_one_by_one(
    working: Resources, crm: Crm, database: Database
) -> None:
    crm.gateway.faults.malformed_items = 0.4
    job = await fetched(working, asked(0, 4))
    ledger = (await known(database, 0, 4)).days
    assert job.status == "complete"
    assert sum(each.facts.quarantined for each in ledger) + job.total_fiches == 20
    assert 0 < job.total_fiches < 20


async def test_a_search_of_one_day_says_surely_what_a_longer_one_only_guessed(
    working: Resources, crm: Crm, database: Database
) -> None:
    await fetched(working, asked(0, 4))
    assert (await known(database, 2, 2)).days[0].state is DayState.WIDER
    assert (await known(database, 0, 6)).days[2].state is DayState.COVERED
    await fetched(working, asked(2, 2))
    sure = {sale.fiche_id for sale in crm.gateway.population.sales(day(2))}
    noted = {fiche_id for fiche_id, on in (await sold_on(database)).items() if on == day(2).isoformat()}
    assert noted == sure
    await fetched(working, asked(0, 4, refresh=True))
    noted = {fiche_id for fiche_id, on in (await sold_on(database)).items() if on == day(2).isoformat()}
    assert noted == sure, "what is surely known outlives a longer search"
    for each in (await known(database, 0, 4)).days:
        on_this = [on for on in (await sold_on(database)).values() if on == each.day.isoformat()]
        assert each.facts.stored == len(on_this)


async def _counted_as_noted(database: Database, first: int, last: int) -> None:
    on = list((await sold_on(database)).values())
    for each in (await known(database, first, last)).days:
        assert each.facts.stored == each.facts.expected == on.count(each.day.isoformat()), each


async def _what_is_sure_is_true(crm: Crm, database: Database, first: int, last: int) -> None:
    """All sales are there, each within the days between which it was made."""
    sales = {
        sale.fiche_id: day(rank)
        for rank in range(first, last + 1)
        for sale in crm.gateway.population.sales(day(rank))
    }
    async with database.read() as session:
        rows = await session.execute(text("select fiche_id, sales_date, sold_from, sold_to from fiche_cache"))
        places = {row[0]: (row[2], date.fromisoformat(row[1]), row[3]) for row in rows}
    assert places.keys() == sales.keys()
    for fiche_id, (earliest, noted, latest) in places.items():
        assert earliest <= sales[fiche_id] <= latest, fiche_id
        assert earliest <= noted <= latest, fiche_id


async def test_a_day_listed_alone_corrects_what_a_range_only_guessed(
    working: Resources, crm: Crm, database: Database
) -> None:
    crm.gateway.population.closed_weekdays = frozenset()
    await fetched(working, asked(0, 4))
    await service.list_sales_day(working, day(2))
    sure = {sale.fiche_id for sale in crm.gateway.population.sales(day(2))}
    noted = {fiche_id for fiche_id, on in (await sold_on(database)).items() if on == day(2).isoformat()}
    assert noted == sure
    assert (await known(database, 2, 2)).complete
    await _counted_as_noted(database, 0, 4)


async def test_who_searches_a_day_under_another_token_corrects_the_guesses_and_their_counts(
    working: Resources, crm: Crm, database: Database
) -> None:
    crm.gateway.population.closed_weekdays = frozenset()
    await fetched(working, asked(0, 4))
    before = (await known(database, 2, 2)).days[0].facts
    async with database.write() as session:
        await noting.hold(session)
        other = asyncio.create_task(service.fetch_sales_day(working, day(2), SecretStr(DEFAULT_BEARER)))
        async with asyncio.timeout(20):
            while not await _waits_for_the_ledger(database):
                assert not other.done(), "whoever notes holds the ledger"
    await other
    sure = {sale.fiche_id for sale in crm.gateway.population.sales(day(2))}
    noted = {fiche_id for fiche_id, on in (await sold_on(database)).items() if on == day(2).isoformat()}
    assert sure <= noted, "of what another token does not see nothing is learnt"
    await _counted_as_noted(database, 0, 4)
    after = (await known(database, 2, 2)).days[0].facts
    assert after.fetched_at == before.fetched_at, "how far the product sees is for its own searches to say"


async def _waits_for_the_ledger(database: Database) -> bool:
    waiting = (
        "select exists (select from pg_locks where locktype = 'advisory' and not granted"
        " and database = (select oid from pg_database where datname = current_database()))"
    )
    async with database.read() as session:
        return bool(await session.scalar(text(waiting)))


async def test_what_a_listing_that_is_cut_short_does_not_tell_of_stays_where_it_is(
    working: Resources, crm: Crm, database: Database
) -> None:
    await fetched(working, asked(0, 4))
    before = await sold_on(database)
    crm.gateway.faults.longest_listing = 1
    listing = await service.list_sales_day(working, day(2))
    assert len(listing.fiches) == 1
    told_of = listing.fiches[0].id
    assert await sold_on(database) == before | {told_of: day(2).isoformat()}
    ledger = (await known(database, 2, 2)).days[0]
    assert (ledger.state, ledger.facts.error) == (DayState.WIDER, noting.SHORT)


async def test_what_another_search_learns_between_the_answer_and_its_storing_is_kept(
    resources: Resources, crm: Crm, database: Database
) -> None:
    days = [day(rank) for rank in range(5)]
    answer = await noting.ask(
        resources, Span(days[0], days[-1]), service.details_freshness(resources.settings)
    )
    async with database.read() as session:
        searched = await noting.divided(session, answer, days)
    await service.list_sales_day(resources, day(2))
    for each in days:
        async with database.write() as session:
            await noting.hold(session)
            await noting.note(session, searched, each)
    sure = {sale.fiche_id for sale in crm.gateway.population.sales(day(2))}
    noted = {fiche_id for fiche_id, on in (await sold_on(database)).items() if on == day(2).isoformat()}
    assert noted == sure
    await _what_is_sure_is_true(crm, database, 0, 4)
    await _counted_as_noted(database, 0, 4)


async def test_searches_side_by_side_lose_and_repeat_nothing(
    resources: Resources, crm: Crm, database: Database
) -> None:
    crm.gateway.population.closed_weekdays = frozenset()
    jobs = [await begun(resources, asked(*ranks)) for ranks in ((0, 4), (2, 6), (3, 3), (0, 6))]
    async with asyncio.timeout(60):
        await asyncio.gather(
            *(range_search.search(resources, job.id, days_between(job.start, job.end)) for job in jobs)
        )
    assert {(await job_of(database, job.id)).status for job in jobs} == {"complete"}
    await _counted_as_noted(database, 0, 6)
    await _what_is_sure_is_true(crm, database, 0, 6)


async def test_a_refresh_searches_all_days_again(working: Resources, crm: Crm, database: Database) -> None:
    await fetched(working, asked(0, 2))
    job = await fetched(working, asked(0, 2, refresh=True))
    assert (job.days_known, job.completed_days) == (0, 3)
    assert crm.gateway.searches == [(day(0), day(2))] * 2
    assert len(await sold_on(database)) == 12


async def test_the_running_day_is_known_for_a_while_and_never_covered(
    working: Resources, crm: Crm, database: Database
) -> None:
    crm.gateway.population.closed_weekdays = frozenset()
    running = today()
    this_day = RangeAsked(running, running + timedelta(days=3))
    job = await fetched(working, this_day)
    assert (job.end_date, job.status) == (running, "complete"), "days to come are left out"
    assert (await begun(working, this_day)).id == job.id
    await later(database, fetched_at="10 minutes", attempted_at="10 minutes")
    assert (await fetched(working, this_day)).id != job.id
    assert await ask(working, RangeAsked(running + timedelta(days=1), running + timedelta(days=9))) is None


async def test_who_asks_for_a_range_that_is_being_fetched_gets_the_same_fetch(
    resources: Resources, database: Database
) -> None:
    """Nobody works here: the fetch stays where it is."""
    people = [Actor(f"user:{number}", Scope.GROUP, user_id=number) for number in range(8)]
    jobs = await asyncio.gather(*(begun(resources, asked(0, 6), actor) for actor in people))
    assert len({job.id for job in jobs}) == 1
    other = await begun(resources, asked(0, 5))
    insisting = await begun(resources, asked(0, 6, refresh=True))
    assert len({jobs[0].id, other.id, insisting.id}) == 3
    assert (await begun(resources, asked(0, 6))).id == insisting.id, "it does all that is asked, and more"


async def test_a_fetch_that_was_begun_beside_one_that_refreshes_is_at_work_too(
    resources: Resources, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    insisting = await begun(resources, asked(0, 6, refresh=True))
    _looked_too_early(monkeypatch)
    job = await begun(resources, asked(0, 6))
    assert job.id != insisting.id
    assert await resources.durable.state(range_workflows.work_id(job.id, 1)) == "queued"


async def test_who_asks_when_the_fetch_of_a_range_has_just_ended_is_given_that_one(
    resources: Resources, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await begun(resources, asked(0, 6))
    _looked_too_early(monkeypatch, times=2)
    assert (await begun(resources, asked(0, 6, webhook_url="https://example.test/a"))).id == first.id


def _looked_too_early(monkeypatch: pytest.MonkeyPatch, times: int = 1) -> None:
    """Fetches that are under way are not seen so many times: they were begun, or ended, just afterwards."""
    see, looks = job_queries.under_way, iter(range(times))

    async def look(session: Session, span: Span, *, refresh: bool) -> ProgressiveFetchJob | None:
        return await see(session, span, refresh=refresh) if next(looks, None) is None else None

    monkeypatch.setattr(job_queries, "under_way", look)


async def test_a_fetch_does_not_search_what_another_one_has_told_of_meanwhile(
    working: Resources, crm: Crm, database: Database
) -> None:
    jobs = [await begun(working, asked(0, 4)), await begun(working, asked(0, 6))]
    states = [await ended(working, job.id) for job in jobs]
    assert [state.status for state in states] == ["complete", "complete"]
    assert crm.gateway.searches in (
        [(day(0), day(4)), (day(5), day(6))],
        [(day(0), day(6)), (day(0), day(4))],
    )


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (asked(3, 2), "startDate must be before or equal to endDate"),
        (asked(0, 92), "The range has 93 days; the most is 92"),
    ],
)
async def test_a_range_that_cannot_be_is_refused(
    resources: Resources, database: Database, wanted: RangeAsked, message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        await ask(resources, wanted)


async def test_a_day_is_stored_by_as_many_statements_however_many_sales_it_has(
    resources: Resources, crm: Crm, database: Database
) -> None:
    """Nobody works here: the search is made by hand."""

    async def statements(sales: int, *days: int) -> int:
        crm.gateway.population.sales_per_day = sales
        job = await begun(resources, asked(*days))
        with counted(database) as sent:
            await range_search.search(resources, job.id, [day(rank) for rank in range(days[0], days[1] + 1)])
        assert (await job_of(database, job.id)).status == "complete"
        return len(sent)

    few, many = await statements(3, 0, 2), await statements(30, 7, 9)
    assert few == many
    few_moved, many_moved = await statements(3, 1, 1), await statements(30, 8, 8)
    assert few_moved == many_moved


async def test_what_ended_long_ago_is_forgotten_with_its_webhooks(
    resources: Resources, crm: Crm, database: Database
) -> None:
    old, young = [
        await begun(resources, asked(rank, rank, webhook_url="http://localhost:9/a")) for rank in (0, 1)
    ]
    for rank, job in enumerate((old, young)):
        await range_search.search(resources, job.id, [day(rank)])
    running = await begun(resources, asked(2, 2))
    async with database.write() as session:
        await session.execute(
            text(
                "update progressive_fetch_jobs set completed_at = now() - interval '31 days' where id = :id"
            ),
            {"id": old.id},
        )
    assert await range_workflows.trim(resources) == {"fetches": 1}
    async with database.read() as session:
        kept = await session.scalars(text("select id from progressive_fetch_jobs order by created_at"))
        assert kept.all() == [young.id, running.id]
        told_of = await session.scalars(text("select distinct job_id from webhook_deliveries"))
        assert told_of.all() == [young.id]


async def test_a_fetch_that_came_to_a_halt_goes_on(
    working: Resources, resources: Resources, crm: Crm, database: Database
) -> None:
    async with database.write() as session:
        job = await range_fetch.fetch_range(session, resources, Actor.system("test"), asked(0, 2))
        assert job is not None
    await ended(working, job.id)
    async with database.write() as session:
        row = await session.get_one(range_workflows.ProgressiveFetchJob, job.id)
        row.status, row.dates_remaining, row.dates_already_fetched = "processing", [day(2)], [day(0), day(1)]
    await later(database, updated_at="3 minutes")
    assert await range_workflows.resume(working) == {"silent": 1, "resumed": 1, "given_up": 0}
    again = await ended(working, job.id)
    assert (again.status, again.attempt, again.completed_days) == ("complete", 2, 3)


async def test_a_fetch_that_halts_again_and_again_is_given_up_with_what_it_has(
    resources: Resources, database: Database
) -> None:
    job = await begun(resources, asked(0, 1))
    assert (await range_workflows.resume(resources, after=timedelta()))["silent"] == 1
    assert (await job_of(database, job.id)).attempt == 1, "its work is queued"
    async with database.write() as session:
        row = await session.get_one(range_workflows.ProgressiveFetchJob, job.id)
        row.attempt = range_workflows.MAX_ATTEMPTS
    assert await range_workflows.resume(resources, after=timedelta()) == {
        "silent": 1,
        "resumed": 0,
        "given_up": 1,
    }
    given_up = await job_of(database, job.id)
    assert (given_up.status, given_up.dates_failed) == ("failed", [day(0), day(1)])
    assert set(given_up.date_errors.values()) == {range_workflows.UNENDED}


async def test_fetches_at_work_do_not_hide_those_that_came_to_a_halt_behind_them(
    resources: Resources, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [await begun(resources, asked(rank, rank)) for rank in range(3)]
    for job in jobs[1:]:
        await resources.durable.cancel(range_workflows.work_id(job.id, 1))
    monkeypatch.setattr(range_workflows, "LOOKED_AT", 1)
    counts = await range_workflows.resume(resources, after=timedelta())
    assert counts == {"silent": 3, "resumed": 2, "given_up": 0}
    assert [(await job_of(database, job.id)).attempt for job in jobs] == [1, 2, 2]


async def test_who_asks_does_not_wait_for_the_day_that_is_being_stored(
    resources: Resources, database: Database
) -> None:
    job = await begun(resources, asked(0, 2))
    reader = Actor("user:7", Scope.SELF, user_id=7)
    async with database.write() as session:
        assert await job_queries.held(session, job.id) is not None
        async with asyncio.timeout(20):
            assert (await begun(resources, asked(0, 2), reader)).id == job.id


async def test_a_day_that_another_fetch_failed_a_moment_ago_is_not_counted_as_fetched(
    working: Resources, crm: Crm, database: Database
) -> None:
    crm.gateway.faults.unlistable = frozenset({day(0)})
    await fetched(working, asked(0, 0))
    job = await fetched(working, asked(0, 2))
    assert crm.gateway.searches[1:] == [(day(1), day(2))], "it is left in peace for a minute"
    assert (job.status, job.dates_failed, job.completed_days) == ("failed", [day(0)], 2)
    assert "status=422" in job.date_errors[day(0).isoformat()]
