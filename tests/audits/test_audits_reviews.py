"""People overrule the model over HTTP: what they say stands, with their name, and every sum follows."""

from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
from sqlalchemy import text, update

from conforme.accounts.grants import Scope
from conforme.audits.models import AuditRow
from conforme.foundation.database import Database
from judged_audits import NEAR, Opinion, judged, resources_of
from people import everything_within, signed_in
from product_fixtures import SETTINGS
from rubrics import rules, step

RULES = rules().model_copy(
    update={
        "steps": (step(1, weight=5, is_critical=True), step(2, weight=5, control_points=["Un.", "Deux."]))
    }
)
STEP, POINT = "steps/1/review", "steps/1/control-points/1/review"


async def _judged(database: Database, statuts: Mapping[int, str] | None = None) -> int:
    return await judged(resources_of(database, Opinion(statuts or {})), RULES)


async def _detail(api: httpx2.AsyncClient, audit_id: int) -> dict[str, Any]:
    return (await api.get(f"/api/audits/{audit_id}")).json()["data"]


def _steps(detail: dict[str, Any]) -> list[dict[str, Any]]:
    return detail["resultData"]["audit"]["results"]["steps"]


async def test_a_status_set_by_a_person_changes_the_step_the_audit_and_every_sum(
    api: httpx2.AsyncClient, database: Database
) -> None:
    audit_id = await _judged(database)
    before = await _detail(api, audit_id)
    assert (before["scorePercentage"], before["niveau"], before["isCompliant"]) == ("100", "EXCELLENT", True)
    answer = await api.patch(
        f"/api/audits/{audit_id}/{POINT}", json={"statut": "ABSENT", "reason": "Réécouté"}
    )
    assert answer.json() == {
        "success": True,
        "data": {
            "auditId": str(audit_id),
            "stepPosition": 1,
            "controlPointIndex": 1,
            "point": "Le conseiller se présente.",
            "statut": "ABSENT",
            "commentaire": "Avis : PRESENT.",
            "doubts": [],
        },
    }
    after = await _detail(api, audit_id)
    assert (after["scorePercentage"], after["niveau"], after["isCompliant"]) == ("80", "REJET", False)
    assert (after["criticalPassed"], after["criticalTotal"]) == (0, 1)
    assert after["resultData"]["audit"]["compliance"]["score"] == 80.0
    assert (after["stepResults"][0]["score"], after["stepResults"][0]["conforme"]) == ("3", "PARTIEL")
    [line] = _steps(after)[0]["human_review"]
    assert line["by"].startswith("token:")
    assert line["at"].endswith("Z")
    assert {name: line[name] for name in line if name not in {"at", "by"}} == {
        "reason": "Réécouté",
        "kind": "control_point",
        "control_point_index": 1,
        "point": "Le conseiller se présente.",
        "previous": {"statut": "PRESENT", "commentaire": "Avis : PRESENT."},
        "override": {"statut": "ABSENT", "commentaire": "Avis : PRESENT."},
    }
    assert "human_review" not in _steps(after)[1]


async def test_a_person_concludes_on_a_step_as_a_whole(api: httpx2.AsyncClient, database: Database) -> None:
    audit_id = await _judged(database, {1: "ABSENT", 2: "ABSENT"})
    body = {
        "conforme": "CONFORME",
        "score": 4,
        "niveauConformite": "BON",
        "reviewer": "somebody.else@example.test",
    }
    answer = (await api.patch(f"/api/audits/{audit_id}/{STEP}", json=body)).json()["data"]
    assert (answer["conforme"], answer["score"], answer["niveauConformite"]) == ("CONFORME", "4", "BON")
    after = await _detail(api, audit_id)
    assert (after["scorePercentage"], after["criticalPassed"]) == ("40", 1)
    [line] = _steps(after)[0]["human_review"]
    assert line["previous"] == {
        "traite": True,
        "conforme": "NON_CONFORME",
        "score": 0,
        "niveau_conformite": "INSUFFISANT",
    }
    assert line["override"] == {
        "traite": True,
        "conforme": "CONFORME",
        "score": 4,
        "niveau_conformite": "BON",
    }
    assert "kind" not in line
    assert "somebody.else" not in str(after), "who reviewed is known from the session"


async def test_a_review_carries_the_name_of_whoever_is_signed_in(
    api: httpx2.AsyncClient, database: Database
) -> None:
    audit_id = await _judged(database)
    person = await signed_in(database, SETTINGS, everything_within(Scope.ALL))
    body = {"commentaire": "Dit au début.", "reviewer": "Somebody Else"}
    answer = await api.patch(f"/api/audits/{audit_id}/{POINT}", json=body, headers=dict(person.headers))
    assert answer.status_code == 200, answer.text
    [line] = _steps(await _detail(api, audit_id))[0]["human_review"]
    async with database.read() as session:
        email = await session.scalar(text("select email from users where id = :id"), {"id": person.id})
        stored = (
            await session.execute(
                text("select kind, reviewer, override_commentaire from audit_step_result_human_reviews")
            )
        ).one()
    assert line["by"] == email
    assert tuple(stored) == ("control_point", f"user:{person.id}", "Dit au début.")


async def test_a_score_above_the_weight_is_refused_and_nothing_is_written(
    api: httpx2.AsyncClient, database: Database
) -> None:
    audit_id = await _judged(database)
    answer = await api.patch(f"/api/audits/{audit_id}/{STEP}", json={"conforme": "CONFORME", "score": 6})
    assert answer.status_code == 400
    assert answer.json()["error"] == "Invalid review audit step result input: score: must not exceed 5"
    assert "human_review" not in _steps(await _detail(api, audit_id))[0]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (POINT, {}, "Invalid review audit control point input: body"),
        (POINT, None, "Invalid review audit control point input: body"),
        (POINT, [], "Invalid review audit control point input: body"),
        (POINT, {"statut": "MAYBE"}, "Invalid review audit control point input: statut"),
        (POINT, {"commentaire": "x" * 20_001}, "Invalid review audit control point input: commentaire"),
        (POINT, {"commentaire": "a\0b"}, "Invalid review audit control point input: commentaire"),
        (POINT, {"statut": "ABSENT", "reason": ""}, "Invalid review audit control point input: reason"),
        (STEP, {}, "Invalid review audit step result input: conforme"),
        (STEP, {"conforme": "CONFORME", "score": -1}, "Invalid review audit step result input: score"),
        (STEP, {"conforme": "CONFORME", "score": "5"}, "Invalid review audit step result input: score"),
        (
            STEP,
            {"conforme": "CONFORME", "niveauConformite": "PENDING"},
            "Invalid review audit step result input: niveau",
        ),
        (
            STEP,
            {"conforme": "CONFORME", "reason": "x" * 5001},
            "Invalid review audit step result input: reason",
        ),
    ],
)
async def test_a_review_that_cannot_be_read_names_what_is_wrong(
    api: httpx2.AsyncClient, path: str, body: Any, named: str
) -> None:
    answer = await api.patch(f"/api/audits/1/{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(named)
    assert answer.json()["code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/api/audits/x/steps/1/review", "audit_id"),
        ("/api/audits/1/steps/0/review", "step_position"),
        ("/api/audits/1/steps/1/control-points/-1/review", "control_point_index"),
    ],
)
async def test_a_path_that_is_no_number_is_named(api: httpx2.AsyncClient, path: str, label: str) -> None:
    answer = await api.patch(path, json={"conforme": "CONFORME", "statut": "ABSENT"})
    assert (answer.status_code, answer.json()["error"]) == (400, f"Invalid {label}")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("steps/3/review", "Audit step result with ID '3' not found"),
        ("steps/1/control-points/9/review", "Audit control point with ID '1/9' not found"),
    ],
)
async def test_what_is_not_there_cannot_be_reviewed(
    api: httpx2.AsyncClient, database: Database, path: str, message: str
) -> None:
    audit_id = await _judged(database)
    answer = await api.patch(
        f"/api/audits/{audit_id}/{path}", json={"conforme": "CONFORME", "statut": "ABSENT"}
    )
    assert (answer.status_code, answer.json()["error"]) == (404, message)


async def test_an_audit_under_way_is_not_reviewed(api: httpx2.AsyncClient, database: Database) -> None:
    audit_id = await _judged(database)
    async with database.write() as session:
        await session.execute(update(AuditRow).values(status="running"))
    answer = await api.patch(f"/api/audits/{audit_id}/{POINT}", json={"statut": "ABSENT"})
    assert (answer.status_code, answer.json()["code"]) == (409, "AUDIT_RUNNING")


async def test_a_step_that_nobody_could_analyse_is_judged_by_a_person(
    api: httpx2.AsyncClient, database: Database
) -> None:
    audit_id = await _judged(database)
    async with database.write() as session:
        await session.execute(text("delete from audit_step_results where step_position = 2"))
        await session.execute(
            text(
                "insert into audit_step_results (audit_id, step_position, step_name, severity_level, is_critical,"
                " weight, traite, error) values (:id, 2, 'Étape 2', 'HIGH', false, 5, false, 'no answer')"
            ),
            {"id": audit_id},
        )
        await session.execute(text("set local session_replication_role = replica"))
        await session.execute(text("delete from audit_verdicts where step_position = 2"))
    answer = await api.patch(f"/api/audits/{audit_id}/steps/2/review", json={"conforme": "PARTIEL"})
    assert answer.json()["data"]["score"] == "3"
    after = await _detail(api, audit_id)
    assert (after["missingSteps"], after["failedSteps"], after["scorePercentage"]) == ([], 0, "80")


# The queue


async def _unsure(database: Database, count: int = 1) -> list[int]:
    """Audits whose every point fell with a quote that nearly says what was said."""
    resources = resources_of(database, Opinion(quote=NEAR))
    return [await judged(resources, RULES) for _ in range(count)]


async def test_unsure_points_are_listed_worst_first_until_a_person_has_looked(
    api: httpx2.AsyncClient, database: Database
) -> None:
    [audit_id] = await _unsure(database)
    async with database.write() as session:
        await session.execute(
            text(
                "update audit_step_result_control_points set certainty = 0.1,"
                """ doubts = '[{"reason": "role_unsure", "certainty": 0.1}]' where step_position = 2"""
                " and control_point_index = 2"
            )
        )
    queue = (await api.get("/api/audits/review-queue")).json()
    assert queue["next_cursor"] is None
    shown = [(each["stepPosition"], each["controlPointIndex"]) for each in queue["data"]]
    assert shown == [(2, 2), (1, 1), (1, 2), (2, 1)]
    assert queue["data"][1]["doubts"] == [{"reason": "near_miss", "certainty": 0.7}]
    assert (queue["data"][1]["auditId"], queue["data"][1]["isCritical"]) == (str(audit_id), True)
    only = (await api.get("/api/audits/review-queue?reason=role_unsure,chronology")).json()["data"]
    assert [each["controlPointIndex"] for each in only] == [2]
    await api.patch(f"/api/audits/{audit_id}/{POINT}", json={"commentaire": "Réécouté."})
    left = (await api.get("/api/audits/review-queue")).json()["data"]
    assert (1, 1) not in [(each["stepPosition"], each["controlPointIndex"]) for each in left]
    await api.patch(f"/api/audits/{audit_id}/steps/2/review", json={"conforme": "CONFORME"})
    left = (await api.get("/api/audits/review-queue")).json()["data"]
    assert [(each["stepPosition"], each["controlPointIndex"]) for each in left] == [(1, 2)]


async def test_the_queue_is_walked_page_by_page_without_gap_or_repetition(
    api: httpx2.AsyncClient, database: Database
) -> None:
    await _unsure(database, 3)
    whole = (await api.get("/api/audits/review-queue?limit=200")).json()["data"]
    assert len(whole) == 12
    walked: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await api.get(f"/api/audits/review-queue?limit=5{cursor}")).json()
        walked += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert walked == whole
    configs = {each["auditConfigId"] for each in whole}
    one = (await api.get(f"/api/audits/review-queue?audit_config_ids={min(configs)}")).json()["data"]
    assert {each["auditConfigId"] for each in one} == {min(configs)}


@pytest.mark.parametrize("change", ["is_latest = false", "deleted_at = now()", "status = 'failed'"])
async def test_the_queue_holds_nothing_of_audits_that_count_no_more(
    api: httpx2.AsyncClient, database: Database, change: str
) -> None:
    await _unsure(database)
    async with database.write() as session:
        await session.execute(text(f"update audits set {change}"))  # noqa: S608 -- written above
    assert (await api.get("/api/audits/review-queue")).json()["data"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("reason=bored", "reason"),
        ("cursor=1", "cursor"),
        ("cursor=0.5000_99999999999999999999", "cursor"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("audit_config_ids=x", "audit_config_ids"),
    ],
)
async def test_a_queue_that_cannot_be_asked_for_names_what_is_wrong(
    api: httpx2.AsyncClient, query: str, field: str
) -> None:
    answer = await api.get(f"/api/audits/review-queue?{query}")
    assert answer.status_code == 400
    assert answer.json()["details"][0]["field"] == field
