"""A month of 200 sales a day that nobody has asked for yet: how soon who asks gets an answer, and when all is there."""

import asyncio
import statistics
import time
from datetime import date, timedelta
from typing import Any, cast

from sqlalchemy import text

from bench.pace import told
from bench.rig import LOOK_SECONDS, TOKEN, Rig, rig
from conforme.accounts.actor import Actor
from conforme.fiches.range_fetch import RangeAsked, fetch_range
from conforme.foundation.durable import Durable
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.settings import Settings, settings_with

SALES = 200
DAYS = 31
FIRST = date(2026, 1, 5)
ROUNDS = 3
"""Different months: what is known is not fetched again."""
PATIENCE = 120.0


def main() -> None:
    asyncio.run(_main())


async def _main() -> None:
    async with rig(SALES) as made, made.replica() as replica:
        settings = settings_with(Settings(), {**made.environment, "API_AUTH_TOKEN": TOKEN})
        outbound = Outbound(settings)
        resources = Resources(
            settings=settings,
            database=made.database,
            durable=Durable(settings, made.database),
            outbound=outbound,
            model=cast("Any", None),
        )
        before = made.cpu([replica])
        rounds = [
            await _month(made, resources, FIRST - timedelta(days=DAYS * number)) for number in range(ROUNDS)
        ]
        spent = made.cpu([replica]) - before
        await outbound.aclose()
    begun = sorted(each[0] for each in rounds)
    ended = sorted(each[1] for each in rounds)
    print(f"{DAYS} days of {SALES} sales, nothing known, {ROUNDS} times; {told()}")
    print(f"asked for and answered with a fetch that is under way: {statistics.median(begun) * 1000:.0f} ms")
    print(f"all days stored and told of: median {statistics.median(ended):.1f} s, worst {ended[-1]:.1f} s")
    print(
        f"CPU of each: {spent.total / ROUNDS:.2f} s"
        f" (application {spent.application / ROUNDS:.2f}, PostgreSQL {spent.database / ROUNDS:.2f})"
    )


async def _month(made: Rig, resources: Resources, start: date) -> tuple[float, float]:
    """Seconds until who asked knows of the fetch, and until it has ended."""
    clock = time.perf_counter()
    async with made.database.write() as session:
        asked = RangeAsked(start, start + timedelta(days=DAYS - 1))
        job = await fetch_range(session, resources, Actor.system("bench"), asked)
    answered = time.perf_counter() - clock
    assert job is not None
    query = text("select status, total_fiches from progressive_fetch_jobs where id = :id")
    async with asyncio.timeout(PATIENCE):
        while True:
            async with made.database.read() as session:
                status, fiches = (await session.execute(query, {"id": job.id})).one()
            if status != "processing":
                break
            await asyncio.sleep(LOOK_SECONDS)
    assert (status, fiches) == ("complete", DAYS * SALES), (status, fiches)
    return answered, time.perf_counter() - clock
