"""Reading one fiche over HTTP: from the cache while it holds, else from the CRM (spec/fiches §2.4).

Readers do not ask the CRM themselves. They have the job `fiche/fetch` do it, ahead of work in the background, so that
one fetch per fiche and `FICHE_FETCH_CONCURRENCY` hold for readers and jobs of all replicas together.

Who does not see every fiche is answered the same for one that is not theirs and for one that does not exist. Of a fiche
that nobody fetched yet it is not known whose it is: they may have it fetched, so often, and are told no more.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import structlog

from conforme.accounts import allowance
from conforme.accounts.actor import Actor, Scope
from conforme.accounts.allowance import Allowance
from conforme.crm.errors import FicheNotFound
from conforme.fiches import policy, queries
from conforme.fiches.patch import Json
from conforme.fiches.policy import Reason
from conforme.fiches.ports import connected
from conforme.fiches.queries import Cached
from conforme.fiches.schemas import FetchFiche, ReaderWants
from conforme.fiches.scope import visible_fiche_exists, whose_is_told
from conforme.fiches.waiting import READ, Wanted, failure_of, outcome_of
from conforme.fiches.workflows import fetch_fiche
from conforme.foundation.database import now
from conforme.foundation.durable import Outcome
from conforme.foundation.errors import ConformeError, Forbidden
from conforme.foundation.resources import Resources

log = structlog.get_logger(__name__)

UNSEEN = Allowance("unseen-fiche", times=60, window=timedelta(hours=1))
"""Fetches that one caller asks for of fiches that then turn out not to be theirs."""


@dataclass(frozen=True, slots=True)
class Readers:
    """Whoever reads a fiche, and as who they hear its recordings; None when they do not."""

    fiche: Actor
    recordings: Actor | None


class Reading:
    """One request for a fiche."""

    def __init__(
        self,
        resources: Resources,
        readers: Readers,
        fiche_id: str,
        *,
        refresh: bool = False,
        mail_devis: bool = False,
    ) -> None:
        self._resources = resources
        self._readers = readers
        self._actor = readers.fiche
        self._fiche_id = fiche_id
        self._refresh = refresh
        self._mail_devis = mail_devis
        self._recordings = connected().recordings
        self._wanted = Wanted(f"Fiche {fiche_id}", f"Failed to fetch fiche details for {fiche_id}")

    async def document(self) -> Json:
        """The fiche in the gateway's shape; without the addresses of recordings for who may not hear them.

        Raises:
            Forbidden: out of the actor's scope; for all but scope ALL also when there is no such fiche.
            FicheNotFound: the CRM has no such fiche.
            GatewayFailed: it is not cached, or only as a line of a listing, and the CRM does not answer.
            Unavailable: as above, and the fetch did not end in time.
        """
        shown = await self._document()
        return shown if await self._hears() else _unheard(shown)

    async def _document(self) -> Json:
        known = await self._known()
        if not self._reason(known).fetches:
            return await self._settled(known)
        if self._may_see(known):
            return await self._up_to_date(known)
        return await self._unseen(known)

    def _may_see(self, known: Cached | None) -> bool:
        return self._actor.scope is Scope.ALL or (known is not None and known.in_scope)

    async def _unseen(self, known: Cached | None) -> Json:
        """A fiche of which it is not known whose it is; an allowance bounds what others' fiches cost the CRM."""
        async with self._resources.database.write() as session:
            allowed = await allowance.take(session, UNSEEN, self._actor.name)
        if not allowed:
            raise Forbidden
        try:
            shown = await self._up_to_date(known)
        except FicheNotFound:
            raise Forbidden from None
        async with self._resources.database.write() as session:
            await allowance.give_back(session, UNSEEN, self._actor.name)
        return shown

    async def _up_to_date(self, known: Cached | None) -> Json:
        try:
            unstored = await self._fetched()
        except ConformeError as error:
            if known is None or self._refresh or not policy.can_serve_stale(known.facts):
                raise
            log.warning("served a stale fiche", fiche_id=self._fiche_id, code=error.code)
            return await self._cached(known)
        return unstored or await self._settled(await self._known())

    async def _known(self) -> Cached | None:
        async with self._resources.database.read() as session:
            known = await queries.cached(session, self._actor, self._recordings, self._fiche_id)
        if known and not known.in_scope and whose_is_told(self._actor, known.row):
            raise Forbidden
        return known

    async def _hears(self) -> bool:
        """Whether the recordings of this fiche, which the caller sees, may be heard by them too."""
        hearer = self._readers.recordings
        if hearer is None or hearer.scope.rank >= self._actor.scope.rank:
            return hearer is not None
        async with self._resources.database.read() as session:
            return await visible_fiche_exists(session, hearer, self._fiche_id)

    def _reason(self, known: Cached | None) -> Reason:
        return policy.for_read(
            known and known.facts, now(), refresh=self._refresh, mail_devis=self._mail_devis
        )

    async def _settled(self, known: Cached | None) -> Json:
        if not self._may_see(known):
            raise Forbidden
        if known is None or known.facts.not_found:
            raise FicheNotFound(self._fiche_id)
        return await self._cached(known)

    async def _cached(self, known: Cached) -> Json:
        async with self._resources.database.read() as session:
            found = await queries.document(
                session, self._actor, self._recordings, known.row, mail_devis=self._mail_devis
            )
        if found is None:
            raise Forbidden
        return found

    async def _fetched(self) -> Json | None:
        """Has the cache brought up to date; the fiche itself when it was fetched and could not be stored."""
        outcome = await self._outcome()
        if not outcome.ok:
            raise failure_of(outcome, self._wanted)
        answer: dict[str, Any] = outcome.value
        if answer["not_found"]:
            raise FicheNotFound(self._fiche_id)
        unstored = answer.get("unstored")
        if unstored is not None:
            await self._resources.durable.forget(outcome.id)
        return unstored

    async def _outcome(self) -> Outcome:
        """How the fetch ended that this reader asked for: an earlier one may have failed, so each asks for its own."""
        wants = ReaderWants(
            refresh=self._refresh,
            mail_devis=self._mail_devis,
            # What is not stored has no scope.
            even_unstored=not self._refresh and self._actor.scope is Scope.ALL,
        )
        return await outcome_of(
            self._resources,
            fetch_fiche,
            FetchFiche(fiche_id=self._fiche_id, reader=wants),
            id=f"{READ}{self._fiche_id}-{uuid4().hex}",
            key=self._fiche_id,
            wanted=self._wanted,
        )


def _unheard(fiche: Json) -> Json:
    return fiche | {"recordings": [call | {"recording_url": ""} for call in fiche["recordings"]]}
