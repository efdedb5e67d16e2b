"""The look at the clock, and the end of what is old; the work of runs is in `run_workflows`."""

from datetime import datetime
from functools import partial
from typing import Final

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


_EXPIRED: Final = (
    "status not in ('pending', 'running')"
    " and coalesce(completed_at, created_at) < now() - make_interval(days => :days)"
)
TRIM_RUNS: Final = {
    # What hangs on a run goes first: thousands of rows are not deleted with one.
    "fiches of runs": text(
        "delete from automation_run_fiches where (run_id, fiche_id) in (select f.run_id, f.fiche_id"  # noqa: S608 -- ours
        " from automation_run_fiches f join (select id from automation_runs where "
        f"{_EXPIRED}) r on r.id = f.run_id limit :batch)"
    ),
    "lines of runs": text(
        "delete from automation_logs where id in (select l.id from automation_logs l"  # noqa: S608 -- ours
        f" join (select id from automation_runs where {_EXPIRED}) r on r.id = l.run_id limit :batch)"
    ),
    "runs": text(
        "delete from automation_runs where id in (select id from automation_runs"  # noqa: S608 -- ours
        f" where {_EXPIRED} order by id limit :batch)"
    ),
}


@schedule("automation/retention", "57 3 * * *")
async def retention(ctx: JobContext, _: datetime) -> dict[str, int]:
    """Once a day, in batches; audits, and what schedules counted, stay for ever."""
    resources, settings = ctx.resources, ctx.resources.settings
    lines = partial(trimmed, resources, TRIM_LOGS, days=settings.workflow_log_retention_days)
    deleted = {"lines": await all_of(ctx, "lines", lines)}
    if not settings.automation_runs_kept_days:
        return deleted
    for what, statement in TRIM_RUNS.items():
        trim = partial(trimmed, resources, statement, days=settings.automation_runs_kept_days)
        deleted[what] = await all_of(ctx, what, trim)
    return deleted
