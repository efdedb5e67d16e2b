"""Follows the event log and publishes it at Pusher: one replica at a time, each event at least once.

The cursor in the database moves when the provider has acknowledged an event, so a crash repeats what was in flight and
loses nothing. Events that share a channel are sent one after the other; others may overtake each other. While the
provider is down the publisher waits, and leaves out what has become too old to matter.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from conforme.foundation.database import Database, now
from conforme.foundation.errors import Invalid
from conforme.foundation.events import Event
from conforme.foundation.jobs import Retry
from conforme.foundation.outbound import OutboundFailed
from conforme.foundation.resources import Resources
from conforme.foundation.web import iso
from conforme.realtime.cursors import Cursor, CursorLost, cursor
from conforme.realtime.fanout import Fanout
from conforme.realtime.hub import GAP_POLL_SECONDS, GATHER_SECONDS, SettledPrefix, settled_page
from conforme.realtime.pusher import CHANNELS_PER_CALL, Pusher, PusherAccess, pusher
from conforme.realtime.pusher_names import check_event_name, published_names
from conforme.realtime.reduction import fitted

log = structlog.get_logger(__name__)

CURSOR = "pusher"
AT_ONCE = 8
"""Events in flight."""
POLL_SECONDS = 5.0
TAKE_OVER_SECONDS = 5.0
"""How often a replica that does not publish asks whether nobody does."""
REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
"""Answers that are the event's fault and would be the same for ever."""
RETRY = Retry(attempts=0, base_seconds=0.5, cap_seconds=30.0, when=lambda _: True)
"""Asked only for how long to wait: an event is tried until it is too old."""


def payload_of(event: Event, limit: int) -> str:
    """The bare payload and what orders it, as on a stream."""
    data = {**event.payload, "event_uid": str(event.id), "emitted_at": iso(event.created_at)}
    return fitted(data, limit)


def calls_of(channels: Sequence[str]) -> Iterable[Sequence[str]]:
    """The channels in groups that one call may name."""
    return (
        channels[start : start + CHANNELS_PER_CALL] for start in range(0, len(channels), CHANNELS_PER_CALL)
    )


class Publisher:
    """One per process that works; `run` ends after `stop`."""

    def __init__(self, database: Database, fanout: Fanout, access: PusherAccess, max_age: float) -> None:
        self._database = database
        self._fanout = fanout
        self._access = access
        self._max_age = max_age
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._closed_until = 0.0
        self._skipped = 0

    def stop(self) -> None:
        """What is in flight is still answered."""
        self._stop.set()
        self._wake.set()

    async def run(self, sender: Pusher) -> None:
        while not self._stop.is_set():
            try:
                async with cursor(self._database.url, CURSOR) as place:
                    await self._stand_by(place, sender)
            except* (psycopg.Error, SQLAlchemyError, OSError, CursorLost) as lost:
                log.warning("publisher stepped down", error=type(lost.exceptions[0]).__name__)
            except* Exception as unforeseen:  # nobody would miss a publisher that has ended
                log.exception("publisher failed", exc_info=unforeseen)
            await self._rest(self._stop, TAKE_OVER_SECONDS)

    async def _stand_by(self, place: Cursor, sender: Pusher) -> None:
        while not self._stop.is_set():
            if await place.take():
                await self._lead(place, sender)
                return
            await self._rest(self._stop, TAKE_OVER_SECONDS)

    async def _lead(self, place: Cursor, sender: Pusher) -> None:
        log.info("publishing events at Pusher", after=place.last_event_id, dry_run=self._access.dry_run)
        prefix = SettledPrefix(place.last_event_id)
        async with self._fanout.listening(self._wake.set) as ear:
            while not self._stop.is_set():
                self._wake.clear()
                async with ear.attentive():
                    await self._catch_up(prefix, place, sender)
                    await self._rest(self._wake, POLL_SECONDS)
                await asyncio.sleep(GATHER_SECONDS)

    async def _catch_up(self, prefix: SettledPrefix, place: Cursor, sender: Pusher) -> None:
        while not self._stop.is_set():
            page, pending = await settled_page(self._database, prefix)
            if page:
                await place.check()
                await self._publish(page, place, sender)
            elif pending:
                await asyncio.sleep(GAP_POLL_SECONDS)
            else:
                return

    async def _publish(self, page: Sequence[Event], place: Cursor, sender: Pusher) -> None:
        """Sends a page; the cursor follows in the order of the log, up to the first that was not told."""
        latest: dict[str, asyncio.Task[bool]] = {}
        async with asyncio.TaskGroup() as group:
            told: list[asyncio.Task[bool]] = []
            for event in page:
                channels = published_names(event.channels, private=self._access.private)
                before = {latest[channel] for channel in channels if channel in latest}
                told.append(group.create_task(self._tell(event, channels, before, sender)))
                latest.update(dict.fromkeys(channels, told[-1]))
            for event, telling in zip(page, told, strict=True):
                if not await telling:
                    break
                await place.advance(event.id)
        if self._skipped:
            log.warning("events were too old to be published", skipped=self._skipped)
            self._skipped = 0

    async def _tell(
        self, event: Event, channels: Sequence[str], before: Iterable[asyncio.Task[bool]], sender: Pusher
    ) -> bool:
        """Whether the event needs no more telling; False only when the process stops."""
        for earlier in before:
            if not await earlier:
                return False
        if not channels:
            return True
        try:
            check_event_name(event.name)
        except Invalid as error:
            log.warning("event cannot be published", event_name=event.name, reason=error.message)
            return True
        data = payload_of(event, self._access.limit)
        async with self._slots:
            for group in calls_of(channels):
                if not await self._send(event, group, data, sender):
                    return False
        return True

    async def _send(self, event: Event, channels: Sequence[str], data: str, sender: Pusher) -> bool:
        """One call, again and again until it is acknowledged, refused for good, or the event is too old."""
        attempt = 0
        while await self._may_send():
            if (now() - event.created_at).total_seconds() > self._max_age:
                self._skipped += 1
                return True
            if self._access.dry_run:
                _log_dry(event.name, channels, data)
                return True
            try:
                await sender.trigger(event.name, channels, data)
            except OutboundFailed as error:
                if error.upstream_status in REFUSED:
                    log.warning("event was refused", event_name=event.name, id=event.id, reason=error.reason)
                    return True
                attempt += 1
                self._hold(RETRY.wait_seconds(attempt, error), error, attempt)
            else:
                return True
        return False

    def _hold(self, seconds: float, error: OutboundFailed, attempt: int) -> None:
        """Nobody asks before the wait is over: what the provider refuses to one it refuses to all."""
        self._closed_until = max(self._closed_until, asyncio.get_running_loop().time() + seconds)
        if attempt == 1:
            log.warning(
                "event could not be published yet", reason=error.reason, wait_seconds=round(seconds, 1)
            )

    async def _may_send(self) -> bool:
        """Waits until the provider may be asked; False when the process stops."""
        loop = asyncio.get_running_loop()
        while not self._stop.is_set() and (wait := self._closed_until - loop.time()) > 0:
            await self._rest(self._stop, wait)
        return not self._stop.is_set()

    async def _rest(self, until: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await until.wait()


def _log_dry(name: str, channels: Sequence[str], data: str) -> None:
    log.info("would publish", event_name=name, channels=list(channels), bytes=len(data.encode()))


@asynccontextmanager
async def publishing(resources: Resources, fanout: Fanout) -> AsyncGenerator[None]:
    """Publishes while the block lasts, when Pusher is configured."""
    settings = resources.settings
    access = PusherAccess.of(settings)
    if access is None:
        log.info("Pusher is not configured; events are on streams alone")
        yield
        return
    publisher = Publisher(resources.database, fanout, access, settings.pusher_max_age_seconds)
    async with pusher(access, resources.outbound) as sender:
        running = asyncio.create_task(publisher.run(sender), name="publish at Pusher")
        try:
            yield
        finally:
            publisher.stop()
            await running
