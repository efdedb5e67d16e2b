"""What is kept no longer: ended jobs, old events, keys of requests that nobody repeats any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from itertools import count

import structlog
from sqlalchemy import CursorResult, TextClause, text

from conforme.foundation.durable import JobContext, schedule
from conforme.foundation.resources import Resources

log = structlog.get_logger(__name__)

DAY = 86_400
BATCH = 1000
"""Rows per transaction: short locks, and a crash loses little."""
IDEMPOTENCY_DAYS = 7

TRIM_EVENTS = text(
    "delete from events where id in"
    " (select id from events where created_at < now() - make_interval(days => :days) order by id limit :batch)"
)
TRIM_LOGS = text(
    "delete from workflow_logs where id in (select id from workflow_logs"
    " where created_at < now() - make_interval(days => :days) order by id limit :batch)"
)
TRIM_KEYS = text(
    "delete from idempotency_keys where (actor, key) in (select actor, key from idempotency_keys"
    " where created_at < now() - make_interval(days => :days) limit :batch)"
)


@schedule("retention", "17 3 * * *")
async def retention(context: JobContext, _at: datetime) -> dict[str, int]:
    """Once a day, in batches. Forgetting a job ends the uniqueness of its id."""
    resources = context.resources
    settings = resources.settings
    trims: dict[str, Callable[[], Awaitable[int]]] = {
        "jobs": partial(resources.durable.delete_ended, settings.workflow_retention_days * DAY, BATCH),
        "events": partial(trimmed, resources, TRIM_EVENTS, days=settings.event_retention_days),
        "lines of workflows": partial(
            trimmed, resources, TRIM_LOGS, days=settings.workflow_log_retention_days
        ),
        "idempotency keys": partial(trimmed, resources, TRIM_KEYS, days=IDEMPOTENCY_DAYS),
    }
    deleted = {what: await all_of(context, what, trim) for what, trim in trims.items()}
    log.info("old records were deleted", **deleted)
    return deleted


async def all_of(context: JobContext, what: str, trim: Callable[[], Awaitable[int]]) -> int:
    """Calls `trim`, which deletes up to `BATCH` rows and says how many, until nothing is left: a step for each."""
    total = 0
    for number in count(1):
        deleted = await context.step(f"{what} {number}", trim)
        total += deleted
        if deleted < BATCH:
            break
    return total


async def trimmed(resources: Resources, statement: TextClause, **values: object) -> int:
    """Deletes up to `BATCH` rows by a statement that takes `batch`, and these values."""
    async with resources.database.write() as session:
        result = await session.execute(statement, {"batch": BATCH, **values})
        return result.rowcount if isinstance(result, CursorResult) else 0
