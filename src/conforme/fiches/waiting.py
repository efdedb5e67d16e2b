"""What a reader waits for, done as a job: ahead of work in the background, within the limits of all replicas."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from pydantic import BaseModel

from conforme.crm.errors import GatewayFailed
from conforme.foundation.durable import Durable, JobContext, Outcome, Priority, schedule
from conforme.foundation.errors import ConformeError, Misconfigured, Unavailable
from conforme.foundation.faults import DeadlineExceeded, StepTimeout
from conforme.foundation.jobs import Job
from conforme.foundation.resources import Resources

READ_SECONDS = 120.0
"""Longest time a reader waits for the CRM, its turn, attempts and waits together."""
READ, SEARCH = "read-", "search-"
"""How the ids begin of jobs that a reader waits for: their answers may tell of people."""
BATCH: Final = 500

P = TypeVar("P", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the reader is told that does not come: `failed` begins what is the gateway's fault, `what` names the rest."""

    what: str
    failed: str


async def outcome_of(
    resources: Resources, job: Job[P], payload: P, *, id: str, key: str | None, wanted: Wanted
) -> Outcome:
    """How a job of the reader's own ended.

    Raises:
        Unavailable: it did not within `READ_SECONDS`.
    """
    durable = resources.durable
    async with resources.database.write() as session:
        await durable.dispatch(session, job, payload, id=id, key=key, priority=Priority.INTERACTIVE)
    try:
        return await durable.wait(id, READ_SECONDS)
    except TimeoutError:
        # What has begun may end, and serves who asks next; what has not is wanted by nobody any more.
        if await durable.state(id) == "queued":
            await durable.cancel(id)
    raise Unavailable(f"{wanted.what} could not be fetched within {READ_SECONDS:g} seconds; try again later")


async def let_go(durable: Durable, id: str) -> None:
    """Forgets a job that nobody waits for any more, with what it answered; one that runs may end, and is forgotten later."""
    state = await durable.state(id)
    if state == "queued":
        await durable.cancel(id)
    if state != "running":
        await durable.forget(id)


@schedule("fiches/forget-answers", "*/10 * * * *")
async def forget_answers(ctx: JobContext, _: datetime) -> dict[str, int]:
    """Forgets what was answered to readers who did not come for it, or whose process died."""
    return await ctx.step("forget", lambda: forget_unread(ctx.resources))


async def forget_unread(resources: Resources, *, after: float = READ_SECONDS) -> dict[str, int]:
    """Of jobs that ended more than `after` seconds ago nobody waits for the answer; how many were forgotten."""
    forgotten = 0
    while found := await resources.durable.delete_ended(after, BATCH, (READ, SEARCH)):
        forgotten += found
    return {"answers": forgotten}


def failure_of(outcome: Outcome, wanted: Wanted) -> ConformeError:
    """The error of a job as its reader is told of it."""
    if outcome.code in {StepTimeout.code, DeadlineExceeded.code}:
        return GatewayFailed(f"{wanted.failed}: timed out")
    if outcome.code == GatewayFailed.code:
        return GatewayFailed(outcome.error)
    if outcome.code == Misconfigured.code:
        return Misconfigured(outcome.error)
    if outcome.cancelled or outcome.code == "ABANDONED":
        return Unavailable(
            f"The fetch of {wanted.what[0].lower()}{wanted.what[1:]} was cut off; try again later"
        )
    return ConformeError()
