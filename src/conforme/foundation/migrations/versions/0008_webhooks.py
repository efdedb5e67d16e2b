"""Webhooks: endpoints, deliveries with their payload in columns, and the log of their attempts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COUNTS = ("progress", "completed_days", "total_days", "total_fiches", "current_fiches_count")
TABLES = ("webhook_attempts", "webhook_delivery_partial_fiches", "webhook_deliveries", "webhook_endpoints")


def upgrade() -> None:
    _endpoints()
    _deliveries()
    _parts()


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    op.execute("drop sequence webhook_delivery_positions")


def _endpoints() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Text(), primary_key=True),
        _text("subject"),
        _text("url"),
        _text("secret", nullable=True),
        _text("previous_secret", nullable=True),
        _moment("previous_secret_until"),
        _moment("disabled_at"),
        _text("disabled_because", nullable=True),
        _text("asked_by"),
        _text("scope"),
        sa.Column("groupes", ARRAY(sa.Text()), server_default="{}", nullable=False),
        _text("crm_user_id", nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        _created(),
    )
    for column in ("subject", "asked_by", "user_id"):
        op.create_index(f"ix_webhook_endpoints_{column}", "webhook_endpoints", [column])


def _deliveries() -> None:
    op.execute("create sequence webhook_delivery_positions")
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Text(), primary_key=True),
        _part_of("endpoint_id", "webhook_endpoints", primary_key=False),
        _text("job_id"),
        _text("event"),
        _text("url"),
        sa.Column("payload", JSONB(), server_default="{}", nullable=False),
        _moment("payload_timestamp", nullable=False),
        _text("payload_status", nullable=True),
        *(sa.Column(f"payload_{name}", sa.BigInteger(), nullable=True) for name in COUNTS),
        *(_text(f"payload_{name}", nullable=True) for name in ("latest_date", "error", "data_url")),
        _text("status", server_default="pending"),
        sa.Column("status_code", sa.Integer(), nullable=True),
        _text("response_body", nullable=True),
        *_numbers(attempt="1", max_attempts="3", turn="0"),
        _moment("next_retry_at"),
        sa.Column(
            "position",
            sa.BigInteger(),
            server_default=sa.text("nextval('webhook_delivery_positions')"),
            nullable=False,
        ),
        _moment("sent_at"),
        _moment("dead_at"),
        _created(),
        sa.CheckConstraint("status in ('pending', 'sent', 'failed')", name="status"),
    )
    for column in ("endpoint_id", "job_id", "event", "created_at"):
        op.create_index(f"ix_webhook_deliveries_{column}", "webhook_deliveries", [column])
    op.create_index(
        "ix_webhook_deliveries_status_next_retry_at", "webhook_deliveries", ["status", "next_retry_at"]
    )
    op.create_index(
        "ix_webhook_deliveries_waiting",
        "webhook_deliveries",
        ["endpoint_id", "job_id", "position"],
        postgresql_where=sa.text("status = 'pending'"),
    )


def _parts() -> None:
    op.create_table(
        "webhook_delivery_partial_fiches",
        _part_of("delivery_id", "webhook_deliveries"),
        sa.Column("row_index", sa.Integer(), primary_key=True),
        _text("fiche_id"),
        *(_text(name, nullable=True) for name in ("groupe", "prospect_nom", "prospect_prenom")),
        sa.Column("recordings_count", sa.BigInteger(), nullable=True),
        _text("fiche_created_at", nullable=True),
    )
    op.create_table(
        "webhook_attempts",
        _part_of("delivery_id", "webhook_deliveries"),
        sa.Column("attempt", sa.Integer(), primary_key=True),
        _moment("at", nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        _text("error", nullable=True),
        sa.Column("milliseconds", sa.BigInteger(), nullable=False),
        _text("response_excerpt", nullable=True),
    )


def _text(name: str, *, nullable: bool = False, server_default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable, server_default=server_default)


def _numbers(**defaults: str) -> list[sa.Column[int]]:
    return [
        sa.Column(name, sa.Integer(), server_default=value, nullable=False)
        for name, value in defaults.items()
    ]


def _moment(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _created() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _part_of(name: str, table: str, *, primary_key: bool = True) -> sa.Column[str]:
    key = sa.ForeignKey(f"{table}.id", ondelete="CASCADE")
    return sa.Column(name, sa.Text(), key, primary_key=primary_key, nullable=False)
