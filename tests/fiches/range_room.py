"""What the tests of fetches of ranges share: how a range is asked for, waited for and looked at."""

from datetime import date, timedelta
from typing import Any

from sqlalchemy import text

from conforme.accounts.actor import Actor
from conforme.fiches.coverage import Coverage, coverage
from conforme.fiches.models import FicheCache, ProgressiveFetchJob
from conforme.fiches.range_fetch import FetchJob, RangeAsked, fetch_range
from conforme.fiches.range_workflows import work_id
from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.foundation.events import Event
from conforme.foundation.resources import Resources

FIRST = date(2026, 1, 5)
"""A Monday."""
ASKER = Actor.system("test")


def day(rank: int) -> date:
    """The days of the tests, from 0."""
    return FIRST + timedelta(days=rank)


def asked(first: int, last: int, **more: Any) -> RangeAsked:
    return RangeAsked(day(first), day(last), **more)


async def ask(resources: Resources, wanted: RangeAsked, actor: Actor = ASKER) -> FetchJob | None:
    async with resources.database.write() as session:
        return await fetch_range(session, resources, actor, wanted)


async def begun(resources: Resources, wanted: RangeAsked, actor: Actor = ASKER) -> FetchJob:
    job = await ask(resources, wanted, actor)
    assert job is not None
    return job


async def fetched(resources: Resources, wanted: RangeAsked, actor: Actor = ASKER) -> ProgressiveFetchJob:
    """The fetch of a range, once it has ended."""
    return await ended(resources, (await begun(resources, wanted, actor)).id)


async def ended(resources: Resources, job_id: str) -> ProgressiveFetchJob:
    job = await job_of(resources.database, job_id)
    outcome = await resources.durable.wait(work_id(job_id, job.attempt), 60)
    assert outcome.ok, outcome
    return await job_of(resources.database, job_id)


async def job_of(database: Database, job_id: str) -> ProgressiveFetchJob:
    async with database.read() as session:
        return await session.get_one(ProgressiveFetchJob, job_id)


async def known(database: Database, first: int, last: int) -> Coverage:
    async with database.read() as session:
        return await coverage(session, day(first), day(last))


async def sold_on(database: Database) -> dict[str, str | None]:
    """The day each cached fiche is noted on."""
    async with database.read() as session:
        rows = await session.execute(text("select fiche_id, sales_date from fiche_cache"))
        return {row[0]: row[1] for row in rows}


async def row_of(database: Database, fiche_id: str) -> FicheCache:
    async with database.read() as session:
        row = await session.scalar(
            FicheCache.__table__.select()
            .where(FicheCache.fiche_id == fiche_id)
            .with_only_columns(FicheCache.id)
        )
        return await session.get_one(FicheCache, row)


async def told(database: Database, job_id: str) -> list[Event]:
    """The events of a fetch, oldest first."""
    async with database.read() as session:
        return await events.after(session, 0, limit=1000, channels=[events.job_channel(job_id)])


async def later(database: Database, **tables: str) -> None:
    """Makes the ledger's last attempts, or a fetch's last progress, as old as said."""
    async with database.write() as session:
        for column, age in tables.items():
            table = "fiche_days" if column in {"attempted_at", "fetched_at"} else "progressive_fetch_jobs"
            await session.execute(text(f"update {table} set {column} = {column} - interval '{age}'"))  # noqa: S608
