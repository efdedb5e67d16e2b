"""Reruns as durable jobs: one after another for each audit, and always with an end that is told."""

from typing import Any

from pipeline_audits import Asked, Product, product, rows, told
from pipeline_processes import until

from conforme.foundation.database import Database
from conforme.sandbox.weather import FaultPlan
from conforme.sandbox.world import Sandbox

ENDS = ("rerun_completed", "rerun_failed")


async def _ended(run: Product, audit: Asked, event_id: str) -> dict[str, Any]:
    state: dict[str, Any] = {}

    async def over() -> bool:
        answer = await run.client.http.get(f"/api/audits/{audit.db_id}/reruns/{event_id}")
        state.update(answer.json()["data"])
        return state["status"] in {"completed", "failed"}

    await until(over, f"rerun {event_id} has ended")
    return state


async def _asked(run: Product, audit: Asked, path: str) -> str:
    answer = await run.client.http.post(f"/api/audits/{audit.db_id}/{path}/rerun", json={})
    assert answer.status_code == 200, answer.text
    return answer.json()["event_id"]


async def test_reruns_of_one_audit_follow_one_another_and_each_is_told_of_to_its_end(
    database: Database,
) -> None:
    async with Sandbox() as sandbox, product(database, sandbox, AUDIT_CONFIRM_CRITICAL="true") as run:
        audit = await run.client.ask(run.fiche_ids[0], run.config_id)
        [before] = await run.client.ended([audit])
        critical = [step["stepPosition"] for step in before["stepResults"] if step["isCritical"]]
        paths = ["steps/1", "steps/2", "steps/1/control-points/1", "steps/2/control-points/1"]
        asked = [await _asked(run, audit, path) for path in paths]
        assert [(await _ended(run, audit, each))["status"] for each in asked] == ["completed"] * len(asked)
        after = await run.client.detail(audit)
        sandbox.model.faults = FaultPlan(down=True)
        lost = await _asked(run, audit, "steps/1")
        assert (await _ended(run, audit, lost))["status"] == "failed"
        assert await run.client.detail(audit) == after
    assert (after["scorePercentage"], after["niveau"]) == (before["scorePercentage"], before["niveau"])
    log = [event.payload for event in await told(database, audit) if "rerun_id" in event.payload]
    statuses = [each["status"] for each in log]
    assert statuses == ["rerunning", "rerun_completed"] * len(asked) + ["rerunning", "rerun_failed"]
    by_rerun = [(one["rerun_id"], other["rerun_id"]) for one, other in zip(log[::2], log[1::2], strict=True)]
    assert all(one == other for one, other in by_rerun)
    seconds = await rows(
        database, "select step_position from audit_verdicts where kind = 'confirmation' order by 1"
    )
    assert critical
    assert {row[0] for row in seconds} >= set(critical)
    [[runs]] = await rows(database, "select count(*) from audit_verdicts where kind = 'run'")
    assert runs == len(before["stepResults"])
