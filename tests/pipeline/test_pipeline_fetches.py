"""The places at the CRM, shared by jobs and readers of two replicas."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from pipeline_audits import Client
from pipeline_site import Site

from conforme.crm.gateway import CrmGateway
from conforme.fiches.schemas import FetchFiche
from conforme.fiches.workflows import fetch_fiche
from conforme.foundation.durable import Durable
from conforme.foundation.outbound import Outbound
from conforme.sandbox.weather import Latency
from conforme.sandbox.world import SandboxOptions
from conforme.settings import Settings, settings_with

PLACES = 2
FICHES = 4
WAYS: Sequence[dict[str, str]] = ({}, {"include_mail_devis": "true"}, {"refresh": "true"})


@dataclass(frozen=True)
class Request:
    """One request for a fiche as the CRM saw it, in seconds since the epoch."""

    fiche_id: str
    arrived: float
    ended: float


def most_at_once(requests: Sequence[Request]) -> int:
    moments = sorted([(each.arrived, 1) for each in requests] + [(each.ended, -1) for each in requests])
    at_once = most = 0
    for _, change in moments:
        at_once += change
        most = max(most, at_once)
    return most


class Bystander:
    """Asks the CRM by itself, to learn by which digest its journal names a fiche, and queues jobs."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.fiche_ids = site.fiche_ids[:FICHES]
        self._settings = settings_with(Settings(), site.outside.environment)
        self.durable = Durable(self._settings, site.database)
        self._fiches: dict[str, str] = {}
        self._seen = 0

    async def _journal(self) -> list[dict[str, Any]]:
        """What is new since the last look."""
        entries = (await self._site.outside.journal("crm"))[self._seen :]
        self._seen += len(entries)
        return entries

    async def learn(self) -> None:
        outbound = Outbound(self._settings)
        gateway = CrmGateway(outbound, self._settings)
        for fiche_id in self.fiche_ids:
            for mail_devis in (False, True):
                await gateway.fiche(fiche_id, include_mail_devis=mail_devis)
                [entry] = await self._journal()
                self._fiches[entry["subject"]] = fiche_id
        await outbound.aclose()

    async def queue(self) -> list[str]:
        async with self._site.database.write() as session:
            for fiche_id in self.fiche_ids:
                payload = FetchFiche(fiche_id=fiche_id, force_refresh=True)
                await self.durable.dispatch(session, fetch_fiche, payload, id=f"job-{fiche_id}", key=fiche_id)
        return [f"job-{fiche_id}" for fiche_id in self.fiche_ids]

    async def requests(self) -> list[Request]:
        return [
            Request(self._fiches[each["subject"]], each["arrived"], each["ended"])
            for each in await self._journal()
        ]


async def _read(client: Client, fiche_id: str, way: dict[str, str]) -> dict[str, Any]:
    answer = await client.http.get(f"/api/fiches/{fiche_id}", params=way)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("outside_world", [SandboxOptions(crm_latency=Latency(base_ms=100))], indirect=True)
async def test_jobs_and_readers_of_two_replicas_share_the_places_at_the_crm(site: Site) -> None:
    bystander = Bystander(site)
    one, other = (site.start(FICHE_FETCH_CONCURRENCY=str(PLACES)) for _ in range(2))
    await asyncio.gather(one.ready(), other.ready(), bystander.learn())
    async with site.client(one.url) as first, site.client(other.url) as second:
        jobs = await bystander.queue()
        reads = [(fiche_id, way) for fiche_id in bystander.fiche_ids for way in WAYS]
        answers = await asyncio.gather(
            *(_read(client, *read) for read in reads for client in (first, second)),
        )
        outcomes = await asyncio.gather(*(bystander.durable.wait(job, 60) for job in jobs))
    assert all(outcome.ok for outcome in outcomes)
    assert Counter(answer["information"]["fiche_id"] for answer in answers) == dict.fromkeys(
        bystander.fiche_ids, 2 * len(WAYS)
    )
    requests = await bystander.requests()
    assert 1 < most_at_once(requests) <= PLACES
    for fiche_id in bystander.fiche_ids:
        own = [each for each in requests if each.fiche_id == fiche_id]
        assert most_at_once(own) == 1
        # Both refreshes, and one for all others; another one when that was without the mail.
        assert 2 <= len(own) <= 2 + 2
