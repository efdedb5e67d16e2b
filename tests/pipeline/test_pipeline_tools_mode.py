"""An audit in tools mode, and who speaks, from the request to the stored verdict."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from pipeline_audits import Asked, Product, asked, product, rows, told

from conforme import compare_modes
from conforme.audit_configs.shipped import SHORT, shipped
from conforme.foundation.database import Database
from conforme.foundation.errors import Invalid
from conforme.sandbox.speech import Hearing
from conforme.sandbox.weather import Latency
from conforme.sandbox.world import Sandbox, SandboxOptions


@pytest.fixture
async def run(database: Database) -> AsyncGenerator[Product]:
    hearing = Hearing(swap_share=1.0)
    async with (
        Sandbox(SandboxOptions(hearing=hearing)) as sandbox,
        product(database, sandbox, AUDIT_SAME_REQUEST_SECONDS="0") as running,
    ):
        yield running


async def test_tools_mode_says_so_everywhere_bills_each_message_and_keeps_no_dialogue(
    run: Product, database: Database
) -> None:
    fiche_id, body = run.fiche_ids[0], {"audit_config_id": run.config_id, "use_rlm": True}
    answer = await run.client.http.post("/api/audits/run", json={"fiche_id": fiche_id, **body})
    audit = asked(answer)
    [found] = await run.client.ended([audit])
    assert found["status"] == "completed", found["errorMessage"]
    approach = {"use_rlm": True, "transcript_mode": "tools"}
    assert found["resultData"]["audit"]["approach"] == approach
    assert found["resultData"]["metadata"]["approach"] == approach
    events = await told(database, audit)
    assert all(event.payload["approach"] == approach for event in events if event.name.startswith("audit."))
    steps = len(found["stepResults"])
    paid = await rows(
        database, "select purpose, count(*) from llm_calls where kind = 'model' group by 1 order by 1"
    )
    bills = {row[0]: row[1] for row in paid}
    assert bills["audit-step"] == steps
    assert bills["audit-step-lookup"] == 2 * steps
    usage = run.sandbox.stand_in.usage
    assert found["totalTokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert await rows(database, "select 1 from audit_step_dialogues") == []
    [lookup] = await rows(
        database, "select raw_result->'lookup' from audit_step_results where step_position = 1"
    )
    assert lookup[0]["messages"] == 3
    assert lookup[0]["chunks"]
    versions = await rows(database, "select distinct prompt_version from audits")
    assert versions[0][0].startswith("tools-1-")


async def test_who_speaks_is_resolved_once_corrected_by_a_person_and_judged_by(
    run: Product, database: Database
) -> None:
    fiche_id = run.fiche_ids[0]
    first = await run.client.ask(fiche_id, run.config_id)
    assert (await run.client.ended([first]))[0]["status"] == "completed"
    [call_id] = (
        await rows(database, "select call_id from recordings order by duration_seconds desc limit 1")
    )[0]
    path = f"/api/recordings/{fiche_id}/{call_id}/speakers"
    shown = (await run.client.http.get(path)).json()["data"]
    assert {each["role"] for each in shown["speakers"]} >= {"advisor", "client"}
    assert await rows(
        database, "select 1 from recording_speakers where source = 'rules' and confidence > 0.9"
    )
    decided = len(await rows(database, "select 1 from recording_speakers"))
    swapped = [
        {"speaker": each["speaker"], "role": {"advisor": "client", "client": "advisor"}[each["role"]]}
        for each in shown["speakers"]
        if each["role"] in {"advisor", "client"}
    ]
    answer = await run.client.http.patch(path, json={"speakers": swapped, "reason": "Entendu à l'écoute."})
    assert answer.status_code == 200, answer.text
    corrected = answer.json()["data"]
    assert all(each["source"] == "person" and each["confidence"] == 1 for each in corrected["speakers"])
    assert len(corrected["history"]) == len(shown["history"]) + len(swapped)
    assert len(await rows(database, "select 1 from recording_speakers")) == decided + len(swapped)
    strange = {"speakers": [{"speaker": "speaker_9", "role": "client"}]}
    refused = await run.client.http.patch(path, json=strange)
    assert (refused.status_code, refused.json()["code"]) == (400, "VALIDATION_ERROR")
    assert "speaker_9" in refused.json()["error"]
    second = await run.client.ask(fiche_id, run.config_id)
    [before, after] = await run.client.ended([first, second])
    assert after["transcriptSha256"] != before["transcriptSha256"]
    for audit, client in ((first, _label(shown, "client")), (second, _label(corrected, "client"))):
        quoted = await _quoted_of(database, audit, call_id, "advisor")
        assert client not in quoted  # nothing that the client says counts where the advisor has to say it
    assert _label(corrected, "client") in await _quoted_of(database, first, call_id, "advisor")


def _label(told: dict[str, Any], role: str) -> str:
    return next(each["speaker"] for each in told["speakers"] if each["role"] == role)


async def _quoted_of(database: Database, audit: Asked, call_id: str, speaker: str) -> set[str]:
    """Labels quoted from a recording by an audit for the points that this party must speak to."""
    wanted = [
        (step.position, number)
        for step in shipped(SHORT).steps
        for number, point in enumerate(step.control_points, 1)
        if point.speaker == speaker
    ]
    query = (
        "select c.step_position, c.control_point_index, c.speaker, c.recording_index"
        " from audit_step_result_citations c where c.audit_id = :audit"
    )
    [[place]] = await rows(
        database,
        "select count(*) from recordings r, recordings l where l.call_id = :call and r.start_time < l.start_time",
        call=call_id,
    )
    found = await rows(database, query, audit=int(audit.db_id))
    return {row[2] for row in found if (row[0], row[1]) in wanted and row[3] == place}


async def test_audits_of_one_fiche_at_the_same_moment_ask_once_who_speaks_in_a_recording(
    database: Database,
) -> None:
    options = SandboxOptions(model_latency=Latency(base_ms=200))
    unsure: dict[str, str] = {
        "AUDIT_ROLE_CONFIDENCE": "1",
        "AUDIT_SAME_REQUEST_SECONDS": "0",
        "AUDIT_RUN_PER_FICHE_CONCURRENCY": "3",
    }
    async with Sandbox(options) as sandbox, product(database, sandbox, config=SHORT, **unsure) as running:
        audits = [await running.client.ask(running.fiche_ids[0], running.config_id) for _ in range(3)]
        found = await running.client.ended(audits)
    assert [each["status"] for each in found] == ["completed"] * 3
    asked_of = await rows(
        database, "select recording_id from llm_calls where purpose = 'speaker-roles' order by 1"
    )
    recordings = await rows(database, "select id from recordings order by 1")
    assert asked_of == recordings
    decided = await rows(
        database, "select count(*), count(distinct (recording_id, speaker, source)) from recording_speakers"
    )
    assert decided[0][0] == decided[0][1]


async def test_both_modes_are_compared_on_the_same_fiche_and_paid_for(
    run: Product, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = await run.client.ask(run.fiche_ids[0], run.config_id)
    await run.client.ended([audit])
    before = len(await rows(database, "select 1 from audits"))
    settings = run.resources.settings
    capsys.readouterr()
    await compare_modes.run(compare_modes.Options((), random_count=1, as_json=True), settings, database)
    [shown] = json.loads(capsys.readouterr().out)["fiches"]
    assert shown["fiche_id"] == run.fiche_ids[0]
    assert shown["tools"]["requests"] > shown["prompt"]["requests"] > 0
    assert shown["prompt"]["citations"] > 0
    assert 0 < shown["same_statuts"] <= 1
    assert 0 < shown["shared_citations"] <= shown["prompt"]["citations"]
    assert shown["prompt_token_ratio"] > 0
    paid = await rows(
        database, "select count(*), sum(prompt_tokens) from llm_calls where purpose = 'compare-modes'"
    )
    requests = shown["tools"]["requests"] + shown["prompt"]["requests"]
    assert paid[0][0] == requests
    assert paid[0][1] == shown["tools"]["prompt_tokens"] + shown["prompt"]["prompt_tokens"]
    assert len(await rows(database, "select 1 from audits")) == before
    await compare_modes.run(compare_modes.Options((run.fiche_ids[0],)), settings, database)
    table = capsys.readouterr().out
    assert "prompt tokens" in table
    assert "same statuses" in table
    with pytest.raises(Invalid, match="999"):
        await compare_modes.run(compare_modes.Options(("999",)), settings, database)
