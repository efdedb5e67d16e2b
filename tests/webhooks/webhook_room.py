"""What tests of the webhooks start from: an endpoint on a receiver, resources, and a verifier written from the contract."""

import hashlib
import hmac
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

from sqlalchemy import insert, select

from conforme.accounts.actor import Actor
from conforme.foundation.database import Database, now
from conforme.foundation.durable import Durable
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.sandbox.webhooks import Delivery, WebhookSink
from conforme.settings import Settings
from conforme.webhooks import outbox
from conforme.webhooks.body import PartialFiche, Payload
from conforme.webhooks.deliveries import Turn
from conforme.webhooks.ids import new_id
from conforme.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from conforme.webhooks.workflows import deliver

ACTOR = Actor.system("test")
SECRET = "whsec_c2VjcmV0IG9mIHRoZSB3ZWJob29rIHRlc3Rz"
PROGRESS = Payload(
    status="processing",
    progress=40,
    completed_days=2,
    total_days=5,
    total_fiches=1,
    current_fiches_count=1,
    latest_date="2026-01-05",
    partial_data=(
        PartialFiche(
            fiche_id="4100123",
            groupe="Équipe Nord",
            prospect_nom="VANIER",
            prospect_prenom="Régis",
            recordings_count=2,
            created_at="2026-01-05T09:14:02.120Z",
        ),
    ),
)


@asynccontextmanager
async def receiver() -> AsyncGenerator[tuple[WebhookSink, str]]:
    """A receiver on loopback and the URL of its hook `a`."""
    sink = WebhookSink()
    async with sink.service() as service:
        yield sink, f"{service.url}/hooks/a"


def settings_for(url: str, **changed: Any) -> Settings:
    origin = url.split("/hooks", maxsplit=1)[0]
    return Settings(
        webhook_allowed_origins=(origin,),
        replica_heartbeat_seconds=0.3,
        replica_lease_seconds=1.5,
        drain_seconds=0,
        **changed,
    )


def resources_of(settings: Settings, database: Database, outbound: Outbound | None = None) -> Resources:
    """Resources that queue jobs; `working` carries them out as well."""
    return Resources(
        settings=settings,
        database=database,
        durable=Durable(settings, database, jobs=[deliver], schedules=[]),
        outbound=outbound or Outbound(settings),
        model=cast("Any", None),
    )


@asynccontextmanager
async def working(resources: Resources) -> AsyncGenerator[Resources]:
    await resources.durable.start(resources)
    try:
        yield resources
    finally:
        await resources.durable.stop()
        await resources.outbound.aclose()


async def registered(
    resources: Resources,
    url: str,
    secret: str | None = SECRET,
    *,
    subject: str = "job:j1",
    actor: Actor = ACTOR,
) -> str:
    async with resources.database.write() as session:
        return await outbox.register(
            session, resources.outbound, subject=subject, url=url, secret=secret, actor=actor
        )


async def smuggled(database: Database, url: str) -> str:
    """An endpoint that passed no check: what the checks at send time are for."""
    async with database.write() as session:
        values = {"id": new_id(now()), "subject": "job:j1", "url": url, "asked_by": "test", "scope": "ALL"}
        query = insert(WebhookEndpoint).values(values).returning(WebhookEndpoint.id)
        return (await session.execute(query)).scalar_one()


async def queued(
    resources: Resources,
    endpoint_id: str,
    event: str = "progress",
    payload: Payload = PROGRESS,
    *,
    job_id: str = "j1",
) -> str:
    async with resources.database.write() as session:
        return await outbox.queue(session, resources.durable, endpoint_id, event, job_id, payload)


async def row_of(database: Database, delivery_id: str) -> WebhookDelivery:
    async with database.read() as session:
        return await session.get_one(WebhookDelivery, delivery_id)


async def endpoint_of(database: Database, endpoint_id: str) -> WebhookEndpoint:
    async with database.read() as session:
        return await session.get_one(WebhookEndpoint, endpoint_id)


async def attempts_of(database: Database, delivery_id: str) -> list[WebhookAttempt]:
    query = select(WebhookAttempt).where(WebhookAttempt.delivery_id == delivery_id)
    async with database.read() as session:
        return list((await session.scalars(query.order_by(WebhookAttempt.attempt))).all())


async def open_turns(database: Database) -> list[tuple[WebhookDelivery, Turn]]:
    """Deliveries that have a turn, the soonest first."""
    query = select(WebhookDelivery).where(WebhookDelivery.next_retry_at.is_not(None))
    async with database.read() as session:
        rows = (
            await session.scalars(query.order_by(WebhookDelivery.next_retry_at, WebhookDelivery.position))
        ).all()
    return [(row, Turn(delivery_id=row.id, turn=row.turn, origin="http://x.example.test")) for row in rows]


def told(deliveries: list[Delivery]) -> list[Any]:
    """What each request told: the progress its body names, or its event."""
    bodies = [json.loads(delivery.body) for delivery in deliveries]
    return [body["data"].get("progress", body["event"]) for body in bodies]


def contract_signatures(secret: str, timestamp: str, body: bytes) -> tuple[str, str]:
    """Both signatures as a receiver computes them from the contract (spec/automation §7)."""
    first = hmac.new(secret.encode(), body, hashlib.sha256)
    second = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={first.hexdigest()}", f"sha256={second.hexdigest()}"
