"""The event log, the cost ledger, what replicas share and what clients may repeat."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), primary_key=True)


def _created_at() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


NEXT_EVENT_ID = """
create function next_event_id() returns bigint language plpgsql as $$
begin
    perform pg_current_xact_id();
    return nextval('events_id_seq');
end
$$
"""
"""A writer has its transaction id before it draws an event's, so that a follower of the log can tell a gap that
may still be filled from one that never will be."""


def upgrade() -> None:
    op.execute("create sequence events_id_seq")
    op.execute(NEXT_EVENT_ID)
    op.create_table(
        "events",
        sa.Column(
            "id",
            sa.BigInteger(),
            primary_key=True,
            server_default=sa.text("next_event_id()"),
            autoincrement=False,
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("channels", ARRAY(sa.Text()), nullable=False),
        sa.Column("payload", JSONB(), nullable=False),
        _created_at(),
    )
    op.create_index("ix_events_created_at", "events", ["created_at"])
    op.create_index("ix_events_channels", "events", ["channels"], postgresql_using="gin")

    op.create_table(
        "llm_calls",
        _id(),
        _created_at(),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("audit_id", sa.BigInteger(), nullable=True),
        sa.Column("step_position", sa.Integer(), nullable=True),
        sa.Column("recording_id", sa.BigInteger(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cached_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("output_tokens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("audio_seconds", sa.Numeric(), nullable=True),
        sa.Column("cost_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("kind in ('model', 'speech')", name="kind"),
    )
    op.create_index("ix_llm_calls_audit_id", "llm_calls", ["audit_id"])
    op.create_index("ix_llm_calls_recording_id", "llm_calls", ["recording_id"])
    op.create_index("ix_llm_calls_created_at", "llm_calls", ["created_at"])
    op.create_index(
        "uq_llm_calls_reference",
        "llm_calls",
        ["reference"],
        unique=True,
        postgresql_where=sa.text("reference is not null"),
    )

    op.create_table(
        "engine_heartbeats",
        sa.Column("executor_id", sa.Text(), primary_key=True),
        sa.Column("beat_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("boot_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )

    op.create_table(
        "idempotency_keys",
        sa.Column("actor", sa.Text(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("response", JSONB(), nullable=True),
        _created_at(),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    for table in ("idempotency_keys", "engine_heartbeats", "llm_calls", "events"):
        op.drop_table(table)
    op.execute("drop function next_event_id()")
    op.execute("drop sequence events_id_seq")
