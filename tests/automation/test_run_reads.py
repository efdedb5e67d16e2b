"""Runs as clients read them: lists, one run with its summary, its log page by page, and the dry run."""

from decimal import Decimal
from typing import Any

import pytest
from run_room import API, Room
from sqlalchemy import text

from conforme.automation import run_logs
from conforme.automation.rules import Budget, Sample, Selection
from conforme.foundation.redaction import REDACTED


async def test_runs_are_listed_newest_first_with_the_page_that_was_asked_for(room: Room) -> None:
    schedule_id = await room.schedule("1001")
    first, second = await room.launch(schedule_id), await room.launch(schedule_id)
    other = await room.launch(await room.schedule("1002"))
    every = (await room.api.get(f"{API}/runs?limit=50&offset=0")).json()
    assert (every["success"], every["count"], every["limit"], every["offset"]) == (True, 3, 50, 0)
    assert [each["id"] for each in every["data"]] == [str(other), str(second), str(first)]
    own = (await room.api.get(f"{API}/schedules/{schedule_id}/runs?limit=1&offset=1")).json()
    assert ([each["id"] for each in own["data"]], own["pagination"]["total"]) == ([str(first)], 2)
    assert own["data"][0]["resultSummary"] is None


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("runs/77", 404, "Run not found"),
        ("runs/77/logs", 404, "Run not found"),
        ("runs/77/fiches", 404, "Run not found"),
        ("schedules/77/runs", 404, "Schedule not found"),
        ("runs/abc", 400, "Invalid run id"),
        ("schedules/abc/runs", 400, "Invalid schedule id"),
    ],
)
async def test_weakness_21_ids_that_are_none_are_answered_as_such(
    room: Room, path: str, status: int, error: str
) -> None:
    answer = await room.api.get(f"{API}/{path}")
    assert (answer.status_code, answer.json()["error"]) == (status, error)


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "offset=-1", "limit=x"])
async def test_pages_are_bounded(room: Room, query: str) -> None:
    assert (await room.api.get(f"{API}/runs?{query}")).status_code == 400


async def test_the_summary_is_rebuilt_from_the_outcomes(room: Room) -> None:
    run_id = await room.begun("1003", "1001", "1002")
    await room.fiche("1001")
    await room.done(run_id, "1001")
    await room.fiche("1002", recordings=60)
    await room.judge(run_id, "1002")
    await room.judge(run_id, "1003", error="The CRM does not answer")
    found = (await room.api.get(f"{API}/runs/{run_id}")).json()["data"]
    assert found["resultSummary"] == {
        "successful": ["1001"],
        "failed": [{"ficheId": "1003", "error": "The CRM does not answer"}],
        "ignored": [{"ficheId": "1002", "reason": "Too many recordings (60>50)", "recordingsCount": 60}],
        "transcriptions": 0,
        "audits": 1,
    }
    assert (found["status"], found["totalFiches"], found["ignoredFiches"]) == ("partial", 2, 1)
    listed = (await room.api.get(f"{API}/runs")).json()["data"]
    assert listed[0]["resultSummary"] == {}
    narrowed = (await room.api.get(f"{API}/runs/{run_id}/fiches?outcome=ignored")).json()["data"]
    assert [each["ficheId"] for each in narrowed] == ["1002"]


async def test_weakness_13_each_line_of_the_log_is_written_once_redacted_and_paged(room: Room) -> None:
    run_id = await room.launch(await room.schedule("1001"))
    async with room.database.write() as session:
        for number in range(130):
            details: dict[str, Any] = {"api_key": "k", "url": "https://a.example.test/x?token=s", "n": number}
            for _ in range(2):
                await run_logs.write(session, run_id, "info", f"line {number}", key=f"k{number}", **details)
    first = (await room.api.get(f"{API}/runs/{run_id}/logs")).json()
    rest = (await room.api.get(f"{API}/runs/{run_id}/logs?offset=100")).json()
    assert (first["count"], rest["count"], first["pagination"]["total"]) == (100, 30, 130)
    assert first["data"][0]["metadata"]["api_key"] == REDACTED
    assert "token=s" not in first["data"][0]["metadata"]["url"]
    none = (await room.api.get(f"{API}/runs/{run_id}/logs?level=error")).json()
    assert none["data"] == []
    assert len((await room.api.get(f"{API}/runs/{run_id}")).json()["data"]["logs"]) == 100


async def test_a_dry_run_says_what_would_be_taken_and_what_it_would_cost(room: Room) -> None:
    ids = ("1001", "1002", "1003", "1004")
    schedule_id = await room.schedule(
        selection=Selection(mode="manual", fiche_ids=ids, groupes=("R1",)),
        budget=Budget(max_audio_minutes=5),
        use_automatic_audits=False,
    )
    await room.fiche("1001", heard=False)
    await room.fiche("1002", recordings=2)
    await room.fiche("1003", groupe="R2")
    answer = await room.api.post(f"{API}/schedules/{schedule_id}/preview")
    assert answer.status_code == 200, answer.text
    found = answer.json()["data"]
    assert found["taken"] == ["1001", "1002", "1004"]
    assert found["ignored"] == [{"ficheId": "1003", "reason": "Group not selected"}]
    assert (found["recordings"], found["minutesOfSpeech"], found["minutesToTranscribe"]) == (3, "30", "10")
    assert (found["fichesWithoutDetails"], found["exhausted"]) == (1, "audio_minutes")
    assert Decimal(found["cost"]) == Decimal(found["transcriptionCost"]) + Decimal(found["auditCost"])
    assert Decimal(found["auditCost"]) > 0
    assert (await room.api.get(f"{API}/runs")).json()["data"] == [], "nothing is begun"


async def test_a_dry_run_names_the_days_it_does_not_know(room: Room) -> None:
    selection = Selection(
        mode="filter",
        date_range="custom",
        custom_start_date="2026-01-05",
        custom_end_date="06/01/2026",
        sample=Sample(count=3, seed=7),
    )
    schedule_id = await room.schedule(selection=selection)
    found = (await room.api.post(f"{API}/schedules/{schedule_id}/preview")).json()["data"]
    assert (found["daysUnknown"], found["takenCount"], found["seed"]) == (["2026-01-05", "2026-01-06"], 0, 7)
    assert found["fetchJobId"] is None
    fetching = await room.api.post(f"{API}/schedules/{schedule_id}/preview", json={"fetch": True})
    job_id = fetching.json()["data"]["fetchJobId"]
    assert (await room.api.get(f"/api/fiches/jobs/{job_id}")).status_code == 200


async def test_what_fiches_without_details_may_come_to_is_told_apart_from_what_is_known(room: Room) -> None:
    schedule_id = await room.schedule(
        selection=Selection(mode="manual", fiche_ids=("1001", "1002", "1003", "1004")),
        budget=Budget(max_audio_minutes=40),
        use_automatic_audits=False,
    )
    await room.fiche("1001", recordings=1)
    await room.fiche("1002", recordings=2)
    found = (await room.api.post(f"{API}/schedules/{schedule_id}/preview")).json()["data"]
    assert (found["recordings"], found["minutesOfSpeech"], found["minutesToTranscribe"]) == (3, "30", "0")
    guessed = found["estimated"]
    assert (guessed["basis"], guessed["fiches"], guessed["recordings"]) == ("range", 2, 3)
    assert (guessed["minutesOfSpeech"], guessed["minutesToTranscribe"]) == ("30", "30")
    assert guessed["auditCost"] == found["auditCost"], "as many questions about as much speech"
    assert Decimal(guessed["cost"]) == Decimal(guessed["transcriptionCost"]) + Decimal(guessed["auditCost"])
    assert (found["exhausted"], guessed["exhausted"]) == (None, None)
    await room.fiche("1003", recordings=2, heard=False)
    found = (await room.api.post(f"{API}/schedules/{schedule_id}/preview")).json()["data"]
    assert (found["exhausted"], found["minutesToTranscribe"]) == (None, "20")
    assert (found["estimated"]["exhausted"], found["estimated"]["minutesToTranscribe"]) == (None, "16.7")
    await room.fiche("1004")
    found = (await room.api.post(f"{API}/schedules/{schedule_id}/preview")).json()["data"]
    assert found["estimated"] is None


@pytest.mark.parametrize(("days", "basis"), [(29, "last_30_days"), (31, None)])
async def test_where_no_fiche_of_the_selection_is_known_those_of_the_last_month_stand_for_them(
    room: Room, days: int, basis: str | None
) -> None:
    selection = Selection(mode="manual", fiche_ids=("1001",))
    schedule_id = await room.schedule(selection=selection, budget=Budget(max_audio_minutes=10))
    await room.fiche("9001", recordings=2)
    age = text("update fiche_cache set details_fetched_at = now() - make_interval(days => :days)")
    async with room.database.write() as session:
        await session.execute(age, {"days": days})
    guessed = (await room.api.post(f"{API}/schedules/{schedule_id}/preview")).json()["data"]["estimated"]
    if basis is None:
        assert guessed is None
    else:
        assert (guessed["basis"], guessed["minutesToTranscribe"]) == (basis, "20")
        assert guessed["exhausted"] == "audio_minutes"
