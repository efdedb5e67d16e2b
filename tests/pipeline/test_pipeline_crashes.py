"""Replicas that are killed or told to stop during audits: every audit ends, and nothing that was stored is paid again."""

import asyncio
import random
import signal
from collections import Counter

import pytest
from pipeline_account import Account
from pipeline_audits import Asked, Client, rows, told
from pipeline_processes import free_port, until
from pipeline_site import Site

pytestmark = pytest.mark.crash

SERVICES = ("crm", "speech", "model")


async def _ask(client: Client, site: Site, count: int) -> list[Asked]:
    return [await client.ask(fiche_id, site.config_id) for fiche_id in site.fiche_ids[:count]]


async def _until_asked(site: Site, requests: int) -> None:
    async def reached() -> bool:
        return await site.outside.requests(*SERVICES) >= requests

    await until(reached, f"the providers were asked {requests} times")


async def _all_completed(client: Client, site: Site, audits: list[Asked]) -> None:
    for audit, detail in zip(audits, await client.ended(audits), strict=True):
        assert (detail["status"], detail["errorMessage"]) == ("completed", None)
        steps = [step["stepPosition"] for step in detail["stepResults"]]
        assert steps == [1, 2, 3, 4, 5]
        await _told_once(site, audit, steps)


ONCE = ("audit.started", "audit.compliance_calculated", "audit.completed")


async def _told_once(site: Site, audit: Asked, steps: list[int]) -> None:
    log = await told(site.database, audit)
    names = Counter(event.name for event in log)
    assert {name: names[name] for name in ONCE} == dict.fromkeys(ONCE, 1)
    assert names["audit.failed"] == 0
    finished = [event.payload["step_position"] for event in log if event.name == "audit.step_completed"]
    assert sorted(finished) == steps


async def test_killed_at_random_moments_a_process_goes_on_where_it_stood(site: Site) -> None:
    chance, account, port = random.Random(20), Account(site), free_port()  # noqa: S311
    replica = await site.start(port).ready()
    async with site.client(replica.url) as client:
        audits = await _ask(client, site, 4)
        reached = 0
        for _ in range(3):
            reached += chance.randint(4, 11)
            await _until_asked(site, reached)
            replica.kill()
            await account.note_death()
            reached = await site.outside.requests(*SERVICES)
            replica = await site.start(port).ready()
        await _all_completed(client, site, audits)
    await account.check()


async def test_when_one_of_two_processes_is_killed_the_other_finishes_the_batch(site: Site) -> None:
    account = Account(site)
    survivor, victim = site.start(), site.start()
    await asyncio.gather(survivor.ready(), victim.ready())
    async with site.client(survivor.url) as client:
        wish = {"fiche_ids": site.fiche_ids[:4], "audit_config_id": site.config_id}
        batch_id = (await client.http.post("/api/audits/batch", json=wish)).json()["batch_id"]
        await _until_asked(site, 20)
        victim.kill()
        # Both worked: what the survivor has in flight counts as lost here, which allows more than is asked again.
        await account.note_death()
        await _all_completed(client, site, await _of_batch(client, batch_id))
        await _batch_told_exactly(site, batch_id, total=4)
    await account.check()


async def _of_batch(client: Client, batch_id: str) -> list[Asked]:
    items = (await client.http.get(f"/api/audits/batch/{batch_id}/items")).json()["data"]
    assert [item["fiche_id"] for item in items] == sorted({item["fiche_id"] for item in items})
    return [Asked(item["audit_db_id"], item["audit_id"], item["fiche_id"]) for item in items]


async def _batch_told_exactly(site: Site, batch_id: str, total: int) -> None:
    """The progress of a batch names each count of ended audits once, and its end once."""
    query = "select name, (payload->>'completed')::int from events where payload->>'batch_id' = :batch order by id"
    told = [tuple(row) for row in await rows(site.database, query, batch=batch_id)]
    steps = [("batch.progress", count) for count in range(total + 1)]
    assert told == [*steps, ("batch.completed", total)]


async def test_told_to_stop_a_process_finishes_its_calls_and_hands_the_rest_over_at_once(site: Site) -> None:
    account = Account(site)
    leaving = await site.start(REPLICA_LEASE_SECONDS="600").ready()
    async with site.client(leaving.url) as client:
        audits = await _ask(client, site, 3)
        await _until_asked(site, 10)
    successor = site.start(REPLICA_LEASE_SECONDS="600")
    leaving.signal(signal.SIGTERM)
    assert await leaving.ended() == 0
    async with site.client((await successor.ready()).url) as client:
        await _all_completed(client, site, audits)
    await account.check()
