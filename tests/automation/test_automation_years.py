"""Five years of five time zones through the look at the clock itself: rows, runs and durable jobs."""

from datetime import datetime, timedelta

import httpx2
from automation_room import Clock, created, due_next, queued_jobs, utc
from due_reference import ZONES, reference_until
from sqlalchemy import text

from conforme.automation.ticking import tick
from conforme.foundation.database import Database
from conforme.foundation.resources import Resources

START, END = utc("2024-01-01"), utc("2029-01-01")
MINUTE = timedelta(minutes=1)
SUNDAYS = {
    "Europe/Paris": "30 2 * 3,10 0",
    "America/New_York": "30 1,2 * 3,11 0",
    "Australia/Lord_Howe": "15 2 * 4,10 0",
    "Asia/Kolkata": "30 2 * 1,7 0",
    "Pacific/Chatham": "50 2 * 4,9 0",
}
"""Sundays of the months in which clocks change, at times that are skipped or occur twice on one of them."""


async def test_a_clock_walks_five_years_of_five_zones_and_each_due_time_of_the_library_has_one_run(
    api: httpx2.AsyncClient, database: Database, resources: Resources
) -> None:
    assert set(SUNDAYS) == set(ZONES)
    wanted: dict[str, list[datetime]] = {}
    for zone, expression in SUNDAYS.items():
        made = await created(
            api, name=zone, scheduleType="CRON", cronExpression=expression, timezone=zone, timeOfDay=None
        )
        wanted[made["id"]] = reference_until(expression, zone, START, END)
        await due_next(database, made["id"], wanted[made["id"]][0])
    clock = Clock(START)
    assert min(len(times) for times in wanted.values()) > 40
    for moment in sorted({due for times in wanted.values() for due in times}):
        due = sum(moment in times for times in wanted.values())
        clock.now = moment - MINUTE
        assert await tick(resources, clock) == {"fired": 0, "missed": 0, "failed": 0}
        clock.now = moment
        assert await tick(resources, clock) == {"fired": due, "missed": 0, "failed": 0}
        await _all_ended(database)
    assert await _fired(database) == wanted
    assert len(await queued_jobs(database)) == sum(len(times) for times in wanted.values())


async def _all_ended(database: Database) -> None:
    async with database.write() as session:
        await session.execute(
            text("update automation_runs set status = 'completed' where status = 'pending'")
        )


async def _fired(database: Database) -> dict[str, list[datetime]]:
    """By schedule the due times that have a run, in order; one that has two is there twice."""
    query = text("select schedule_id, due_at from automation_runs order by id")
    fired: dict[str, list[datetime]] = {}
    async with database.read() as session:
        for schedule_id, due_at in await session.execute(query):
            fired.setdefault(str(schedule_id), []).append(due_at)
    return fired
