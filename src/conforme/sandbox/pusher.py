"""Pusher Channels' HTTP API on loopback: events are checked as the provider documents, and kept.

`POST /apps/{id}/events` and `/batch_events`, signed with HMAC-SHA256 over method, path and sorted query
(spec/realtime §1.3); a bad signature is 401, an event too large 413, anything else against the rules 400.
Clients subscribe over the WebSocket of `sandbox.pusher_sockets`.
"""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from conforme.sandbox.chassis import Service, exchange_of
from conforme.sandbox.pusher_sockets import Sockets
from conforme.sandbox.weather import FaultPlan, Latency

LONGEST_DATA_BYTES = 10_240
LONGEST_NAME = 200
MOST_CHANNELS = 100
MOST_EVENTS = 10
CLOCK_SKEW_SECONDS = 600
_CHANNEL = re.compile(r"[A-Za-z0-9_\-=@,.;]{1,164}")


@dataclass(frozen=True, slots=True)
class PusherKeys:
    app_id: str = "1001"
    key: str = "sandbox-pusher-key"
    secret: str = "sandbox-pusher-secret"  # noqa: S105 -- opens nothing but this process's own simulator


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    name: str
    channels: tuple[str, ...]
    data: str
    """The payload as the publisher serialised it."""


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PusherDesk:
    """The API for one application; `events` holds what was published, in order."""

    def __init__(self, keys: PusherKeys | None = None) -> None:
        self.keys = keys or PusherKeys()
        self.events: list[PublishedEvent] = []
        self.sockets = Sockets(self.keys.key, self.keys.secret)

    def service(
        self, *, seed: int = 0, faults: FaultPlan | None = None, latency: Latency | None = None
    ) -> Service:
        routes = [
            Route("/apps/{app_id}/events", self._events, methods=["POST"]),
            Route("/apps/{app_id}/batch_events", self._batch, methods=["POST"]),
            WebSocketRoute("/app/{key}", self.sockets.serve),
        ]
        return Service(
            "pusher", Starlette(routes=routes), seed=seed, faults=faults, latency=latency, report=self.report
        )

    def report(self) -> Mapping[str, Any]:
        return {"published": [asdict(event) for event in self.events]}

    async def _events(self, request: Request) -> Response:
        return await self._publish(request, lambda body: [body])

    async def _batch(self, request: Request) -> Response:
        return await self._publish(request, lambda body: body.get("batch", []))

    async def _publish(self, request: Request, listed: Any) -> Response:
        body = await request.body()
        try:
            self._authenticate(request, body)
            events = _events(listed(_object(body)))
        except _Refused as refused:
            return Response(f"{refused}\n", status_code=refused.status)
        exchange_of(request).on_answered.append(lambda: self._accept(events))
        return JSONResponse({})

    def _accept(self, events: list[PublishedEvent]) -> None:
        self.events.extend(events)
        for event in events:
            self.sockets.deliver(event.name, event.channels, event.data)

    def _authenticate(self, request: Request, body: bytes) -> None:
        query = dict(request.query_params)
        if request.path_params["app_id"] != self.keys.app_id or query.get("auth_key") != self.keys.key:
            raise _Refused(401, "Unknown auth_key")
        if query.get("auth_version") != "1.0":
            raise _Refused(401, "Unsupported auth_version")
        stamp = query.get("auth_timestamp", "")
        if not stamp.isdigit() or abs(time.time() - int(stamp)) > CLOCK_SKEW_SECONDS:
            raise _Refused(401, "Timestamp expired: Given timestamp not within 600s of server time")
        if query.get("body_md5") != hashlib.md5(body, usedforsecurity=False).hexdigest():
            raise _Refused(401, "body_md5 does not match the body")
        signature = query.pop("auth_signature", "")
        if not hmac.compare_digest(
            signature, signed(self.keys.secret, request.method, request.url.path, query)
        ):
            raise _Refused(401, "Invalid signature")


def signed(secret: str, method: str, path: str, query: Mapping[str, str]) -> str:
    """Hex HMAC-SHA256 of a request, its query without `auth_signature`."""
    line = "&".join(f"{key.lower()}={value}" for key, value in sorted(query.items()))
    return hmac.new(secret.encode(), f"{method}\n{path}\n{line}".encode(), hashlib.sha256).hexdigest()


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except ValueError as error:
        raise _Refused(400, "Invalid JSON") from error
    if not isinstance(given, dict):
        raise _Refused(400, "Expected an object")
    return given


def _events(given: list[Any]) -> list[PublishedEvent]:
    if len(given) > MOST_EVENTS:
        raise _Refused(400, f"Batch too large ({len(given)} > {MOST_EVENTS})")
    return [_event(one) for one in given]


def _event(given: Any) -> PublishedEvent:
    if not isinstance(given, dict):
        raise _Refused(400, "Expected an event object")
    name, data = given.get("name"), given.get("data")
    channels: list[Any] = given.get("channels") or [given.get("channel")]
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise _Refused(400, "Missing or too long event name")
    if not isinstance(data, str):
        raise _Refused(400, "Event data must be a string")
    if len(data.encode()) > LONGEST_DATA_BYTES:
        raise _Refused(
            413, f"The data content of this event exceeds the allowed maximum ({LONGEST_DATA_BYTES} bytes)"
        )
    if len(channels) > MOST_CHANNELS or not all(
        isinstance(one, str) and _CHANNEL.fullmatch(one) for one in channels
    ):
        raise _Refused(400, "Invalid channels")
    return PublishedEvent(name, tuple(map(str, channels)), data)
