"""Schedules and runs as audits name them."""

from collections.abc import Iterable

from sqlalchemy import DateTime, Text, any_, literal, null, select, union_all

from conforme.audits.links import Links
from conforme.audits.schemas import RunBrief, ScheduleBrief
from conforme.automation.models import AutomationRun, AutomationSchedule
from conforme.automation.queries import Session
from conforme.foundation.arrays import numbers


async def named(session: Session, schedule_ids: Iterable[int], run_ids: Iterable[int]) -> Links:
    """The schedules and runs of these ids, in one statement."""
    run, schedule = AutomationRun, AutomationSchedule
    nothing = null().cast(DateTime(timezone=True))
    schedules = select(
        schedule.id,
        schedule.id.label("schedule_id"),
        schedule.name.label("word"),
        nothing,
        nothing,
        literal(False),
    ).where(schedule.id == any_(numbers(schedule_ids)))
    runs = select(
        run.id, run.schedule_id, run.status.cast(Text), run.started_at, run.completed_at, literal(True)
    ).where(run.id == any_(numbers(run_ids)))
    known_schedules, known_runs = dict[int, ScheduleBrief](), dict[int, RunBrief]()
    rows = await session.execute(union_all(schedules, runs))
    for number, schedule_id, word, started, completed, is_run in rows:
        if is_run:
            known_runs[number] = RunBrief(
                id=number, status=word, started_at=started, completed_at=completed, schedule_id=schedule_id
            )
        else:
            known_schedules[number] = ScheduleBrief(id=number, name=word)
    return Links(known_schedules, known_runs)
