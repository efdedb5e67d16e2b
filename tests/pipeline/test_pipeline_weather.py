"""Providers that fail at times, or altogether: every audit ends, waits as long as it is told to, and resumes."""

import asyncio
from collections import Counter
from typing import Any

from pipeline_audits import MODEL, SPEECH, Asked, Product, names_told, product, rows, told
from pipeline_processes import until

from conforme.foundation.database import Database
from conforme.sandbox.weather import Fault, FaultPlan, Latency
from conforme.sandbox.world import Sandbox, SandboxOptions

ROUGH = FaultPlan(
    shares={
        Fault.RATE_LIMITED: 0.05,
        Fault.SERVER_ERROR: 0.04,
        Fault.UNAVAILABLE: 0.04,
        Fault.TIMEOUT: 0.03,
        Fault.MALFORMED: 0.04,
    },
    retry_after_seconds=0.4,
    hang_seconds=0.2,
)
"""One request in five goes wrong."""
REFUSING = FaultPlan.of_rate(0.2, retry_after_seconds=0.4, hang_seconds=0.2)
"""For the CRM, whose malformed answers are final (spec/fiches §1), and the model, of which two in a row are."""


async def test_though_one_request_in_five_fails_every_audit_completes_and_nothing_is_paid_twice(
    database: Database,
) -> None:
    async with (
        Sandbox(SandboxOptions(faults=ROUGH, fabricated_share=0.1)) as sandbox,
        product(database, sandbox, LLM_MAX_ATTEMPTS="10") as run,
    ):
        sandbox.crm.faults = sandbox.model.faults = REFUSING
        audits = [await run.client.ask(fiche_id, run.config_id) for fiche_id in run.fiche_ids[:4]]
        details = await run.client.ended(audits)
        counts = sandbox.counts()
    assert [(detail["status"], detail["errorMessage"]) for detail in details] == [("completed", None)] * 4
    routes = {name: route for each in counts.values() for name, route in each["routes"].items()}
    faults = sum((Counter(route["faults"]) for route in routes.values()), Counter[str]())
    assert faults[Fault.RATE_LIMITED] > 0
    assert faults.total() >= 5
    assert {name: route["early"] for name, route in routes.items() if route["early"]} == {}
    paid = {name: routes[name] for name in (MODEL, SPEECH)}
    assert {name: route["repeated"] for name, route in paid.items()} == dict.fromkeys(paid, 0)
    assert await rows(
        database, "select audit_id, count(*) from audit_step_results group by 1 order by 1"
    ) == [(int(audit.db_id), 5) for audit in audits]
    for audit in audits:
        told_of = await names_told(database, audit)
        assert (told_of["audit.step_completed"], told_of["audit.completed"]) == (5, 1)


async def _cut_off_after(answers: int, run: Product, audit: Asked) -> dict[str, Any]:
    """Lets the model answer that often, then takes it away until the audit has ended."""

    def reached() -> bool:
        return run.sandbox.stand_in.usage["calls"] >= answers

    await until(reached, f"the model has answered {answers} times")
    run.sandbox.model.faults = FaultPlan(down=True)
    [detail] = await run.client.ended([audit])
    return detail


async def test_an_audit_cut_off_by_an_outage_says_what_is_missing_and_is_resumed_from_there(
    database: Database,
) -> None:
    options = SandboxOptions(model_latency=Latency(base_ms=150))
    async with (
        Sandbox(options) as sandbox,
        product(database, sandbox, LLM_MAX_ATTEMPTS="2", AUDIT_STEP_WORKER_CONCURRENCY="1") as run,
    ):
        audit = await run.client.ask(run.fiche_ids[0], run.config_id)
        running = await run.client.resume(audit)
        assert (running.status_code, running.json()["code"]) == (409, "AUDIT_RUNNING")
        cut_off = await _cut_off_after(2, run, audit)
        missing = cut_off["missingSteps"]
        await _the_outage_is_no_verdict(database, audit, cut_off)

        still_down = await run.client.resume(audit)
        assert still_down.status_code == 200, still_down.text
        [again] = await run.client.ended([audit])
        assert (again["status"], again["missingSteps"]) == ("failed", missing)

        sandbox.model.faults = FaultPlan()
        before, heard = run.asked(MODEL), run.asked(SPEECH)
        both = await asyncio.gather(run.client.resume(audit), run.client.resume(audit))
        assert sorted(answer.status_code for answer in both) == [200, 409]
        [whole] = await run.client.ended([audit])
        assert run.asked(MODEL) - before == len(missing)
        assert run.asked(SPEECH) == heard
        complete = await run.client.resume(audit)
        assert (complete.status_code, complete.json()["code"]) == (409, "AUDIT_COMPLETE")
    assert (whole["status"], whole["missingSteps"], whole["errorMessage"]) == ("completed", [], None)
    kept = {step["id"] for step in cut_off["stepResults"] if step["traite"]}
    assert kept < {step["id"] for step in whole["stepResults"]}
    assert (await names_told(database, audit))["audit.failed"] == 2


async def _the_outage_is_no_verdict(database: Database, audit: Asked, detail: dict[str, Any]) -> None:
    missing = detail["missingSteps"]
    assert (detail["status"], detail["errorCode"], detail["niveau"]) == (
        "failed",
        "STEPS_NOT_ANALYSED",
        "PENDING",
    )
    assert 0 < len(missing) < 5
    assert all(str(position) in detail["errorMessage"] for position in missing)
    assert "status=503" in detail["errorMessage"]
    assert (detail["successfulSteps"], detail["failedSteps"]) == (5 - len(missing), len(missing))
    for step in detail["stepResults"]:
        analysed = step["stepPosition"] not in missing
        assert (step["traite"], step["conforme"] is not None, step["error"] is None) == (analysed,) * 3
    [failed] = [event for event in await told(database, audit) if event.name == "audit.failed"]
    assert failed.payload["partial_results"] == {
        "completed_steps": 5 - len(missing),
        "total_steps": 5,
        "failed_steps": len(missing),
    }
    assert failed.payload["error"] == detail["errorMessage"]
