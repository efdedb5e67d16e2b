"""A night of automation in one process: listed, fetched, transcribed, audited, counted and told of, each once."""

import json
from collections import Counter

from pipeline_audits import DAY, MODEL, SPEECH, Product, ledger, product, rows
from pipeline_processes import until
from sqlalchemy import text

from conforme.accounts.actor import Actor
from conforme.automation.columns import columns_of, owner_columns
from conforme.automation.models import BY_HAND, AutomationRun, AutomationSchedule
from conforme.automation.rules import ScheduleRules, Selection, Timing
from conforme.automation.run_workflows import dispatch_run
from conforme.automation.snapshots import snapshot_of
from conforme.foundation.database import Database
from conforme.sandbox.weather import FaultPlan, Latency
from conforme.sandbox.world import Sandbox, SandboxOptions
from conforme.webhooks import outbox

OWNER = Actor.system("test")
SALES = 6


async def launched(run: Product, url: str, **said: object) -> int:
    """A run of a schedule over one day of sales, told of by webhook and mail."""
    day = DAY.isoformat()
    selection = Selection(mode="date_range", date_range="custom", custom_start_date=day, custom_end_date=day)
    rules = ScheduleRules(
        timing=Timing(schedule_type="MANUAL", timezone="Europe/Paris"),
        selection=selection,
        specific_audit_configs=(run.config_id,),
        use_automatic_audits=False,
    ).model_copy(update=said)
    schedule = AutomationSchedule(
        name="Chaque nuit",
        notify_emails=["equipe@example.test"],
        **columns_of(rules),
        **owner_columns(OWNER),
    )
    async with run.resources.database.write() as session:
        session.add(schedule)
        await session.flush()
        schedule.webhook_endpoint_id = await outbox.register(
            session,
            run.resources.outbound,
            subject=f"schedule:{schedule.id}",
            url=f"{url}/hooks/night",
            secret="a secret of the test",
            actor=OWNER,
        )
        row = AutomationRun(
            schedule_id=schedule.id,
            job_id="automation-run-test",
            trigger=BY_HAND,
            requested_by=OWNER.name,
            config_snapshot=snapshot_of(schedule, overrides=None, due=None),
        )
        session.add(row)
        await session.flush()
        await dispatch_run(session, run.resources.durable, row)
        return row.id


async def test_a_night_is_carried_to_its_report_although_every_tenth_call_fails(database: Database) -> None:
    options = SandboxOptions(
        sales_per_day=SALES, faults=FaultPlan.of_rate(0.1, retry_after_seconds=0.1, hang_seconds=0.3)
    )
    async with (
        Sandbox(options) as sandbox,
        product(
            database,
            sandbox,
            SMTP_HOST="127.0.0.1",
            SMTP_PORT=str(sandbox.smtp.port),
            SMTP_FROM="nuit@example.test",
        ) as run,
    ):
        run_id = await launched(run, sandbox.webhooks.url, retry_failed=True, max_retries=2)

        async def over() -> bool:
            [[told]] = await rows(
                database, "select count(*) from webhook_deliveries where status <> 'pending'"
            )
            return told > 0 and len(sandbox.smtp.mails) > 0

        await until(over, "the run is told of", 90)
        answer = await run.client.http.get(f"/api/automation/runs/{run_id}")
        found = answer.json()["data"]
        speech, model = run.asked(SPEECH), run.asked(MODEL)
    assert found["status"] in {"completed", "partial"}
    summary = found["resultSummary"]
    assert len(summary["successful"]) + len(summary["failed"]) + len(summary["ignored"]) == SALES
    assert found["totalFiches"] == SALES - len(summary["ignored"])
    [[audits]] = await rows(database, "select count(*) from audits where status = 'completed'")
    assert found["auditsRun"] == audits == len(summary["successful"])
    [[heard]] = await rows(database, "select count(*) from recordings where has_transcription")
    assert found["transcriptionsRun"] == heard <= speech
    assert all(times == 1 for times in (await ledger(database, "speech")).values())
    assert model >= audits
    await _is_told_once(database, sandbox, run_id, found)


async def _is_told_once(database: Database, sandbox: Sandbox, run_id: int, found: dict[str, object]) -> None:
    [received] = sandbox.webhook_sink.deliveries
    body = json.loads(received.body)
    assert (body["run_id"], body["status"], body["total_fiches"]) == (
        str(run_id),
        found["status"],
        found["totalFiches"],
    )
    assert received.headers["x-webhook-signature-v2"].startswith("sha256=")
    [mail] = sandbox.smtp.mails
    assert mail.message["Subject"] == f"Automation Chaque nuit - {str(found['status']).upper()}"
    plain = mail.message.get_body(("plain",))
    assert plain is not None
    assert f"/api/automation/runs/{run_id}" in plain.get_content()
    async with database.read() as session:
        names = Counter(await session.scalars(text("select name from events where name like 'automation%'")))
    once = (
        "automation.run.started",
        "automation.run.selection",
        "automation.run.completed",
        "automation/completed",
    )
    assert {name: names[name] for name in once} == dict.fromkeys(once, 1)


async def test_during_a_night_somebody_in_front_of_a_screen_is_served_and_a_stop_stops_every_call(
    database: Database,
) -> None:
    """AUDIT_RUN_CONCURRENCY is 2, and more than that of the night is in work: the audit of the day has its own place."""
    slowly = SandboxOptions(sales_per_day=12, model_latency=Latency(base_ms=1500))
    async with (
        Sandbox(slowly) as sandbox,
        product(database, sandbox, AUDIT_RUN_CONCURRENCY="2") as run,
    ):
        run_id = await launched(run, sandbox.webhooks.url)
        await until(lambda: run.asked(MODEL) >= 2, "the night asks the model", 60)
        audit = await run.client.ask(run.fiche_ids[-1], run.config_id)

        async def started() -> bool:
            return (await run.client.detail(audit))["status"] == "running"

        await until(started, "the audit of the day has started", 30)
        [[of_the_night]] = await rows(
            database, "select count(*) from audits where status = 'running' and automation_run_id is not null"
        )
        assert of_the_night >= 2, "it took none of the night's places"
        answer = await run.client.http.post(f"/api/automation/runs/{run_id}/cancel")
        assert answer.status_code == 200, answer.text

        async def cancelled() -> bool:
            told = await rows(database, "select status from automation_runs where id = :id", id=run_id)
            return told == [("cancelled",)]

        await until(cancelled, "the night has ended", 30)
        [detail] = await run.client.ended([audit])
        assert detail["status"] == "completed"
        [[open_audits]] = await rows(
            database, "select count(*) from audits where status in ('pending', 'running')"
        )
        assert open_audits == 0
        found = (await run.client.http.get(f"/api/automation/runs/{run_id}")).json()["data"]
    summary = found["resultSummary"]
    assert len(summary["successful"]) + len(summary["failed"]) + len(summary["ignored"]) == 12
    assert summary["failed"] == []
    assert {each["reason"] for each in summary["ignored"]} == {"Run cancelled"}
