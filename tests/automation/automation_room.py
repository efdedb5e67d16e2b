"""Schedules as tests write them, and a clock that they set."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from sqlalchemy import select, text

from conforme.automation.models import AutomationRun, AutomationSchedule
from conforme.foundation.database import Database
from conforme.foundation.events import EventRow

EVERY_DAY: dict[str, Any] = {
    "name": "Every night",
    "scheduleType": "DAILY",
    "timeOfDay": "02:30",
    "timezone": "Europe/Paris",
    "ficheSelection": {"mode": "date_range", "dateRange": "yesterday"},
}
SCHEDULES = "/api/automation/schedules"


@dataclass
class Clock:
    """Stands still until it is set."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **delta: float) -> None:
        self.now += timedelta(**delta)


async def created(api: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    """A schedule; what is not said is that of `EVERY_DAY`."""
    answer = await api.post(SCHEDULES, json=EVERY_DAY | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


async def run_ids(database: Database, schedule_id: int | str) -> list[int]:
    query = select(AutomationRun.id).where(AutomationRun.schedule_id == int(schedule_id))
    async with database.read() as session:
        return list(await session.scalars(query.order_by(AutomationRun.id)))


async def runs(database: Database, schedule_id: int | str) -> list[AutomationRun]:
    query = select(AutomationRun).where(AutomationRun.schedule_id == int(schedule_id))
    async with database.read() as session:
        return list(await session.scalars(query.order_by(AutomationRun.id)))


async def stored(database: Database, schedule_id: int | str) -> AutomationSchedule:
    async with database.read() as session:
        row = await session.get(AutomationSchedule, int(schedule_id))
        assert row is not None
        return row


async def due_next(database: Database, schedule_id: int | str, at: datetime) -> None:
    """Makes the schedule one whose first due time that nobody dealt with is `at`."""
    statement = text("update automation_schedules set next_due_at = :at where id = :id")
    async with database.write() as session:
        await session.execute(statement, {"at": at, "id": int(schedule_id)})


async def ended(database: Database, run_id: int, status: str = "completed") -> None:
    async with database.write() as session:
        await session.execute(
            text("update automation_runs set status = :status where id = :id"),
            {"status": status, "id": run_id},
        )


async def queued_jobs(database: Database) -> list[str]:
    """Ids of the durable jobs of runs."""
    query = text("select workflow_uuid from dbos.workflow_status where name = 'automation/run' order by 1")
    async with database.read() as session:
        return list(await session.scalars(query))


async def told(database: Database, name: str) -> list[dict[str, Any]]:
    """The payloads of the events of that name."""
    async with database.read() as session:
        query = select(EventRow.payload).where(EventRow.name == name).order_by(EventRow.id)
        return list(await session.scalars(query))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
