"""The side of Pusher Channels that browsers see: protocol 7 over a WebSocket at `/app/{key}`.

Connections, signed subscriptions to private and presence channels, events, ping and pong, and the errors of the
protocol. One task a connection sends, so that events arrive in the order in which they were published.
"""

import asyncio
import hashlib
import hmac
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

ACTIVITY_SECONDS = 120
UNKNOWN_APPLICATION = 4001
UNSUPPORTED_PROTOCOL = 4007
INVALID_MESSAGE = 4200
OLDEST_PROTOCOL = 5


class _Unauthorised(Exception):
    pass


@dataclass(eq=False)
class _Client:
    socket_id: str
    channels: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """What it subscribes to, each with the member it is there (empty but on presence channels)."""
    outbox: asyncio.Queue[str] = field(default_factory=asyncio.Queue[str])

    def tell(self, event: str, data: Any, channel: str | None = None) -> None:
        named = {} if channel is None else {"channel": channel}
        self.outbox.put_nowait(json.dumps({"event": event, "data": data, **named}))


class Sockets:
    """The connections of one application."""

    def __init__(self, key: str, secret: str) -> None:
        self._key = key
        self._secret = secret
        self._clients: set[_Client] = set()
        self._dice = random.Random(0)

    def subscribers(self, channel: str) -> int:
        return sum(channel in client.channels for client in self._clients)

    def deliver(self, name: str, channels: Sequence[str], data: str) -> None:
        for channel in channels:
            for client in self._clients:
                if channel in client.channels:
                    client.tell(name, data, channel)

    async def serve(self, socket: WebSocket) -> None:
        await socket.accept()
        refused = self._refusal(socket)
        if refused is not None:
            code, message = refused
            await socket.send_json({"event": "pusher:error", "data": {"code": code, "message": message}})
            await socket.close(code, message)
            return
        client = _Client(f"{self._dice.randrange(10**6)}.{self._dice.randrange(10**9)}")
        greeting = {"socket_id": client.socket_id, "activity_timeout": ACTIVITY_SECONDS}
        client.tell("pusher:connection_established", json.dumps(greeting))
        self._clients.add(client)
        sending = asyncio.create_task(_send(socket, client))
        try:
            while True:
                self._hear(client, await socket.receive_text())
        except WebSocketDisconnect:
            pass
        finally:
            self._clients.discard(client)
            sending.cancel()
            await asyncio.wait({sending})

    def _refusal(self, socket: WebSocket) -> tuple[int, str] | None:
        if socket.path_params["key"] != self._key:
            return UNKNOWN_APPLICATION, "Application does not exist"
        protocol = socket.query_params.get("protocol", "")
        if not protocol.isdigit() or int(protocol) < OLDEST_PROTOCOL:
            return UNSUPPORTED_PROTOCOL, "Unsupported protocol version"
        return None

    def _hear(self, client: _Client, text: str) -> None:
        try:
            given = json.loads(text)
            event, data = given["event"], given.get("data") or {}
            if event == "pusher:ping":
                client.tell("pusher:pong", "{}")
            elif event == "pusher:subscribe":
                self._subscribe(client, data)
            elif event == "pusher:unsubscribe":
                client.channels.pop(data["channel"], None)
        except (ValueError, KeyError, TypeError, AttributeError):
            client.tell("pusher:error", {"code": INVALID_MESSAGE, "message": "Invalid message"})

    def _subscribe(self, client: _Client, data: dict[str, Any]) -> None:
        channel, member = str(data["channel"]), data.get("channel_data")
        try:
            self._authorise(client, channel, data.get("auth"), member)
        except _Unauthorised as refused:
            error = {"type": "AuthError", "error": str(refused), "status": 401}
            client.tell("pusher:subscription_error", error, channel)
            return
        client.channels[channel] = json.loads(member) if member else {}
        about = json.dumps(self._members(channel)) if channel.startswith("presence-") else "{}"
        client.tell("pusher_internal:subscription_succeeded", about, channel)

    def _authorise(self, client: _Client, channel: str, auth: Any, member: str | None) -> None:
        if not channel.startswith(("private-", "presence-")):
            return
        if channel.startswith("presence-") and not member:
            raise _Unauthorised("channel_data is missing")
        signed = ":".join([client.socket_id, channel, *([member] if member else [])])
        expected = hmac.new(self._secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(str(auth).encode(), f"{self._key}:{expected}".encode()):
            raise _Unauthorised("Invalid signature")

    def _members(self, channel: str) -> dict[str, Any]:
        present = [client.channels[channel] for client in self._clients if channel in client.channels]
        known = {str(member["user_id"]): member.get("user_info") for member in present}
        return {"presence": {"ids": list(known), "hash": known, "count": len(known)}}


async def _send(socket: WebSocket, client: _Client) -> None:
    while True:
        await socket.send_text(await client.outbox.get())
