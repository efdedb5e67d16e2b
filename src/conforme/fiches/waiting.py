"""What a reader waits for, done as a job: ahead of work in the background, within the limits of all replicas."""

from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from conforme.crm.errors import GatewayFailed
from conforme.foundation.durable import Outcome, Priority
from conforme.foundation.errors import ConformeError, Misconfigured, Unavailable
from conforme.foundation.faults import DeadlineExceeded, StepTimeout
from conforme.foundation.jobs import Job
from conforme.foundation.resources import Resources

READ_SECONDS = 120.0
"""Longest time a reader waits for the CRM, its turn, attempts and waits together."""

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
