"""`GET /api/realtime/stream`: the event log as Server-Sent Events."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from conforme.accounts.actor import Actor, Scope
from conforme.accounts.auth import may
from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.foundation.errors import Forbidden, Invalid, Unavailable
from conforme.foundation.events import GLOBAL_CHANNEL, Event
from conforme.foundation.web import ERRORS, INT64_MAX, ResourcesDep, iso
from conforme.realtime.hub import Hub

router = APIRouter(prefix="/api/realtime", tags=["realtime"], responses=ERRORS)

MAX_CHANNELS = 50
REPLAY_PAGE = 500
KINDS = ("private-audit-", "private-fiche-", "private-job-")


@dataclass(frozen=True)
class Pace:
    """Seconds between heartbeats, and after which a stream is closed."""

    heartbeat: float
    life: float


def parse_channels(text: str) -> frozenset[str]:
    """The channels asked for, comma-separated.

    Raises:
        Invalid: none, too many, or a name that cannot be a channel.
        Forbidden: a name outside the catalogue.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not 0 < len(names) <= MAX_CHANNELS:
        raise Invalid(f"channels must name 1 to {MAX_CHANNELS} channels", field="channels")
    for name in names:
        kind = next((kind for kind in KINDS if name.startswith(kind) and len(name) > len(kind)), None)
        if kind is None and name != GLOBAL_CHANNEL:
            raise Forbidden("Channel not allowed")
        if len(name) > 200:
            raise Invalid("channel_name too long (max 200 chars)", field="channels")
    return frozenset(names)


def authorise(actor: Actor) -> None:
    """Only callers who see everything may listen until channels are bound to grants: fail closed."""
    if actor.scope is not Scope.ALL:
        raise Forbidden


def resume_from(header: str | None, after: int | None) -> int | None:
    """The id to replay behind; the browser's header wins over the first request's query."""
    if header is None or not header.strip():
        return after
    if not header.strip().isdigit() or int(header) > INT64_MAX:
        raise Invalid("Last-Event-ID must be an event id", field="Last-Event-ID")
    return int(header)


def encode(event: Event) -> str:
    """One event as the browser reads it; `data` is the bare payload plus what orders it."""
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
    hub: Hub, database: Database, channels: frozenset[str], last: int | None, pace: Pace
) -> AsyncGenerator[str]:
    """Replay, then live; a comment when nothing happens, and an end when its life is over."""
    ends = asyncio.get_running_loop().time() + pace.life
    async with hub.subscribe(channels) as (subscription, live_from):
        yield f"retry: 1000\n: connected {live_from}\n\n"
        if last is not None and last < live_from:
            async for event in _replay(database, channels, last, live_from):
                yield encode(event)
        while not subscription.overflowed:
            remaining = ends - asyncio.get_running_loop().time()
            if remaining <= 0:
                return
            try:
                async with asyncio.timeout(min(pace.heartbeat, remaining)):
                    event = await subscription.queue.get()
            except TimeoutError:
                yield ": heartbeat\n\n"
            else:
                if last is None or event.id > last:
                    yield encode(event)


@router.get("/stream", response_class=StreamingResponse)
async def get_stream(
    request: Request,
    resources: ResourcesDep,
    actor: Annotated[Actor, may("realtime.read")],
    channels: Annotated[str, Query(min_length=1, max_length=12_000)],
    after: Annotated[int | None, Query(ge=0, le=INT64_MAX)] = None,
    last_event_id: Annotated[str | None, Header(max_length=32)] = None,
) -> StreamingResponse:
    """Events of the named channels, from `after` or `Last-Event-ID` on."""
    wanted = parse_channels(channels)
    authorise(actor)
    last = resume_from(last_event_id, after)
    hub: Hub = request.app.state.hub
    settings = resources.settings
    if hub.clients >= settings.stream_max_clients:
        raise Unavailable("Too many open streams; try again")
    pace = Pace(settings.stream_heartbeat_seconds, settings.stream_max_seconds)
    return StreamingResponse(
        stream(hub, resources.database, wanted, last, pace),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )
