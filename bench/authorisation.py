"""What scope costs the list of audits: its statements for who sees a part, against those for who sees everything.

Times are of the statements alone, medians of runs in which the callers take turns; only their ratios mean something.
With `EXPLAIN=1` in the environment the plan of each statement is printed too.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event

from bench.ground import ADVISORS, AUDITS, FICHES, GROUPES, fill
from bench.pace import told
from conforme.accounts.actor import Actor, Scope
from conforme.audits.filters import Filters
from conforme.audits.list_queries import listed
from conforme.foundation.database import Database
from conforme.foundation.web import Page
from conforme.process import migrated_database
from conforme.settings import Settings

PAGE, PAGES = 100, {"first page": 0, "page 100": 99}
ROUNDS = 25
GOAL = 1.3
CALLERS = {
    "everything": Actor.system("bench"),
    "5 groupes": Actor("user:1", Scope.GROUP, groupes=frozenset(f"EQUIPE {number}" for number in range(5))),
    "1 groupe": Actor("user:2", Scope.GROUP, groupes=frozenset({"EQUIPE 7"})),
    "one's own": Actor("user:3", Scope.SELF, crm_user_id="77"),
}


@dataclass
class Timed:
    """Milliseconds of each statement that was sent, and what it was."""

    sent: list[tuple[str, Any, float]] = field(default_factory=list[tuple[str, Any, float]])


@contextmanager
def timing(database: Database) -> Generator[Timed]:
    timed, begun = Timed(), [0.0]

    def before(*_: Any) -> None:
        begun[0] = time.perf_counter()

    def after(_connection: Connection, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        timed.sent.append((statement, parameters, (time.perf_counter() - begun[0]) * 1000))

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    try:
        yield timed
    finally:
        event.remove(engine, "before_cursor_execute", before)
        event.remove(engine, "after_cursor_execute", after)


def main() -> None:
    asyncio.run(_main())


async def _main() -> None:
    with tempfile.TemporaryDirectory(prefix="conforme-bench-") as folder:
        settings = Settings(_env_file=None, CONFORME_DATA=Path(folder), database_url=None)  # pyright: ignore[reportCallIssue]
        with migrated_database(settings) as url:
            database = Database(url, pool_size=1)
            await fill(database)
            print(f"{AUDITS} audits of {FICHES} fiches, {GROUPES} groupes, {ADVISORS} advisors; {told()}")
            for name, number in PAGES.items():
                await _measure(database, name, Filters(page=Page(limit=PAGE, offset=number * PAGE)))
            await database.dispose()


async def _measure(database: Database, page: str, filters: Filters) -> None:
    times: defaultdict[str, list[list[float]]] = defaultdict(list)
    last: dict[str, Timed] = {}
    totals: dict[str, int] = {}
    for _ in range(ROUNDS):
        for name, actor in CALLERS.items():
            async with database.read() as session:
                with timing(database) as timed:
                    totals[name] = (await listed(session, actor, filters)).total or 0
            times[name].append([milliseconds for *_, milliseconds in timed.sent])
            last[name] = timed
    base = _median(map(sum, times["everything"]))
    print(f"\n{page:<14}{'audits':>9}{'found':>10}{'read':>10}{'together':>11}{'ratio':>8}   goal {GOAL}")
    for name, runs in times.items():
        each, both = [_median(column) for column in zip(*runs, strict=True)], _median(map(sum, runs))
        shown = "".join(f"{milliseconds:>7.1f} ms" for milliseconds in each)
        print(f"{name:<14}{totals[name]:>9}{shown}{both:>8.1f} ms{both / base:>8.2f}")
    if os.environ.get("EXPLAIN"):
        for name, timed in last.items():
            await explain(database, f"{page}, {name}", timed)


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


async def explain(database: Database, what: str, timed: Timed) -> None:
    async with database.engine.connect() as connection:
        for statement, parameters, _ in timed.sent:
            plan = await connection.exec_driver_sql(
                f"explain (analyze, buffers, costs off, timing off) {statement}", parameters
            )
            print(f"\n{what}\n" + "\n".join(row[0] for row in plan))
