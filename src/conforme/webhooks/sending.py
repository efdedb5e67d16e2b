"""One attempt to deliver: the exchange, and what is kept of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from conforme.foundation.database import now
from conforme.foundation.errors import ConformeError
from conforme.foundation.outbound import (
    WEBHOOK_URL,
    Answer,
    Outbound,
    OutboundFailed,
    UnsafeUrl,
    retry_after_seconds,
)
from conforme.foundation.urls import parse_url
from conforme.webhooks.body import Message, body_of
from conforme.webhooks.signing import Envelope, headers_of

MAX_EXCERPT = 1000
"""Characters kept of an answer (spec/automation §7)."""

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A delivery whose turn has come."""

    delivery_id: str
    endpoint_id: str
    job_id: str
    attempt: int
    url: str
    message: Message
    secrets: tuple[str, ...]
    """Those valid now, newest first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt went."""

    at: datetime
    """When it began."""
    milliseconds: int
    status_code: int | None = None
    error: str | None = None
    """Why there is no answer, or why it is no success."""
    excerpt: str | None = None
    retry_after: float | None = None
    final: bool = False
    """Another attempt would fare no better: the URL is not allowed."""

    @property
    def delivered(self) -> bool:
        return self.error is None

    @property
    def gone(self) -> bool:
        return self.status_code == HTTPStatus.GONE


async def send(outbound: Outbound, parcel: Parcel, *, timeout: float, clock: Clock = now) -> Outcome:  # noqa: ASYNC109 -- of the whole attempt
    """Posts a parcel; the address is checked again, and a redirect is an answer like any other that is no success."""
    at, began = clock(), time.perf_counter()
    body = body_of(parcel.message)
    envelope = Envelope(
        delivery_id=parcel.delivery_id,
        event=parcel.message.event,
        job_id=parcel.message.job_id,
        attempt=parcel.attempt,
        timestamp=parcel.message.timestamp,
        at=at,
    )
    headers = headers_of(envelope, body, parcel.secrets)
    try:
        answer = await outbound.post(
            parcel.url, body=body, headers=headers, timeout=timeout, purpose=WEBHOOK_URL
        )
    except (UnsafeUrl, OutboundFailed) as error:
        return Outcome(at, _since(began), error=_reason(error), final=isinstance(error, UnsafeUrl))
    return _outcome(answer, at, _since(began), clock())


def _outcome(answer: Answer, at: datetime, milliseconds: int, ended: datetime) -> Outcome:
    success = HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES
    redirected = " (redirects are not followed)" if 300 <= answer.status < 400 else ""
    return Outcome(
        at,
        milliseconds,
        status_code=answer.status,
        error=None if success else f"HTTP {answer.status}{redirected}",
        excerpt=excerpt_of(answer.body),
        retry_after=retry_after_seconds(answer.headers, ended),
    )


def excerpt_of(body: bytes) -> str:
    """The beginning of an answer as text that can be stored."""
    return body.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_EXCERPT]


def origin_of(url: str) -> str:
    """`scheme://host:port`, empty for a URL that was let in by rules that hold no longer."""
    try:
        return parse_url(url, WEBHOOK_URL.subject).origin
    except UnsafeUrl:
        return ""


def _since(began: float) -> int:
    return round((time.perf_counter() - began) * 1000)


def _reason(error: ConformeError) -> str:
    return error.reason if isinstance(error, OutboundFailed) else error.message
