"""Lists, filters and groups of 100 000 audits with 1.8 million rows of steps, over HTTP within one process.

Each is asked for by who sees everything, by a groupe and by an advisor, in turns: milliseconds at the median and at
the 95th percentile of 40 requests, and statements. Then the exports, and what the process holds at their peak.
`LISTS_URL` names a database that `bench.ground` filled before; `EXPLAIN=1` prints the plan of the slowest.
"""

import asyncio
import os
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil

from bench import ground
from bench.authorisation import Timed, explain, timing
from bench.pace import told
from conforme.accounts.actor import Actor, Caller
from conforme.accounts.auth import current_caller
from conforme.accounts.grants import KEYS, Grant, Grants, Scope
from conforme.app import Role, build
from conforme.audits import exports
from conforme.audits.filters import Filters, parse_filters
from conforme.foundation.database import Database
from conforme.process import migrated_database, settle_memory
from conforme.settings import Settings

ROUNDS = 40
GOAL_MS, GOAL_STATEMENTS = 100, 5
LAST_WEEK = "date_from=2026-07-20"
CASES = {
    "list": "/api/audits",
    "list, page 200": "/api/audits?offset=19900",
    "list, 500 rows": "/api/audits?limit=500",
    **{
        f"sort_by={name}": f"/api/audits?sort_by={name}"
        for name in ("completed_at", "score_percentage", "duration_ms")
    },
    **{
        query: f"/api/audits?{query}"
        for query in (
            "fiche_ids=4000100,4000200",
            "status=failed",
            "audit_config_ids=3",
            "groupes=EQUIPE 7",
            "sales_dates=2026-02-03",
            "niveau=REJET,BON",
            "automation_schedule_ids=3",
            "automation_run_ids=17",
            "trigger_source=batch",
            "groupe_query=equipe 1",
            "agence_query=ville 3",
            "prospect_query=martel12",
            "prospect_query=odile",
            "prospect_query=nobody",
            "q=martel12",
            "q=grille 2",
            "q=did not answer",
            "q=4000123",
            LAST_WEEK,
            "fetched_at_from=2026-01-01",
            "last_revalidated_to=2030-01-01",
            "sales_date_from=2026-03-01&sales_date_to=2026-03-31",
            "is_compliant=false",
            "has_recordings=false",
            "has_failed_steps=true",
            "latest_only=false",
            "include_deleted=true",
            "recordings_count_min=2",
            "score_min=50&score_max=60",
            "duration_min_ms=70000",
            "tokens_max=41000",
            "include_result_data=true",
        )
    },
    **{
        f"grouped by {kind}": f"/api/audits/grouped?group_by={kind}"
        for kind in (
            "fiche",
            "audit_config",
            "status",
            "niveau",
            "automation_schedule",
            "automation_run",
            "groupe",
            "created_day",
            "score_bucket",
        )
    },
    "grouped-by-fiches": "/api/audits/grouped-by-fiches",
    "grouped-by-fiches, filtered": f"/api/audits/grouped-by-fiches?niveau=REJET&{LAST_WEEK}",
    "by-fiche": "/api/audits/by-fiche/4000100",
    "stats of a configuration": "/api/audit-configs/3/stats",
    "stats of all": "/api/audit-configs?include_stats=true",
}
GRANTS = {scope: Grants.of([Grant(key, scope, scope) for key in KEYS]) for scope in Scope}
CALLERS = {
    "all": Caller("bench", GRANTS[Scope.ALL]),
    "groupe": Caller("user:2", GRANTS[Scope.GROUP], groupes=frozenset({"EQUIPE 7"})),
    "own": Caller("user:3", GRANTS[Scope.SELF], crm_user_id="77"),
}


@dataclass
class Measured:
    """One case for one caller."""

    seconds: list[float] = field(default_factory=list[float])
    statements: int = 0
    last: Timed = field(default_factory=Timed)

    def p95(self) -> float:
        return statistics.quantiles(self.seconds, n=20)[-1] * 1000

    def median(self) -> float:
        return statistics.median(self.seconds) * 1000


class Peak:
    """The most that this process held while the block lasted, sampled."""

    def __init__(self) -> None:
        self.bytes = 0


@contextmanager
def peak() -> Generator[Peak]:
    process, seen, over = psutil.Process(), Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            seen.bytes = max(seen.bytes, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def main() -> None:
    asyncio.run(_main())


async def _main() -> None:
    if known := os.environ.get("LISTS_URL"):
        await _measured(known)
        return
    with tempfile.TemporaryDirectory(prefix="conforme-bench-") as folder:
        settings = Settings(_env_file=None, CONFORME_DATA=Path(folder), database_url=None)  # pyright: ignore[reportCallIssue]
        with migrated_database(settings) as url:
            database = Database(url, pool_size=1)
            begun = time.perf_counter()
            await ground.fill(database)
            await database.dispose()
            print(f"filled in {time.perf_counter() - begun:.0f} s")
            await _measured(url)


@asynccontextmanager
async def _served(url: str) -> AsyncGenerator[tuple[httpx2.AsyncClient, Database, dict[str, Caller]]]:
    app = build(Settings(_env_file=None, database_url=None), url, Role.API)  # pyright: ignore[reportCallIssue]
    who = {"now": CALLERS["all"]}
    app.dependency_overrides[current_caller] = lambda: who["now"]
    async with app.router.lifespan_context(app):
        settle_memory()  # as `conforme serve` does
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://bench", timeout=120) as client:
            yield client, app.state.resources.database, who


async def _measured(url: str) -> None:
    async with _served(url) as (client, database, who):
        print(f"{ground.AUDITS} audits, {ground.AUDITS * ground.STEPS} rows of steps; {told()}")
        begun = time.perf_counter()
        (await client.get(CASES["list"])).raise_for_status()
        print(f"the first list of the process: {(time.perf_counter() - begun) * 1000:.0f} ms")
        print(f"\n{'':<52}" + "".join(f"{name:>22}" for name in CALLERS))
        print(f"{'':<52}" + f"{'p50   p95 ms  stmts':>22}" * len(CALLERS))
        every: dict[tuple[str, str], Measured] = {}
        for case, path in CASES.items():
            for name, caller in CALLERS.items():
                who["now"] = caller
                every[case, name] = await _ask(client, database, path)
            shown = "".join(_line(every[case, name]) for name in CALLERS)
            print(f"{case:<52}{shown}", flush=True)
        _judge(every)
        await _read_on(client, who)
        await _exports(database)
        if os.environ.get("EXPLAIN"):
            worst = max(every, key=lambda which: every[which].p95())
            await explain(database, ", ".join(worst), every[worst].last)


def _line(measured: Measured) -> str:
    return f"{measured.median():>9.0f}{measured.p95():>6.0f}{measured.statements:>7}"


async def _ask(client: httpx2.AsyncClient, database: Database, path: str) -> Measured:
    measured = Measured()
    for _ in range(ROUNDS):
        with timing(database) as timed:
            begun = time.perf_counter()
            answer = await client.get(path)
            measured.seconds.append(time.perf_counter() - begun)
        answer.raise_for_status()
        measured.statements, measured.last = len(timed.sent), timed
    return measured


def _judge(every: dict[tuple[str, str], Measured]) -> None:
    slow = [", ".join(which) for which, measured in every.items() if measured.p95() > GOAL_MS]
    most = max(measured.statements for measured in every.values())
    worst = max(measured.p95() for measured in every.values())
    print(f"\nworst p95 {worst:.0f} ms (goal {GOAL_MS}); most statements {most} (goal {GOAL_STATEMENTS})")
    print(f"beyond the goal: {'; '.join(slow) or 'none'}")


async def _read_on(client: httpx2.AsyncClient, who: dict[str, Caller]) -> None:
    """From page to page by the cursor, to the end."""
    who["now"] = CALLERS["all"]
    cursor, pages, times = "", 0, list[float]()
    with peak() as seen:
        base = psutil.Process().memory_info().rss
        while True:
            begun = time.perf_counter()
            body = (await client.get(f"/api/audits?limit=500&cursor={cursor}")).json()
            times.append(time.perf_counter() - begun)
            pages += 1
            if not (cursor := body["pagination"].get("next_cursor", "")):
                break
    p95 = statistics.quantiles(times, n=20)[-1] * 1000
    print(
        f"\n{pages} pages of 500 by cursor: p95 {p95:.0f} ms; memory {_mb(base)} before, {_mb(seen.bytes)} at most"
    )


async def _exports(database: Database) -> None:
    """As the routes write and send them; a client within the process would keep what it is sent."""
    everybody = Actor.system("bench")
    week = parse_filters({"date_from": LAST_WEEK.partition("=")[2]})
    for name, book in (("csv", exports.CsvBook), ("xlsx", exports.XlsxBook)):
        for what, filters in (("a week", week), ("all", Filters())):
            base, begun, sent = psutil.Process().memory_info().rss, time.perf_counter(), 0
            with peak() as seen:
                async for part in exports.chunks(await exports.written(database, everybody, filters, book)):
                    sent += len(part)
            seconds = time.perf_counter() - begun
            memory = f"memory {_mb(base)} before, {_mb(seen.bytes)} at most"
            print(f"{name} of {what:<10} {_mb(sent)} in {seconds:.1f} s; {memory}", flush=True)


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
