"""The durable job of a rerun; those of one audit follow one another."""

from datetime import timedelta
from typing import Any

import structlog
from pydantic import BaseModel

from conforme.audits import reruns
from conforme.audits.models import RerunRow
from conforme.audits.workflows import model_retry
from conforme.foundation.database import WriteSession
from conforme.foundation.durable import Durable, JobContext, Lane, LaneLimits, Priority, job
from conforme.foundation.errors import ConformeError
from conforme.settings import Settings

log = structlog.get_logger(__name__)


def _limits(settings: Settings) -> LaneLimits:
    return LaneLimits(at_once=settings.audit_rerun_concurrency, per_key=1)


RERUNS = Lane("reruns", _limits)


class RerunJob(BaseModel):
    """Payload of `audit/step-rerun`: the wish itself is in the database."""

    event_id: str


def _deadline(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.audit_rerun_deadline_seconds)


@job("audit/step-rerun", lane=RERUNS, deadline=_deadline)
async def rerun(ctx: JobContext, payload: RerunJob) -> dict[str, Any]:
    """Looks again at a step or a point; whatever goes wrong, the row and an event say so."""
    resources, event_id = ctx.resources, payload.event_id
    try:
        begun = await ctx.step("begin", lambda: reruns.begin(resources, event_id))
        if not begun["open"]:
            return {"cached": True}
        retry = model_retry(resources.settings)
        return await ctx.step("rerun", lambda: reruns.carry_out(resources, event_id), retry=retry)
    except ConformeError as error:
        reason = error
    except Exception as error:
        log.exception("rerun failed unexpectedly", job_id=event_id)
        reason = ConformeError(f"Unexpected error ({type(error).__name__})")
    return await ctx.step("fail", lambda: reruns.fail(resources, event_id, reason))


async def dispatch(session: WriteSession, durable: Durable, row: RerunRow) -> None:
    """Queues the job of a rerun in the transaction that asks for it."""
    payload = RerunJob(event_id=row.event_id)
    await durable.dispatch(
        session, rerun, payload, id=row.event_id, key=str(row.audit_id), priority=Priority.INTERACTIVE
    )
