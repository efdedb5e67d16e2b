"""Durable deliveries: one job for each turn of a delivery.

A job that waited hours for the next attempt would hold its lane's place all that time (docs/adr/0001), and a few dead
receivers would stop all others. So a job makes one attempt and ends; the next one is queued, with its delay, in the
transaction that stores how this one went. The order within a stream does not rest on the lane: see `deliveries`.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import CursorResult, text

from conforme.foundation.database import WriteSession, now
from conforme.foundation.durable import Durable, JobContext, Lane, LaneLimits, job, schedule
from conforme.foundation.outages import outlast
from conforme.foundation.resources import Resources
from conforme.settings import Settings
from conforme.webhooks import deliveries
from conforme.webhooks.deliveries import Overdue, Rhythm, Turn
from conforme.webhooks.sending import Clock, Outcome, Parcel, send

LOST_AFTER: Final = timedelta(minutes=5)
"""A turn that is this late is looked at: its job may have been lost."""
LOOKED_AT: Final = 500
BATCH: Final = 500
TRIM = text(
    "delete from webhook_deliveries where id in (select id from webhook_deliveries"
    " where status <> 'pending' and created_at < now() - make_interval(days => :days) limit :batch)"
)
TRIM_ENDPOINTS = text(
    "delete from webhook_endpoints where id in (select id from webhook_endpoints e"
    " where subject like 'job:%' and created_at < now() - make_interval(days => :days)"
    " and not exists (select from webhook_deliveries d where d.endpoint_id = e.id) limit :batch)"
)


def _limits(settings: Settings) -> LaneLimits:
    # One slow receiver takes its own places, never all of them.
    return LaneLimits(at_once=settings.webhook_concurrency, per_key=settings.webhook_per_host_concurrency)


WEBHOOKS = Lane("webhooks", _limits)


def rhythm(settings: Settings) -> Rhythm:
    return Rhythm(settings.webhook_waits)


@job("webhook/deliver", lane=WEBHOOKS)
async def deliver(ctx: JobContext, turn: Turn) -> str:
    """Makes one attempt; answers the delivery's status after it, or `superseded` when the turn was over before."""
    return await ctx.step("attempt", lambda: attempt(ctx.resources, turn))


async def attempt(resources: Resources, turn: Turn, clock: Clock = now) -> str:
    """Sends, then stores. A process that dies between the two sends again, under the same delivery id."""
    async with resources.database.read() as session:
        parcel = await deliveries.due(session, turn, clock())
    if parcel is None:
        return "superseded"
    limit = resources.settings.webhook_timeout_seconds
    outcome = await send(resources.outbound, parcel, timeout=limit, clock=clock)
    # Only the storing is repeated while the database is away: what was sent was sent.
    return await outlast(partial(_keep, resources, parcel, turn, outcome))


async def _keep(resources: Resources, parcel: Parcel, turn: Turn, outcome: Outcome) -> str:
    pace = rhythm(resources.settings)
    async with resources.database.write() as session:
        status, following = await deliveries.settle(session, parcel, turn, outcome, pace)
        await dispatch(session, resources.durable, following)
    return status


async def dispatch(session: WriteSession, durable: Durable, turn: Turn | None) -> None:
    """Queues the job of a turn, if there is one, in the transaction that gave it."""
    if turn is not None:
        await durable.dispatch(
            session,
            deliver,
            turn,
            id=job_id_of(turn.delivery_id, turn.turn),
            key=turn.origin or "nowhere",
            delay_seconds=turn.delay_seconds,
        )


def job_id_of(delivery_id: str, turn: int) -> str:
    return f"webhook-{delivery_id}-{turn}"


@schedule("webhook/resume", "*/5 * * * *")
async def resume_lost(ctx: JobContext, _: datetime) -> dict[str, int]:
    """Gives another turn to deliveries whose job was cancelled, or ended otherwise, without a word."""
    return await ctx.step("resume", lambda: resume(ctx.resources))


async def resume(resources: Resources, *, after: timedelta = LOST_AFTER) -> dict[str, int]:
    """Looks at turns that are at least `after` late; how many there were, and how many were lost."""
    counts, before, last = {"late": 0, "resumed": 0}, now() - after, None
    while True:
        async with resources.database.read() as session:
            late = await deliveries.overdue(session, before, LOOKED_AT, last)
        states = await resources.durable.states(job_id_of(each.delivery_id, each.turn) for each in late)
        counts["late"] += len(late)
        for last in late:
            if states.get(job_id_of(last.delivery_id, last.turn)) not in {"queued", "running"}:
                counts["resumed"] += await _turned(resources, last)
        if len(late) < LOOKED_AT:
            return counts


async def _turned(resources: Resources, late: Overdue) -> bool:
    async with resources.database.write() as session:
        turn = await deliveries.turn_again(session, late, now())
        await dispatch(session, resources.durable, turn)
    return turn is not None


@schedule("webhook/retention", "37 3 * * *")
async def retention(ctx: JobContext, _: datetime) -> dict[str, int]:
    """Forgets deliveries that ended long ago, with what they told of people, then endpoints of jobs without any."""
    return await ctx.step("trim", lambda: trim(ctx.resources))


async def trim(resources: Resources) -> dict[str, int]:
    """In batches; how many deliveries and endpoints were deleted."""
    counts: dict[str, int] = {}
    for what, statement in (("deliveries", TRIM), ("endpoints", TRIM_ENDPOINTS)):
        counts[what] = 0
        while deleted := await _trimmed(resources, statement):
            counts[what] += deleted
    return counts


async def _trimmed(resources: Resources, statement: Any) -> int:
    values = {"days": resources.settings.webhook_retention_days, "batch": BATCH}
    async with resources.database.write() as session:
        result = await session.execute(statement, values)
        return result.rowcount if isinstance(result, CursorResult) else 0
