"""`/api/webhooks` from outside: who sees which deliveries, redelivery, secrets that are changed and never shown."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import select, text
from standardwebhooks.webhooks import Webhook
from webhook_room import SECRET, attempts_of, open_turns, queued, receiver, registered, row_of, told

from conforme.accounts.grants import Scope
from conforme.foundation.database import Database
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.sandbox.webhooks import ScriptedAnswer, WebhookSink
from conforme.webhooks import workflows
from conforme.webhooks.body import Payload
from conforme.webhooks.models import WebhookDelivery
from conforme.webhooks.workflows import job_id_of
from people import granting, signed_in
from product_fixtures import SETTINGS


@dataclass
class Desk:
    """The API, and a receiver on the developer's own machine (the suite does not run as `production`)."""

    api: httpx2.AsyncClient
    resources: Resources
    sink: WebhookSink
    url: str

    async def send_all(self) -> None:
        """Takes turns until none is left, without waiting."""
        while turns := await open_turns(self.resources.database):
            await workflows.attempt(self.resources, turns[0][1])

    async def dead(self, endpoint_id: str, job_id: str = "j1", percent: int = 20) -> str:
        """A delivery that was given up."""
        payload = Payload(status="processing", progress=percent)
        delivery_id = await queued(self.resources, endpoint_id, payload=payload, job_id=job_id)
        self.sink.script("a", [ScriptedAnswer(status=500)] * 9)
        await self.send_all()
        return delivery_id

    async def data(self, path: str, **options: Any) -> Any:
        answer = await self.api.get(f"/api/webhooks{path}", **options)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


@pytest.fixture
async def desk(api: httpx2.AsyncClient, api_app: FastAPI) -> AsyncGenerator[Desk]:
    async with receiver() as (sink, url):
        resources = replace(api_app.state.resources, outbound=Outbound(SETTINGS))
        yield Desk(api, resources, sink, url)


async def test_the_log_tells_of_each_attempt_and_shows_neither_url_nor_secret_nor_payload(desk: Desk) -> None:
    endpoint_id = await registered(desk.resources, f"{desk.url}?token=hidden")
    delivery_id = await queued(desk.resources, endpoint_id)
    desk.sink.script("a", [ScriptedAnswer(status=503)])
    await desk.send_all()
    [line] = await desk.data("/deliveries")
    assert (line["id"], line["endpointId"], line["jobId"], line["event"]) == (
        delivery_id,
        endpoint_id,
        "j1",
        "progress",
    )
    assert (line["status"], line["statusCode"], line["attempt"], line["maxAttempts"]) == ("sent", 200, 2, 9)
    answer = await desk.api.get(f"/api/webhooks/deliveries/{delivery_id}")
    one = answer.json()["data"]
    assert [(each["attempt"], each["statusCode"], each["error"]) for each in one["attempts"]] == [
        (1, 503, "HTTP 503"),
        (2, 200, None),
    ]
    assert one["origin"] == desk.url.removesuffix("/hooks/a")
    for hidden in ("hidden", "hooks/a", SECRET, "Régis", "VANIER"):
        assert hidden not in answer.text


async def test_deliveries_are_paged_and_filtered(desk: Desk) -> None:
    endpoint_id = await registered(desk.resources, desk.url)
    for number in range(3):
        await queued(desk.resources, endpoint_id, job_id=f"j{number}")
    await queued(desk.resources, endpoint_id, "complete", Payload(status="complete"), job_id="j0")
    assert [each["event"] for each in await desk.data("/deliveries?job_id=j0")] == ["complete", "progress"]
    assert len(await desk.data("/deliveries?event=progress&status=pending")) == 3
    assert await desk.data("/deliveries?status=sent") == []
    answer = (await desk.api.get("/api/webhooks/deliveries?limit=3&offset=3")).json()
    assert len(answer["data"]) == 1
    assert answer["pagination"]["total"] == 4


@pytest.mark.parametrize(
    "query", ["status=lost", "limit=0", "limit=501", "offset=-1", "offset=x", "job_id=", f"event={'x' * 201}"]
)
async def test_a_filter_that_cannot_be_is_named(desk: Desk, query: str) -> None:
    answer = await desk.api.get(f"/api/webhooks/deliveries?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert query.split("=", maxsplit=1)[0] in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/test"),
        ("GET", "/deliveries/c-unknown"),
        ("POST", "/deliveries/c-unknown/redeliver"),
        ("POST", "/endpoints/c-unknown/enable"),
    ],
)
async def test_what_does_not_exist_is_not_found(desk: Desk, method: str, path: str) -> None:
    answer = await desk.api.request(method, f"/api/webhooks{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


async def test_a_dead_letter_is_sent_again_with_its_id_and_its_body_behind_what_waits(desk: Desk) -> None:
    endpoint_id = await registered(desk.resources, desk.url)
    delivery_id = await desk.dead(endpoint_id)
    await queued(desk.resources, endpoint_id, payload=Payload(status="processing", progress=40))
    answer = await desk.api.post(f"/api/webhooks/deliveries/{delivery_id}/redeliver")
    assert answer.status_code == 200
    assert (answer.json()["data"]["status"], answer.json()["data"]["attempt"]) == ("pending", 10)
    conflict = await desk.api.post(f"/api/webhooks/deliveries/{delivery_id}/redeliver")
    assert (conflict.status_code, conflict.json()["code"]) == (409, "CONFLICT")
    await desk.send_all()
    first, *_, last = desk.sink.deliveries
    assert told(desk.sink.deliveries)[-2:] == [40, 20]
    assert (last.body, last.headers["webhook-id"]) == (first.body, delivery_id)
    assert last.headers["x-webhook-attempt"] == "10"
    assert [each.attempt for each in await attempts_of(desk.resources.database, delivery_id)] == [
        *range(1, 11)
    ]


async def test_a_delivery_that_was_sent_may_be_sent_again(desk: Desk) -> None:
    delivery_id = await queued(desk.resources, await registered(desk.resources, desk.url))
    await desk.send_all()
    assert (await desk.api.post(f"/api/webhooks/deliveries/{delivery_id}/redeliver")).status_code == 200
    await desk.send_all()
    assert [each.headers["webhook-id"] for each in desk.sink.deliveries] == [delivery_id] * 2


async def test_all_dead_letters_are_sent_again_in_their_order(desk: Desk) -> None:
    endpoint_id = await registered(desk.resources, desk.url)
    dead = [await desk.dead(endpoint_id, percent=percent) for percent in (20, 40)]
    other = await desk.dead(endpoint_id, job_id="j2", percent=60)
    before = len(desk.sink.deliveries)
    answer = await desk.api.post("/api/webhooks/deliveries/redeliver", json={"job_id": "j1"})
    assert answer.json() == {"success": True, "redelivered": 2, "remaining": 0}
    await desk.send_all()
    assert told(desk.sink.deliveries[before:]) == [20, 40]
    assert (await row_of(desk.resources.database, other)).status == "failed"
    assert (await desk.api.post("/api/webhooks/deliveries/redeliver", json={})).json()["redelivered"] == 1
    await desk.send_all()
    for delivery_id in (*dead, other):
        assert (await row_of(desk.resources.database, delivery_id)).status == "sent"


@pytest.mark.parametrize("body", [{"status": "sent"}, {"job_id": ""}, {"all": True}])
async def test_a_bulk_redelivery_that_is_not_understood_sends_nothing(
    desk: Desk, body: dict[str, Any]
) -> None:
    answer = await desk.api.post("/api/webhooks/deliveries/redeliver", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")


async def test_an_endpoint_that_is_gone_is_enabled_by_hand(desk: Desk) -> None:
    endpoint_id = await registered(desk.resources, desk.url)
    delivery_id = await queued(desk.resources, endpoint_id)
    desk.sink.script("a", [ScriptedAnswer(status=410)])
    await desk.send_all()
    refused = await desk.api.post(f"/api/webhooks/deliveries/{delivery_id}/redeliver")
    assert refused.status_code == 409
    assert "disabled" in refused.json()["error"]
    many = await desk.api.post("/api/webhooks/deliveries/redeliver", json={})
    assert many.json()["redelivered"] == 0
    [shown] = await desk.data("/endpoints?subject=job:j1")
    assert (shown["disabledBecause"], shown["signed"]) == ("The receiver answered 410 Gone", True)
    enabled = await desk.api.post(f"/api/webhooks/endpoints/{endpoint_id}/enable")
    assert enabled.json()["data"]["disabledAt"] is None
    assert (await desk.api.post("/api/webhooks/deliveries/redeliver", json={})).json()["redelivered"] == 1
    await desk.send_all()
    assert (await row_of(desk.resources.database, delivery_id)).status == "sent"


async def test_a_new_secret_overlaps_with_the_old_one_and_neither_is_shown(desk: Desk) -> None:
    endpoint_id = await registered(desk.resources, desk.url)
    new = "whsec_dGhlIG5leHQgc2VjcmV0IG9mIHRoZSB0ZXN0cw=="
    answer = await desk.api.post(f"/api/webhooks/endpoints/{endpoint_id}/secret", json={"secret": new})
    assert answer.status_code == 200
    assert answer.json()["data"]["previousSecretUntil"] is not None
    listed = await desk.api.get("/api/webhooks/endpoints")
    for secret in (new, SECRET):
        assert secret not in answer.text + listed.text
    await queued(desk.resources, endpoint_id)
    await desk.send_all()
    [request] = desk.sink.deliveries
    for secret in (new, SECRET):
        Webhook(secret).verify(request.body, request.headers)
    async with desk.resources.database.read() as session:
        logged = (await session.execute(text("select action, target, details::text from audit_log"))).all()
    assert [tuple(row) for row in logged] == [
        ("webhook.secret.rotated", f"webhook-endpoint:{endpoint_id}", "{}")
    ]


@pytest.mark.parametrize(
    "body", [{}, {"secret": ""}, {"secret": "x" * 257}, {"secret": "a\0"}, {"secret": 7}, {"secret": None}]
)
async def test_a_secret_that_cannot_be_one_changes_nothing(desk: Desk, body: dict[str, Any]) -> None:
    endpoint_id = await registered(desk.resources, desk.url)
    answer = await desk.api.post(f"/api/webhooks/endpoints/{endpoint_id}/secret", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert "xxxx" not in answer.text
    await queued(desk.resources, endpoint_id)
    await desk.send_all()
    Webhook(SECRET).verify(desk.sink.deliveries[0].body, desk.sink.deliveries[0].headers)


async def test_people_see_and_change_only_what_they_asked_for(desk: Desk, database: Database) -> None:
    rights = granting(["fiches"], Scope.GROUP, write=True)
    asker = await signed_in(database, SETTINGS, rights)
    other = await signed_in(database, SETTINGS, rights)
    reader = await signed_in(database, SETTINGS, granting(["fiches"], Scope.ALL))
    stranger = await signed_in(database, SETTINGS, granting(["audits"], Scope.ALL, write=True))
    endpoint_id = await registered(desk.resources, desk.url, actor=asker.caller.acting(["fiches.read"]))
    delivery_id = await desk.dead(endpoint_id)
    paths = [
        ("GET", f"/deliveries/{delivery_id}"),
        ("POST", f"/deliveries/{delivery_id}/redeliver"),
        ("POST", f"/endpoints/{endpoint_id}/enable"),
        ("POST", f"/endpoints/{endpoint_id}/secret"),
    ]
    for person, expected in (
        (other, [404, 404, 404, 404]),
        (reader, [200, 403, 403, 403]),
        (stranger, [403, 403, 403, 403]),
        (asker, [200, 200, 200, 200]),
    ):
        answers = [
            (
                await desk.api.request(
                    method, f"/api/webhooks{path}", json={"secret": "new one"}, headers=person.headers
                )
            ).status_code
            for method, path in paths
        ]
        assert answers == expected
    for person, seen in ((other, 0), (asker, 1), (reader, 1)):
        assert len(await desk.data("/deliveries", headers=person.headers)) == seen
        assert len(await desk.data("/endpoints", headers=person.headers)) == seen
    await desk.dead(endpoint_id)
    many = await desk.api.post("/api/webhooks/deliveries/redeliver", json={}, headers=other.headers)
    assert many.json()["redelivered"] == 0


async def test_a_redelivery_is_queued_in_the_transaction_that_notes_it(desk: Desk) -> None:
    delivery_id = await queued(desk.resources, await registered(desk.resources, desk.url))
    await desk.send_all()
    await desk.api.post(f"/api/webhooks/deliveries/{delivery_id}/redeliver")
    async with desk.resources.database.read() as session:
        row = (await session.scalars(select(WebhookDelivery).where(WebhookDelivery.id == delivery_id))).one()
    assert row.turn == 2
    assert await desk.resources.durable.state(job_id_of(delivery_id, 2)) == "queued"
