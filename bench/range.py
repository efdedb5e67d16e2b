"""A month of 200 sales a day that nobody has asked for yet: how soon who asks gets an answer, and when all is there."""

import asyncio
import statistics
import time
from datetime import date, timedelta
from typing import Any

from sqlalchemy import text

from bench.goals import goal
from bench.pace import told
from bench.rig import LOOK_SECONDS, Replica, Rig, rig

SALES = 200
DAYS = 31
FIRST = date(2026, 1, 5)
ROUNDS = 3
"""Different months: what is known is not fetched again."""
PATIENCE = 120.0
GOAL_MS = 300.0


def main() -> None:
    asyncio.run(_main())


async def _main() -> None:
    async with rig(SALES) as made, made.replica() as replica:
        before = made.cpu([replica])
        rounds = [
            await _month(made, replica, FIRST - timedelta(days=DAYS * number)) for number in range(ROUNDS)
        ]
        spent, searches = made.cpu([replica]) - before, await made.asked_of("crm")
        known = await _again(replica, FIRST)
        searches_again = await made.asked_of("crm") - searches
    begun = sorted(each[0] for each in rounds)
    ended = sorted(each[1] for each in rounds)
    print(f"{DAYS} days of {SALES} sales, nothing known, {ROUNDS} times; {told()}")
    print(
        f"first answer, over HTTP: median {statistics.median(begun) * 1000:.0f} ms, worst {begun[-1] * 1000:.0f} ms"
    )
    print(f"the first page of {DAYS * SALES} known fiches: {known * 1000:.0f} ms")
    print(f"all days stored and told of: median {statistics.median(ended):.1f} s, worst {ended[-1]:.1f} s")
    print(
        f"CPU of each: {spent.total / ROUNDS:.2f} s"
        f" (application {spent.application / ROUNDS:.2f}, PostgreSQL {spent.database / ROUNDS:.2f})"
    )
    goal(f"the first answer comes within {GOAL_MS:.0f} ms", begun[-1] * 1000 <= GOAL_MS)
    goal(f"the CRM is asked once for each month: {searches} times for {ROUNDS}", searches == ROUNDS)
    goal("and not at all for a month that is known", searches_again == 0)


async def _month(made: Rig, replica: Replica, start: date) -> tuple[float, float]:
    """Seconds until who asked has an answer, and until all days are there."""
    clock = time.perf_counter()
    shown = await _asked(replica, start)
    answered = time.perf_counter() - clock
    job_id = shown["meta"]["backgroundJobId"]
    query = text("select status, total_fiches from progressive_fetch_jobs where id = :id")
    async with asyncio.timeout(PATIENCE):
        while True:
            async with made.database.read() as session:
                status, fiches = (await session.execute(query, {"id": job_id})).one()
            if status != "processing":
                break
            await asyncio.sleep(LOOK_SECONDS)
    assert (status, fiches) == ("complete", DAYS * SALES), (status, fiches)
    return answered, time.perf_counter() - clock


async def _again(replica: Replica, start: date) -> float:
    clock = time.perf_counter()
    shown = await _asked(replica, start)
    assert shown["meta"]["complete"], shown["meta"]
    return time.perf_counter() - clock


async def _asked(replica: Replica, start: date) -> dict[str, Any]:
    wish = {"startDate": str(start), "endDate": str(start + timedelta(days=DAYS - 1))}
    answer = await replica.client.get("/api/fiches/status/by-date-range", params=wish)
    return answer.raise_for_status().json()
