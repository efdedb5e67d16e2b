"""`/api/webhooks`: the log of deliveries, redelivery, and what may be changed of an endpoint."""

from typing import Annotated

from fastapi import APIRouter, Query

from conforme.accounts.actor import Actor
from conforme.accounts.auth import may
from conforme.foundation.web import ERRORS, Page, ResourcesDep
from conforme.webhooks import outbox, queries
from conforme.webhooks.schemas import (
    Deliveries,
    Delivery,
    DeliveryFilters,
    DeliveryLine,
    Endpoint,
    Endpoints,
    Identifier,
    NewSecret,
    Pagination,
    Redelivered,
    RedeliveredMany,
    RedeliverMany,
)
from conforme.webhooks.views import delivery_out, endpoint_out

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"], responses=ERRORS)

Reader = Annotated[Actor, may("fiches.read")]
Writer = Annotated[Actor, may("fiches.write")]
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Filter = Annotated[Identifier | None, Query()]


@router.get("/deliveries")
async def listing(
    actor: Reader,
    resources: ResourcesDep,
    filters: Annotated[DeliveryFilters, Query()],
) -> Deliveries:
    """Deliveries, newest first: all of them with scope ALL, else those one asked for."""
    page = Page(limit=filters.limit, offset=filters.offset)
    async with resources.database.read() as session:
        rows, total = await queries.deliveries(
            session, actor, page, status=filters.status, event=filters.event, job_id=filters.job_id
        )
    lines = [DeliveryLine.model_validate(row) for row in rows]
    return Deliveries(data=lines, pagination=Pagination(**page.describe(total)))


@router.get("/deliveries/{delivery_id}")
async def one(delivery_id: str, actor: Reader, resources: ResourcesDep) -> Delivery:
    """One delivery and how each of its attempts went."""
    async with resources.database.read() as session:
        row = await queries.delivery(session, actor, delivery_id)
        attempts = await queries.attempts(session, row)
    return Delivery(data=delivery_out(row, attempts))


@router.post("/deliveries/redeliver")
async def redeliver_many(actor: Writer, resources: ResourcesDep, body: RedeliverMany) -> RedeliveredMany:
    """Sends dead letters again, oldest first, up to 500; those of disabled endpoints stay."""
    async with resources.database.write() as session:
        count, left = await outbox.redeliver_all(
            session, resources.durable, actor, job_id=body.job_id, endpoint_id=body.endpoint_id
        )
    return RedeliveredMany(redelivered=count, remaining=left)


@router.post("/deliveries/{delivery_id}/redeliver")
async def redeliver(delivery_id: str, actor: Writer, resources: ResourcesDep) -> Redelivered:
    """Sends a delivery that has ended once more, with its id and its body."""
    async with resources.database.write() as session:
        row = await outbox.redeliver(session, resources.durable, actor, delivery_id)
    return Redelivered(data=DeliveryLine.model_validate(row))


@router.get("/endpoints")
async def endpoints(
    actor: Reader,
    resources: ResourcesDep,
    subject: Filter = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Endpoints:
    """Endpoints, newest first; where they are and whether they are signed for, never with which secret."""
    page = Page(limit=limit, offset=offset)
    async with resources.database.read() as session:
        rows, total = await queries.endpoints(session, actor, page, subject=subject)
    return Endpoints(data=[endpoint_out(row) for row in rows], pagination=Pagination(**page.describe(total)))


@router.post("/endpoints/{endpoint_id}/secret")
async def rotate_secret(
    endpoint_id: str, actor: Writer, resources: ResourcesDep, body: NewSecret
) -> Endpoint:
    """Signs with a new secret, and for a day (`WEBHOOK_SECRET_OVERLAP_SECONDS`) with the one before as well."""
    overlap = resources.settings.webhook_secret_overlap_seconds
    async with resources.database.write() as session:
        row = await outbox.rotate(session, actor, endpoint_id, body.secret, overlap_seconds=overlap)
    return Endpoint(data=endpoint_out(row))


@router.post("/endpoints/{endpoint_id}/enable")
async def enable(endpoint_id: str, actor: Writer, resources: ResourcesDep) -> Endpoint:
    """Lets deliveries go to an endpoint that was disabled."""
    async with resources.database.write() as session:
        row = await outbox.enable(session, actor, endpoint_id)
    return Endpoint(data=endpoint_out(row))
