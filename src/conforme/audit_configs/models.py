"""The tables of configurations: an editable draft (`audit_configs`, `audit_steps`) and its immutable revisions."""

from datetime import date
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from conforme.foundation.database import Base, Identified, JsonObject, Updated


class AuditConfig(Updated, Base):
    """The draft people edit; a run pins a revision of it."""

    __tablename__ = "audit_configs"
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 -- SQLAlchemy reads it
    __table_args__ = (
        CheckConstraint(
            "compliant_from IN ('EXCELLENT', 'BON', 'ACCEPTABLE', 'INSUFFISANT')", name="compliant_from"
        ),
        CheckConstraint("call_origin IN ('unsolicited', 'requested', 'client')", name="call_origin"),
        Index(None, "is_active"),
        Index(None, "run_automatically"),
        Index(None, "created_at"),
    )

    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    system_prompt: Mapped[str | None] = mapped_column(Text)
    compliant_from: Mapped[str] = mapped_column(Text, server_default="ACCEPTABLE")
    valid_from: Mapped[date | None]
    valid_to: Mapped[date | None]
    call_origin: Mapped[str | None] = mapped_column(Text)
    is_active: Mapped[bool] = mapped_column(server_default="true")
    run_automatically: Mapped[bool] = mapped_column(server_default="false")
    created_by: Mapped[str | None] = mapped_column(Text)

    steps: Mapped[list["AuditStep"]] = relationship(
        lazy="raise", order_by="AuditStep.position", cascade="all, delete-orphan", passive_deletes=True
    )


class AuditStep(Updated, Base):
    """One step of a draft. `control_point_details[i]` is what `control_points[i]` says beyond its text."""

    __tablename__ = "audit_steps"
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 -- SQLAlchemy reads it
    __table_args__ = (
        # Checked at the end of a statement, so that one UPDATE can swap positions.
        UniqueConstraint("audit_config_id", "position", deferrable=True, initially="IMMEDIATE"),
        CheckConstraint("severity_level IN ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')", name="severity_level"),
        CheckConstraint(
            "jsonb_array_length(control_point_details) = cardinality(control_points)",
            name="details_match_points",
        ),
        Index(None, "position"),
    )

    audit_config_id: Mapped[int] = mapped_column(ForeignKey("audit_configs.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    prompt: Mapped[str] = mapped_column(Text)
    severity_level: Mapped[str] = mapped_column(Text)
    is_critical: Mapped[bool] = mapped_column(server_default="false")
    chronological_important: Mapped[bool] = mapped_column(server_default="false")
    weight: Mapped[int] = mapped_column(Integer, server_default="5")
    verify_product_info: Mapped[bool] = mapped_column(server_default="false")
    keywords: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    control_points: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    control_point_details: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")


class AuditConfigRevision(Identified, Base):
    """What a run judged by. A trigger refuses to change or delete it."""

    __tablename__ = "audit_config_revisions"
    __table_args__ = (UniqueConstraint("audit_config_id", "number"),)

    audit_config_id: Mapped[int] = mapped_column(ForeignKey("audit_configs.id", ondelete="RESTRICT"))
    number: Mapped[int] = mapped_column(Integer)
    """Counts from 1 within the configuration."""
    content: Mapped[JsonObject] = mapped_column(JSONB)
    """`Rules` as JSON."""
    sha256: Mapped[str] = mapped_column(Text)
    created_by: Mapped[str | None] = mapped_column(Text)
