"""The look at the clock; the work of runs is in `run_workflows`."""

from datetime import datetime

from conforme.automation import ticking
from conforme.foundation.durable import JobContext, Lane, LaneLimits, schedule

CLOCK = Lane("automation-clock", lambda _: LaneLimits(at_once=1))
"""Its own: a night of housekeeping must not make schedules late."""


@schedule("automation/tick", "* * * * *", lane=CLOCK)
async def tick(ctx: JobContext, _: datetime) -> dict[str, int]:
    """Once a minute over all replicas: fires what is due."""
    return await ctx.step("fire", lambda: ticking.tick(ctx.resources))
