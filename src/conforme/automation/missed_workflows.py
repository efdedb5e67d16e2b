"""The durable telling of runs that were missed: each outage of a schedule once."""

from typing import Any

import structlog

from conforme.automation import missed
from conforme.automation.missed import MissedRuns
from conforme.automation.run_workflows import CONTROL, MAIL_RETRY
from conforme.foundation.database import WriteSession
from conforme.foundation.durable import Durable, JobContext, Priority, job
from conforme.foundation.errors import ConformeError

log = structlog.get_logger(__name__)


@job("automation/missed", lane=CONTROL)
async def tell_missed(ctx: JobContext, payload: MissedRuns) -> dict[str, Any]:
    """A webhook through the outbox, and one mail."""
    resources = ctx.resources
    webhook = await ctx.step("webhook", lambda: missed.queue_webhook(resources, payload, ctx.id))
    try:
        mail = await ctx.step("mail", lambda: missed.send_mail(resources, payload, ctx.id), retry=MAIL_RETRY)
    except ConformeError as error:
        mail = error.message
        log.warning("missed runs not told by mail", schedule_id=payload.schedule_id, code=error.code)
    return {"webhook": webhook, "mail": mail}


async def dispatch_missed(session: WriteSession, durable: Durable, told: MissedRuns, about: str) -> None:
    """Queues the telling in the transaction that deals with the due times; twice `about` the same is one telling."""
    identifier = f"automation-schedule-{told.schedule_id}-missed-{about}"
    await durable.dispatch(session, tell_missed, told, id=identifier, priority=Priority.NORMAL)
