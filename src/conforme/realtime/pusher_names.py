"""Names of events and channels at Pusher: which are well-formed, which are ours, which are published. Pure."""

import re
from collections.abc import Iterable

from conforme.foundation.errors import Forbidden, Invalid
from conforme.foundation.events import GLOBAL_CHANNEL

MAX_NAME = 200
PRIVATE = "private-"
USER_PREFIX = "private-user-"
PRESENCE_PREFIX = "presence-"
CATALOGUE = ("private-audit-", "private-fiche-", "private-job-")
ALLOWED_PREFIXES = (*CATALOGUE, USER_PREFIX, "private-org-", "private-tenant-", "presence-org-")
TEST_CHANNELS = frozenset({"private-realtime-test", "presence-realtime-test", "realtime-test"})
ALLOWED_NAMES = TEST_CHANNELS - {"realtime-test"} | {GLOBAL_CHANNEL, "presence-global"}
_CHANNEL = re.compile(r"[A-Za-z0-9_\-=@,.;]+")


def check_event_name(name: str) -> None:
    """Raises `Invalid` with the messages of spec/realtime §1.3."""
    if not name.strip():
        raise Invalid("event is required", field="event")
    if len(name) > MAX_NAME:
        raise Invalid(f"event too long (max {MAX_NAME} chars)", field="event")
    if name.startswith("pusher:"):
        raise Invalid("event name cannot start with 'pusher:'", field="event")


def check_channel_name(name: str, field: str = "channel_name") -> None:
    """Raises `Invalid` with the messages of spec/realtime §2.1."""
    if not name.strip():
        raise Invalid("channel_name is required", field=field)
    if len(name) > MAX_NAME:
        raise Invalid(f"channel_name too long (max {MAX_NAME} chars)", field=field)
    if not _CHANNEL.fullmatch(name):
        raise Invalid("channel_name contains invalid characters", field=field)
    if name.startswith("pusher-"):
        raise Invalid("channel_name cannot start with 'pusher-'", field=field)


def check_allowed(name: str) -> None:
    """Raises `Forbidden` for a channel nobody may subscribe to by its very name."""
    named = any(name.startswith(prefix) and len(name) > len(prefix) for prefix in ALLOWED_PREFIXES)
    if not named and name not in ALLOWED_NAMES:
        raise Forbidden("Channel not allowed")


def published_names(channels: Iterable[str], *, private: bool) -> tuple[str, ...]:
    """Where an event of the log is published: its channels of the catalogue, and those of a person.

    Without `private`, channels of the catalogue lose their prefix, and anybody with the key may listen; a person's
    never do. Channels inside the house are left out.
    """
    return tuple(name for channel in channels if (name := _published(channel, private=private)))


def _published(channel: str, *, private: bool) -> str | None:
    if channel.startswith(USER_PREFIX):
        return channel
    if channel == GLOBAL_CHANNEL or channel.startswith(CATALOGUE):
        return channel if private else channel.removeprefix(PRIVATE)
    return None
