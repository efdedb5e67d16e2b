"""`/api/audits`: looking again, overruling, and what is unsure (spec/audits §9)."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from conforme.accounts.actor import Actor
from conforme.accounts.auth import may
from conforme.audits import queries, reruns, review_queue, reviews, telling_again
from conforme.audits.doubts import DoubtReason
from conforme.audits.rerun_workflows import dispatch
from conforme.audits.review_queue import Unsure
from conforme.audits.review_schemas import (
    Point,
    PointAnswer,
    Queue,
    Rerun,
    RerunAnswer,
    RerunBody,
    RerunQueued,
    ReviewPoint,
    ReviewStep,
    StepAnswer,
    UnsurePoint,
    parsed,
)
from conforme.audits.schemas import StepResult
from conforme.foundation.errors import Invalid, NotFound
from conforme.foundation.resources import Resources
from conforme.foundation.web import ERRORS, ResourcesDep, path_id

router = APIRouter(prefix="/api/audits", tags=["audits"], responses=ERRORS)

Json = Annotated[Any, Body()]
Reader = Annotated[Actor, may("audits.read")]
Writer = Annotated[Actor, may("audits.write")]
Rerunner = Annotated[Actor, may("audits.rerun")]
Csv = Annotated[str, Query(max_length=2000)]
MAX_LIMIT = 200
POINT = "/{audit_id}/steps/{step_position}/control-points/{control_point_index}"


@router.get("/review-queue")
async def queue(
    resources: ResourcesDep,
    actor: Reader,
    reason: Csv = "",
    audit_config_ids: Csv = "",
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Queue:
    """Control points whose verdict is unsure, the least certain first."""
    wanted = Unsure(
        reasons=[_reason(each) for each in _csv(reason)],
        audit_config_ids=[path_id(each, "audit_config_ids") for each in _csv(audit_config_ids)],
        limit=limit,
        behind=None if cursor is None else review_queue.read_cursor(cursor),
    )
    async with resources.database.read() as session:
        found = await review_queue.unsure(session, actor, wanted)
    page = [UnsurePoint.model_validate(each) for each in found[:limit]]
    if len(found) <= limit:
        return Queue(data=page, next_cursor=None)
    last = found[limit - 1]
    return Queue(data=page, next_cursor=review_queue.cursor_of(last["certainty"], last["id"]))


def _csv(text: str) -> Sequence[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _reason(text: str) -> DoubtReason:
    try:
        return DoubtReason(text)
    except ValueError:
        known = ", ".join(DoubtReason)
        raise Invalid(f"Invalid reason. Allowed: {known}", field="reason") from None


@router.get(POINT)
async def point(
    resources: ResourcesDep, actor: Reader, audit_id: str, step_position: str, control_point_index: str
) -> PointAnswer:
    """One control point as it stands."""
    place = _place(audit_id, step_position, control_point_index)
    return await _point(resources, actor, place)


@router.patch(POINT + "/review")
async def review_point(
    resources: ResourcesDep,
    actor: Writer,
    audit_id: str,
    step_position: str,
    control_point_index: str,
    body: Json = None,
) -> PointAnswer:
    """Sets a point's status or comment above the model's; all that rests on it is computed anew."""
    place = _place(audit_id, step_position, control_point_index)
    said = parsed(ReviewPoint, body, "review audit control point").review
    async with resources.database.write() as session:
        await reviews.review_point(session, actor, place[0], place[1:], said)
    return await _point(resources, actor, place)


@router.patch("/{audit_id}/steps/{step_position}/review")
async def review_step(
    resources: ResourcesDep, actor: Writer, audit_id: str, step_position: str, body: Json = None
) -> StepAnswer:
    """Sets what a step comes to above what its points say."""
    number, position = path_id(audit_id, "audit_id"), path_id(step_position, "step_position")
    said = parsed(ReviewStep, body, "review audit step result").review
    async with resources.database.write() as session:
        await reviews.review_step(session, actor, number, position, said)
        row = await queries.step(session, number, position)
        return StepAnswer(data=StepResult.model_validate(row))


@router.post("/{audit_id}/steps/{step_position}/rerun", response_model_exclude_none=True)
async def rerun_step(
    resources: ResourcesDep, actor: Rerunner, audit_id: str, step_position: str, body: Json = None
) -> RerunQueued:
    """Queues another look at a whole step."""
    number, position = path_id(audit_id, "audit_id"), path_id(step_position, "step_position")
    wish = parsed(RerunBody, body, "rerun audit step").wish(position)
    return await _queued(resources, actor, number, wish, "Step re-run queued")


@router.post(POINT + "/rerun", response_model_exclude_none=True)
async def rerun_point(
    resources: ResourcesDep,
    actor: Rerunner,
    audit_id: str,
    step_position: str,
    control_point_index: str,
    body: Json = None,
) -> RerunQueued:
    """Queues another look at one control point."""
    number, position, index = _place(audit_id, step_position, control_point_index)
    wish = parsed(RerunBody, body, "rerun audit control point").wish(position, index)
    return await _queued(resources, actor, number, wish, "Control point re-run queued")


@router.get("/{audit_id}/reruns/{event_id}")
async def rerun(resources: ResourcesDep, actor: Reader, audit_id: str, event_id: str) -> RerunAnswer:
    """How far a rerun is, by the event id that asking for it answered."""
    number = path_id(audit_id, "audit_id")
    async with resources.database.read() as session:
        row = await queries.rerun(session, actor, number, event_id)
    if row is None:
        raise NotFound("Rerun not found")
    fields = {name: getattr(row, name) for name in Rerun.model_fields if name != "rerun_id"}
    return RerunAnswer(data=Rerun.model_validate(fields | {"rerun_id": telling_again.rerun_id(row)}))


async def _queued(
    resources: Resources, actor: Actor, audit_id: int, wish: reruns.RerunWish, message: str
) -> RerunQueued:
    async with resources.database.write() as session:
        row, new = await reruns.request(session, actor, audit_id, wish)
        if new:
            await dispatch(session, resources.durable, row)
        return RerunQueued(
            message=message,
            event_id=row.event_id,
            audit_id=str(audit_id),
            step_position=wish.position,
            control_point_index=wish.point,
        )


def _place(audit_id: str, step_position: str, control_point_index: str) -> tuple[int, int, int]:
    return (
        path_id(audit_id, "audit_id"),
        path_id(step_position, "step_position"),
        path_id(control_point_index, "control_point_index"),
    )


async def _point(resources: Resources, actor: Actor, place: tuple[int, int, int]) -> PointAnswer:
    async with resources.database.read() as session:
        row = await queries.point(session, actor, *place)
    if row is None:
        raise NotFound.of(reviews.POINT, f"{place[1]}/{place[2]}")
    return PointAnswer(data=Point.model_validate(row))
