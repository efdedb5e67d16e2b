"""Sales that cannot be audited, or only in part: each says so, and costs nothing that could be known before."""

from typing import Any

from pipeline_audits import DAY, MODEL, SPEECH, Product, names_told, product

from conforme.foundation.database import Database
from conforme.sandbox.crm import GatewayFaults
from conforme.sandbox.population import Sale
from conforme.sandbox.speech import Hearing
from conforme.sandbox.world import Sandbox, SandboxOptions


async def _judged(run: Product, *sales: Sale) -> list[dict[str, Any]]:
    audits = [await run.client.ask(sale.fiche_id, run.config_id) for sale in sales]
    return await run.client.ended(audits)


def _why(detail: dict[str, Any]) -> tuple[str, str, str]:
    return detail["status"], detail["failedPhase"], detail["errorCode"]


def _files(sandbox: Sandbox, sale: Sale) -> list[str]:
    """Names of the recordings of a sale, the longest call first."""
    recordings = sorted(sandbox.population.recordings(sale), key=lambda one: -one.seconds)
    return [recording.file_name for recording in recordings]


def _seconds(sandbox: Sandbox, sale: Sale) -> float:
    """How long its calls are on average."""
    recordings = sandbox.population.recordings(sale)
    return sum(recording.seconds for recording in recordings) / len(recordings)


async def test_a_sale_without_usable_calls_fails_with_its_reason_before_any_question(
    database: Database,
) -> None:
    async with Sandbox() as sandbox, product(database, sandbox) as run:
        missing, mute, crowded, lost = sandbox.population.sales(DAY)[:4]
        sandbox.gateway.faults = GatewayFaults(
            missing=frozenset({missing.fiche_id}),
            without_recordings=frozenset({mute.fiche_id}),
            crowded={crowded.fiche_id: 51},
            lost_audio=frozenset(_files(sandbox, lost)),
        )
        details = await _judged(run, missing, mute, crowded, lost)
        asked = (run.asked(MODEL), run.asked(SPEECH))
    assert [_why(detail) for detail in details] == [
        ("failed", "fiche_not_found", "NOT_FOUND"),
        ("failed", "missing_transcription", "NO_RECORDINGS"),
        ("failed", "missing_transcription", "TOO_MANY_RECORDINGS"),
        ("failed", "missing_transcription", "NOT_TRANSCRIBED"),
    ]
    assert details[0]["errorMessage"] == f"Fiche {missing.fiche_id} not found (404)"
    assert "51 > 50" in details[2]["errorMessage"]
    assert asked == (0, 0)


async def test_calls_in_which_nobody_speaks_are_no_ground_for_a_verdict(database: Database) -> None:
    options = SandboxOptions(hearing=Hearing(silent_share=1.0))
    async with Sandbox(options) as sandbox, product(database, sandbox) as run:
        [detail] = await _judged(run, sandbox.population.sales(DAY)[0])
        assert run.asked(MODEL) == 0
    assert _why(detail) == ("failed", "missing_transcription", "EMPTY_TIMELINE")


async def test_an_audit_of_a_part_of_the_calls_says_so(database: Database) -> None:
    async with Sandbox() as sandbox, product(database, sandbox) as run:
        sale = next(
            sale for sale in sandbox.population.sales(DAY) if len(sandbox.population.recordings(sale)) == 2
        )
        _heard, lost = _files(sandbox, sale)
        sandbox.gateway.faults = GatewayFaults(lost_audio=frozenset({lost}))
        [detail] = await _judged(run, sale)
        assert run.asked(SPEECH) == 1
    [unheard] = [one.call_id for one in sandbox.population.recordings(sale) if one.file_name == lost]
    assert detail["status"] == "completed"
    assert detail["resultData"]["coverage"] == {
        "complete": False,
        "recordings": 2,
        "not_transcribed": [unheard],
    }
    assert detail["resultData"]["statistics"]["transcriptions_count"] == 1


async def test_fifty_calls_are_audited(database: Database) -> None:
    async with Sandbox() as sandbox, product(database, sandbox) as run:
        sale = min(sandbox.population.sales(DAY), key=lambda sale: _seconds(sandbox, sale))
        sandbox.gateway.faults = GatewayFaults(crowded={sale.fiche_id: 50})
        [detail] = await _judged(run, sale)
    assert (detail["status"], detail["recordingsCount"]) == ("completed", 50)


async def test_an_audit_that_would_cost_too_much_is_refused_before_anything_is_paid(
    database: Database,
) -> None:
    async with Sandbox() as sandbox, product(database, sandbox, AUDIT_MAX_COST="0.001") as run:
        audit = await run.client.ask(run.fiche_ids[0], run.config_id)
        [detail] = await run.client.ended([audit])
        assert (run.asked(MODEL), run.asked(SPEECH)) == (0, 0)
    assert _why(detail) == ("failed", "budget", "AUDIT_TOO_EXPENSIVE")
    assert "AUDIT_MAX_COST (0.001)" in detail["errorMessage"]
    assert detail["cost"]["calls"] == 0
    assert (await names_told(database, audit))["audit.failed"] == 1
