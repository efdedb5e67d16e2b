"""Durable work of the automation: the look at the clock, and the job of a run."""

from datetime import datetime

from pydantic import BaseModel

from conforme.automation import runs, ticking
from conforme.foundation.durable import JobContext, Lane, LaneLimits, job, schedule

AUTOMATION = Lane("automation")
CLOCK = Lane("automation-clock", lambda _: LaneLimits(at_once=1))
"""Its own: a night of housekeeping must not make schedules late."""


class RunOrder(BaseModel):
    """Which run to carry out."""

    run_id: int


@job("automation/run", lane=AUTOMATION)
async def run_automation(ctx: JobContext, order: RunOrder) -> bool:
    """Carries out a run; False when there was nothing to begin."""
    return await ctx.step("begin", lambda: runs.begin(ctx.resources, order.run_id))


@schedule("automation/tick", "* * * * *", lane=CLOCK)
async def tick(ctx: JobContext, _: datetime) -> dict[str, int]:
    """Once a minute over all replicas: fires what is due."""
    return await ctx.step("fire", lambda: ticking.tick(ctx.resources))
