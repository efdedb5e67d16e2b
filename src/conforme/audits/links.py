"""The schedules and runs of automation that audits name (spec/audits §10.2); that room stands above this one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from conforme.audits.models import AuditRow
from conforme.audits.queries import Session
from conforme.audits.schemas import RunBrief, ScheduleBrief


@dataclass(frozen=True, slots=True)
class Links:
    """By id; what was deleted is not among them."""

    schedules: Mapping[int, ScheduleBrief] = field(default_factory=dict[int, ScheduleBrief])
    runs: Mapping[int, RunBrief] = field(default_factory=dict[int, RunBrief])

    def of(self, audit: AuditRow) -> dict[str, ScheduleBrief | RunBrief | None]:
        schedule_id, run_id = audit.automation_schedule_id, audit.automation_run_id
        return {
            "automation_schedule": None if schedule_id is None else self.schedules.get(schedule_id),
            "automation_run": None if run_id is None else self.runs.get(run_id),
        }

    def shown(self, audit: AuditRow) -> dict[str, Any]:
        """The same as JSON under their names on the wire."""
        found = self.of(audit)
        schedule, run = found["automation_schedule"], found["automation_run"]
        return {
            "automationSchedule": schedule and schedule.model_dump(mode="json", by_alias=True),
            "automationRun": run and run.model_dump(mode="json", by_alias=True),
        }


class LinksReader(Protocol):
    async def __call__(self, session: Session, schedule_ids: Iterable[int], run_ids: Iterable[int]) -> Links:
        """What there is of these, in one statement."""
        ...


class _Switchboard:
    """The application connects the room above at its start."""

    reader: LinksReader | None = None


def connect(reader: LinksReader) -> None:
    """Names who knows schedules and runs; once per process, before its first request."""
    _Switchboard.reader = reader


async def links(session: Session, schedule_ids: Iterable[int], run_ids: Iterable[int]) -> Links:
    """What these ids name; nothing is asked where there are none."""
    schedules, runs = set(schedule_ids), set(run_ids)
    if _Switchboard.reader is None or not (schedules or runs):
        return Links()
    return await _Switchboard.reader(session, schedules, runs)


async def links_of(session: Session, audits: Iterable[AuditRow]) -> Links:
    """What these audits name."""
    rows = list(audits)
    return await links(
        session,
        (row.automation_schedule_id for row in rows if row.automation_schedule_id is not None),
        (row.automation_run_id for row in rows if row.automation_run_id is not None),
    )
