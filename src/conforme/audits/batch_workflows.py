"""The durable work of a batch: queueing its audits, and stopping them. The audits are jobs of their own."""

from functools import partial
from typing import Any

from pydantic import BaseModel

from conforme.audits import batches, endings
from conforme.audits.batch_models import AuditBatch
from conforme.foundation.database import WriteSession
from conforme.foundation.durable import Durable, JobContext, Lane, LaneLimits, Priority, job

BATCHES = Lane("batches", lambda _: LaneLimits(at_once=4))
STOPPED_AT_ONCE = 20


class BatchJob(BaseModel):
    """Payload of `audit/batch` and `audit/batch.cancel`: the row's id."""

    batch: int


@job("audit/batch", lane=BATCHES)
async def run_batch(ctx: JobContext, payload: BatchJob) -> dict[str, Any]:
    """Queues an audit for each item; each counts where it ends."""
    parts, left = 0, True
    while left:
        parts += 1
        done = await ctx.step(f"queue-{parts}", lambda: batches.queue_part(ctx.resources, payload.batch))
        left = done["left"]
    return {"parts": parts}


@job("audit/batch.cancel", lane=BATCHES)
async def cancel_batch(ctx: JobContext, payload: BatchJob) -> dict[str, Any]:
    """Ends what a stopped batch has begun, what costs something now first."""
    begun = await ctx.step("unbegun", lambda: batches.end_unbegun(ctx.resources, payload.batch))
    audits = [(audit_id, job_id) for audit_id, job_id in begun["audits"]]
    for first in range(0, len(audits), STOPPED_AT_ONCE):
        some = audits[first : first + STOPPED_AT_ONCE]
        await ctx.step(f"stop-{first}", partial(endings.stop, ctx.resources, some))
    return {"stopped": len(audits)}


async def dispatch_run(
    session: WriteSession, durable: Durable, batch: AuditBatch | batches.QueuedBatch
) -> None:
    attempt = batch.attempt if isinstance(batch, AuditBatch) else 1
    await durable.dispatch(
        session,
        run_batch,
        BatchJob(batch=batch.id),
        id=f"{batch.batch_id}-{attempt}",
        priority=Priority.INTERACTIVE,
    )


async def dispatch_cancel(session: WriteSession, durable: Durable, batch: AuditBatch) -> None:
    identifier = f"{batch.batch_id}-{batch.attempt}-cancel"
    payload = BatchJob(batch=batch.id)
    await durable.dispatch(session, cancel_batch, payload, id=identifier, priority=Priority.INTERACTIVE)
