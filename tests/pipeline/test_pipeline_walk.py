"""One audit from the request to its evidence, in one process: what is stored, told, paid and proven."""

import asyncio
from collections import Counter
from typing import Any

from pipeline_audits import Asked, ledger, names_told, product, rows, told
from sqlalchemy import text

from conforme.accounts.actor import Actor
from conforme.audit_configs.shipped import COMPLETE, shipped
from conforme.audits import endings, stages
from conforme.foundation.database import Database
from conforme.sandbox.world import Sandbox, SandboxOptions
from conforme.transcriptions.queries import transcribed

ACTOR = Actor.system("test")


async def test_an_audit_is_carried_from_the_request_to_its_evidence(database: Database) -> None:
    async with (
        Sandbox(SandboxOptions(fabricated_share=0.15)) as sandbox,
        product(database, sandbox, config=COMPLETE) as run,
    ):
        audit = await run.client.ask(run.fiche_ids[0], run.config_id)
        [detail] = await run.client.ended([audit])
        planted = {quote["text"] for quote in sandbox.planted()["quotes"]}
        assert sandbox.counts()["model"]["usage"]["calls"] == len(detail["stepResults"])
    assert (detail["status"], detail["errorMessage"]) == ("completed", None)
    await _everything_is_stored(database, detail)
    await _everything_is_told(database, audit, detail)
    await _nothing_is_shown_that_was_not_said(database, detail, planted)


async def _everything_is_stored(database: Database, detail: dict[str, Any]) -> None:
    steps = [step["stepPosition"] for step in detail["stepResults"]]
    audit_id = int(detail["id"])
    assert steps == [step.position for step in shipped(COMPLETE).steps]
    assert all(step["traite"] for step in detail["stepResults"])
    assert detail["missingSteps"] == []
    assert detail["configRevision"]["number"] == 1
    assert len(detail["transcriptSha256"]) == 64
    assert detail["promptVersion"]
    assert detail["model"]
    [[pinned, frozen]] = await rows(
        database, "select config_revision_id, transcript_snapshot_id from audits where id = :id", id=audit_id
    )
    assert pinned
    assert frozen
    assert await ledger(database, "model") == Counter((audit_id, step, None) for step in steps)
    heard = await rows(database, "select id from recordings where has_transcription")
    assert len(heard) == detail["recordingsCount"]
    assert await ledger(database, "speech") == Counter((audit_id, None, row[0]) for row in heard)
    cost = detail["cost"]
    assert cost["cachedTokens"] / cost["promptTokens"] >= 0.65
    assert float(cost["amount"]) > 0


BEFORE_THE_STEPS = [
    "audit.started",
    "audit.fiche_fetch_started",
    "audit.fiche_fetch_completed",
    "audit.transcription_check",
    "audit.config_loaded",
    "audit.timeline_generated",
    "audit.progress",
    "audit.analysis_started",
]
AFTER_THE_STEPS = ["audit.compliance_calculated", "audit.completed"]


async def _everything_is_told(database: Database, audit: Asked, detail: dict[str, Any]) -> None:
    log = [event for event in await told(database, audit) if event.name.startswith("audit.")]
    names = [event.name for event in log]
    steps = len(detail["stepResults"])
    assert names[: len(BEFORE_THE_STEPS)] == BEFORE_THE_STEPS
    assert names[-2:] == AFTER_THE_STEPS
    during = Counter(names[len(BEFORE_THE_STEPS) : -2])
    assert during == {"audit.step_started": steps, "audit.step_completed": steps, "audit.progress": steps}
    for event in log:
        known = (event.payload["audit_id"], event.payload["audit_db_id"], event.payload["fiche_id"])
        assert known == (audit.tracking_id, audit.db_id, audit.fiche_id)
        assert event.payload["status"]
    progress = [event.payload["completed_steps"] for event in log if event.name == "audit.progress"]
    assert progress == list(range(steps + 1)), "each step stored is told, and counted once"
    stored = {step["stepPosition"]: step["totalCitations"] for step in detail["stepResults"]}
    shown = {
        event.payload["step_position"]: event.payload["total_citations"]
        for event in log
        if event.name == "audit.step_completed"
    }
    assert shown == stored


async def _nothing_is_shown_that_was_not_said(
    database: Database, detail: dict[str, Any], planted: set[str]
) -> None:
    async with database.read() as session:
        recordings = await transcribed(session, ACTOR, int(detail["ficheCacheId"]))
    words = {recording.recording_url: recording.words for recording in recordings}
    kept = await rows(
        database,
        "select texte, claimed, recording_url, first_word, last_word, start_ms, end_ms, speaker"
        " from audit_step_result_citations",
    )
    for texte, claimed, url, first, last, start_ms, end_ms, speaker in kept:
        said = words[url][first : last + 1]
        assert texte == " ".join(word.text for word in said)
        assert (start_ms, end_ms) == (_ms(said[0].start), _ms(said[-1].end))
        assert speaker in {word.speaker for word in said}
        assert claimed not in planted
    dropped = {row[0] for row in await rows(database, "select texte from audit_dropped_citations")}
    assert planted
    assert planted <= dropped
    statistics = detail["resultData"]["statistics"]
    assert statistics["citations_located"] == len(kept) > 20
    assert statistics["citations_dropped"] >= len(planted)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


async def test_a_step_that_two_replicas_analyse_is_stored_and_told_once_and_paid_as_often_as_asked(
    database: Database,
) -> None:
    async with Sandbox() as sandbox, product(database, sandbox) as run:
        audit = await run.client.ask(run.fiche_ids[0], run.config_id)
        await run.client.ended([audit])
        audit_id = int(audit.db_id)
        async with database.write() as session:
            await session.execute(text("delete from audit_step_results where step_position = 2"))
        before = await names_told(database, audit)
        await asyncio.gather(*(stages.analyse(run.resources, audit_id, 2) for _ in range(2)))
        assert await stages.give_up(run.resources, audit_id, 2, "too late", job_id="job") == {
            "ok": True,
            "cached": True,
        }
    told_since = await names_told(database, audit) - before
    assert told_since == {"audit.step_started": 2, "audit.step_completed": 1, "audit.progress": 1}
    assert (await ledger(database, "model"))[audit_id, 2, None] == 3
    stored = await rows(database, "select traite from audit_step_results where step_position = 2")
    assert stored == [(True,)]


async def test_an_end_that_is_reached_again_after_a_crash_is_told_once_and_stays_what_it_was(
    database: Database,
) -> None:
    async with Sandbox() as sandbox, product(database, sandbox) as run:
        audit = await run.client.ask(run.fiche_ids[0], run.config_id)
        [detail] = await run.client.ended([audit])
        before = await told(database, audit)
        again = await endings.finish(run.resources, int(audit.db_id))
        assert again == {"status": "completed", "niveau": detail["niveau"]}
        assert await run.client.detail(audit) == detail
    assert await told(database, audit) == before
