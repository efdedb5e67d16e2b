"""Reading one fiche over HTTP: from the cache while it holds, else from the CRM (spec/fiches §2.4).

Readers do not ask the CRM themselves. They have the job `fiche/fetch` do it, ahead of work in the background, so that
one fetch per fiche and `FICHE_FETCH_CONCURRENCY` hold for readers and jobs of all replicas together.
"""

from typing import Any
from uuid import uuid4

import structlog

from conforme.accounts.actor import Actor, Scope
from conforme.crm.errors import FicheNotFound, GatewayFailed
from conforme.fiches import policy, queries
from conforme.fiches.patch import Json
from conforme.fiches.policy import Reason
from conforme.fiches.ports import connected
from conforme.fiches.queries import Cached
from conforme.fiches.schemas import FetchFiche, ReaderWants
from conforme.fiches.workflows import fetch_fiche
from conforme.foundation.database import now
from conforme.foundation.durable import Outcome, Priority
from conforme.foundation.errors import ConformeError, Forbidden, Misconfigured, Unavailable
from conforme.foundation.faults import DeadlineExceeded, StepTimeout
from conforme.foundation.resources import Resources

log = structlog.get_logger(__name__)

READ_SECONDS = 120.0
"""Longest time a reader waits for a fetch, its turn, attempts and waits together."""


class Reading:
    """One request for a fiche."""

    def __init__(
        self,
        resources: Resources,
        actor: Actor,
        fiche_id: str,
        *,
        refresh: bool = False,
        mail_devis: bool = False,
    ) -> None:
        self._resources = resources
        self._actor = actor
        self._fiche_id = fiche_id
        self._refresh = refresh
        self._mail_devis = mail_devis
        self._recordings = connected().recordings

    async def document(self) -> Json:
        """The fiche in the gateway's shape.

        Raises:
            Forbidden: out of the actor's scope.
            FicheNotFound: the CRM has no such fiche.
            GatewayFailed: it is not cached, or only as a line of a listing, and the CRM does not answer.
            Unavailable: as above, and the fetch did not end in time.
        """
        known = await self._known()
        if not self._reason(known).fetches:
            return await self._settled(known)
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
        # Of a fiche only listed nobody knows yet whose it is.
        if known and known.facts.detailed and not known.in_scope:
            raise Forbidden
        return known

    def _reason(self, known: Cached | None) -> Reason:
        return policy.for_read(
            known and known.facts, now(), refresh=self._refresh, mail_devis=self._mail_devis
        )

    async def _settled(self, known: Cached | None) -> Json:
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
            raise _failure(self._fiche_id, outcome)
        answer: dict[str, Any] = outcome.value
        if answer["not_found"]:
            raise FicheNotFound(self._fiche_id)
        unstored = answer.get("unstored")
        if unstored is not None:
            await self._resources.durable.forget(outcome.id)
        return unstored

    async def _outcome(self) -> Outcome:
        """How the fetch ended that this reader asked for: an earlier one may have failed, so each asks for its own."""
        durable, identifier = self._resources.durable, f"read-{self._fiche_id}-{uuid4().hex}"
        wants = ReaderWants(
            refresh=self._refresh,
            mail_devis=self._mail_devis,
            # What is not stored has no scope.
            even_unstored=not self._refresh and self._actor.scope is Scope.ALL,
        )
        payload = FetchFiche(fiche_id=self._fiche_id, reader=wants)
        async with self._resources.database.write() as session:
            await durable.dispatch(
                session,
                fetch_fiche,
                payload,
                id=identifier,
                key=self._fiche_id,
                priority=Priority.INTERACTIVE,
            )
        try:
            return await durable.wait(identifier, READ_SECONDS)
        except TimeoutError:
            # What has begun may end, and serves who asks next; what has not is wanted by nobody any more.
            if await durable.state(identifier) == "queued":
                await durable.cancel(identifier)
        raise Unavailable(
            f"Fiche {self._fiche_id} could not be fetched within {READ_SECONDS:g} seconds; try again later"
        )


def _failure(fiche_id: str, outcome: Outcome) -> ConformeError:
    """The error of a fetch as the reader is told of it."""
    if outcome.code in {StepTimeout.code, DeadlineExceeded.code}:
        return GatewayFailed(f"Failed to fetch fiche details for {fiche_id}: timed out")
    if outcome.code == GatewayFailed.code:
        return GatewayFailed(outcome.error)
    if outcome.code == Misconfigured.code:
        return Misconfigured(outcome.error)
    if outcome.cancelled or outcome.code == "ABANDONED":
        return Unavailable(f"The fetch of fiche {fiche_id} was cut off; try again later")
    return ConformeError()
