"""Recordings and their transcriptions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_recordings()
    _create_chunks()


def downgrade() -> None:
    op.drop_table("recording_transcription_chunks")
    op.drop_table("recordings")


def _zoned(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True))


def _stamp(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _create_recordings() -> None:
    op.create_table(
        "recordings",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        sa.Column(
            "fiche_cache_id",
            sa.BigInteger(),
            sa.ForeignKey("fiche_cache.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("recording_url", sa.Text(), server_default="", nullable=False),
        sa.Column("recording_date", sa.Text()),
        sa.Column("recording_time", sa.Text()),
        sa.Column("from_number", sa.Text()),
        sa.Column("to_number", sa.Text()),
        sa.Column("uuid", sa.Text()),
        sa.Column("direction", sa.Text()),
        sa.Column("answered", sa.Boolean()),
        _zoned("start_time"),
        sa.Column("duration_seconds", sa.Integer()),
        sa.Column("extra", JSON()),
        sa.Column("transcription_id", sa.Text()),
        sa.Column("transcription_text", sa.Text()),
        sa.Column("transcription_data", JSONB()),
        sa.Column("transcription_language_code", sa.Text()),
        sa.Column("transcription_language_probability", sa.Numeric()),
        sa.Column("transcription_words", JSONB()),
        sa.Column("transcription_state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("transcription_error", sa.Text()),
        sa.Column("transcription_run", sa.Text()),
        sa.Column("silent", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("has_transcription", sa.Boolean(), server_default="false", nullable=False),
        _zoned("transcribed_at"),
        _stamp("created_at"),
        _stamp("updated_at"),
        sa.UniqueConstraint("fiche_cache_id", "call_id"),
        sa.CheckConstraint(
            "transcription_state IN ('pending', 'running', 'done', 'failed')", name="transcription_state"
        ),
    )
    for column in ("call_id", "recording_date"):
        op.create_index(f"ix_recordings_{column}", "recordings", [column])
    op.create_index(
        "ix_recordings_running",
        "recordings",
        ["updated_at"],
        postgresql_where=sa.text("transcription_state = 'running'"),
    )


def _create_chunks() -> None:
    op.create_table(
        "recording_transcription_chunks",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        sa.Column(
            "recording_id",
            sa.BigInteger(),
            sa.ForeignKey("recordings.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("chunk_index", sa.Integer(), nullable=False),
        sa.Column("start_timestamp", sa.Double()),
        sa.Column("end_timestamp", sa.Double()),
        sa.Column("message_count", sa.Integer(), nullable=False),
        sa.Column("speakers", ARRAY(sa.Text()), nullable=False),
        sa.Column("full_text", sa.Text(), nullable=False),
        _stamp("created_at"),
        sa.UniqueConstraint("recording_id", "chunk_index"),
    )
