"""Batches: many audits asked for at once, each fiche one item with one outcome."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COUNTERS = ("succeeded", "failed", "cancelled")


def upgrade() -> None:
    op.create_table(
        "audit_batches",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column(
            "audit_config_id",
            sa.BigInteger(),
            sa.ForeignKey("audit_configs.id", ondelete="RESTRICT"),
            nullable=False,
        ),
        sa.Column("use_rlm", sa.Boolean(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="running", nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), server_default="0", nullable=False) for name in COUNTERS),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        *(
            sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)
            for name in ("created_at", "updated_at")
        ),
        sa.UniqueConstraint("batch_id", name="uq_audit_batches_batch_id"),
        sa.CheckConstraint("status in ('running', 'completed', 'cancelled')", name="status"),
    )
    for columns in (["audit_config_id"], ["requested_by", "created_at"], ["created_at"]):
        op.create_index(f"ix_audit_batches_{'_'.join(columns)}", "audit_batches", columns)
    op.create_table(
        "audit_batch_items",
        sa.Column(
            "batch_id",
            sa.BigInteger(),
            sa.ForeignKey("audit_batches.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("fiche_id", sa.Text(), primary_key=True),
        sa.Column(
            "audit_id", sa.BigInteger(), sa.ForeignKey("audits.id", ondelete="SET NULL"), nullable=True
        ),
        sa.Column("queued", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("outcome in ('succeeded', 'failed', 'cancelled')", name="outcome"),
    )
    op.create_index("ix_audit_batch_items_audit_id", "audit_batch_items", ["audit_id"])
    op.create_index(
        "ix_audit_batch_items_open",
        "audit_batch_items",
        ["batch_id", "fiche_id"],
        postgresql_where=sa.text("outcome is null"),
    )


def downgrade() -> None:
    op.drop_table("audit_batch_items")
    op.drop_table("audit_batches")
