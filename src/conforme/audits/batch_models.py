"""Tables of batches: many audits asked for at once, each fiche one item with one outcome."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from conforme.foundation.database import Base, Updated

RUNNING, COMPLETED, CANCELLED = "running", "completed", "cancelled"
SUCCEEDED, FAILED = "succeeded", "failed"
OUTCOMES = (SUCCEEDED, FAILED, CANCELLED)


class AuditBatch(Updated, Base):
    """One wish for many audits. The three counters are those of its items' outcomes, kept in the same transaction."""

    __tablename__ = "audit_batches"
    __table_args__ = (
        CheckConstraint("status in ('running', 'completed', 'cancelled')", name="status"),
        Index(None, "requested_by", "created_at"),
        Index(None, "created_at"),
    )

    batch_id: Mapped[str] = mapped_column(Text, unique=True)
    """`batch-<ms>-<count>`: what clients know."""
    audit_config_id: Mapped[int] = mapped_column(
        ForeignKey("audit_configs.id", ondelete="RESTRICT"), index=True
    )
    use_rlm: Mapped[bool]
    requested_by: Mapped[str] = mapped_column(Text)
    """Name of the actor who asked."""
    user_id: Mapped[str | None] = mapped_column(Text)
    """In whose name its audits run."""
    fingerprint: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default=RUNNING)
    attempt: Mapped[int] = mapped_column(server_default="1")
    """The first, and one for each time it was resumed."""
    total: Mapped[int]
    succeeded: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    cancelled: Mapped[int] = mapped_column(server_default="0")
    started_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]


class AuditBatchItem(Base):
    """One fiche of a batch."""

    __tablename__ = "audit_batch_items"
    __table_args__ = (
        CheckConstraint("outcome in ('succeeded', 'failed', 'cancelled')", name="outcome"),
        Index("ix_audit_batch_items_open", "batch_id", "fiche_id", postgresql_where=text("outcome is null")),
    )

    batch_id: Mapped[int] = mapped_column(
        ForeignKey("audit_batches.id", ondelete="CASCADE"), primary_key=True
    )
    fiche_id: Mapped[str] = mapped_column(Text, primary_key=True)
    audit_id: Mapped[int | None] = mapped_column(ForeignKey("audits.id", ondelete="SET NULL"), index=True)
    """None until its audit is queued."""
    queued: Mapped[bool] = mapped_column(server_default="false")
    outcome: Mapped[str | None] = mapped_column(Text)
    """None while it is to be waited for."""
    error: Mapped[str | None] = mapped_column(Text)
