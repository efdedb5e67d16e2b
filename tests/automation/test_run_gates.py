"""What a fiche of a run may take: a stage that does not end in its time fails with the contract's words."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from httpx2 import AsyncClient
from run_room import Room
from run_worker import JOBS, SALES, at_work
from sqlalchemy import text

from conforme.audits.endings import end_as_failed
from conforme.audits.errors import AuditFailed
from conforme.fiches import service
from conforme.foundation.database import Database
from conforme.transcriptions import workflows as transcription
from conforme.transcriptions.workflows import transcribe_fiche, transcribe_recording

ONE = {"ficheSelection": {"mode": "manual", "ficheIds": SALES[:1]}}
AGAIN = {"retryFailed": True, "maxRetries": 1}


async def _for_ever(*_: object, **__: object) -> Any:
    await asyncio.Event().wait()


async def test_promise_4_4_details_that_do_not_come_in_time_fail_after_their_retries(
    api: AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "fetch_details", _for_ever)
    async with at_work(database, automation_fiche_details_max_wait_ms=1000) as worker:
        [fiche] = await worker.ran(api, **ONE, **AGAIN)
    assert (fiche["outcome"], fiche["error"], fiche["errorCode"], fiche["tries"]) == (
        "failed",
        "Fiche details not fetched (cache incomplete)",
        "STALLED",
        2,
    )


async def test_promise_4_4_a_transcription_that_does_not_end_in_time_fails_after_its_retries(
    api: AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcription, "transcribe_once", _for_ever)
    jobs = [*JOBS, transcribe_fiche, transcribe_recording]
    async with at_work(database, jobs, automation_transcription_max_wait_ms=1000) as worker:
        [fiche] = await worker.ran(api, **ONE, **AGAIN, runTranscription=True)
    assert (fiche["outcome"], fiche["error"], fiche["errorCode"], fiche["tries"]) == (
        "failed",
        "Transcription incomplete (timeout/stall)",
        "STALLED",
        2,
    )


async def test_promise_4_4_an_audit_that_does_not_end_in_time_fails_its_fiche(room: Room) -> None:
    shorter = room.resources.settings.model_copy(update={"automation_audit_max_wait_ms": 5000})
    room.resources = replace(room.resources, settings=shorter)
    run_id = await room.begun("1001")
    await room.fiche("1001")
    await room.audit(run_id, "1001")
    [audit_id] = (await room.item(run_id, "1001")).audit_ids
    job_id = (await room.audit_row(audit_id)).job_id
    limit = text("select workflow_timeout_ms from dbos.workflow_status where workflow_uuid = :id")
    async with room.database.read() as session:
        timeout = await session.scalar(limit, {"id": job_id})
    assert timeout == 65_000, "beside a minute of grace"
    late = AuditFailed("The audit did not end in time", phase="deadline", code="AUDIT_TIMEOUT")
    async with room.database.write() as session:
        await end_as_failed(session, room.resources.durable, audit_id, late, job_id=job_id)
    item = await room.item(run_id, "1001")
    assert (item.outcome, item.error) == ("failed", "Audit incomplete (timeout/stall)")
