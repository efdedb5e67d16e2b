"""Reading one fiche over HTTP: from the cache while it holds, else from the CRM (spec/fiches §2.4)."""

import asyncio
from weakref import WeakKeyDictionary, WeakValueDictionary

import structlog
from sqlalchemy.exc import SQLAlchemyError

from conforme.accounts.actor import Actor, Scope
from conforme.crm.errors import FicheNotFound, GatewayFailed
from conforme.crm.retry import persistently
from conforme.crm.schemas import FicheDetails
from conforme.fiches import policy, queries, service
from conforme.fiches.patch import Json
from conforme.fiches.policy import Reason
from conforme.fiches.ports import connected
from conforme.fiches.queries import Cached
from conforme.foundation.database import now
from conforme.foundation.errors import Forbidden
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources

log = structlog.get_logger(__name__)

READ_SECONDS = 120.0
"""Longest time a reader waits for the CRM, attempts and waits together."""

_IN_TURN: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
"""One fetch of a fiche at a time: who comes second finds what the first one stored."""

_PLACES: WeakKeyDictionary[Outbound, asyncio.Semaphore] = WeakKeyDictionary()
"""Readers of one process that may ask the CRM at once."""


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
        """
        known = await self._known()
        if not self._reason(known).fetches:
            return await self._settled(known)
        lock = _IN_TURN.setdefault(self._fiche_id, asyncio.Lock())
        async with lock:
            known = await self._known()
            if not self._reason(known).fetches:
                return await self._settled(known)
            return await self._fetched(known)

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

    async def _fetched(self, known: Cached | None) -> Json:
        try:
            details = await persistently(self._ask, seconds=READ_SECONDS)
        except (FicheNotFound, GatewayFailed) as error:
            if known and not self._refresh and policy.can_serve_stale(known.facts):
                log.warning("served a stale fiche", fiche_id=self._fiche_id, code=error.code)
                return await self._cached(known)
            if isinstance(error, FicheNotFound):
                await self._deny(known)
            raise
        return await self._stored(details)

    async def _ask(self, seconds: float) -> FicheDetails:
        places = asyncio.Semaphore(self._resources.settings.fiche_fetch_concurrency)
        try:
            async with asyncio.timeout(seconds), _PLACES.setdefault(self._resources.outbound, places):
                return await service.fetch_details(
                    self._resources, self._fiche_id, mail_devis=self._mail_devis, seconds=seconds
                )
        except TimeoutError:
            raise GatewayFailed(f"Failed to fetch fiche details for {self._fiche_id}: timed out") from None

    async def _deny(self, known: Cached | None) -> None:
        if known and known.facts.recordings_known:
            return  # The gateway denies fiches that it has when it is busy; known calls outweigh its word.
        async with self._resources.database.write() as session:
            await service.mark_not_found(session, self._resources.settings, self._fiche_id)

    async def _stored(self, details: FicheDetails) -> Json:
        """The fiche as stored; as fetched when storing fails, unless storing was asked for."""
        try:
            async with self._resources.database.write() as session:
                fresh = service.details_freshness(self._resources.settings)
                await service.store_details(session, self._recordings, details, fresh)
        except (SQLAlchemyError, GatewayFailed) as error:
            if self._refresh or self._actor.scope is not Scope.ALL:
                raise
            log.warning(
                "a fiche was fetched but not stored", fiche_id=self._fiche_id, error=type(error).__name__
            )
            return queries.document_of(details, self._recordings)
        known = await self._known()
        return await self._settled(known)
