"""Tables of the webhooks (spec/automation §7): who is told, what they are told, and how each attempt went."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from conforme.foundation.database import Base


class WebhookEndpoint(Base):
    """Where the deliveries about one subject go, and on whose behalf."""

    __tablename__ = "webhook_endpoints"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[str] = mapped_column(Text, index=True)
    """What it was registered for, for example `job:<id>`."""
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str | None] = mapped_column(Text)
    previous_secret: Mapped[str | None] = mapped_column(Text)
    previous_secret_until: Mapped[datetime | None]
    """Until then deliveries are signed with the secret before, too."""
    disabled_at: Mapped[datetime | None]
    disabled_because: Mapped[str | None] = mapped_column(Text)
    asked_by: Mapped[str] = mapped_column(Text, index=True)
    """Name of the actor who asked; with the next four, what a payload may show (spec/automation §12.18)."""
    scope: Mapped[str] = mapped_column(Text)
    groupes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    crm_user_id: Mapped[str | None] = mapped_column(Text)
    user_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class WebhookDelivery(Base):
    """One thing to tell one endpoint. Its body is rebuilt from the `payload_*` columns before each sending."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("status in ('pending', 'sent', 'failed')", name="status"),
        Index("ix_webhook_deliveries_status_next_retry_at", "status", "next_retry_at"),
        # The stream of an endpoint's job: what waits there goes out one after the other.
        Index(
            "ix_webhook_deliveries_waiting",
            "endpoint_id",
            "job_id",
            "position",
            postgresql_where=text("status = 'pending'"),
        ),
        Index(None, "event"),
        Index(None, "created_at"),
        Index(None, "endpoint_id"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    # Of whichever job it tells: ids of several tables, hence no foreign key. Whoever deletes a job has its endpoints
    # forgotten, and their deliveries go with them (spec/automation §7).
    job_id: Mapped[str] = mapped_column(Text, index=True)
    event: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    """The whole body, where it is of another room's words; empty: the `payload_*` columns hold it."""
    payload_timestamp: Mapped[datetime]
    payload_status: Mapped[str | None] = mapped_column(Text)
    payload_progress: Mapped[int | None]
    payload_completed_days: Mapped[int | None]
    payload_total_days: Mapped[int | None]
    payload_total_fiches: Mapped[int | None]
    payload_current_fiches_count: Mapped[int | None]
    payload_latest_date: Mapped[str | None] = mapped_column(Text)
    payload_error: Mapped[str | None] = mapped_column(Text)
    payload_data_url: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    status_code: Mapped[int | None] = mapped_column(Integer)
    response_body: Mapped[str | None] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(Integer, server_default="1")
    """Number of the attempt that is due; of the last one when it has ended."""
    max_attempts: Mapped[int] = mapped_column(Integer, server_default="3")
    """With which attempt it is given up."""
    next_retry_at: Mapped[datetime | None]
    """When its turn comes; null while others of its stream are before it, and when it has ended."""
    turn: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often it was given a turn: an older turn, come late, does nothing."""
    position: Mapped[int] = mapped_column(server_default=text("nextval('webhook_delivery_positions')"))
    """Its place in its stream; redelivered, it goes to the end."""
    sent_at: Mapped[datetime | None]
    dead_at: Mapped[datetime | None]
    """Given up: a dead letter, until it is redelivered."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class WebhookPartialFiche(Base):
    """One entry of a delivery's `partialData`."""

    __tablename__ = "webhook_delivery_partial_fiches"

    delivery_id: Mapped[str] = mapped_column(
        ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True
    )
    row_index: Mapped[int] = mapped_column(Integer, primary_key=True)
    fiche_id: Mapped[str] = mapped_column(Text)
    groupe: Mapped[str | None] = mapped_column(Text)
    prospect_nom: Mapped[str | None] = mapped_column(Text)
    prospect_prenom: Mapped[str | None] = mapped_column(Text)
    recordings_count: Mapped[int | None]
    fiche_created_at: Mapped[str | None] = mapped_column(Text)


class WebhookAttempt(Base):
    """How one attempt of a delivery went."""

    __tablename__ = "webhook_attempts"

    delivery_id: Mapped[str] = mapped_column(
        ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime]
    status_code: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    milliseconds: Mapped[int]
    response_excerpt: Mapped[str | None] = mapped_column(Text)
