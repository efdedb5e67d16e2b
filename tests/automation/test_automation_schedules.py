"""Schedules over HTTP: the contract's fields and sentences, the field at fault named, null clears."""

from typing import Any

import httpx2
import pytest
from automation_room import EVERY_DAY, SCHEDULES, created, ended, run_ids, stored
from fastapi import FastAPI
from sqlalchemy import text

from conforme.accounts.grants import Scope
from conforme.foundation.database import Database
from people import granting, signed_in
from product_fixtures import SETTINGS

WRITE = ["automation"]
KEY = "an-invented-gateway-key"


async def patched(api: httpx2.AsyncClient, schedule_id: str, **changes: Any) -> dict[str, Any]:
    answer = await api.patch(f"{SCHEDULES}/{schedule_id}", json=changes)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_a_schedule_is_answered_with_every_field_of_the_contract(api: httpx2.AsyncClient) -> None:
    made = await created(api)
    expected = {
        "id": "1",
        "name": "Every night",
        "description": None,
        "isActive": True,
        "scheduleType": "DAILY",
        "cronExpression": "30 2 * * *",
        "timezone": "Europe/Paris",
        "timeOfDay": "02:30",
        "dayOfWeek": None,
        "dayOfMonth": None,
        "ficheSelection": {
            "mode": "date_range",
            "dateRange": "yesterday",
            "onlyWithRecordings": False,
            "onlyUnaudited": False,
            "useRlm": False,
        },
        "runTranscription": True,
        "skipIfTranscribed": True,
        "transcriptionPriority": "normal",
        "runAudits": True,
        "useAutomaticAudits": True,
        "specificAuditConfigs": [],
        "continueOnError": True,
        "retryFailed": False,
        "maxRetries": 0,
        "notifyOnComplete": True,
        "notifyOnError": True,
        "webhookUrl": None,
        "notifyEmails": [],
        "externalApiKey": None,
        "lastRunAt": None,
        "lastRunStatus": None,
        "totalRuns": 0,
        "successfulRuns": 0,
        "failedRuns": 0,
        "overlap": "refuse",
        "catchUp": "last",
    }
    assert {name: made[name] for name in expected} == expected
    assert {"createdBy", "createdAt", "updatedAt", "nextRunAt"} <= set(made)
    answer = (await api.get(f"{SCHEDULES}/1")).json()
    assert answer["success"] is True
    assert answer["data"] == made | {"runs": []}


async def test_what_a_body_says_is_what_is_kept(api: httpx2.AsyncClient) -> None:
    said: dict[str, Any] = {
        "name": "Weekly sample",
        "description": "A sample of each team",
        "createdBy": "Operations",
        "isActive": False,
        "scheduleType": "WEEKLY",
        "timezone": "America/New_York",
        "timeOfDay": "23:05",
        "dayOfWeek": 0,
        "ficheSelection": {
            "mode": "filter",
            "dateRange": "custom",
            "customStartDate": "01/03/2026",
            "customEndDate": "2026-03-31",
            "groupes": ["EQUIPE R1", " EQUIPE R2 ", "EQUIPE R1", ""],
            "onlyWithRecordings": True,
            "onlyUnaudited": True,
            "useRlm": True,
            "maxFiches": 100,
            "maxRecordingsPerFiche": 5,
            "sample": {"percentage": 12.5, "stratifyBy": "groupe", "seed": 7},
        },
        "transcriptionPriority": "low",
        "specificAuditConfigs": [3, "4", "junk", None, 3],
        "continueOnError": False,
        "retryFailed": True,
        "maxRetries": 5,
        "notifyOnComplete": False,
        "notifyEmails": [" quality@example.test ", ""],
        "overlap": "queue",
        "catchUp": "none",
        "budget": {"maxCost": "12.50", "maxAudioMinutes": 600, "maxFiches": 50},
    }
    made = await created(api, **said)
    selection = said["ficheSelection"] | {"groupes": ["EQUIPE R1", "EQUIPE R2"]}
    assert made["ficheSelection"] == selection | {
        "sample": {"percentage": "12.5", "stratifyBy": "groupe", "seed": 7}
    }
    assert made["specificAuditConfigs"] == ["3", "4"]
    assert made["notifyEmails"] == ["quality@example.test"]
    assert made["budget"] == {"maxCost": "12.5", "maxAudioMinutes": 600, "maxFiches": 50}
    assert made["cronExpression"] == "5 23 * * 0"
    assert made["nextRunAt"] is None
    changed = {"ficheSelection", "specificAuditConfigs", "notifyEmails", "budget"}
    assert {name: made[name] for name in said if name not in changed} == {
        name: value for name, value in said.items() if name not in changed
    }


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"scheduleType": "DAILY", "timeOfDay": None}, "timeOfDay", "DAILY schedule requires timeOfDay"),
        (
            {"scheduleType": "WEEKLY", "timeOfDay": "01:00"},
            "dayOfWeek",
            "WEEKLY schedule requires timeOfDay and dayOfWeek",
        ),
        (
            {"scheduleType": "MONTHLY", "timeOfDay": None, "dayOfMonth": 3},
            "timeOfDay",
            "MONTHLY schedule requires timeOfDay and dayOfMonth",
        ),
        ({"scheduleType": "CRON"}, "cronExpression", "CRON schedule requires cronExpression"),
    ],
)
async def test_what_a_type_needs_is_said_in_the_words_of_the_contract(
    api: httpx2.AsyncClient, fields: dict[str, Any], field: str, sentence: str
) -> None:
    answer = await api.post(SCHEDULES, json=EVERY_DAY | fields)
    assert answer.status_code == 400
    assert answer.json()["error"] == sentence
    assert answer.json()["code"] == "VALIDATION_ERROR"
    assert [each["field"] for each in answer.json()["details"]] == [field]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "x" * 256}, "name"),
    ({"name": "nul\0"}, "name"),
    ({"scheduleType": "HOURLY"}, "scheduleType"),
    ({"timezone": "Mars/Olympus"}, "timezone"),
    ({"timeOfDay": "24:00"}, "timeOfDay"),
    ({"timeOfDay": "2:30"}, "timeOfDay"),
    ({"dayOfWeek": 7}, "dayOfWeek"),
    ({"dayOfMonth": 0}, "dayOfMonth"),
    ({"scheduleType": "CRON", "cronExpression": "61 * * * *"}, "cronExpression"),
    ({"isActive": "yes"}, "isActive"),
    ({"isActive": None}, "isActive"),
    ({"maxRetries": 6}, "maxRetries"),
    ({"transcriptionPriority": "urgent"}, "transcriptionPriority"),
    ({"notifyEmails": ["nobody"]}, "notifyEmails.0"),
    ({"notifyEmails": [{}]}, "notifyEmails.0"),
    ({"webhookUrl": "http://169.254.169.254/latest"}, "webhookUrl"),
    ({"webhookUrl": "ftp://example.test"}, "webhookUrl"),
    ({"ficheSelection": None}, "ficheSelection"),
    ({"ficheSelection": {"mode": "all"}}, "ficheSelection.mode"),
    ({"ficheSelection": {"mode": "manual", "maxFiches": 0}}, "ficheSelection.maxFiches"),
    ({"ficheSelection": {"mode": "manual", "ficheIds": ["12a"]}}, "ficheSelection.ficheIds.0"),
    ({"ficheSelection": {"mode": "manual", "ficheIds": ["1", ["2"]]}}, "ficheSelection.ficheIds.1"),
    (
        {"ficheSelection": {"mode": "filter", "customStartDate": "31/02/2026"}},
        "ficheSelection.customStartDate",
    ),
    ({"ficheSelection": {"mode": "filter", "dateRange": "custom"}}, "ficheSelection"),
    (
        {"ficheSelection": {"mode": "filter", "sample": {"percentage": 5, "count": 5}}},
        "ficheSelection.sample",
    ),
    ({"budget": {"maxCost": 0}}, "budget.maxCost"),
    ({"overlap": "both"}, "overlap"),
]


@pytest.mark.parametrize(("fields", "field"), BAD, ids=lambda each: str(each)[:60])
async def test_the_field_at_fault_is_named_and_nothing_is_written(
    api: httpx2.AsyncClient, database: Database, fields: dict[str, Any], field: str
) -> None:
    """Weaknesses 10 and 21 of spec/automation §12."""
    answer = await api.post(SCHEDULES, json=EVERY_DAY | fields)
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert body["error"] == "Invalid automation schedule data"
    assert [each["field"] for each in body["details"]] == [field]
    assert body["message"].startswith(f"{field}: ")
    async with database.read() as session:
        assert await session.scalar(text("select count(*) from automation_schedules")) == 0
        assert await session.scalar(text("select count(*) from webhook_endpoints")) == 0


async def test_a_change_is_held_to_the_same_rules_against_what_would_come_of_it(
    api: httpx2.AsyncClient,
) -> None:
    made = await created(api)
    one = f"{SCHEDULES}/{made['id']}"
    weekly = await api.patch(one, json={"scheduleType": "WEEKLY"})
    assert weekly.json()["error"] == "WEEKLY schedule requires timeOfDay and dayOfWeek"
    wrong = await api.patch(one, json={"timezone": "Paris"})
    assert wrong.json()["error"] == "Invalid automation schedule update data"
    assert wrong.json()["details"][0]["field"] == "timezone"
    assert (await api.patch(one, json=[])).status_code == 400
    changed = await patched(api, made["id"], scheduleType="WEEKLY", dayOfWeek=1)
    assert changed["cronExpression"] == "30 2 * * 1"
    assert changed["ficheSelection"] == made["ficheSelection"]


async def test_null_clears_and_what_a_change_does_not_name_stays(api: httpx2.AsyncClient) -> None:
    """Weakness 14 of spec/automation §12."""
    made = await created(
        api,
        description="To be cleared",
        webhookUrl="https://hooks.example.com/run",
        webhookSecret="an invented secret",
        specificAuditConfigs=[1],
        notifyEmails=["quality@example.test"],
        externalApiKey=KEY,
        budget={"maxCost": 5},
        retryFailed=True,
    )
    assert made["webhookSigned"] is True
    cleared = await patched(
        api,
        made["id"],
        description=None,
        webhookUrl=None,
        specificAuditConfigs=None,
        notifyEmails=None,
        externalApiKey=None,
        budget=None,
    )
    assert cleared["description"] is cleared["webhookUrl"] is cleared["externalApiKey"] is None
    assert cleared["specificAuditConfigs"] == cleared["notifyEmails"] == []
    assert set(cleared["budget"].values()) == {None}
    assert cleared["webhookSigned"] is False
    assert cleared["retryFailed"] is True
    assert cleared["timeOfDay"] == "02:30"


async def test_a_changed_selection_is_replaced_as_a_whole(api: httpx2.AsyncClient) -> None:
    made = await created(api, ficheSelection={"mode": "filter", "dateRange": "last_week", "maxFiches": 5})
    changed = await patched(
        api, made["id"], ficheSelection={"mode": "manual", "ficheIds": ["1, 2  3", "2", "4"]}
    )
    assert changed["ficheSelection"] == {
        "mode": "manual",
        "ficheIds": ["1", "2", "3", "4"],
        "onlyWithRecordings": False,
        "onlyUnaudited": False,
        "useRlm": False,
    }


async def test_the_gateways_key_is_neither_shown_nor_readable_in_the_database(
    api: httpx2.AsyncClient, database: Database
) -> None:
    """Weakness 16 of spec/automation §12."""
    made = await created(
        api, externalApiKey=KEY, webhookUrl="https://hooks.example.com/", webhookSecret="hidden away"
    )
    assert made["externalApiKey"] == f"********{KEY[-4:]}"
    row = await stored(database, made["id"])
    assert row.external_api_key
    assert KEY not in row.external_api_key
    shown = (await api.get(f"{SCHEDULES}/{made['id']}")).text
    assert KEY not in shown
    assert "hidden away" not in shown
    await patched(api, made["id"], name="Renamed", externalApiKey=made["externalApiKey"])
    assert (await stored(database, made["id"])).external_api_key == row.external_api_key


async def test_another_url_is_not_told_the_secret_of_the_one_before(
    api: httpx2.AsyncClient, database: Database
) -> None:
    made = await created(api, webhookUrl="https://hooks.example.com/", webhookSecret="hidden away")
    first = (await stored(database, made["id"])).webhook_endpoint_id
    assert (await patched(api, made["id"], name="Same", webhookUrl="https://hooks.example.com/"))[
        "webhookSigned"
    ]
    assert (await stored(database, made["id"])).webhook_endpoint_id == first
    await patched(api, made["id"], webhookSecret="rotated secret")
    assert (await stored(database, made["id"])).webhook_endpoint_id == first
    moved = await patched(api, made["id"], webhookUrl="https://other.example.com/")
    assert moved["webhookSigned"] is False
    assert (await stored(database, made["id"])).webhook_endpoint_id != first


async def test_lists_show_active_schedules_newest_first_in_pages(api: httpx2.AsyncClient) -> None:
    for number in range(3):
        await created(api, name=f"number {number}", isActive=number != 1)
    active = (await api.get(SCHEDULES)).json()
    assert [each["name"] for each in active["data"]] == ["number 2", "number 0"]
    assert active["count"] == 2
    page = (await api.get(f"{SCHEDULES}?include_inactive=true&limit=2&offset=1")).json()
    assert [each["name"] for each in page["data"]] == ["number 1", "number 0"]
    assert page["pagination"]["total"] == 3
    assert (await api.get(f"{SCHEDULES}?limit=100000")).status_code == 400


async def test_the_next_due_times_are_previewed_in_the_zone_of_the_schedule(api: httpx2.AsyncClient) -> None:
    """Weakness 10 of spec/automation §12."""
    made = await created(api)
    answer = (await api.get(f"{SCHEDULES}/{made['id']}/next?count=400")).json()
    assert answer["code"] == "VALIDATION_ERROR"
    answer = (await api.get(f"{SCHEDULES}/{made['id']}/next?count=3")).json()
    assert answer["count"] == 3
    assert answer["timezone"] == "Europe/Paris"
    assert answer["data"][0]["dueAt"] == made["nextRunAt"]
    assert len({each["local"][:10] for each in answer["data"]}) == 3
    by_hand = await created(api, scheduleType="MANUAL")
    assert (await api.get(f"{SCHEDULES}/{by_hand['id']}/next")).json()["data"] == []
    assert by_hand["nextRunAt"] is None


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_an_unknown_schedule_is_not_found_and_a_bad_id_is_refused(
    api: httpx2.AsyncClient, method: str
) -> None:
    """Weakness 21 of spec/automation §12."""
    body = {} if method == "PATCH" else None
    missing = await api.request(method, f"{SCHEDULES}/77", json=body)
    assert missing.status_code == 404
    sentence = "Schedule not found" if method == "GET" else "Automation schedule with ID '77' not found"
    assert missing.json()["error"] == sentence
    bad = await api.request(method, f"{SCHEDULES}/seven", json=body)
    assert (bad.status_code, bad.json()["error"]) == (400, "Invalid schedule id")


async def test_a_schedule_is_deleted_with_its_runs_but_not_under_a_run(
    api: httpx2.AsyncClient, database: Database
) -> None:
    made = await created(api, webhookUrl="https://hooks.example.com/")
    run = (await api.post("/api/automation/trigger", json={"scheduleId": made["id"]})).json()
    refused = await api.delete(f"{SCHEDULES}/{made['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "RUN_UNDER_WAY")
    await ended(database, int(run["run_id"]))
    deleted = await api.delete(f"{SCHEDULES}/{made['id']}")
    assert deleted.json() == {"success": True, "message": "Schedule deleted successfully"}
    assert await run_ids(database, made["id"]) == []
    async with database.read() as session:
        assert await session.scalar(text("select count(*) from webhook_endpoints")) == 0


async def test_who_does_not_see_everything_changes_and_runs_only_their_own(
    api: httpx2.AsyncClient, api_app: FastAPI, database: Database
) -> None:
    theirs = await created(api)
    person = await signed_in(
        database, SETTINGS, granting(WRITE, Scope.GROUP, write=True), groupes=["EQUIPE R1"]
    )
    transport = httpx2.ASGITransport(app=api_app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://conforme.test", headers=person.headers
    ) as client:
        assert (await client.get(f"{SCHEDULES}/{theirs['id']}")).status_code == 200
        assert (await client.patch(f"{SCHEDULES}/{theirs['id']}", json={"name": "Mine"})).status_code == 403
        assert (await client.delete(f"{SCHEDULES}/{theirs['id']}")).status_code == 403
        body = {"scheduleId": theirs["id"]}
        assert (await client.post("/api/automation/trigger", json=body)).status_code == 403
        mine = await created(client)
        assert (await patched(client, mine["id"], name="Mine"))["name"] == "Mine"
    row = await stored(database, mine["id"])
    assert (row.scope, row.groupes) == ("GROUP", ["EQUIPE R1"])
    await patched(api, mine["id"], name="Corrected by the house")
    row = await stored(database, mine["id"])
    assert (row.scope, row.groupes) == ("GROUP", ["EQUIPE R1"])


async def test_the_diagnostic_tells_what_is_true_in_the_shape_of_the_contract(
    api: httpx2.AsyncClient,
) -> None:
    await created(api)
    answer = (await api.get("/api/automation/diagnostic")).json()
    assert answer["success"] is True
    assert answer["inngest"]["mode"] == "SELF-HOSTED"
    assert answer["inngest"]["status"] == "⚠️ NEEDS ATTENTION"
    assert answer["inngest"]["configuration"] == {
        "isDev": False,
        "nodeEnv": "test",
        "baseUrl": None,
        "hasEventKey": False,
        "hasSigningKey": False,
    }
    assert any("No process works" in warning for warning in answer["inngest"]["warnings"])
    assert "Set ELEVENLABS_API_KEY" in answer["inngest"]["recommendations"]
    assert answer["endpoints"] == {"inngest_ui": None, "trigger": "POST /api/automation/trigger"}
    assert answer["clock"]["active_schedules"] == 1
