"""How the end of an audit counts in the batches and runs it belongs to: once, in the transaction that ends it."""

from collections.abc import Sequence
from typing import Any, Protocol

from conforme.audits import batch_queries
from conforme.audits.batch_models import COMPLETED, RUNNING, AuditBatch, AuditBatchItem
from conforme.audits.models import AuditRow
from conforme.foundation import events
from conforme.foundation.database import WriteSession, now
from conforme.foundation.durable import Durable
from conforme.foundation.events import GLOBAL_CHANNEL, Draft, job_channel


class RunsAbove(Protocol):
    async def __call__(self, session: WriteSession, durable: Durable, audit: AuditRow) -> None:
        """Counts the end of an audit in the run of automation it belongs to; the caller holds the audit."""
        ...


class _Switchboard:
    """Automation stands above this room: the application connects it at its start."""

    runs: RunsAbove | None = None


def connect(runs: RunsAbove) -> None:
    """Names who is told of the ends of audits that belong to runs; once per process, before its first job."""
    _Switchboard.runs = runs


async def audit_ended(
    session: WriteSession, durable: Durable, audit: AuditRow, outcome: str, error: str | None = None
) -> None:
    """Settles the item this audit stands for; the caller holds the audit."""
    await settle(session, await batch_queries.of_audit(session, audit.id), outcome, error)
    if audit.automation_run_id is not None and _Switchboard.runs is not None:
        await _Switchboard.runs(session, durable, audit)


async def settle(
    session: WriteSession, items: Sequence[AuditBatchItem], outcome: str, error: str | None
) -> None:
    """Gives items of one batch their outcome, and tells; what has that outcome already counts no second time."""
    if not items:
        return
    batch = await batch_queries.held(session, items[0].batch_id)
    changed = [each for each in await batch_queries.as_now(session, items) if each.outcome != outcome]
    if not changed:
        return
    for item in changed:
        if item.outcome is not None:  # an audit of a batch that had ended was resumed by itself
            _count(batch, item.outcome, -1)
        _count(batch, outcome, 1)
        item.outcome, item.error, item.queued = outcome, error and error[:2000], True
    told = [progress(batch)]
    if batch.completed_at is None and settled(batch) == batch.total:
        batch.completed_at = now()
        batch.status = COMPLETED if batch.status == RUNNING else batch.status
        told.append(_completed(batch))
    await session.flush()
    await events.record_all(session, told)


def settled(batch: AuditBatch) -> int:
    return batch.succeeded + batch.failed + batch.cancelled


def percent(batch: AuditBatch) -> int:
    return 100 * settled(batch) // batch.total


def _count(batch: AuditBatch, outcome: str, by: int) -> None:
    setattr(batch, outcome, getattr(batch, outcome) + by)


def progress(batch: AuditBatch) -> Draft:
    return _told("progress", batch, progress_percentage=percent(batch))


def _completed(batch: AuditBatch) -> Draft:
    assert batch.completed_at is not None  # noqa: S101 -- set by the caller
    duration = batch.completed_at - batch.started_at
    return _told("completed", batch, duration_ms=int(duration.total_seconds() * 1000))


def _told(name: str, batch: AuditBatch, **fields: Any) -> Draft:
    payload = {
        "batch_id": batch.batch_id,
        "operation_type": "audit",
        "total": batch.total,
        "completed": batch.succeeded + batch.failed,
        "succeeded": batch.succeeded,
        "failed": batch.failed,
        "cancelled": batch.cancelled,
        **fields,
    }
    return Draft(f"batch.{name}", payload, [job_channel(batch.batch_id), GLOBAL_CHANNEL])
