"""The schedules and runs of automation that audits name (spec/audits §10.2); that room stands above this one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from pydantic import BaseModel
from sqlalchemy import Row

from conforme.audits.models import AuditRow
from conforme.audits.queries import Session
from conforme.audits.schemas import RunBrief, ScheduleBrief

JsonObject = dict[str, Any]
Linked = AuditRow | Row[Any]
"""An audit, or a row of a list."""


@dataclass(frozen=True)
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

    def shown(self, audit: Linked) -> tuple[JsonObject | None, JsonObject | None]:
        """The same, the schedule and the run, as JSON with their names on the wire."""
        schedules, runs = self._as_json
        return schedules.get(audit.automation_schedule_id), runs.get(audit.automation_run_id)

    @cached_property
    def _as_json(self) -> tuple[dict[int | None, JsonObject], dict[int | None, JsonObject]]:
        return _json(self.schedules), _json(self.runs)


def _json(briefs: Mapping[int, BaseModel]) -> dict[int | None, JsonObject]:
    """Written once, however many audits of a page name them."""
    return {id: brief.model_dump(mode="json", by_alias=True) for id, brief in briefs.items()}


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


async def links_of(session: Session, audits: Iterable[Linked]) -> Links:
    """What these audits name."""
    rows = list(audits)
    return await links(
        session,
        (row.automation_schedule_id for row in rows if row.automation_schedule_id is not None),
        (row.automation_run_id for row in rows if row.automation_run_id is not None),
    )
