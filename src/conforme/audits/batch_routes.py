"""`/api/audits/batch`: many audits at once (spec/audits §11)."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query

from conforme.accounts.actor import Actor
from conforme.accounts.auth import may
from conforme.audits import batch_queries, batches
from conforme.audits.batch_models import AuditBatch
from conforme.audits.batch_schemas import (
    AskBatch,
    Batches,
    BatchItems,
    BatchOut,
    ItemOut,
    QueuedBatchOut,
)
from conforme.audits.batch_workflows import dispatch_cancel, dispatch_run
from conforme.audits.batches import BatchWish
from conforme.audits.requests import Desk
from conforme.audits.settling import percent
from conforme.foundation.errors import NotFound
from conforme.foundation.web import ERRORS, Answer, Page, Pagination, ResourcesDep, in_words

router = APIRouter(prefix="/api/audits/batch", tags=["audits"], responses=ERRORS)

Reader = Annotated[Actor, may("audits.read")]
Runner = Annotated[Actor, may("audits.run")]
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]


@router.post("", response_model_exclude_none=True)
async def ask(
    resources: ResourcesDep,
    actor: Runner,
    body: Annotated[Any, Body()] = None,
    idempotency_key: Key = None,
) -> QueuedBatchOut:
    """Queues an audit for each fiche; the batch exists before the answer leaves."""
    asked = in_words(AskBatch, body, "Invalid batch audit input")
    fiche_ids = tuple(dict.fromkeys(asked.fiche_ids))
    wish = BatchWish(fiche_ids, asked.audit_config_id, asked.user_id, asked.use_rlm)
    desk = Desk(resources.durable, resources.settings)
    async with resources.database.write() as session:
        queued = await batches.request_batch(session, desk, actor, wish, key=idempotency_key)
        if queued.fresh:
            await dispatch_run(session, resources.durable, queued)
    config_id = queued.audit_config_id
    return QueuedBatchOut(
        message=f"Batch audit queued for {len(fiche_ids)} fiches",
        fiche_ids=list(fiche_ids),
        audit_config_id=config_id,
        batch_id=queued.batch_id,
        event_ids=[batches.tracking_id(queued.batch_id, fiche_id, config_id) for fiche_id in fiche_ids],
    )


@router.get("")
async def listing(resources: ResourcesDep, actor: Reader, limit: Limit = 50, offset: Offset = 0) -> Batches:
    """Batches the caller asked for (all of them with scope ALL), newest first."""
    page = Page(limit=limit, offset=offset)
    async with resources.database.read() as session:
        rows, total = await batch_queries.listed(session, actor, page)
    return Batches(data=[_out(row) for row in rows], pagination=_pages(page, total))


@router.get("/{batch_id}")
async def one(resources: ResourcesDep, actor: Reader, batch_id: str) -> Answer[BatchOut]:
    """Where a batch stands."""
    async with resources.database.read() as session:
        return Answer(data=_out(await _known(session, actor, batch_id)))


@router.get("/{batch_id}/items")
async def items(
    resources: ResourcesDep,
    actor: Reader,
    batch_id: str,
    outcome: Literal["open", "succeeded", "failed", "cancelled"] | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> BatchItems:
    """Its fiches, each with its audit and its one outcome."""
    page = Page(limit=limit, offset=offset)
    async with resources.database.read() as session:
        batch = await _known(session, actor, batch_id)
        lines, total = await batch_queries.items(session, actor, batch.id, page, outcome=outcome)
    return BatchItems(data=[ItemOut.model_validate(line) for line in lines], pagination=_pages(page, total))


@router.post("/{batch_id}/cancel")
async def cancel(resources: ResourcesDep, actor: Runner, batch_id: str) -> Answer[BatchOut]:
    """Begins nothing more, and ends what has begun; calls in flight are cut off."""
    async with resources.database.write() as session:
        batch = await batches.stop(session, actor, batch_id)
        await dispatch_cancel(session, resources.durable, batch)
        return Answer(data=_out(batch))


@router.post("/{batch_id}/resume")
async def resume(resources: ResourcesDep, actor: Runner, batch_id: str) -> Answer[BatchOut]:
    """Takes up what failed or was cancelled; what succeeded is left alone, and what was analysed is not paid again."""
    async with resources.database.write() as session:
        batch = await batches.take_up(session, actor, batch_id)
        await dispatch_run(session, resources.durable, batch)
        return Answer(data=_out(batch))


async def _known(session: batch_queries.Session, actor: Actor, batch_id: str) -> AuditBatch:
    batch = await batch_queries.one(session, actor, batch_id)
    if batch is None:
        raise NotFound.of("Audit batch", batch_id[:100])
    return batch


def _pages(page: Page, total: int) -> Pagination:
    return Pagination.model_validate(page.describe(total))


def _out(batch: AuditBatch) -> BatchOut:
    return BatchOut(
        batch_id=batch.batch_id,
        audit_config_id=batch.audit_config_id,
        status=batch.status,
        total=batch.total,
        completed=batch.succeeded + batch.failed,
        succeeded=batch.succeeded,
        failed=batch.failed,
        cancelled=batch.cancelled,
        progress_percentage=percent(batch),
        attempt=batch.attempt,
        started_at=batch.started_at,
        completed_at=batch.completed_at,
    )
