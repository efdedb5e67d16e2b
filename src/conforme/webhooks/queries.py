"""Every SELECT that shows deliveries and endpoints to somebody: their own, or all with scope ALL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, false, func, or_, select, true

from conforme.accounts.actor import Actor, Scope
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.errors import NotFound
from conforme.foundation.web import Page
from conforme.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint

Session = ReadSession | WriteSession


def _visible(actor: Actor) -> ColumnElement[bool]:
    if actor.scope is Scope.ALL:
        return true()
    own = false() if actor.user_id is None else WebhookEndpoint.user_id == actor.user_id
    return or_(WebhookEndpoint.asked_by == actor.name, own)


def _seen(actor: Actor) -> ColumnElement[bool]:
    """Of deliveries: those to endpoints that the actor may see."""
    if actor.scope is Scope.ALL:
        return true()
    return WebhookDelivery.endpoint_id.in_(select(WebhookEndpoint.id).where(_visible(actor)))


async def deliveries(
    session: Session,
    actor: Actor,
    page: Page,
    *,
    status: str | None = None,
    event: str | None = None,
    job_id: str | None = None,
) -> tuple[Sequence[WebhookDelivery], int]:
    """A page of deliveries, newest first, and how many there are."""
    wanted = [_seen(actor)]
    wanted += [WebhookDelivery.status == status] if status else []
    wanted += [WebhookDelivery.event == event] if event else []
    wanted += [WebhookDelivery.job_id == job_id] if job_id else []
    total = await session.scalar(select(func.count()).select_from(WebhookDelivery).where(*wanted))
    query = (
        select(WebhookDelivery)
        .where(*wanted)
        .order_by(WebhookDelivery.created_at.desc(), WebhookDelivery.id.desc())
        .limit(page.limit)
        .offset(page.offset)
    )
    return (await session.scalars(query)).all(), total or 0


async def delivery(session: Session, actor: Actor, delivery_id: str) -> WebhookDelivery:
    """One delivery. Raises `NotFound` when there is none that the actor may see."""
    query = select(WebhookDelivery).where(WebhookDelivery.id == delivery_id, _seen(actor))
    found = await session.scalar(query)
    if found is None:
        raise NotFound.of("Webhook delivery", delivery_id)
    return found


async def attempts(session: Session, delivery: WebhookDelivery) -> Sequence[WebhookAttempt]:
    """The attempts of a delivery, first to last."""
    query = select(WebhookAttempt).where(WebhookAttempt.delivery_id == delivery.id)
    return (await session.scalars(query.order_by(WebhookAttempt.attempt))).all()


@dataclass(frozen=True, slots=True)
class Told:
    """How the deliveries of a job went, all together."""

    last_sent_at: datetime | None
    attempts: int
    last_error: str | None
    """`HTTP nnn` when the last attempt that was answered was not answered well."""


async def told_of_job(session: Session, actor: Actor, job_id: str) -> Told:
    """How the deliveries of a job went that the actor may see."""
    mine = (WebhookDelivery.job_id == job_id, _seen(actor))
    made = (
        select(WebhookAttempt.at, WebhookAttempt.status_code)
        .join(WebhookDelivery, WebhookDelivery.id == WebhookAttempt.delivery_id)
        .where(*mine)
    ).subquery()
    attempts, last_sent_at = (
        await session.execute(
            select(func.count(), func.max(made.c.at).filter(made.c.status_code.is_not(None)))
        )
    ).one()
    last = await session.scalar(
        select(made.c.status_code).where(made.c.status_code.is_not(None)).order_by(made.c.at.desc()).limit(1)
    )
    return Told(last_sent_at, attempts, None if last is None or 200 <= last < 300 else f"HTTP {last}")


async def endpoints_of(session: Session, subject: str) -> Sequence[WebhookEndpoint]:
    """Everybody who is to be told of a subject, for whoever tells them, in the order in which they are held."""
    query = select(WebhookEndpoint).where(WebhookEndpoint.subject == subject).order_by(WebhookEndpoint.id)
    return (await session.scalars(query)).all()


async def count_of_jobs(session: Session, actor: Actor, job_ids: Sequence[str]) -> dict[str, int]:
    """How many deliveries each of these jobs has that the actor may see; jobs without any are left out."""
    query = (
        select(WebhookDelivery.job_id, func.count())
        .where(WebhookDelivery.job_id.in_(job_ids), _seen(actor))
        .group_by(WebhookDelivery.job_id)
    )
    return {row[0]: row[1] for row in await session.execute(query)}


def _dead(actor: Actor, job_id: str | None, endpoint_id: str | None) -> list[ColumnElement[bool]]:
    wanted = [
        WebhookDelivery.status == "failed",
        WebhookDelivery.endpoint_id.in_(
            select(WebhookEndpoint.id).where(_visible(actor), WebhookEndpoint.disabled_at.is_(None))
        ),
    ]
    wanted += [WebhookDelivery.job_id == job_id] if job_id else []
    wanted += [WebhookDelivery.endpoint_id == endpoint_id] if endpoint_id else []
    return wanted


async def dead_letters(
    session: Session, actor: Actor, *, job_id: str | None, endpoint_id: str | None, limit: int
) -> list[tuple[str, str]]:
    """Deliveries that were given up and could be sent again, oldest first: id and endpoint."""
    query = (
        select(WebhookDelivery.id, WebhookDelivery.endpoint_id)
        .where(*_dead(actor, job_id, endpoint_id))
        .order_by(WebhookDelivery.position)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in await session.execute(query)]


async def count_dead_letters(
    session: Session, actor: Actor, *, job_id: str | None, endpoint_id: str | None
) -> int:
    query = select(func.count()).select_from(WebhookDelivery).where(*_dead(actor, job_id, endpoint_id))
    return await session.scalar(query) or 0


async def endpoint(session: Session, actor: Actor, endpoint_id: str) -> WebhookEndpoint:
    """One endpoint. Raises `NotFound` when there is none that the actor may see."""
    found = await session.scalar(
        select(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id, _visible(actor))
    )
    if found is None:
        raise NotFound.of("Webhook endpoint", endpoint_id)
    return found


async def endpoints(
    session: Session, actor: Actor, page: Page, *, subject: str | None = None
) -> tuple[Sequence[WebhookEndpoint], int]:
    """A page of endpoints, newest first, and how many there are."""
    wanted = [_visible(actor)]
    wanted += [WebhookEndpoint.subject == subject] if subject else []
    total = await session.scalar(select(func.count()).select_from(WebhookEndpoint).where(*wanted))
    query = select(WebhookEndpoint).where(*wanted)
    newest = query.order_by(WebhookEndpoint.created_at.desc(), WebhookEndpoint.id.desc())
    return (await session.scalars(newest.limit(page.limit).offset(page.offset))).all(), total or 0
