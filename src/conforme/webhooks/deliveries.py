"""What becomes of deliveries: each waits for its turn in its stream, is tried, and ends sent or dead.

A stream is all that one endpoint is to be told of one job. Of its pending deliveries only the first has a turn, so
that no later one goes out before it has ended. Whoever changes a stream holds its endpoint's row, gives the first its
turn and has the caller dispatch it in the same transaction: a turn that is stored is a job that runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from pydantic import BaseModel
from sqlalchemy import func, insert, select, text, tuple_, update

from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.errors import Conflict, NotFound
from conforme.foundation.rows import Rows, write_rows
from conforme.webhooks.body import PAYLOAD_COLUMNS, Message, columns_of, payload_of, rows_of
from conforme.webhooks.ids import new_id
from conforme.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookPartialFiche
from conforme.webhooks.schedule import attempts_of_a_round, wait_seconds
from conforme.webhooks.sending import Outcome, Parcel, origin_of

log = structlog.get_logger(__name__)

GONE = "The receiver answered 410 Gone"
_POSITION = text("nextval('webhook_delivery_positions')")


class DeliveryUnderway(Conflict):
    """The delivery has not ended yet"""


class EndpointDisabled(Conflict):
    """The endpoint is disabled: enable it first"""


class Turn(BaseModel):
    """A delivery's turn to be sent."""

    delivery_id: str
    turn: int
    origin: str
    """Where it goes: `scheme://host:port`."""
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often and how patiently a delivery is tried."""

    waits: Sequence[float]

    @property
    def attempts(self) -> int:
        return attempts_of_a_round(self.waits)


async def held(session: WriteSession, endpoint_id: str) -> WebhookEndpoint:
    """The endpoint, held until the transaction ends: its streams change one transaction after the other."""
    query = select(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id)
    endpoint = await session.scalar(
        query.with_for_update(key_share=True).execution_options(populate_existing=True)
    )
    if endpoint is None:
        raise NotFound.of("Webhook endpoint", endpoint_id)
    return endpoint


async def add(
    session: WriteSession, endpoint: WebhookEndpoint, message: Message, rhythm: Rhythm, at: datetime
) -> str:
    """Writes a delivery to the end of its stream; dead from the start when the endpoint is disabled. Returns its id."""
    delivery_id = new_id(at)
    disabled = endpoint.disabled_at is not None
    dead = {"status": "failed", "dead_at": at, "response_body": endpoint.disabled_because} if disabled else {}
    values: dict[str, Any] = {
        "id": delivery_id,
        "endpoint_id": endpoint.id,
        "job_id": message.job_id,
        "event": message.event,
        "url": endpoint.url,
        "payload_timestamp": message.timestamp,
        "max_attempts": rhythm.attempts,
        **columns_of(message.payload),
        **dead,
    }
    await session.execute(insert(WebhookDelivery).values(values))
    await write_rows(session, Rows(WebhookPartialFiche, rows_of(message.payload, delivery_id)))
    return delivery_id


async def next_turn(
    session: WriteSession, endpoint: WebhookEndpoint, job_id: str, at: datetime
) -> Turn | None:
    """Gives the first of a stream its turn; None when it has one, or nothing waits. The endpoint is held."""
    query = (
        select(WebhookDelivery)
        .where(
            WebhookDelivery.endpoint_id == endpoint.id,
            WebhookDelivery.job_id == job_id,
            WebhookDelivery.status == "pending",
        )
        .order_by(WebhookDelivery.position)
        .limit(1)
    )
    first = await session.scalar(query.execution_options(populate_existing=True))
    if first is None or first.next_retry_at is not None:
        return None
    return _turn(first, at)


def _turn(delivery: WebhookDelivery, at: datetime, delay: float = 0.0) -> Turn:
    delivery.turn += 1
    delivery.next_retry_at = at + timedelta(seconds=delay)
    return Turn(
        delivery_id=delivery.id, turn=delivery.turn, origin=origin_of(delivery.url), delay_seconds=delay
    )


async def due(session: ReadSession, turn: Turn, at: datetime) -> Parcel | None:
    """What is to be sent; None when this turn is over: the delivery has ended, or was given another."""
    query = (
        select(WebhookDelivery, WebhookEndpoint)
        .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
        .where(WebhookDelivery.id == turn.delivery_id)
    )
    found = (await session.execute(query)).one_or_none()
    if found is None or not _has(found[0], turn):
        return None
    delivery, endpoint = found[0], found[1]
    payload = delivery.payload or payload_of(
        _payload_columns(delivery), await _partial_rows(session, delivery.id)
    )
    return Parcel(
        delivery_id=delivery.id,
        endpoint_id=endpoint.id,
        job_id=delivery.job_id,
        attempt=delivery.attempt,
        url=delivery.url,
        message=Message(delivery.event, delivery.job_id, delivery.payload_timestamp, payload),
        secrets=valid_secrets(endpoint, at),
    )


def _has(delivery: WebhookDelivery, turn: Turn) -> bool:
    return delivery.status == "pending" and delivery.turn == turn.turn


def _payload_columns(delivery: WebhookDelivery) -> Mapping[str, Any]:
    return {name: getattr(delivery, name) for name in PAYLOAD_COLUMNS}


async def _partial_rows(session: ReadSession, delivery_id: str) -> list[Mapping[str, Any]]:
    table = WebhookPartialFiche.__table__
    query = select(table).where(table.c.delivery_id == delivery_id).order_by(table.c.row_index)
    return [dict(row) for row in (await session.execute(query)).mappings()]


def valid_secrets(endpoint: WebhookEndpoint, at: datetime) -> tuple[str, ...]:
    """The secrets to sign with, newest first: two of them while a rotation overlaps."""
    until = endpoint.previous_secret_until
    previous = endpoint.previous_secret if until is not None and at < until else None
    return tuple(secret for secret in (endpoint.secret, previous) if secret)


async def settle(
    session: WriteSession, parcel: Parcel, turn: Turn, outcome: Outcome, rhythm: Rhythm
) -> tuple[str, Turn | None]:
    """Stores how an attempt went; the delivery's status and whose turn is next, to be dispatched by the caller."""
    endpoint = await held(session, parcel.endpoint_id)
    delivery = await session.get(WebhookDelivery, parcel.delivery_id, populate_existing=True)
    if delivery is None or not _has(delivery, turn):
        return "superseded", None
    await _log_attempt(session, parcel, outcome)
    delivery.status_code = outcome.status_code
    delivery.response_body = outcome.error if outcome.status_code is None else outcome.excerpt
    delivery.sent_at = outcome.at if outcome.status_code is not None else delivery.sent_at
    again = _ended(delivery, outcome, rhythm)
    if outcome.gone:
        await disable(session, endpoint, GONE, outcome.at)
    await session.flush()
    following = again or await next_turn(session, endpoint, delivery.job_id, outcome.at)
    return delivery.status, following


async def _log_attempt(session: WriteSession, parcel: Parcel, outcome: Outcome) -> None:
    session.add(
        WebhookAttempt(
            delivery_id=parcel.delivery_id,
            attempt=parcel.attempt,
            at=outcome.at,
            status_code=outcome.status_code,
            error=outcome.error,
            milliseconds=outcome.milliseconds,
            response_excerpt=outcome.excerpt,
        )
    )
    await session.flush()


def _ended(delivery: WebhookDelivery, outcome: Outcome, rhythm: Rhythm) -> Turn | None:
    """Ends the delivery, or gives it another turn."""
    left = delivery.max_attempts - delivery.attempt
    if outcome.delivered:
        delivery.status, delivery.next_retry_at = "sent", None
    elif outcome.final or outcome.gone or left <= 0:
        delivery.status, delivery.next_retry_at, delivery.dead_at = "failed", None, outcome.at
        log.warning("webhook delivery given up", delivery=delivery.id, attempts=delivery.attempt)
    else:
        delivery.attempt += 1
        return _turn(delivery, outcome.at, wait_seconds(rhythm.waits, left, outcome.retry_after))
    return None


async def disable(session: WriteSession, endpoint: WebhookEndpoint, because: str, at: datetime) -> None:
    """Nothing is sent to the endpoint any more: what waits for it is dead, to be redelivered when it is back."""
    endpoint.disabled_at, endpoint.disabled_because = at, because
    log.warning("webhook endpoint disabled", endpoint=endpoint.id)
    await session.flush()
    await session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.endpoint_id == endpoint.id, WebhookDelivery.status == "pending")
        .values(status="failed", dead_at=at, next_retry_at=None, response_body=because)
    )


async def bring_back(
    session: WriteSession, endpoint: WebhookEndpoint, delivery_id: str, rhythm: Rhythm
) -> WebhookDelivery:
    """Puts an ended delivery at the end of its stream for another round of attempts. The endpoint is held.

    Raises:
        DeliveryUnderway: it has not ended.
        EndpointDisabled: nothing is sent there.
    """
    if endpoint.disabled_at is not None:
        raise EndpointDisabled
    delivery = await session.get_one(WebhookDelivery, delivery_id, populate_existing=True)
    if delivery.status == "pending":
        raise DeliveryUnderway
    made = await session.scalar(
        select(func.max(WebhookAttempt.attempt)).where(WebhookAttempt.delivery_id == delivery_id)
    )
    delivery.status, delivery.dead_at, delivery.next_retry_at = "pending", None, None
    delivery.attempt = (made or 0) + 1
    delivery.max_attempts = (made or 0) + rhythm.attempts
    delivery.position = _POSITION  # pyright: ignore[reportAttributeAccessIssue] -- an expression, as SQLAlchemy takes it
    await session.flush()
    return delivery


@dataclass(frozen=True, slots=True)
class Overdue:
    """A delivery whose turn should long have ended."""

    due_at: datetime
    delivery_id: str
    endpoint_id: str
    turn: int


async def overdue(
    session: ReadSession, before: datetime, limit: int, last: Overdue | None = None
) -> list[Overdue]:
    """A page of the deliveries whose turn came before that, the most overdue first; those behind `last`."""
    order = tuple_(WebhookDelivery.next_retry_at, WebhookDelivery.id)
    columns = (
        WebhookDelivery.next_retry_at,
        WebhookDelivery.id,
        WebhookDelivery.endpoint_id,
        WebhookDelivery.turn,
    )
    query = select(*columns).where(
        WebhookDelivery.status == "pending", WebhookDelivery.next_retry_at < before
    )
    query = query if last is None else query.where(order > tuple_(last.due_at, last.delivery_id))
    rows = await session.execute(
        query.order_by(WebhookDelivery.next_retry_at, WebhookDelivery.id).limit(limit)
    )
    return [Overdue(*row) for row in rows]


async def turn_again(session: WriteSession, late: Overdue, at: datetime) -> Turn | None:
    """Another turn for a delivery whose job was lost; None when it has gone on meanwhile."""
    await held(session, late.endpoint_id)
    delivery = await session.get(WebhookDelivery, late.delivery_id, populate_existing=True)
    if delivery is None or delivery.status != "pending" or delivery.turn != late.turn:
        return None
    return _turn(delivery, at)
