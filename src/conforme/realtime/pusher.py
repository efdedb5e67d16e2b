"""Speaks to Pusher Channels, or to a server that speaks its protocol (spec/realtime §1.3)."""

import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from conforme.foundation.errors import Unavailable
from conforme.foundation.outbound import Outbound, answer_failure, exchange_failure
from conforme.realtime.pusher_signing import batch_path, events_path, signed_query
from conforme.realtime.reduction import as_json, payload_limit
from conforme.settings import Settings

SUBJECT = "Pusher"
TRIGGER_SECONDS = 10.0
"""One call, its answer included."""
CHANNELS_PER_CALL = 10
"""In one event, or in all events of a batch together."""
ANSWER_MAX_BYTES = 64 * 1024


class PusherNotConfigured(Unavailable):
    """Pusher not configured"""

    code = "PUSHER_NOT_CONFIGURED"


@dataclass(frozen=True, slots=True)
class PusherAccess:
    """One application at the provider."""

    app_id: str
    key: str
    secret: str = field(repr=False)
    base_url: str
    dry_run: bool
    private: bool
    """Whether channels keep their prefix `private-`."""
    limit: int
    """Bytes of one payload."""

    @classmethod
    def of(cls, settings: Settings) -> "PusherAccess | None":
        """What is configured; None when anything is missing."""
        key = settings.pusher_key or settings.next_public_pusher_key
        secret = settings.pusher_secret.get_secret_value() if settings.pusher_secret else ""
        base = settings.pusher_host
        if base is None and settings.pusher_cluster:
            base = f"https://api-{settings.pusher_cluster}.pusher.com"
        if not (settings.pusher_app_id and key and secret and base):
            return None
        return cls(
            app_id=settings.pusher_app_id,
            key=key,
            secret=secret,
            base_url=base,
            dry_run=settings.pusher_dry_run,
            private=settings.pusher_use_private_channels,
            limit=payload_limit(settings.pusher_max_payload_bytes),
        )


def access(settings: Settings) -> PusherAccess:
    """Raises `PusherNotConfigured`."""
    found = PusherAccess.of(settings)
    if found is None:
        raise PusherNotConfigured
    return found


@dataclass(frozen=True, slots=True)
class Triggered:
    """An event for one channel; `data` is JSON text."""

    name: str
    channel: str
    data: str


class Pusher:
    """Triggers events. Retries are the caller's."""

    def __init__(self, access: PusherAccess, client: httpx2.AsyncClient) -> None:
        self._access = access
        self._client = client

    async def trigger(self, name: str, channels: Sequence[str], data: str) -> None:
        """Publishes `data` (JSON text) on at most 10 channels.

        Raises:
            OutboundFailed: not reached, or refused.
        """
        await self._post(
            events_path(self._access.app_id), {"name": name, "data": data, "channels": list(channels)}
        )

    async def trigger_all(self, events: Iterable[Triggered]) -> None:
        """Publishes at most 10 events, each on one channel, in this order: all of them or, when it raises, none.

        Raises:
            OutboundFailed: as `trigger` does.
        """
        batch = [{"name": each.name, "data": each.data, "channel": each.channel} for each in events]
        await self._post(batch_path(self._access.app_id), {"batch": batch})

    async def _post(self, path: str, content: dict[str, Any]) -> None:
        body = as_json(content).encode()
        query = signed_query(self._access.key, self._access.secret, path, body, int(time.time()))
        try:
            answer = await self._client.post(
                f"{path}?{query}", content=body, headers={"content-type": "application/json"}
            )
        except httpx2.HTTPError as error:
            raise exchange_failure(SUBJECT, error) from None
        if not answer.is_success:
            raise answer_failure(SUBJECT, answer)


@asynccontextmanager
async def pusher(access: PusherAccess, outbound: Outbound) -> AsyncGenerator[Pusher]:
    """A connection to the provider, closed when the block ends."""
    client = outbound.provider(base_url=access.base_url, timeout=TRIGGER_SECONDS, max_bytes=ANSWER_MAX_BYTES)
    try:
        yield Pusher(access, client)
    finally:
        await client.aclose()
