"""Nights of automation as a client sees them, and their books: run, outcomes and summary tell the same."""

from collections import Counter
from typing import Any

from pipeline_audits import DAY, Client, rows

from conforme.foundation.database import Database

API = "/api/automation"


async def asked_for(client: Client, config_ids: list[int], **said: Any) -> str:
    """The id of a run, just triggered, of a schedule over one day of sales."""
    day = DAY.isoformat()
    schedule = {
        "name": "Chaque nuit",
        "scheduleType": "MANUAL",
        "timezone": "Europe/Paris",
        "ficheSelection": {
            "mode": "date_range",
            "dateRange": "custom",
            "customStartDate": day,
            "customEndDate": day,
        },
        "useAutomaticAudits": False,
        "specificAuditConfigs": config_ids,
        **said,
    }
    made = await client.http.post(f"{API}/schedules", json=schedule)
    assert made.status_code == 201, made.text
    started = await client.http.post(f"{API}/trigger", json={"scheduleId": made.json()["data"]["id"]})
    assert started.status_code == 200, started.text
    return str(started.json()["run_id"])


async def run_of(client: Client, run_id: str) -> dict[str, Any]:
    answer = await client.http.get(f"{API}/runs/{run_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def check_books(database: Database, found: dict[str, Any], fiches: int) -> Counter[str]:
    """Every fiche has one outcome; the counters are those of the outcomes, of the summary and of the work done."""
    told = await rows(
        database,
        "select fiche_id, outcome from automation_run_fiches where run_id = :id",
        id=int(found["id"]),
    )
    outcomes = Counter[str](str(outcome) for _, outcome in told)
    assert len(told) == fiches
    assert set(outcomes) <= {"successful", "failed", "ignored"}
    assert found["totalFiches"] == outcomes["successful"] + outcomes["failed"]
    assert found["successfulFiches"] == outcomes["successful"]
    assert found["failedFiches"] == outcomes["failed"]
    summary = found["resultSummary"]
    assert {name: len(summary[name]) for name in ("successful", "failed", "ignored")} == {
        name: outcomes[name] for name in ("successful", "failed", "ignored")
    }
    [[audits]] = await rows(
        database,
        "select count(*) from audits where automation_run_id = :id and status = 'completed'",
        id=int(found["id"]),
    )
    assert found["auditsRun"] == audits
    [[heard]] = await rows(
        database,
        "select count(*) from recordings where has_transcription and transcription_run like :run",
        run=f"automation-{found['id']}-%",
    )
    assert found["transcriptionsRun"] == heard
    return outcomes
