"""An open stream: replay, then live, for as long as its listener may listen."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace

import structlog
from sqlalchemy.exc import SQLAlchemyError

from conforme.accounts.account_changes import CHANGED
from conforme.accounts.auth import caller_of
from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.foundation.errors import Forbidden
from conforme.foundation.events import Event
from conforme.foundation.resources import Resources
from conforme.foundation.web import iso
from conforme.realtime.channels import authorise
from conforme.realtime.hub import TAIL_BATCH, Hub, Subscription

log = structlog.get_logger(__name__)

LISTENING = "realtime.read"
REPLAY_PAGE = 500
WRITTEN_KEPT = 2 * TAIL_BATCH
"""What the follower hands over at once is still there for the last listener that it goes to."""


@dataclass(frozen=True)
class Pace:
    """Seconds between heartbeats, after which a stream is closed, and between looks at who may listen."""

    heartbeat: float
    life: float
    recheck: float = 60.0


async def _always() -> bool:
    return True


@dataclass(frozen=True)
class Listener:
    """Who listens to what; without `account`, nobody's changes end the stream."""

    channels: frozenset[str]
    account: str | None = None
    """The channel on which it is told that the listener's rights changed."""
    still_may: Callable[[], Awaitable[bool]] = _always

    @property
    def followed(self) -> frozenset[str]:
        return self.channels | ({self.account} if self.account else frozenset())

    def is_sent(self, event: Event) -> bool:
        return not self.channels.isdisjoint(event.channels)

    def is_ended_by(self, event: Event) -> bool:
        return event.name == CHANGED and self.account in event.channels


_written: OrderedDict[int, tuple[Event, str]] = OrderedDict()
"""The events that were written last, by id: what many listen to is written once."""


def encode(event: Event) -> str:
    """One event as the browser reads it; `data` is the bare payload plus what orders it."""
    known = _written.get(event.id)
    if known is not None and known[0] is event:
        return known[1]
    text = _encoded(event)
    _written[event.id] = (event, text)
    if len(_written) > WRITTEN_KEPT:
        _written.popitem(last=False)
    return text


def _encoded(event: Event) -> str:
    data = {**event.payload, "event_uid": str(event.id), "emitted_at": iso(event.created_at)}
    return f"id: {event.id}\nevent: {event.name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


async def _replay(
    database: Database, channels: frozenset[str], last: int, up_to: int
) -> AsyncGenerator[Event]:
    while True:
        async with database.read() as session:
            page = await events.after(
                session, last, limit=REPLAY_PAGE, channels=sorted(channels), up_to=up_to
            )
        for event in page:
            yield event
        if len(page) < REPLAY_PAGE:
            return
        last = page[-1].id


async def stream(
    hub: Hub, database: Database, listener: Listener, last: int | None, pace: Pace
) -> AsyncGenerator[str]:
    """Replay, then live; a comment when nothing happens, and an end when its life, or the right to listen, is over."""
    ends = _clock() + pace.life
    async with hub.subscribe(listener.followed) as (subscription, live_from):
        yield f"retry: 1000\n: connected {live_from}\n\n"
        # What was changed between the request's authorisation and now was told to nobody.
        if not await listener.still_may():
            return
        if last is not None and last < live_from:
            async for event in _replay(database, listener.channels, last, live_from):
                yield _encoded(event)  # read for this listener alone
        async for text in _live(subscription, listener, last or 0, replace(pace, life=ends - _clock())):
            yield text


def _clock() -> float:
    return asyncio.get_running_loop().time()


async def _live(subscription: Subscription, listener: Listener, last: int, pace: Pace) -> AsyncGenerator[str]:
    begun = _clock()
    ends, beat, recheck = begun + pace.life, begun + pace.heartbeat, begun + pace.recheck
    while not subscription.overflowed and _clock() < ends:
        if _clock() >= recheck:
            if not await listener.still_may():
                return
            recheck = _clock() + pace.recheck
        try:
            async with asyncio.timeout_at(min(ends, beat, recheck)):
                heard = [await subscription.queue.get()]
        except TimeoutError:
            if _clock() >= beat:
                yield ": heartbeat\n\n"
                beat = _clock() + pace.heartbeat
            continue
        while not subscription.queue.empty():  # what came together is sent together
            heard.append(subscription.queue.get_nowait())
        end = next((place for place, event in enumerate(heard) if listener.is_ended_by(event)), None)
        heard = heard[: None if end is None else end + 1]
        if sent := [encode(event) for event in heard if listener.is_sent(event) and event.id > last]:
            yield "".join(sent)
            beat = _clock() + pace.heartbeat
        if end is not None:
            return


def still_may(
    resources: Resources, credential: str, channels: frozenset[str]
) -> Callable[[], Awaitable[bool]]:
    """Asks again what the route asked: whose the credential is, and whether they may listen."""

    async def asked_again() -> bool:
        try:
            caller = await caller_of(credential, resources)
            if caller is None:
                return False
            caller.acting([LISTENING])
            async with resources.database.read() as session:
                await authorise(session, caller, channels)
        except Forbidden:
            return False
        except (SQLAlchemyError, OSError) as error:
            log.warning("stream ended unauthorised", error=type(error).__name__)
            return False
        return True

    return asked_again
