"""A month of automation: thousands of fiches while every tenth call fails and one of two replicas dies every 20 s.

Each promise is a line with PASS or FAIL; the figures go to a JSON file too. Sizes come
from the environment: MONTH_FICHES (3000), MONTH_KILL_SECONDS (20; 0 kills nobody), MONTH_LIMIT_SECONDS (5400),
MONTH_MODEL_MS (300), MONTH_SEED (1), MONTH_RESULT (conforme-month.json in the folder for temporary files).
"""

import asyncio
import contextlib
import json
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from bench.account import SERVICES, Line, Outside, bill, books, paid_again, rows
from bench.lives import Life, Lives, client_of, growth, growth_within
from bench.pace import told as pace_told
from bench.rig import DAY, Rig, rig, rubric
from conforme.audit_configs import service
from conforme.audit_configs.shipped import SHORT, shipped
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.population import Population

API = "/api/automation"
DAYS = 30
REPLICAS = 2
FAULT_RATE = 0.1
HANG_SECONDS = 2.0
LEASE_SECONDS = 6.0
ASK_SECONDS = 15.0
"""Between two audits that somebody asks for while the month is worked on."""
TELL_SECONDS = 30.0
LOOK_SECONDS = 2.0
START_GOAL = 2.0
STOP_GOAL = 2.0
GROWTH_GOAL = 1.2
SETTLES_SECONDS = 3.0
"""After a stop: a call that was begun all the same is in the journal by then."""
ENDED = frozenset({"completed", "partial", "failed", "cancelled"})
WIDE = {
    "REPLICA_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    "LLM_BACKOFF_BASE_SECONDS": "0.2",
    "LOG_LEVEL": "error",
    "FICHE_FETCH_CONCURRENCY": "6",
    "AUTOMATION_FICHE_WORKER_CONCURRENCY": "12",
    "AUTOMATION_FICHE_WORKER_PER_SCHEDULE_CONCURRENCY": "10",
    "AUTOMATION_FICHES_IN_WORK": "30",
}
"""Leases short enough for a death every 20 s; places enough that two cores are the limit."""


class BesideError(RuntimeError):
    """What goes on beside the month came to an early end"""


@dataclass(frozen=True)
class Sizes:
    fiches: int
    kill_seconds: float
    limit_seconds: float
    model_ms: float
    seed: int
    result: Path

    @classmethod
    def of_environment(cls) -> "Sizes":
        def number(name: str, default: float) -> float:
            return float(os.environ.get(f"MONTH_{name}", default))

        result = os.environ.get("MONTH_RESULT") or str(Path(tempfile.gettempdir()) / "conforme-month.json")
        return cls(
            fiches=max(DAYS, round(number("FICHES", 3000) / DAYS) * DAYS),
            kill_seconds=number("KILL_SECONDS", 20),
            limit_seconds=number("LIMIT_SECONDS", 5400),
            model_ms=number("MODEL_MS", 300),
            seed=int(number("SEED", 1)),
            result=Path(result),
        )

    @property
    def sales_per_day(self) -> int:
        return self.fiches // DAYS


@dataclass(frozen=True)
class Asked:
    """An audit that somebody asked for, and when; seconds since the epoch."""

    audit_id: int
    at: float
    waited: float
    """Before a replica took the request: now and then none was there."""


@dataclass
class Month:
    """What is known of the month while it runs."""

    sizes: Sizes
    made: Rig
    outside: Outside
    lives: Lives
    config_ids: list[int]
    deaths: list[float] = field(default_factory=list[float])
    lost: Counter[str] = field(default_factory=Counter[str])
    asked: list[Asked] = field(default_factory=list[Asked])
    lines: list[Line] = field(default_factory=list[Line])
    figures: dict[str, Any] = field(default_factory=dict[str, Any])

    async def get(self, path: str) -> dict[str, Any]:
        return (await self.call("GET", path))[0]

    async def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return (await self.call("POST", path, body))[0]

    async def call(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], float]:
        """Asks whichever replica answers, and says when that one was asked; one that dies meanwhile is no answer."""
        async with asyncio.timeout(90):
            while True:
                for url in await self.lives.ready():
                    with contextlib.suppress(httpx2.TransportError):
                        at = time.time()
                        async with client_of(url) as client:
                            answer = await client.request(method, path, json=body)
                        if answer.status_code < 500:
                            return answer.raise_for_status().json(), at
                await asyncio.sleep(0.2)

    def check(self, name: str, told: str, *, holds: bool) -> None:
        self.lines.append(Line(name, holds, told))


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to end, it leaves no process behind
    if not asyncio.run(_main(Sizes.of_environment())):
        sys.exit(1)


async def _main(sizes: Sizes) -> bool:
    print(f"{sizes}\nbefore: {pace_told()}", flush=True)
    async with rig(sizes.sales_per_day, fault_rate=FAULT_RATE, attempts=1) as made:
        outside = Outside(made.addresses)
        for name in SERVICES:
            await outside.set(name, "faults", hang_seconds=HANG_SECONDS)
        await made.answer_after(sizes.model_ms)
        log = sizes.result.with_suffix(".log")
        log.unlink(missing_ok=True)
        lives = Lives(REPLICAS, made.environment | WIDE, log)
        try:
            month = Month(sizes, made, outside, lives, await _configs(made))
            try:
                await _live_through(month)
            except (TimeoutError, RuntimeError, httpx2.HTTPError) as error:
                month.check("the bench came to its end", f"{type(error).__name__}: {error}", holds=False)
        finally:
            lives.close()
    return _report(month)


async def _configs(made: Rig) -> list[int]:
    """The shipped one of five steps, and one of two."""
    small = rubric().model_copy(update={"name": "Deux étapes", "steps": rubric().steps[:2]})
    async with made.database.write() as session:
        imported = [
            await service.import_rules(session, rules, created_by="bench")
            for rules in (shipped(SHORT), small)
        ]
        return [each.id for each in imported]


async def _live_through(month: Month) -> None:
    begun = time.monotonic()
    run_id = await _triggered(month, DAY, DAYS)
    async with (
        _beside(lambda: _look_at_lives(month)),
        _beside(lambda: _tell(month, run_id, begun)),
        asyncio.timeout(month.sizes.limit_seconds),
    ):
        async with _beside(lambda: _kill(month)), _beside(lambda: _ask(month)):
            run = await _end_of(month, run_id)
        seconds = time.monotonic() - begun
        await _all_asked_ended(month)
        await _account(month, run, seconds)
        await _stop_and_take_up_again(month)


@asynccontextmanager
async def _beside(work: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """Something that goes on until the block ends; an error in it is the block's."""
    task = asyncio.ensure_future(work())
    try:
        yield
    finally:
        task.cancel()
        [ended] = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended, Exception):
            raise BesideError(f"{type(ended).__name__}: {ended}") from ended


async def _triggered(month: Month, first: date, days: int) -> int:
    schedule = {
        "name": f"{days} days from {first}",
        "scheduleType": "MANUAL",
        "timezone": "Europe/Paris",
        "ficheSelection": {
            "mode": "date_range",
            "dateRange": "custom",
            "customStartDate": first.isoformat(),
            "customEndDate": (first + timedelta(days=days - 1)).isoformat(),
        },
        "useAutomaticAudits": False,
        "specificAuditConfigs": month.config_ids,
        "retryFailed": True,
        "maxRetries": 2,
    }
    made = await month.post(f"{API}/schedules", schedule)
    return int((await month.post(f"{API}/trigger", {"scheduleId": made["data"]["id"]}))["run_id"])


async def _end_of(month: Month, run_id: int) -> dict[str, Any]:
    """The run, once it has ended."""
    while True:
        [[status]] = await rows(
            month.made.database, "select status from automation_runs where id = :id", id=run_id
        )
        if status in ENDED:
            return (await month.get(f"{API}/runs/{run_id}"))["data"]
        if died := month.lives.died():
            raise RuntimeError(f"a replica ended by itself: {died}")
        await asyncio.sleep(LOOK_SECONDS)


async def _kill(month: Month) -> None:
    chance = random.Random(month.sizes.seed)
    while month.sizes.kill_seconds > 0:
        await asyncio.sleep(month.sizes.kill_seconds)
        month.lost += await month.outside.in_flight()
        month.deaths.append(time.time())
        await asyncio.to_thread(month.lives.kill, chance.randrange(REPLICAS))


async def _ask(month: Month) -> None:
    """Somebody asks for an audit of a fiche that nobody knows, again and again."""
    population = Population(load_corpus(), sales_per_day=month.sizes.sales_per_day, attempts_per_sale=1)
    day = DAY + timedelta(days=4 * DAYS)
    while True:
        for sale in population.sales(day):
            await asyncio.sleep(ASK_SECONDS)
            wish = {"fiche_id": sale.fiche_id, "audit_config_id": month.config_ids[0]}
            wished = time.time()
            answer, at = await month.call("POST", "/api/audits/run", wish)
            month.asked.append(Asked(int(answer["audit_db_id"]), at, at - wished))
        day += timedelta(days=1)


async def _look_at_lives(month: Month) -> None:
    while True:
        month.lives.look()
        await asyncio.sleep(LOOK_SECONDS)


async def _tell(month: Month, run_id: int, begun: float) -> None:
    query = (
        "select coalesce(outcome, 'open'), count(*), sum(audits_run) from automation_run_fiches"
        " where run_id = :id group by 1"
    )
    while True:
        await asyncio.sleep(TELL_SECONDS)
        found = await rows(month.made.database, query, id=run_id)
        outcomes = {row[0]: row[1] for row in found}
        sizes = [f"{life.memory[-1][1] / 1e6:.0f}" for life in month.lives.now if life.memory]
        print(
            f"{time.monotonic() - begun:6.0f} s  {outcomes}, {sum(row[2] or 0 for row in found)} audits,"
            f" {len(month.deaths)} deaths, {len(month.asked)} asked for, replicas {'/'.join(sizes)} MB,"
            f" load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


async def _all_asked_ended(month: Month) -> None:
    ids = [each.audit_id for each in month.asked]
    async with asyncio.timeout(180):
        while True:
            query = "select count(*) from audits where id = any(:ids) and completed_at is null"
            if await rows(month.made.database, query, ids=ids) == [(0,)]:
                return
            await asyncio.sleep(LOOK_SECONDS)


async def _account(month: Month, run: dict[str, Any], seconds: float) -> None:
    database, fiches = month.made.database, month.sizes.fiches
    status = str(run["status"])
    told = f"{status} {run.get('errorMessage') or ''}"
    month.check("the run ends completed or partial", told, holds=status in {"completed", "partial"})
    month.lines += await books(database, run, fiches)
    month.lines += await bill(database)
    month.lines += await paid_again(month.outside, month.deaths, month.lost)
    [[recordings]] = await rows(database, "select count(*) from recordings")
    lives = month.lives.all
    application, postgres = sum(life.cpu for life in lives), month.made.database_cpu()
    # Each life costs some seconds of the application's before it works.
    month.figures |= {
        "seconds": round(seconds),
        "fiches_per_minute": round(fiches / seconds * 60, 1),
        "recordings": recordings,
        "audits": run["auditsRun"],
        "transcriptions": run["transcriptionsRun"],
        "deaths": len(month.deaths),
        "cpu_per_fiche": round((application + postgres) / fiches, 3),
        "cpu_per_fiche_application": round(application / fiches, 3),
        "cpu_per_fiche_postgres": round(postgres / fiches, 3),
    }
    unheard = "select transcription_state, transcription_error, count(*) from recordings where not has_transcription group by 1, 2"
    month.figures["not transcribed"] = [list(row) for row in await rows(database, unheard)]
    _account_of_memory(month, lives)
    await _account_of_starts(month)


def _account_of_memory(month: Month, lives: list[Life]) -> None:
    first, last = growth(lives)
    longest = max(lives, key=lambda life: life.age)
    every = max(1, len(longest.memory) // 12)
    series = [f"{age:.0f} s: {size / 1e6:.0f}" for age, size in longest.memory[::every]]
    month.figures["peaks_mb"] = [[round(life.age), round(life.peak / 1e6)] for life in lives]
    month.figures["longest_life_mb"] = series
    within = max((growth_within(life) for life in lives), default=1.0)
    told = f"peaks of the first third {first:.0f} MB, of the last {last:.0f} MB; within a life at most"
    told += f" {within:.2f} times from its first minute on; longest life: {', '.join(series)}"
    month.check("memory stays flat", told, holds=0 < last <= GROWTH_GOAL * first and within <= GROWTH_GOAL)


async def _account_of_starts(month: Month) -> None:
    """From the request to `running`, of all and of those that no death disturbed."""
    query = "select id, status, extract(epoch from started_at)::float8 from audits where id = any(:ids)"
    found = await rows(month.made.database, query, ids=[each.audit_id for each in month.asked])
    started = {row[0]: row[2] or math.inf for row in found}
    month.figures["asked_for"] = dict(Counter(row[1] for row in found))
    month.figures["waited for a replica that answers"] = summary([each.waited for each in month.asked])
    waits = {each: started[each.audit_id] - each.at for each in month.asked}
    calm = [wait for each, wait in waits.items() if not _disturbed(each.at, wait, month.deaths)]
    for name, some in (("of all", list(waits.values())), ("without a death beside it", calm)):
        figures = summary(some)
        month.figures[f"starts {name}"] = figures
        told = ", ".join(f"{key} {value}" for key, value in figures.items())
        goal = figures["p95"] if name == "of all" else figures["max"]
        what = "p95" if name == "of all" else "worst"
        month.check(
            f"an audit somebody waits for starts within {START_GOAL:g} s, {name}: the {what}",
            told,
            holds=bool(some) and goal <= START_GOAL,
        )


def _disturbed(at: float, wait: float, deaths: list[float]) -> bool:
    """Whether work of a replica that had died was still its own while this one waited."""
    return any(death <= at + wait and at <= death + LEASE_SECONDS + 1 for death in deaths)


def summary(found: list[float]) -> dict[str, float]:
    ordered = sorted(found)
    if not ordered:
        return {"count": 0, "median": 0, "p95": 0, "max": 0}
    rank = min(len(ordered) - 1, int(len(ordered) * 0.95))
    return {
        "count": len(ordered),
        "median": round(median(ordered), 2),
        "p95": round(ordered[rank], 2),
        "max": round(ordered[-1], 2),
    }


async def _stop_and_take_up_again(month: Month) -> None:
    """Another run, of which nobody dies: stopped in the middle of its calls, then taken up again."""
    days = max(3, -(-60 // month.sizes.sales_per_day) if month.sizes.sales_per_day < 20 else 3)
    fiches = days * month.sizes.sales_per_day
    await month.outside.forget()
    await month.made.answer_after(1000)
    run_id = await _triggered(month, DAY + timedelta(days=2 * DAYS), days)
    done = "select count(*) from automation_run_fiches where run_id = :id and outcome = 'successful'"
    while await rows(month.made.database, done, id=run_id) == [(0,)]:  # noqa: ASYNC110 -- as is the product
        await asyncio.sleep(0.1)
    while (await month.outside.in_flight())["model"] < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    await month.post(f"{API}/runs/{run_id}/cancel")
    stopped = time.time()
    run = await _end_of(month, run_id)
    ended = time.time() - stopped
    await asyncio.sleep(SETTLES_SECONDS)
    late = [
        entry["arrived"] - stopped
        for name in SERVICES
        for entry in await month.outside.journal(name)
        if entry["arrived"] > stopped
    ]
    month.check(
        f"a stop begins no call after {STOP_GOAL:g} s",
        f"{len(late)} calls begun after it, the last after {max(late, default=0):.2f} s; ended after {ended:.1f} s",
        holds=max(late, default=0.0) <= STOP_GOAL,
    )
    lines = await books(month.made.database, run, fiches)
    month.lines += [Line(f"stopped: {line.name}", line.holds, line.told) for line in lines]
    await month.made.answer_after(month.sizes.model_ms)
    await month.post(f"{API}/runs/{run_id}/retry-failed")
    whole = await _end_of(month, run_id)
    lines = await books(month.made.database, whole, fiches)
    # What had been answered and was not stored yet when the calls were cut off is lost as by a death.
    lines += await paid_again(month.outside, [stopped, stopped + ended], {})
    lines += await bill(month.made.database)
    month.lines += [Line(f"taken up again: {line.name}", line.holds, line.told) for line in lines]


def _report(month: Month) -> bool:
    for line in month.lines:
        print(f"{'PASS' if line.holds else 'FAIL'}  {line.name}: {line.told}")
    for name, value in month.figures.items():
        if name != "peaks_mb":
            print(f"      {name}: {value}")
    holds = all(line.holds for line in month.lines)
    found = {
        "sizes": {name: str(value) for name, value in asdict(month.sizes).items()},
        "passed": holds,
        "lines": [asdict(line) for line in month.lines],
        "figures": month.figures,
        "after": pace_told(),
    }
    month.sizes.result.write_text(json.dumps(found, indent=2, ensure_ascii=False), encoding="utf-8")
    print(f"{'all of it holds' if holds else 'NOT all of it holds'}; written to {month.sizes.result}")
    return holds
