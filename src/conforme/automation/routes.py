"""`/api/automation`: schedules, when they are due, and running them by hand (spec/automation §2)."""

from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Body, Query

from conforme.accounts.actor import Actor
from conforme.accounts.auth import may
from conforme.automation import queries, service
from conforme.automation.columns import timing_of
from conforme.automation.diagnostic import diagnose
from conforme.automation.due import upcoming
from conforme.automation.models import AutomationSchedule
from conforme.automation.schemas import (
    Diagnostic,
    DueTime,
    DueTimes,
    Said,
    ScheduleBody,
    ScheduleOut,
    Schedules,
    ScheduleWithRuns,
    TriggerBody,
    Triggered,
    body_of_request,
)
from conforme.automation.views import schedule_out, with_runs
from conforme.foundation.database import now
from conforme.foundation.errors import Invalid, NotFound
from conforme.foundation.web import ERRORS, Answer, Page, Pagination, ResourcesDep, in_words, path_id

router = APIRouter(prefix="/api/automation", tags=["automation"], responses=ERRORS)

Reader = Annotated[Actor, may("automation.read")]
Writer = Annotated[Actor, may("automation.read", "automation.write")]
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Json = Annotated[Any, Body()]
SCHEDULE_LABEL: Final = "schedule id"
LAST_RUNS: Final = 10
TRIGGER: Final = "Invalid trigger automation data"


@router.post("/schedules", status_code=201, openapi_extra=body_of_request(ScheduleBody))
async def create(resources: ResourcesDep, actor: Writer, body: Json = None) -> Answer[ScheduleOut]:
    """Creates a schedule; its first due time is the first one from now on."""
    async with resources.database.write() as session:
        row = await service.create(session, resources, actor, _object(body, service.CREATE))
    return Answer(data=schedule_out(row, resources.settings))


@router.get("/schedules")
async def listing(
    resources: ResourcesDep,
    _actor: Reader,
    include_inactive: str = "",
    limit: Limit = 100,
    offset: Offset = 0,
) -> Schedules:
    """Schedules, newest first; the active ones, unless `include_inactive` is `true`."""
    page = Page(limit=limit, offset=offset)
    async with resources.database.read() as session:
        rows, total = await queries.listed(session, page, include_inactive=include_inactive == "true")
    data = [schedule_out(row, resources.settings) for row in rows]
    return Schedules(data=data, count=len(data), pagination=Pagination.model_validate(page.describe(total)))


@router.get("/schedules/{schedule_id}")
async def one(resources: ResourcesDep, _actor: Reader, schedule_id: str) -> Answer[ScheduleWithRuns]:
    """One schedule with its last ten runs."""
    async with resources.database.read() as session:
        row = await _known(session, schedule_id)
        runs = await queries.last_runs(session, row.id, LAST_RUNS)
    return Answer(data=with_runs(row, runs, resources.settings))


@router.get("/schedules/{schedule_id}/next")
async def upcoming_times(
    resources: ResourcesDep,
    _actor: Reader,
    schedule_id: str,
    count: Annotated[int, Query(ge=1, le=100)] = 10,
) -> DueTimes:
    """When the schedule is due next; nothing for one that is only run by hand."""
    async with resources.database.read() as session:
        row = await _known(session, schedule_id)
    zone = ZoneInfo(row.timezone)
    times = [
        DueTime(due_at=instant, local=instant.astimezone(zone))
        for instant in upcoming(timing_of(row), now(), count)
    ]
    return DueTimes(data=times, count=len(times), timezone=row.timezone, is_active=row.is_active)


@router.patch("/schedules/{schedule_id}", openapi_extra=body_of_request(ScheduleBody, partial=True))
async def update(
    resources: ResourcesDep, actor: Writer, schedule_id: str, body: Json = None
) -> Answer[ScheduleOut]:
    """Changes what the body names; null clears."""
    number = path_id(schedule_id, SCHEDULE_LABEL)
    async with resources.database.write() as session:
        row = await service.update(session, resources, actor, number, _object(body, service.UPDATE))
    return Answer(data=schedule_out(row, resources.settings))


@router.delete("/schedules/{schedule_id}")
async def delete(resources: ResourcesDep, actor: Writer, schedule_id: str) -> Said:
    """Deletes a schedule with its runs; not while one of them is under way."""
    async with resources.database.write() as session:
        await service.remove(session, actor, path_id(schedule_id, SCHEDULE_LABEL))
    return Said(message="Schedule deleted successfully")


@router.post("/trigger", openapi_extra=body_of_request(TriggerBody))
async def trigger(resources: ResourcesDep, actor: Writer, body: Json = None) -> Triggered:
    """Runs a schedule now; the run exists before the answer leaves."""
    given = _object(body, TRIGGER)
    asked = in_words(TriggerBody, given, TRIGGER)
    async with resources.database.write() as session:
        run = await service.run_now(session, resources, actor, asked.scheduleId, asked.overrideFicheSelection)
    return Triggered(schedule_id=given["scheduleId"], run_id=run.id, event_ids=[run.job_id])


@router.get("/diagnostic")
async def diagnostic(resources: ResourcesDep, _actor: Reader) -> Diagnostic:
    """Whether schedules are fired and runs can work here, and what to do where they cannot."""
    async with resources.database.read() as session:
        return await diagnose(session, resources.settings, now())


async def _known(session: queries.Session, schedule_id: str) -> AutomationSchedule:
    row = await queries.schedule(session, path_id(schedule_id, SCHEDULE_LABEL))
    if row is None:
        raise NotFound("Schedule not found")
    return row


def _object(body: Any, sentence: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Invalid(sentence, field="body", hint="body: must be a JSON object")
    return {str(key): value for key, value in body.items()}
