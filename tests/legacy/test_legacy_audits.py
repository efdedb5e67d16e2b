"""Imported audits keep what they said, and claim no more than the transcripts bear."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx2
from old_database import OldDatabase
from sqlalchemy import select

from conforme.audit_configs.models import AuditConfigRevision
from conforme.audits import history
from conforme.audits.facts import of_step
from conforme.audits.models import AuditRow, CitationRow, ControlPointRow, StepResultRow, VerdictRow
from conforme.foundation.database import Database, now
from conforme.legacy.report import Report

Import = Callable[..., Awaitable[Report]]
SAID = "je suis Inès votre conseillère du cabinet Alpha"
NOT_SAID = "Vous pourrez résilier quand vous voudrez sans aucun frais"


async def rows(database: Database, *columns: Any) -> list[tuple[Any, ...]]:
    async with database.read() as session:
        return [tuple(row) for row in await session.execute(select(*columns).order_by(columns[0]))]


async def detail(api: httpx2.AsyncClient, audit: int = 1) -> dict[str, Any]:
    answer = await api.get(f"/api/audits/{audit}")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def steps(api: httpx2.AsyncClient, audit: int = 1) -> list[dict[str, Any]]:
    return (await detail(api, audit))["resultData"]["audit"]["results"]["steps"]


async def test_scores_statuses_and_texts_are_those_of_the_original(
    old: OldDatabase, bring: Import, api: httpx2.AsyncClient
) -> None:
    result = {
        "audit_tracking_id": "audit-900101-1-1767693600000",
        "audit_db_id": "1",
        "audit": {"compliance": {"poids_obtenu": 8, "poids_total": 10}, "approach": {"use_rlm": True}},
    }
    fiche, config = old.fiche("900101"), old.config()
    old.call(fiche)
    old.judged(fiche, config, result_data=result, total_tokens=1200, niveau="BON")
    await bring()
    told = await detail(api)
    shown = {
        name: told[name]
        for name in ("id", "overallScore", "scorePercentage", "niveau", "status", "totalTokens")
    }
    assert shown == {
        "id": "1",
        "overallScore": "85.5",
        "scorePercentage": "85.5",
        "niveau": "BON",
        "status": "completed",
        "totalTokens": 1200,
    }
    assert told["resultData"]["audit_tracking_id"] == "audit-900101-1-1767693600000"
    assert told["resultData"]["imported"] == {"audit_id": "1"}
    first = (await steps(api))[0]
    assert (first["score"], first["conforme"], first["niveau_conformite"]) == (4, "CONFORME", "BON")
    assert [point["statut"] for point in first["points_controle"]] == ["PRESENT", "PRESENT"]


async def test_a_quote_is_shown_as_located_only_where_its_words_are(
    old: OldDatabase, bring: Import, api: httpx2.AsyncClient
) -> None:
    fiche = old.fiche("900101")
    old.call(fiche)
    old.judged(fiche, old.config())
    report = await bring()
    said, invented = (point["citations"][0] for point in (await steps(api))[0]["points_controle"])
    assert (said["match"], said["texte"], said["speaker"]) == ("exact", SAID, "speaker_0")
    assert said["minutage"] == "00:03"
    assert (invented["match"], invented["texte"], invented["speaker"]) == (
        "unverified",
        NOT_SAID,
        "speaker_1",
    )
    assert report.notes["Quotes found in the transcripts"] == 1
    assert report.notes["Quotes that are not in the transcripts: kept, and marked as unverified"] == 1


async def test_a_quote_with_no_transcript_to_look_in_says_so(
    old: OldDatabase, bring: Import, database: Database
) -> None:
    old.judged(old.fiche("900101"), old.config())
    await bring()
    assert await rows(database, CitationRow.match) == [("imported",), ("imported",)]
    assert await rows(database, AuditRow.transcript_snapshot_id) == [(None,)]


async def test_a_call_transcribed_after_the_audit_is_none_it_heard(
    old: OldDatabase, bring: Import, database: Database
) -> None:
    fiche = old.fiche("900101")
    old.call(fiche, transcribed_at="2026-01-07 09:00:00")
    old.judged(fiche, old.config())
    await bring()
    assert await rows(database, CitationRow.match) == [("imported",), ("imported",)]


async def test_a_quote_that_says_something_else_than_was_said_asks_for_a_look(
    old: OldDatabase, bring: Import, database: Database
) -> None:
    fiche = old.fiche("900101")
    old.call(fiche)
    audit = old.audit(fiche, old.config())
    old.step(audit)
    old.point(audit)
    old.quote(audit, "et vous acceptez pas le prélèvement mensuel")
    await bring()
    ((doubts, certainty),) = await rows(database, ControlPointRow.doubts, ControlPointRow.certainty)
    assert [doubt["reason"] for doubt in doubts] == ["near_miss"]
    assert certainty == 0.7


async def test_an_audit_pins_its_configuration_as_it_is_where_it_agrees_with_it(
    old: OldDatabase, bring: Import, database: Database
) -> None:
    config = old.config()
    for number in range(3):
        old.judged(old.fiche(str(900_101 + number)), config)
    await bring()
    ((number, marked),) = await rows(database, AuditConfigRevision.number, AuditConfigRevision.created_by)
    assert (number, marked) == (1, "system:legacy-import")
    assert {pinned for _, pinned in await rows(database, AuditRow.id, AuditRow.config_revision_id)} == {1}


async def test_an_audit_by_an_edited_configuration_pins_the_rules_it_shows(
    old: OldDatabase, bring: Import, database: Database
) -> None:
    fiche, config = old.fiche("900101"), old.config(steps=3)
    audit = old.audit(fiche, config)
    old.step(audit, 1, weight=8, step_name="Ancienne étape")
    old.point(audit, 1, 1, point="Le conseiller donne son numéro ORIAS.")
    await bring()
    ((content,),) = await rows(database, AuditConfigRevision.content)
    (step,) = content["steps"]
    assert (step["position"], step["name"], step["weight"]) == (1, "Ancienne étape", 8)
    assert [point["text"] for point in step["control_points"]] == ["Le conseiller donne son numéro ORIAS."]


async def test_a_step_that_could_not_be_analysed_there_is_no_verdict_here(
    old: OldDatabase, bring: Import, database: Database
) -> None:
    fiche, config = old.fiche("900101"), old.config(steps=1)
    audit = old.audit(fiche, config, niveau="REJET", score_percentage="0", is_compliant=False)
    old.step(audit, traite=False, score=0, conforme="NON_CONFORME", niveau_conformite="INSUFFISANT")
    old.point(audit, statut="ABSENT", commentaire="Step failed: 503 from the provider")
    await bring()
    columns = (StepResultRow.traite, StepResultRow.conforme, StepResultRow.score, StepResultRow.error)
    assert await rows(database, *columns) == [(False, None, None, "503 from the provider")]
    assert await rows(database, ControlPointRow.id) == []
    assert await rows(database, VerdictRow.id) == []
    assert await rows(database, AuditRow.niveau, AuditRow.score_percentage) == [("REJET", Decimal(0))]


async def test_points_of_before_there_were_tables_come_out_of_their_json(
    old: OldDatabase, bring: Import, api: httpx2.AsyncClient
) -> None:
    fiche = old.fiche("900101")
    old.call(fiche)
    audit = old.audit(fiche, old.config())
    point = {
        "point": "Le conseiller se présente.",
        "statut": "PRESENT",
        "commentaire": "Oui",
        "citations": [{"texte": SAID, "minutage": "00:01", "recording_index": 0, "chunk_index": 0}],
    }
    trail = {
        "at": "2026-01-07T10:00:00.000Z",
        "by": "Luc VANNIER",
        "reason": "Réécouté",
        "kind": "control_point",
        "control_point_index": 1,
        "point": "Le conseiller se présente.",
        "previous": {"statut": "ABSENT", "commentaire": "Non"},
        "override": {"statut": "PRESENT", "commentaire": "Oui"},
    }
    old.step(audit, raw_result={"points_controle": [point], "human_review": [trail]})
    await bring()
    (step,) = await steps(api)
    (shown,) = step["points_controle"]
    assert (shown["statut"], shown["citations"][0]["match"]) == ("PRESENT", "exact")
    (review,) = step["human_review"]
    assert review == trail


async def test_trails_are_shown_as_they_were_and_what_holds_follows_from_what_was_appended(
    old: OldDatabase, bring: Import, api: httpx2.AsyncClient, database: Database
) -> None:
    fiche = old.fiche("900101")
    old.call(fiche)
    audit = old.judged(fiche, old.config())
    old.put(
        "audit_step_result_rerun_events",
        audit_id=audit,
        step_position=1,
        kind="step_rerun",
        occurred_at="2026-01-08 10:00:00",
        rerun_id="rerun-1-1-step-rerun-1-1-5",
        event_id="step-rerun-1-1-5",
        custom_prompt="Réécoute la fin.",
        previous_score=1,
        previous_conforme="NON_CONFORME",
        previous_total_citations=0,
        next_score=4,
        next_conforme="CONFORME",
        next_total_citations=2,
    )
    old.put(
        "audit_step_result_human_reviews",
        audit_id=audit,
        step_position=1,
        kind="control_point",
        control_point_index=1,
        point="Le conseiller se présente.",
        reviewed_at="2026-01-09 10:00:00",
        reviewer="user:1",
        reason="Entendu à 00:03.",
        previous_statut="PARTIEL",
        previous_commentaire="À moitié.",
        override_statut="PRESENT",
        override_commentaire="Dit au début.",
    )
    await bring()
    first = (await steps(api))[0]
    (rerun,), (review,) = first["rerun_history"], first["human_review"]
    assert rerun == {
        "at": "2026-01-08T10:00:00.000Z",
        "kind": "step_rerun",
        "rerun_id": "rerun-1-1-step-rerun-1-1-5",
        "event_id": "step-rerun-1-1-5",
        "step_position": 1,
        "custom_prompt": "Réécoute la fin.",
        "previous": {"score": 1, "conforme": "NON_CONFORME", "total_citations": 0},
        "next": {"score": 4, "conforme": "CONFORME", "total_citations": 2},
    }
    assert (review["by"], review["previous"]["statut"]) == ("legacy:user:1", "PARTIEL")
    async with database.read() as session:
        facts = await of_step(session, 1, 1)
    assert [(fact.kind, fact.point) for fact in facts] == [("run", None), ("rerun", None), ("review", 1)]
    held = history.held(facts)
    assert {number: held.point(number)["statut"] for number in held.numbers} == {1: "PRESENT", 2: "PRESENT"}
    assert history.held(facts[:2]).point(1)["statut"] == "PARTIEL"


async def test_an_imported_audit_can_be_overruled_here(
    old: OldDatabase, bring: Import, api: httpx2.AsyncClient
) -> None:
    fiche = old.fiche("900101")
    old.call(fiche)
    old.judged(fiche, old.config())
    await bring()
    answer = await api.patch("/api/audits/1/steps/1/control-points/2/review", json={"statut": "ABSENT"})
    assert answer.status_code == 200, answer.text
    first = (await steps(api))[0]
    assert [point["statut"] for point in first["points_controle"]] == ["PRESENT", "ABSENT"]
    assert first["evidence"]["located"] == 1


async def test_an_audit_that_is_still_running_waits_and_one_that_never_ended_failed(
    old: OldDatabase, bring: Import, database: Database
) -> None:
    config = old.config()
    began = (now() - timedelta(minutes=5)).replace(tzinfo=None)
    running = {"completed_at": None, "status": "running", "niveau": "PENDING"}
    old.audit(old.fiche("900101"), config, **running, started_at=began, created_at=began)
    old.audit(old.fiche("900102"), config, **running)
    report = await bring()
    assert [(each.id, each.reason) for each in report.lines] == [
        (1, "status: it is still running; import again when it has ended")
    ]
    assert await rows(database, AuditRow.id, AuditRow.status, AuditRow.error_code) == [
        (2, "failed", "AUDIT_TIMEOUT")
    ]
    old.run("update audits set status = 'completed', completed_at = now() where id = 1")
    assert (await bring()).kinds["audits"].imported == 1


async def test_of_the_audits_of_a_fiche_only_the_newest_is_the_latest(
    old: OldDatabase, bring: Import, database: Database
) -> None:
    fiche, config = old.fiche("900101"), old.config()
    for day in ("07", "06", "09"):
        old.audit(fiche, config, created_at=f"2026-01-{day} 10:00:00")
    old.audit(fiche, config, created_at="2026-01-12 10:00:00", deleted_at="2026-01-13 10:00:00")
    await bring()
    assert await rows(database, AuditRow.id, AuditRow.version, AuditRow.is_latest) == [
        (1, 2, False),
        (2, 1, False),
        (3, 3, True),
        (4, 4, False),
    ]


async def test_audits_of_one_name_are_told_apart(old: OldDatabase, bring: Import, database: Database) -> None:
    fiche, config = old.fiche("900101"), old.config()
    for _ in range(2):
        old.audit(fiche, config, result_data={"audit_tracking_id": "audit-900101-1-5"})
    old.audit(fiche, config)
    await bring()
    assert [name for _, name in await rows(database, AuditRow.id, AuditRow.tracking_id)] == [
        "audit-900101-1-5",
        "audit-900101-1-5-legacy-2",
        "legacy-audit-3",
    ]
