"""The beginning of a run."""

from conforme.automation.models import PENDING, RUNNING, AutomationRun
from conforme.foundation import events
from conforme.foundation.database import now
from conforme.foundation.events import GLOBAL_CHANNEL, job_channel
from conforme.foundation.resources import Resources
from conforme.foundation.web import iso


async def begin(resources: Resources, run_id: int) -> bool:
    """Makes a pending run a running one and tells of it; False when it was begun, stopped or deleted before."""
    async with resources.database.write() as session:
        run = await session.get(AutomationRun, run_id, with_for_update=True)
        if run is None or run.status != PENDING:
            return False
        run.status, run.started_at = RUNNING, now()
        payload = {
            "job_id": f"automation-run-{run.id}",
            "schedule_id": str(run.schedule_id),
            "run_id": str(run.id),
            "due_at": iso(run.due_at),
            "status": RUNNING,
        }
        channels = [job_channel(payload["job_id"]), GLOBAL_CHANNEL]
        await events.record(session, "automation.run.started", payload, channels)
        return True
