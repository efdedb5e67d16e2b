"""What other rooms call: register an endpoint, queue a delivery; and what is done with them afterwards."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import delete

from conforme.accounts import audit_log
from conforme.accounts.actor import Actor, Scope
from conforme.foundation.database import WriteSession, now
from conforme.foundation.durable import Durable
from conforme.foundation.errors import Invalid
from conforme.foundation.outbound import WEBHOOK_URL, Outbound
from conforme.webhooks import deliveries, queries
from conforme.webhooks.body import Message, Payload
from conforme.webhooks.ids import new_id
from conforme.webhooks.models import WebhookDelivery, WebhookEndpoint
from conforme.webhooks.workflows import dispatch, rhythm

MAX_SECRET: Final = 256
MAX_BULK: Final = 500
_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,200}")
"""Job ids and event names stand in headers."""


async def register(
    session: WriteSession, outbound: Outbound, *, subject: str, url: str, secret: str | None, actor: Actor
) -> str:
    """Notes whom to tell of `subject` (`job:<id>`) on behalf of `actor`; returns the endpoint's id.

    A blank secret is none: deliveries are then not signed.

    Raises:
        UnsafeUrl: with the messages of spec/automation §8.
        Invalid: the secret cannot be one.
    """
    outbound.check(url, WEBHOOK_URL)
    at = now()
    endpoint = WebhookEndpoint(
        id=new_id(at),
        subject=subject,
        url=url,
        secret=checked_secret(secret) if secret else None,
        asked_by=actor.name,
        scope=actor.scope.value,
        groupes=sorted(actor.groupes),
        crm_user_id=actor.crm_user_id,
        user_id=actor.user_id,
    )
    session.add(endpoint)
    await session.flush()
    return endpoint.id


async def forget(session: WriteSession, subjects: Sequence[str]) -> None:
    """Deletes the endpoints of these subjects, with all that was or is to be told to them."""
    await session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.subject.in_(subjects)))


def checked_secret(secret: str) -> str:
    """The secret. Raises `Invalid`, which does not repeat it."""
    if not 0 < len(secret) <= MAX_SECRET or not secret.isprintable() or not secret.strip():
        raise Invalid(
            f"webhookSecret must have 1 to {MAX_SECRET} printable characters", field="webhookSecret"
        )
    return secret


def asker_of(endpoint: WebhookEndpoint) -> Actor:
    """Whoever asked, as far as they saw when they did: what a payload for this endpoint may show."""
    return Actor(
        name=endpoint.asked_by,
        scope=Scope(endpoint.scope),
        groupes=frozenset(endpoint.groupes),
        crm_user_id=endpoint.crm_user_id,
        user_id=endpoint.user_id,
    )


async def queue(
    session: WriteSession,
    durable: Durable,
    endpoint_id: str,
    event: str,
    job_id: str,
    payload: Payload | Mapping[str, Any],
) -> str:
    """Writes a delivery, to be sent if, and only if, the session commits; returns its id.

    What is queued later for the same endpoint and job is sent later. The endpoint's row is held until the transaction
    ends: whoever queues for several does so in the order of their ids.

    Raises:
        NotFound: no such endpoint.
        ValueError: `event` or `job_id` cannot stand in a header.
    """
    if not _HEADER_SAFE.fullmatch(event) or not _HEADER_SAFE.fullmatch(job_id):
        raise ValueError("event and job id must be 1 to 200 visible ASCII characters")
    at = now()
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)  # as it is written
    pace = rhythm(durable.settings)
    endpoint = await deliveries.held(session, endpoint_id)
    message = Message(event, job_id, at, payload)
    delivery_id = await deliveries.add(session, endpoint, message, pace, at)
    await dispatch(session, durable, await deliveries.next_turn(session, endpoint, job_id, at))
    return delivery_id


async def redeliver(
    session: WriteSession, durable: Durable, actor: Actor, delivery_id: str
) -> WebhookDelivery:
    """Sends an ended delivery once more: same id, same body, behind what its stream still has to send.

    Raises:
        NotFound: there is none that this actor may see.
        DeliveryUnderway, EndpointDisabled: as `deliveries.bring_back`.
    """
    known = await queries.delivery(session, actor, delivery_id)
    return await _bring_back(session, durable, known.endpoint_id, delivery_id)


async def redeliver_all(
    session: WriteSession, durable: Durable, actor: Actor, *, job_id: str | None, endpoint_id: str | None
) -> tuple[int, int]:
    """Sends dead letters once more, in their order, at most `MAX_BULK`; how many, and how many are left.

    Those whose endpoint is disabled are neither sent nor counted.
    """
    found = await queries.dead_letters(session, actor, job_id=job_id, endpoint_id=endpoint_id, limit=MAX_BULK)
    # Endpoints are held in the order of their ids: two of these at once do not wait for each other.
    for endpoint in sorted({each[1] for each in found}):
        await deliveries.held(session, endpoint)
    still_dead = await queries.dead_letters(
        session, actor, job_id=job_id, endpoint_id=endpoint_id, limit=MAX_BULK
    )
    mine = [each for each in still_dead if each in set(found)]
    for delivery_id, endpoint in mine:
        await _bring_back(session, durable, endpoint, delivery_id)
    left = await queries.count_dead_letters(session, actor, job_id=job_id, endpoint_id=endpoint_id)
    return len(mine), left


async def _bring_back(
    session: WriteSession, durable: Durable, endpoint_id: str, delivery_id: str
) -> WebhookDelivery:
    endpoint = await deliveries.held(session, endpoint_id)
    pace = rhythm(durable.settings)
    delivery = await deliveries.bring_back(session, endpoint, delivery_id, pace)
    await dispatch(session, durable, await deliveries.next_turn(session, endpoint, delivery.job_id, now()))
    return delivery


async def rotate(
    session: WriteSession, actor: Actor, endpoint_id: str, secret: str, *, overlap_seconds: int
) -> WebhookEndpoint:
    """Signs with a new secret from now on, and for `overlap_seconds` with the one before as well."""
    checked = checked_secret(secret)
    await queries.endpoint(session, actor, endpoint_id)
    endpoint = await deliveries.held(session, endpoint_id)
    if endpoint.secret is not None and endpoint.secret != checked:
        endpoint.previous_secret = endpoint.secret
        endpoint.previous_secret_until = now() + timedelta(seconds=overlap_seconds)
    endpoint.secret = checked
    await audit_log.record(session, actor.name, "webhook.secret.rotated", f"webhook-endpoint:{endpoint_id}")
    await session.flush()
    return endpoint


async def enable(session: WriteSession, actor: Actor, endpoint_id: str) -> WebhookEndpoint:
    """Lets deliveries go to a disabled endpoint again; those that died meanwhile are redelivered on demand."""
    await queries.endpoint(session, actor, endpoint_id)
    endpoint = await deliveries.held(session, endpoint_id)
    endpoint.disabled_at = endpoint.disabled_because = None
    await audit_log.record(session, actor.name, "webhook.endpoint.enabled", f"webhook-endpoint:{endpoint_id}")
    await session.flush()
    return endpoint
