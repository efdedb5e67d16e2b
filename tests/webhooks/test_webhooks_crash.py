"""A process that dies between sending and storing: the receiver is told again, under the same name."""

import asyncio

import pytest
from webhook_replica import WebhookReplica
from webhook_room import (
    attempts_of,
    queued,
    receiver,
    registered,
    resources_of,
    row_of,
    settings_for,
    told,
)

from conforme.foundation.database import Database
from conforme.sandbox.webhooks import ScriptedAnswer
from conforme.webhooks.body import Payload


@pytest.mark.crash
async def test_killed_while_the_receiver_answers_the_delivery_is_made_again_under_the_same_id(
    database: Database, database_url: str
) -> None:
    async with receiver() as (sink, url):
        settings = settings_for(url)
        resources = resources_of(settings, database)
        endpoint_id = await registered(resources, url)
        ids = [
            await queued(resources, endpoint_id, payload=Payload(status="processing", progress=percent))
            for percent in (20, 40)
        ]
        sink.script("a", [ScriptedAnswer(delay_seconds=600)])
        async with WebhookReplica(database_url, settings) as victim, asyncio.timeout(60):
            while not sink.deliveries:  # noqa: ASYNC110 -- the sink tells nobody
                await asyncio.sleep(0.02)
            victim.kill()
        assert (await row_of(database, ids[0])).status == "pending", "it was received and not stored"
        async with WebhookReplica(database_url, settings), asyncio.timeout(60):
            while (await row_of(database, ids[1])).status != "sent":  # noqa: ASYNC110 -- as a reader looks
                await asyncio.sleep(0.05)
    first, again, later = sink.deliveries
    assert told(sink.deliveries) == [20, 20, 40]
    assert (first.body, first.headers["webhook-id"]) == (again.body, again.headers["webhook-id"])
    assert again.headers["x-webhook-delivery-id"] == ids[0]
    assert [first.headers["x-webhook-attempt"], again.headers["x-webhook-attempt"]] == ["1", "1"]
    assert later.headers["x-webhook-delivery-id"] == ids[1]
    assert len(await attempts_of(database, ids[0])) == 1
