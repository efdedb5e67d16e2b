from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from conforme.audit_configs import service
from conforme.audit_configs.revision_routes import router as revision_router
from conforme.audit_configs.revisions import revision_for_run
from conforme.audit_configs.routes import router
from conforme.foundation.database import Database
from conforme.foundation.web import install_error_handlers
from conforme.settings import Settings
from rubrics import rules

TOKEN = "a-token-for-tests"
PATH = "/api/audit-configs"
STEP: dict[str, Any] = {
    "name": "Accueil",
    "prompt": "Écoute.",
    "severityLevel": "HIGH",
    "position": 1,
    "controlPoints": ["Bonjour", {"text": "ORIAS", "ref": "O3", "critical": True}],
}


@pytest.fixture
async def client(database: Database) -> AsyncGenerator[httpx2.AsyncClient]:
    app = FastAPI()
    app.include_router(router)
    app.include_router(revision_router)
    install_error_handlers(app)
    app.state.resources = SimpleNamespace(
        settings=Settings(api_auth_tokens=SecretStr(TOKEN)), database=database
    )
    transport = httpx2.ASGITransport(app=app)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://conforme.test", headers=headers
    ) as client:
        yield client


async def created(client: httpx2.AsyncClient, count: int = 2, **fields: Any) -> str:
    steps = [STEP | {"name": f"Étape {n}", "position": n} for n in range(1, count + 1)]
    answer = await client.post(PATH, json={"name": "Grille", "steps": steps} | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]["id"]


async def read(client: httpx2.AsyncClient, config_id: str) -> dict[str, Any]:
    answer = await client.get(f"{PATH}/{config_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def refused(answer: httpx2.Response, status: int, error: str) -> bool:
    body = answer.json()
    return (answer.status_code, body["success"], body["error"]) == (status, False, error)


async def test_a_created_configuration_reads_back_with_its_steps(client: httpx2.AsyncClient) -> None:
    config = await read(
        client, await created(client, description="Pour voir", unknown="dropped", createdBy="someone")
    )
    assert isinstance(config["id"], str)
    assert config["createdAt"].endswith("Z")
    assert config["createdBy"].startswith("token:")
    assert (config["description"], config["systemPrompt"], config["isActive"]) == ("Pour voir", None, True)
    step = config["steps"][0]
    assert step["auditConfigId"] == config["id"]
    assert step["controlPoints"] == ["Bonjour", "ORIAS"]
    assert step["controlPointDetails"] == [{}, {"ref": "O3", "critical": True}]
    assert (step["position"], step["weight"], step["severityLevel"]) == (1, 5, "HIGH")


async def test_a_list_is_newest_first_and_counts_steps(client: httpx2.AsyncClient) -> None:
    old, new = await created(client), await created(client, count=3)
    body = (await client.get(PATH)).json()
    assert [(line["id"], line["stepsCount"]) for line in body["data"]] == [(new, 3), (old, 2)]
    assert body["count"] == 2
    assert "steps" not in body["data"][0]


async def test_a_list_can_hold_inactive_ones_and_their_steps(client: httpx2.AsyncClient) -> None:
    await created(client, isActive=False)
    assert (await client.get(PATH)).json()["data"] == []
    assert (await client.get(f"{PATH}?include_inactive=1")).json()["data"] == []
    (config,) = (await client.get(f"{PATH}?include_inactive=true&include_steps=true")).json()["data"]
    assert len(config["steps"]) == 2


async def test_a_configuration_without_steps_is_a_draft_that_cannot_run(client: httpx2.AsyncClient) -> None:
    config_id = await created(client, count=0, isActive=False)
    answer = await client.get(f"{PATH}/{config_id}/validate")
    errors = ["Audit config is not active", "steps: at least one step is needed"]
    assert answer.json() == {"success": True, "data": {"valid": False, "errors": errors}}


async def test_a_complete_configuration_is_valid(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{PATH}/{await created(client)}/validate")
    assert answer.json()["data"] == {"valid": True, "errors": []}


async def test_validating_an_unknown_one_says_so(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{PATH}/999/validate")
    assert answer.status_code == 200
    assert answer.json()["data"] == {"valid": False, "errors": ["Audit config not found"]}


async def test_null_clears_a_text_and_silence_keeps_it(client: httpx2.AsyncClient) -> None:
    config_id = await created(client, description="Un", systemPrompt="Deux")
    answer = await client.put(f"{PATH}/{config_id}", json={"description": None, "name": "Nouveau nom"})
    assert answer.json() == {
        "success": True,
        "data": {"id": config_id, "name": "Nouveau nom", "stepsCount": 2},
    }
    config = await read(client, config_id)
    assert (config["name"], config["description"], config["systemPrompt"]) == ("Nouveau nom", None, "Deux")


async def test_a_step_is_added_changed_and_deleted(client: httpx2.AsyncClient) -> None:
    config_id = await created(client)
    added = await client.post(f"{PATH}/{config_id}/steps", json=STEP | {"name": "Fin", "position": 3})
    assert added.status_code == 201
    step_id = added.json()["data"]["id"]
    changes = {"controlPoints": ["Au revoir"], "keywords": ["adieu"], "weight": 9, "description": None}
    changed = (await client.put(f"{PATH}/steps/{step_id}", json=changes)).json()["data"]
    assert (changed["controlPoints"], changed["controlPointDetails"]) == (["Au revoir"], [{}])
    assert (changed["keywords"], changed["weight"], changed["name"]) == (["adieu"], 9, "Fin")
    assert (await client.delete(f"{PATH}/steps/{step_id}")).json() == {
        "success": True,
        "message": "Step deleted",
    }
    assert len((await read(client, config_id))["steps"]) == 2


async def test_steps_are_reordered_from_one(client: httpx2.AsyncClient) -> None:
    config_id = await created(client, count=3)
    ids = [step["id"] for step in (await read(client, config_id))["steps"]]
    answer = await client.put(f"{PATH}/{config_id}/steps/reorder", json={"stepIds": ids[::-1]})
    assert answer.json() == {"success": True, "message": "Steps reordered successfully"}
    assert [(step["id"], step["position"]) for step in (await read(client, config_id))["steps"]] == [
        (step_id, position) for position, step_id in enumerate(ids[::-1], start=1)
    ]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "stepIds must be an array"),
        ([], "stepIds must be an array"),
        ({"stepIds": "1"}, "stepIds must be an array"),
        ({"stepIds": ["zero"]}, "Invalid step IDs: zero"),
        ({"stepIds": [98765]}, "Invalid step IDs: 98765"),
        ({"stepIds": []}, "Step IDs count doesn't match existing steps count"),
    ],
)
async def test_a_reorder_that_is_not_of_all_steps_is_refused(
    client: httpx2.AsyncClient, body: object, error: str
) -> None:
    answer = await client.put(f"{PATH}/{await created(client)}/steps/reorder", json=body)
    assert refused(answer, 400, error)


async def test_a_step_given_twice_in_a_reorder_is_refused(client: httpx2.AsyncClient) -> None:
    config_id = await created(client)
    first = (await read(client, config_id))["steps"][0]["id"]
    answer = await client.put(f"{PATH}/{config_id}/steps/reorder", json={"stepIds": [first, first]})
    assert refused(answer, 400, "Step IDs count doesn't match existing steps count")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Invalid create audit config input"),
        ({"name": ""}, "Invalid create audit config input"),
        ({"name": "a\u0000b"}, "Invalid create audit config input"),
        ({"name": "a", "steps": [STEP | {"weight": 11}]}, "Invalid create audit config input"),
        ({"name": "a", "steps": [STEP | {"controlPoints": []}]}, "Invalid create audit config input"),
        ({"name": "a", "steps": [STEP | {"position": 0}]}, "Invalid create audit config input"),
        ({"name": "a", "steps": [STEP | {"name": " "}]}, "Validation failed for 1 step(s)"),
        ({"name": "a", "steps": [STEP, STEP]}, "Step positions must be unique"),
    ],
)
async def test_a_creation_is_refused_in_the_words_of_the_contract(
    client: httpx2.AsyncClient, body: object, error: str
) -> None:
    assert refused(await client.post(PATH, json=body), 400, error)
    assert (await client.get(PATH)).json()["count"] == 0


async def test_a_refusal_names_the_field_beside_the_sentence(client: httpx2.AsyncClient) -> None:
    answer = await client.post(PATH, json={"name": "a", "steps": [STEP | {"weight": 11}]})
    assert answer.json()["code"] == "VALIDATION_ERROR"
    assert answer.json()["details"][0]["field"] == "steps.0.weight"


async def test_malformed_changes_are_refused_in_the_words_of_the_contract(client: httpx2.AsyncClient) -> None:
    config_id = await created(client)
    step_id = (await read(client, config_id))["steps"][0]["id"]
    assert refused(
        await client.put(f"{PATH}/{config_id}", json={"name": None}), 400, "Invalid update audit config input"
    )
    assert refused(
        await client.put(f"{PATH}/steps/{step_id}", json={"weight": 0}),
        400,
        "Invalid update audit step input",
    )
    assert refused(
        await client.post(f"{PATH}/{config_id}/steps", json={"name": "a"}),
        400,
        "Invalid create audit step input",
    )
    taken = "Position 2 is already taken. Available positions: 3"
    assert refused(await client.post(f"{PATH}/{config_id}/steps", json=STEP | {"position": 2}), 400, taken)
    assert refused(await client.put(f"{PATH}/steps/{step_id}", json={"position": 2}), 400, taken)


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/999", "Audit config with ID '999' not found"),
        ("PUT", "/999", "Audit config with ID '999' not found"),
        ("DELETE", "/999", "Audit config with ID '999' not found"),
        ("PUT", "/steps/999", "Audit step with ID '999' not found"),
        ("DELETE", "/steps/999", "Audit step with ID '999' not found"),
    ],
)
async def test_what_is_unknown_is_not_found(
    client: httpx2.AsyncClient, method: str, path: str, error: str
) -> None:
    assert refused(await client.request(method, PATH + path, json={}), 404, error)


@pytest.mark.parametrize("config_id", ["x", "0", "-1", "1.5", "99999999999999999999", "٣"])
async def test_an_id_that_is_no_id_is_a_bad_request(client: httpx2.AsyncClient, config_id: str) -> None:
    assert refused(await client.get(f"{PATH}/{config_id}"), 400, "Invalid audit config id")


async def test_deleting_one_that_was_run_is_a_conflict(
    client: httpx2.AsyncClient, database: Database
) -> None:
    async with database.write() as session:
        config_id = (await service.create(session, rules())).id
        await revision_for_run(session, config_id)
    answer = await client.delete(f"{PATH}/{config_id}")
    assert answer.status_code == 409
    assert answer.json()["code"] == "CONFLICT"
    unused = await created(client)
    assert (await client.delete(f"{PATH}/{unused}")).json() == {
        "success": True,
        "message": "Audit config deleted",
    }


async def test_a_stranger_is_not_let_in(client: httpx2.AsyncClient) -> None:
    answer = await client.get(PATH, headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


async def published(client: httpx2.AsyncClient, config_id: str) -> dict[str, Any]:
    answer = await client.post(f"{PATH}/{config_id}/revisions")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_a_draft_is_published_once_for_each_thing_it_says(client: httpx2.AsyncClient) -> None:
    config_id = await created(client)
    first, again = await published(client, config_id), await published(client, config_id)
    assert first == again
    assert first["number"] == 1
    await client.put(f"{PATH}/{config_id}", json={"systemPrompt": "Autre consigne."})
    listed = (await client.get(f"{PATH}/{config_id}/revisions")).json()
    assert [(line["number"], line["isDraft"]) for line in listed["data"]] == [(1, False)]
    second = await published(client, config_id)
    assert (second["number"], second["content"]["system_prompt"]) == (2, "Autre consigne.")
    listed = (await client.get(f"{PATH}/{config_id}/revisions?limit=1")).json()
    assert [(line["number"], line["isDraft"]) for line in listed["data"]] == [(2, True)]
    assert listed["pagination"]["total"] == 2
    assert (await client.get(f"{PATH}/{config_id}/revisions/1")).json()["data"] == first


async def test_what_a_draft_would_change_is_said_by_field(client: httpx2.AsyncClient) -> None:
    config_id = await created(client, count=1)
    await published(client, config_id)
    await client.put(f"{PATH}/{config_id}", json={"name": "Grille 2027"})
    answer = await client.get(f"{PATH}/{config_id}/revisions/diff?from=1")
    expected = [{"kind": "changed", "path": "name", "before": "Grille", "after": "Grille 2027"}]
    assert answer.json()["data"] == {"from": "1", "to": "draft", "changes": expected}
    await published(client, config_id)
    answer = await client.get(f"{PATH}/{config_id}/revisions/diff?from=2&to=draft")
    assert answer.json()["data"]["changes"] == []


async def test_an_incomplete_draft_is_not_published(client: httpx2.AsyncClient) -> None:
    config_id = await created(client, count=0)
    answer = await client.post(f"{PATH}/{config_id}/revisions")
    assert answer.status_code == 400
    assert "at least one step" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("999/revisions", 404),
        ("abc/revisions", 400),
        ("{id}/revisions/2", 404),
        ("{id}/revisions/x", 400),
        ("{id}/revisions/diff?from=9", 404),
        ("{id}/revisions/diff?from=older", 400),
        ("{id}/revisions/diff", 400),
        ("{id}/revisions?limit=0", 400),
    ],
)
async def test_revisions_that_are_not_there(client: httpx2.AsyncClient, path: str, status: int) -> None:
    config_id = await created(client, count=1)
    await published(client, config_id)
    assert (await client.get(f"{PATH}/{path.format(id=config_id)}")).status_code == status
