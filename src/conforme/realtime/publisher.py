"""Follows the event log and publishes it at Pusher: one replica at a time, each event at least once.

The cursor in the database moves when the provider has acknowledged an event, so a crash repeats what was in flight and
loses nothing. A burst is told in batches: as many events a call as fit. Events that share a channel are told in their
order; others may overtake each other. While the provider is down the publisher waits, and leaves out what has become too old to matter.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
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
from conforme.realtime.pusher import CHANNELS_PER_CALL, Pusher, PusherAccess, Triggered, pusher
from conforme.realtime.pusher_names import check_event_name, published_names
from conforme.realtime.reduction import fitted

log = structlog.get_logger(__name__)

CURSOR = "pusher"
AT_ONCE = 8
"""Calls in flight."""
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


@dataclass(frozen=True, slots=True)
class Addressed:
    """An event and some of its channels, no more than one call may name."""

    event: Event
    channels: Sequence[str]
    last: bool = True
    """Whether these are the last of its channels."""


@dataclass(slots=True)
class Parcel:
    """What one call tells: consecutive events, on as many channels together as a call may name."""

    contents: list[Addressed]

    @property
    def channels(self) -> set[str]:
        return {channel for each in self.contents for channel in each.channels}

    @property
    def through(self) -> int | None:
        """The last event that is told in full when this is."""
        return next((each.event.id for each in reversed(self.contents) if each.last), None)

    def has_room_for(self, more: Addressed) -> bool:
        return sum(len(each.channels) for each in self.contents) + len(more.channels) <= CHANNELS_PER_CALL


def parcels_of(page: Sequence[Event], *, private: bool) -> list[Parcel]:
    """The events in their order, as few calls as they fit in. Pure."""
    parcels: list[Parcel] = []
    for event in page:
        for addressed in _addressed(event, published_names(event.channels, private=private)):
            if not parcels or not parcels[-1].has_room_for(addressed):
                parcels.append(Parcel([]))
            parcels[-1].contents.append(addressed)
    return parcels


def _addressed(event: Event, channels: Sequence[str]) -> Iterable[Addressed]:
    starts = range(0, max(len(channels), 1), CHANNELS_PER_CALL)
    for start in starts:
        yield Addressed(event, channels[start : start + CHANNELS_PER_CALL], last=start == starts[-1])


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
            look = await settled_page(self._database, prefix)
            if look.admitted:
                await place.check()
                await self._publish(look.admitted, place, sender)
            elif look.more:
                await asyncio.sleep(GAP_POLL_SECONDS)
            if not look.more:
                return

    async def _publish(self, page: Sequence[Event], place: Cursor, sender: Pusher) -> None:
        """Sends a page; the cursor follows in the order of the log, up to the first that was not told."""
        latest: dict[str, asyncio.Task[bool]] = {}
        parcels = parcels_of(page, private=self._access.private)
        async with asyncio.TaskGroup() as group:
            told: list[asyncio.Task[bool]] = []
            for parcel in parcels:
                before = {latest[channel] for channel in parcel.channels if channel in latest}
                told.append(group.create_task(self._tell(parcel, before, sender)))
                latest.update(dict.fromkeys(parcel.channels, told[-1]))
            for parcel, telling in zip(parcels, told, strict=True):
                if not await telling:
                    break
                if parcel.through is not None:
                    await place.advance(parcel.through)
        if self._skipped:
            log.warning("events were too old to be published", skipped=self._skipped)
            self._skipped = 0

    async def _tell(self, parcel: Parcel, before: Iterable[asyncio.Task[bool]], sender: Pusher) -> bool:
        """Whether its events need no more telling; False only when the process stops."""
        for earlier in before:
            if not await earlier:
                return False
        sendable = [each for each in parcel.contents if each.channels and _can_be_published(each.event)]
        async with self._slots:
            return await self._send(sendable, sender)

    async def _send(self, contents: Sequence[Addressed], sender: Pusher) -> bool:
        """One call, again and again until it is acknowledged, refused for good, or all in it is too old.

        One event may spoil the call for others: when it is refused, each is sent by itself.
        """
        attempt = 0
        while await self._may_send():
            contents = self._recent(contents)
            if not contents:
                return True
            try:
                await self._call(contents, sender)
            except OutboundFailed as error:
                if error.upstream_status in REFUSED:
                    return await self._refused(contents, error, sender)
                attempt += 1
                self._hold(RETRY.wait_seconds(attempt, error), error, attempt)
            else:
                return True
        return False

    def _recent(self, contents: Sequence[Addressed]) -> Sequence[Addressed]:
        """Those that are not too old to matter; the others are counted."""
        oldest = now() - timedelta(seconds=self._max_age)
        recent = [each for each in contents if each.event.created_at >= oldest]
        self._skipped += sum(each.last for each in contents) - sum(each.last for each in recent)
        return recent

    async def _call(self, contents: Sequence[Addressed], sender: Pusher) -> None:
        told = [(each, payload_of(each.event, self._access.limit)) for each in contents]
        if self._access.dry_run:
            for each, data in told:
                _log_dry(each.event.name, each.channels, data)
        elif len(told) == 1:
            [(each, data)] = told
            await sender.trigger(each.event.name, each.channels, data)
        else:
            await sender.trigger_all(
                Triggered(each.event.name, channel, data) for each, data in told for channel in each.channels
            )

    async def _refused(self, contents: Sequence[Addressed], error: OutboundFailed, sender: Pusher) -> bool:
        if len(contents) > 1:
            for each in contents:
                if not await self._send([each], sender):
                    return False
            return True
        event = contents[0].event
        log.warning("event was refused", event_name=event.name, id=event.id, reason=error.reason)
        return True

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


def _can_be_published(event: Event) -> bool:
    try:
        check_event_name(event.name)
    except Invalid as error:
        log.warning("event cannot be published", event_name=event.name, reason=error.message)
        return False
    return True


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
