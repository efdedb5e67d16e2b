"""`/api/fiches/jobs` and `/api/fiches/webhooks/fiches`: how far fetches of ranges are (spec/automation §6)."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import Field

from conforme.accounts.actor import Actor
from conforme.accounts.auth import may
from conforme.fiches import job_queries, job_views
from conforme.fiches.job_schemas import JobAnswer, JobsAnswer, JobStatus, ProgressAnswer
from conforme.fiches.telling import PARTIAL_FICHES
from conforme.foundation.errors import Invalid, NotFound
from conforme.foundation.web import ERRORS, Page, ResourcesDep, Text, failure

router = APIRouter(prefix="/api/fiches", tags=["fiches"], responses=ERRORS)

Reader = Annotated[Actor, may("fiches.read")]
JobId = Annotated[Text, Field(max_length=200)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
NO_NOTIFICATION: Final = "Notification not found"


@router.get("/webhooks/fiches", response_model=ProgressAnswer, response_model_exclude_unset=True)
async def poll(
    actor: Reader,
    resources: ResourcesDep,
    job_id: Annotated[JobId | None, Query(alias="jobId")] = None,
    limit: Annotated[int, Query(ge=1, le=PARTIAL_FICHES)] = PARTIAL_FICHES,
    offset: Offset = 0,
) -> ProgressAnswer | JSONResponse:
    """What a webhook would tell of a fetch, with a page of the fiches of its range that the caller may see."""
    if not job_id:
        raise Invalid("Missing jobId parameter", field="jobId")
    async with resources.database.read() as session:
        job = await job_queries.job(session, actor, job_id)
        if job is None:
            return JSONResponse(failure(NO_NOTIFICATION, NotFound.code, jobId=job_id), NotFound.status)
        page = Page(limit=limit, offset=offset)
        return await job_views.progress_of(session, actor, resources.settings, job, page)


@router.get("/jobs")
async def listing(
    actor: Reader,
    resources: ResourcesDep,
    status: Annotated[JobStatus | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    offset: Offset = 0,
) -> JobsAnswer:
    """Fetches of ranges, newest first: those the caller asked for, all of them with scope ALL."""
    page = Page(limit=limit, offset=offset)
    async with resources.database.read() as session:
        lines, total = await job_views.lines_of(session, actor, page, status=status)
    return JobsAnswer(jobs=lines, total=total, limit=limit, offset=offset)


@router.get("/jobs/{job_id}")
async def one(job_id: JobId, actor: Reader, resources: ResourcesDep) -> JobAnswer:
    """One fetch: its days, why some of them failed, and how its webhooks went."""
    async with resources.database.read() as session:
        job = await job_queries.job(session, actor, job_id)
        if job is None:
            raise NotFound("Job not found")
        return JobAnswer(job=await job_views.detail_of(session, actor, job))
