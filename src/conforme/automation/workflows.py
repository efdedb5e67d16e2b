"""The look at the clock, and the end of old log lines; the work of runs is in `run_workflows`."""

from datetime import datetime
from functools import partial

from sqlalchemy import text

from conforme.automation import ticking
from conforme.foundation.durable import JobContext, Lane, LaneLimits, schedule
from conforme.foundation.retention import all_of, trimmed

CLOCK = Lane("automation-clock", lambda _: LaneLimits(at_once=1))
"""Its own: a night of housekeeping must not make schedules late."""


@schedule("automation/tick", "* * * * *", lane=CLOCK)
async def tick(ctx: JobContext, _: datetime) -> dict[str, int]:
    """Once a minute over all replicas: fires what is due."""
    return await ctx.step("fire", lambda: ticking.tick(ctx.resources))


TRIM_LOGS = text(
    "delete from automation_logs where id in (select id from automation_logs"
    " where timestamp < now() - make_interval(days => :days) order by id limit :batch)"
)


@schedule("automation/retention", "57 3 * * *")
async def retention(ctx: JobContext, _: datetime) -> dict[str, int]:
    """Once a day, in batches; runs and their outcomes stay."""
    days = ctx.resources.settings.workflow_log_retention_days
    return {"lines": await all_of(ctx, "lines", partial(trimmed, ctx.resources, TRIM_LOGS, days=days))}
