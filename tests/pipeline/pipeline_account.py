"""What the providers were asked, against what the product has stored of it."""

from collections import Counter
from dataclasses import dataclass, field

from pipeline_audits import ledger, rows
from pipeline_site import Site

PAID = ("speech", "model")
"""Services that cost money, and the kinds of the ledger."""


@dataclass
class Account:
    """What the providers were asked, against what had been stored each time a process died."""

    site: Site
    lost: Counter[str] = field(default_factory=Counter[str])
    """By service: questions asked, and not yet stored when the process died: these may be asked again."""

    async def stored(self) -> Counter[str]:
        [[heard]] = await rows(self.site.database, "select count(*) from recordings where has_transcription")
        [[judged]] = await rows(self.site.database, "select count(*) from audit_step_results where traite")
        return Counter(speech=heard, model=judged)

    async def asked(self) -> Counter[str]:
        """Different questions, however often each was asked; of those under way all are taken for different."""
        return Counter({name: await self.site.outside.questions(name) for name in PAID})

    async def note_death(self) -> None:
        stored = await self.stored()  # first: a replica that lives must not hide what was lost
        self.lost += await self.asked() - stored

    async def check(self) -> None:
        """Only what was under way at a death was asked again, and each answer kept is on the account once."""
        stored = await self.stored()
        assert await self.asked() == stored
        for service in PAID:
            routes = (await self.site.outside.counts(service))["routes"].values()
            refused = sum(sum(route["faults"].values()) for route in routes)
            asked_again = sum(route["requests"] for route in routes) - refused - stored[service]
            assert asked_again <= self.lost[service], (service, routes, self.lost)
            assert sum(route["repeated"] for route in routes) <= self.lost[service]
        for kind in PAID:
            paid = await ledger(self.site.database, kind)
            assert set(paid.values()) == {1}
            assert len(paid) == stored[kind]
