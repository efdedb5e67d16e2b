"""`GET /api/realtime/stream`: the event log as Server-Sent Events."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from conforme.accounts.actor import Actor
from conforme.accounts.auth import CurrentCaller, may, presented
from conforme.foundation.errors import Invalid, Unavailable
from conforme.foundation.events import user_channel
from conforme.foundation.web import ERRORS, INT64_MAX, ResourcesDep
from conforme.realtime.channels import authorise, read_name
from conforme.realtime.hub import Hub
from conforme.realtime.stream import LISTENING, Listener, Pace, still_may, stream

router = APIRouter(prefix="/api/realtime", tags=["realtime"], responses=ERRORS)

MAX_CHANNELS = 50


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
        read_name(name)
    return frozenset(names)


def resume_from(header: str | None, after: int | None) -> int | None:
    """The id to replay behind; the browser's header wins over the first request's query."""
    if header is None or not header.strip():
        return after
    if not header.strip().isdigit() or int(header) > INT64_MAX:
        raise Invalid("Last-Event-ID must be an event id", field="Last-Event-ID")
    return int(header)


@router.get("/stream", response_class=StreamingResponse)
async def get_stream(
    request: Request,
    resources: ResourcesDep,
    caller: CurrentCaller,
    _listener: Annotated[Actor, may(LISTENING)],
    channels: Annotated[str, Query(min_length=1, max_length=12_000)],
    after: Annotated[int | None, Query(ge=0, le=INT64_MAX)] = None,
    last_event_id: Annotated[str | None, Header(max_length=32)] = None,
) -> StreamingResponse:
    """Events of the named channels, from `after` or `Last-Event-ID` on; all of them must be the caller's to hear."""
    wanted = parse_channels(channels)
    async with resources.database.read() as session:
        await authorise(session, caller, wanted)
    last = resume_from(last_event_id, after)
    hub: Hub = request.app.state.hub
    settings = resources.settings
    if hub.clients >= settings.stream_max_clients:
        raise Unavailable("Too many open streams; try again")
    listener = Listener(
        wanted,
        user_channel(caller.user_id) if caller.user_id is not None else None,
        still_may(resources, presented(request) or "", wanted),
    )
    pace = Pace(
        settings.stream_heartbeat_seconds, settings.stream_max_seconds, settings.stream_recheck_seconds
    )
    return StreamingResponse(
        stream(hub, resources.database, listener, last, pace),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )
