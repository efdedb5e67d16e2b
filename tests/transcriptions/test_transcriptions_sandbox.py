"""From the CRM to the words, through the sandbox's own gateway, recordings and speech service."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import date
from typing import cast

import pytest
from sqlalchemy import func, select

from conforme.accounts.actor import Actor
from conforme.app import FICHE_PORTS
from conforme.fiches.ports import connect
from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.foundation.durable import Durable, Outcome
from conforme.foundation.ledger import LlmCall
from conforme.foundation.llm import LanguageModel
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.recordings.models import Recording
from conforme.recordings.queries import cached_fiche
from conforme.sandbox.crm import GatewayFaults
from conforme.sandbox.weather import FaultPlan
from conforme.sandbox.world import Sandbox, SandboxOptions
from conforme.settings import Settings
from conforme.transcriptions.queries import transcribed
from conforme.transcriptions.runs import FicheRun
from conforme.transcriptions.workflows import transcribe_fiche

ACTOR = Actor.system("test")
DAY = date(2026, 11, 20)
PATIENCE = 60


@asynccontextmanager
async def _process(
    sandbox: Sandbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Resources]:
    """One replica whose outside world is the sandbox."""
    quick = {
        "TRANSCRIPTION_ELEVENLABS_RATE_LIMIT_PER_MINUTE": "10000",
        "TRANSCRIPTION_ELEVENLABS_MAX_ATTEMPTS": "10",
        "TRANSCRIPTION_ELEVENLABS_BACKOFF_BASE_SECONDS": "0.05",
        "DRAIN_SECONDS": "0",
    }
    for name, value in (sandbox.environment() | quick).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    connect(FICHE_PORTS)
    outbound, durable = Outbound(settings), Durable(settings, database)
    resources = Resources(settings, database, durable, outbound, cast("LanguageModel", None))
    await durable.start(resources)
    try:
        yield resources
    finally:
        await durable.stop()
        await outbound.aclose()


async def _transcribe(resources: Resources, fiche_ids: list[str]) -> list[Outcome]:
    async with resources.database.write() as session:
        for fiche_id in fiche_ids:
            run = FicheRun(fiche_id=fiche_id, run_id=f"run-{fiche_id}", refresh=True)
            await resources.durable.dispatch(session, transcribe_fiche, run, id=run.run_id, key=fiche_id)
    waits = (resources.durable.wait(f"run-{fiche_id}", PATIENCE) for fiche_id in fiche_ids)
    return list(await asyncio.gather(*waits))


async def test_a_day_of_sales_is_transcribed_though_one_request_in_five_fails(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = FaultPlan.of_rate(0.2, retry_after_seconds=0.3, hang_seconds=0.2)
    async with Sandbox(SandboxOptions(faults=faults, sales_per_day=4)) as sandbox:
        fiche_ids = [sale.fiche_id for sale in sandbox.population.sales(DAY)]
        async with _process(sandbox, database, monkeypatch) as resources:
            outcomes = await _transcribe(resources, fiche_ids)
            speech = sandbox.speech.counts()["routes"]["POST /v1/speech-to-text"]
    assert all(outcome.ok and outcome.value["failed"] == 0 for outcome in outcomes)
    assert sum(outcome.value["transcribed"] for outcome in outcomes) >= len(fiche_ids)
    assert sum(speech["faults"].values()) > 0
    assert (speech["repeated"], speech["early"]) == (0, 0)
    async with database.read() as session:
        paid = await session.scalar(select(func.count()).select_from(LlmCall))
        done = await session.scalar(select(func.count()).where(Recording.has_transcription))
        assert paid == done
        for fiche_id in fiche_ids:
            cache_id = await cached_fiche(session, ACTOR, fiche_id)
            heard = await transcribed(session, ACTOR, cache_id)
            assert any(recording.words for recording in heard)
            assert all(word.end is not None for recording in heard for word in recording.words)


async def test_a_fiche_the_crm_denies_is_told_as_not_found(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox() as sandbox:
        fiche_id = sandbox.population.sales(DAY)[0].fiche_id
        sandbox.gateway.faults = GatewayFaults(unsuccessful=frozenset({fiche_id}))
        async with _process(sandbox, database, monkeypatch) as resources:
            [outcome] = await _transcribe(resources, [fiche_id])
    assert outcome.value["not_found"]
    async with database.read() as session:
        told = [event for event in await events.after(session, 0, limit=100) if "transcription" in event.name]
    assert [(event.name, event.payload["error"]) for event in told] == [
        ("transcription.failed", "Fiche not found (404)")
    ]


async def test_a_crm_that_is_down_fails_the_run_with_its_reason(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox() as sandbox:
        fiche_id = sandbox.population.sales(DAY)[0].fiche_id
        async with _process(sandbox, database, monkeypatch) as resources:
            await sandbox.crm.stop()
            [outcome] = await _transcribe(resources, [fiche_id])
    assert not outcome.ok
    async with database.read() as session:
        [told] = [
            event for event in await events.after(session, 0, limit=100) if "transcription" in event.name
        ]
    assert (told.name, told.payload["error"]) == ("transcription.failed", outcome.error)
