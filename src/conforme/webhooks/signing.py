"""Headers and signatures of a delivery (spec/automation §7; Standard Webhooks 1.0). Pure."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from conforme.foundation.web import iso

USER_AGENT = "AI-Audit-Webhook/1.0"
STANDARD_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands around a body."""

    delivery_id: str
    event: str
    job_id: str
    attempt: int
    timestamp: datetime
    """Of the body, the same at every attempt."""
    at: datetime
    """Of this attempt."""


def headers_of(envelope: Envelope, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """All headers of one attempt. `secrets` are those that are valid now, newest first; none: no signature."""
    timestamp = iso(envelope.timestamp) or ""
    seconds = str(int(envelope.at.timestamp()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "X-Webhook-Event": envelope.event,
        "X-Webhook-Job-Id": envelope.job_id,
        "X-Webhook-Delivery-Id": envelope.delivery_id,
        "X-Webhook-Attempt": str(envelope.attempt),
        "X-Webhook-Timestamp": timestamp,
        "webhook-id": envelope.delivery_id,
        "webhook-timestamp": seconds,
    }
    if secrets:
        newest = secrets[0].encode()
        signed = f"{envelope.delivery_id}.{seconds}.".encode() + body
        headers |= {
            "X-Webhook-Signature": _hex(newest, body),
            "X-Webhook-Signature-V2": _hex(newest, f"{timestamp}.".encode() + body),
            "webhook-signature": " ".join(_standard(secret, signed) for secret in secrets),
        }
    return headers


def standard_key(secret: str) -> bytes:
    """The key that Standard Webhooks signs with: what `whsec_…` spells in base64, else the secret's own bytes."""
    if secret.startswith(STANDARD_PREFIX):
        text = secret.removeprefix(STANDARD_PREFIX).rstrip("=")
        try:
            return b64decode(text + "=" * (-len(text) % 4), validate=True) or secret.encode()
        except ValueError:
            pass
    return secret.encode()


def _hex(key: bytes, content: bytes) -> str:
    return "sha256=" + hmac.new(key, content, hashlib.sha256).hexdigest()


def _standard(secret: str, content: bytes) -> str:
    mac = hmac.new(standard_key(secret), content, hashlib.sha256).digest()
    return "v1," + b64encode(mac).decode()
