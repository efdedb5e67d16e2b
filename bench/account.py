"""What a run of automation says of itself, held against its rows, the ledger and what the providers were asked."""

import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
from sqlalchemy import text

from conforme.foundation.database import Database

PAID = ("speech", "model")
SERVICES = ("crm", *PAID)
BEFORE_SECONDS, AFTER_SECONDS = 1.0, 6.0
"""An answer that left so long before a death, or so shortly after it, may not have been stored."""


@dataclass(frozen=True)
class Line:
    """One thing that has to hold, and whether it did."""

    name: str
    holds: bool
    told: str


class Outside:
    """The sandbox's control routes."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses

    async def counts(self, service: str) -> dict[str, Any]:
        return await self._ask("GET", service, "counts")

    async def journal(self, service: str) -> list[dict[str, Any]]:
        """One entry per request, in the order in which they ended."""
        return await self._ask("GET", service, "journal")

    async def forget(self) -> None:
        for service in SERVICES:
            await self._ask("POST", service, "counts")

    async def set(self, service: str, what: str, **fields: float) -> None:
        await self._ask("POST", service, what, fields)

    async def in_flight(self) -> Counter[str]:
        return Counter({name: int((await self.counts(name))["in_flight"]) for name in PAID})

    async def _ask(
        self, method: str, service: str, what: str, body: Mapping[str, float] | None = None
    ) -> Any:
        async with httpx2.AsyncClient(
            base_url=self._addresses[service], timeout=60, trust_env=False
        ) as client:
            answer = await client.request(method, f"/__sandbox__/{what}", json=body)
            return answer.raise_for_status().json()


async def rows(database: Database, query: str, **values: Any) -> list[Any]:
    async with database.read() as session:
        return list((await session.execute(text(query), values)).all())


async def books(database: Database, run: Mapping[str, Any], fiches: int) -> list[Line]:
    """The run's counters, its fiches' outcomes, its summary and the work that was done tell the same."""
    run_id = int(run["id"])
    outcomes = Counter[str](
        {
            str(name): count
            for name, count in await rows(
                database,
                "select outcome, count(*) from automation_run_fiches where run_id = :id group by 1",
                id=run_id,
            )
        }
    )
    names = ("successful", "failed", "ignored")
    told = {name: int(run[f"{name}Fiches"]) for name in names}
    listed = {name: len(run["resultSummary"][name]) for name in names}
    counted = {name: outcomes[name] for name in names}
    [[audits, heard]] = await rows(
        database,
        "select (select count(*) from audits where automation_run_id = :id and status = 'completed'),"
        " (select count(*) from recordings where has_transcription and transcription_run like :like)",
        id=run_id,
        like=f"automation-{run_id}-%",
    )
    work = (run["auditsRun"], run["transcriptionsRun"])
    return [
        Line("one outcome for every fiche", sum(counted.values()) == fiches, f"{dict(outcomes)} of {fiches}"),
        Line(
            "counters, rows and summary are equal",
            told == counted == listed and int(run["totalFiches"]) == told["successful"] + told["failed"],
            f"counters {told}, rows {counted}, summary {listed}",
        ),
        Line("work counted is work done", work == (audits, heard), f"told {work}, done {(audits, heard)}"),
    ]


async def bill(database: Database) -> list[Line]:
    """Each answer that is kept was billed once."""
    [[twice]] = await rows(
        database,
        "select count(*) from (select 1 from llm_calls group by kind, purpose, audit_id, step_position, recording_id"
        " having count(*) > 1) repeated",
    )
    [[heard, speech, judged, steps]] = await rows(
        database,
        "select (select count(*) from recordings where has_transcription),"
        " (select count(*) from llm_calls where kind = 'speech'),"
        " (select count(*) from audit_step_results where traite),"
        " (select count(*) from llm_calls where purpose = 'audit-step')",
    )
    return [
        Line(
            "each answer that is stored is in the ledger once",
            twice == 0 and heard == speech and judged == steps,
            f"billed twice: {twice}; transcripts {heard}, billed {speech}; steps {judged}, billed {steps}",
        )
    ]


async def paid_again(outside: Outside, deaths: Sequence[float], lost: Mapping[str, int]) -> list[Line]:
    """What was answered is asked again only where a death may have kept the answer from being stored."""
    lines: list[Line] = []
    for service in PAID:
        entries = await outside.journal(service)
        repeated, unexplained = repeats(entries, deaths)
        told = (
            f"{len(entries)} requests, {repeated} of them repeated, {unexplained} without a death beside it;"
        )
        told += f" in flight at the deaths: {lost.get(service, 0)}"
        lines.append(Line(f"nothing answered and stored is asked again ({service})", unexplained == 0, told))
    return lines


def repeats(entries: Sequence[Mapping[str, Any]], deaths: Sequence[float]) -> tuple[int, int]:
    """Requests for what had been answered, and those of them whose first answer no death can have lost. Pure."""
    answered: dict[str, float] = {}
    repeated = unexplained = 0
    for entry in sorted(entries, key=lambda each: each["arrived"]):
        before = answered.get(entry["subject"])
        if before is not None and entry["arrived"] > before:
            repeated += 1
            unexplained += not _died_around(before, deaths)
        if entry["outcome"] == "answered":
            answered[entry["subject"]] = entry["ended"]
    return repeated, unexplained


def _died_around(moment: float, deaths: Sequence[float]) -> bool:
    place = bisect.bisect_left(deaths, moment - BEFORE_SECONDS)
    return place < len(deaths) and deaths[place] <= moment + AFTER_SECONDS
