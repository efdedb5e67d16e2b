"""Batches of audits (spec/audits §11): what is asked for, queued, counted, stopped and taken up again.

An item is settled in the transaction that ends its audit, so that counters, items and events always agree. Whoever
queues, stops or takes up a batch holds the batch's lock of its own; whoever settles holds the audit, then the batch's
row: the two never wait for each other.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import insert

from conforme.accounts.actor import Actor, Scope
from conforme.audit_configs.drafts import latest_active, require_runnable
from conforme.audit_configs.revisions import Revision, revision_for_run
from conforme.audits import batch_queries, queries
from conforme.audits.batch_models import (
    CANCELLED,
    FAILED,
    RUNNING,
    SUCCEEDED,
    AuditBatch,
    AuditBatchItem,
)
from conforme.audits.errors import BatchOver, BatchStillRunning
from conforme.audits.idempotency import claim, fingerprint_of, keep, one_at_a_time
from conforme.audits.models import OPEN
from conforme.audits.requests import AuditWish, Desk, create_audit, in_whose_name, queue_again
from conforme.audits.settling import progress, settle
from conforme.audits.stages import BATCH
from conforme.audits.versions import hold_versions
from conforme.fiches.scope import visible_fiche_ids
from conforme.foundation import events
from conforme.foundation.database import WriteSession, now
from conforme.foundation.errors import Forbidden, Invalid, NotFound
from conforme.foundation.resources import Resources

MAX_FICHES: Final = 10_000
PART: Final = 50
"""Items dealt with in one transaction."""


@dataclass(frozen=True, slots=True)
class BatchWish:
    """Fiches to audit, each once."""

    fiche_ids: tuple[str, ...]
    audit_config_id: int | None = None
    """None: the newest active one."""
    user_id: str | None = None
    use_rlm: bool = False


@dataclass(frozen=True, slots=True)
class QueuedBatch:
    id: int
    batch_id: str
    audit_config_id: int
    fresh: bool = True
    """False when the same was asked for a moment ago, or under the same key."""


def tracking_id(batch_id: str, fiche_id: str, config_id: int) -> str:
    """The id of an audit of a batch, known before it exists (spec/audits §3.2)."""
    return f"batch-{batch_id}-audit-{fiche_id}-{config_id}"


async def request_batch(
    session: WriteSession, desk: Desk, actor: Actor, wish: BatchWish, *, key: str | None = None
) -> QueuedBatch:
    """Stores the batch and its items; the caller dispatches its job when it is `fresh`, in the same transaction.

    Raises:
        NotFound: unknown configuration, or none is active.
        Invalid: the configuration cannot run; refused before anything is paid.
        Forbidden: one of the fiches is outside the actor's scope.
        IdempotencyKeyReused: the key stands for another wish.
    """
    await _require_all_visible(session, actor, wish.fiche_ids)
    config_id = wish.audit_config_id or (await latest_active(session)).id
    await require_runnable(session, config_id)
    if known := await claim(session, actor, key, asdict(wish)):
        return QueuedBatch(**known, fresh=False)
    fingerprint = fingerprint_of(asdict(wish) | {"audit_config_id": config_id})
    await one_at_a_time(session, f"batch:{actor.name}")
    since = now() - timedelta(seconds=desk.settings.audit_same_request_seconds)
    same = await batch_queries.recent_same(session, actor, fingerprint, since=since)
    batch = same or await _create(session, actor, wish, config_id, fingerprint)
    answer = {"id": batch.id, "batch_id": batch.batch_id, "audit_config_id": config_id}
    await keep(session, actor, key, answer)
    return QueuedBatch(batch.id, batch.batch_id, config_id, fresh=same is None)


async def _require_all_visible(session: WriteSession, actor: Actor, fiche_ids: Sequence[str]) -> None:
    if actor.scope is Scope.ALL:
        return
    if await visible_fiche_ids(session, actor, fiche_ids) < set(fiche_ids):
        raise Forbidden


async def _create(
    session: WriteSession, actor: Actor, wish: BatchWish, config_id: int, fingerprint: str
) -> AuditBatch:
    moment, count = now(), len(wish.fiche_ids)
    milliseconds = int(moment.timestamp() * 1000)
    while await batch_queries.id_taken(session, identifier := f"batch-{milliseconds}-{count}"):
        milliseconds += 1
    batch = AuditBatch(
        batch_id=identifier,
        audit_config_id=config_id,
        use_rlm=wish.use_rlm,
        requested_by=actor.name,
        user_id=in_whose_name(actor, wish.user_id),
        fingerprint=fingerprint,
        status=RUNNING,
        total=count,
        succeeded=0,
        failed=0,
        cancelled=0,
        started_at=moment,
    )
    session.add(batch)
    await session.flush()
    items = [{"batch_id": batch.id, "fiche_id": fiche_id} for fiche_id in wish.fiche_ids]
    await session.execute(insert(AuditBatchItem), items)
    await events.record_all(session, [progress(batch)])
    return batch


async def queue_part(resources: Resources, batch_pk: int) -> dict[str, Any]:
    """Queues audits for some items that have none in work; `left` says whether there are more."""
    async with resources.database.write() as session:
        await _hold(session, batch_pk)
        batch = await batch_queries.by_id(session, batch_pk)
        if batch is None or batch.status != RUNNING:
            return {"left": False}
        items = await batch_queries.to_queue(session, batch_pk, limit=PART)
        try:
            revision = await revision_for_run(session, batch.audit_config_id, created_by=batch.requested_by)
        except (Invalid, NotFound) as error:  # changed since it was asked for
            await settle(session, items, FAILED, error.message)
        else:
            await _queue_all(session, resources, batch, items, revision)
        return {"left": len(items) == PART}


async def _hold(session: WriteSession, batch_pk: int) -> None:
    await one_at_a_time(session, f"audit-batch:{batch_pk}")


async def _queue_all(
    session: WriteSession,
    resources: Resources,
    batch: AuditBatch,
    items: Sequence[AuditBatchItem],
    revision: Revision,
) -> None:
    over: list[AuditBatchItem] = []
    for item in items:
        audit = None if item.audit_id is None else await queries.locked(session, item.audit_id)
        if audit is None or audit.deleted_at is not None:
            item.audit_id = await _begin(session, resources, batch, item.fiche_id, revision)
        elif audit.status == "completed":  # by somebody, meanwhile
            over.append(item)
        elif audit.status not in OPEN:
            await queue_again(session, resources.durable, audit)
        item.queued = True
    await session.flush()
    await settle(
        session, over, SUCCEEDED, None
    )  # last: whoever ends an audit holds it, then waits for the batch


async def _begin(
    session: WriteSession, resources: Resources, batch: AuditBatch, fiche_id: str, revision: Revision
) -> int:
    config_id = batch.audit_config_id
    wish = AuditWish(fiche_id, config_id, trigger_source=BATCH, user_id=batch.user_id, use_rlm=batch.use_rlm)
    await hold_versions(session, fiche_id, config_id)
    name = tracking_id(batch.batch_id, fiche_id, config_id)
    taken = await queries.tracking_id_taken(session, name)  # by one that was deleted
    audit = await create_audit(
        session,
        resources.durable,
        wish,
        revision,
        requested_by=batch.requested_by,
        tracking_id=f"{name}-{batch.attempt}" if taken else name,
    )
    return audit.id


async def stop(session: WriteSession, actor: Actor, batch_id: str) -> AuditBatch:
    """Nothing of the batch is begun any more; the caller dispatches the job that ends what has begun.

    Raises:
        NotFound: no such batch that the actor asked for.
        BatchOver: it has ended.
    """
    batch = await _held(session, actor, batch_id)
    if batch.status == CANCELLED:
        return batch
    if batch.status != RUNNING:
        raise BatchOver
    batch.status = CANCELLED
    await session.flush()
    return batch


async def take_up(session: WriteSession, actor: Actor, batch_id: str) -> AuditBatch:
    """What failed or was stopped is to be done after all; the caller dispatches the job that queues it.

    Raises:
        NotFound: no such batch that the actor asked for.
        BatchStillRunning: some of its audits have not ended.
        BatchOver: every one succeeded.
    """
    batch = await _held(session, actor, batch_id)
    if batch.completed_at is None:
        raise BatchStillRunning
    if batch.succeeded == batch.total:
        raise BatchOver
    await require_runnable(session, batch.audit_config_id)
    await batch_queries.reopen(session, batch.id)
    batch.status, batch.completed_at = RUNNING, None
    batch.failed = batch.cancelled = 0
    batch.attempt += 1
    await session.flush()
    await events.record_all(session, [progress(batch)])
    return batch


async def _held(session: WriteSession, actor: Actor, batch_id: str) -> AuditBatch:
    seen = await batch_queries.one(session, actor, batch_id)
    if seen is None:
        raise NotFound.of("Audit batch", batch_id[:100])
    await _hold(session, seen.id)
    return await batch_queries.held(session, seen.id)


async def end_unbegun(resources: Resources, batch_pk: int) -> dict[str, Any]:
    """Ends items of a stopped batch that have no audit in work; says which audits are."""
    async with resources.database.write() as session:
        await _hold(session, batch_pk)
        batch = await batch_queries.by_id(session, batch_pk)
        if batch is None or batch.status != CANCELLED:  # taken up again since
            return {"audits": []}
        items = await batch_queries.to_queue(session, batch_pk, limit=MAX_FICHES)
        await settle(session, items, CANCELLED, None)
        working = await batch_queries.in_work(session, batch_pk)
    return {"audits": [list(each) for each in working]}
