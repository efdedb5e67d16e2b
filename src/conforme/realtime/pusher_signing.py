"""Signatures of the Pusher Channels protocol (spec/realtime §1.3, §2.1). Pure."""

import hashlib
import hmac
from urllib.parse import urlencode


def signature(secret: str, text: str) -> str:
    """Hex HMAC-SHA256."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def events_path(app_id: str) -> str:
    return f"/apps/{app_id}/events"


def batch_path(app_id: str) -> str:
    return f"/apps/{app_id}/batch_events"


def signed_query(key: str, secret: str, path: str, body: bytes, at_seconds: int) -> str:
    """The query of a POST, `auth_signature` included; the parameters are signed sorted by name."""
    parameters = {
        "auth_key": key,
        "auth_timestamp": str(at_seconds),
        "auth_version": "1.0",
        "body_md5": hashlib.md5(body, usedforsecurity=False).hexdigest(),
    }
    line = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
    return urlencode(parameters | {"auth_signature": signature(secret, f"POST\n{path}\n{line}")})


def channel_auth(key: str, secret: str, socket_id: str, channel: str, channel_data: str | None = None) -> str:
    """`<key>:<hex>`: this socket may subscribe to this channel, as this member when it is a presence channel."""
    parts = [socket_id, channel] if channel_data is None else [socket_id, channel, channel_data]
    return f"{key}:{signature(secret, ':'.join(parts))}"
