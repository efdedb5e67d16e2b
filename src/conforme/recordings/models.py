"""The table of recordings: the calls of a fiche, and how far each one's transcription is."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Numeric, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from conforme.foundation.database import Base, Updated

TranscriptionState = Literal["pending", "running", "done", "failed"]

PENDING: Final[TranscriptionState] = "pending"
RUNNING: Final[TranscriptionState] = "running"
DONE: Final[TranscriptionState] = "done"
FAILED: Final[TranscriptionState] = "failed"


class Recording(Updated, Base):
    """One recorded call (spec/fiches §3). Transcript columns are loaded only by queries that name them."""

    __tablename__ = "recordings"
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 -- SQLAlchemy reads it
    __table_args__ = (
        UniqueConstraint("fiche_cache_id", "call_id"),
        CheckConstraint(
            "transcription_state IN ('pending', 'running', 'done', 'failed')", name="transcription_state"
        ),
        Index(None, "call_id"),
        Index(None, "recording_date"),
        Index(
            "ix_recordings_running", "updated_at", postgresql_where=text("transcription_state = 'running'")
        ),
    )

    fiche_cache_id: Mapped[int] = mapped_column(ForeignKey("fiche_cache.id", ondelete="CASCADE"))
    call_id: Mapped[str] = mapped_column(Text)
    recording_url: Mapped[str] = mapped_column(Text, server_default="")
    """"" = not known yet."""
    recording_date: Mapped[str | None] = mapped_column(Text)
    """DD/MM/YYYY, UTC."""
    recording_time: Mapped[str | None] = mapped_column(Text)
    """HH:MM, UTC."""
    from_number: Mapped[str | None] = mapped_column(Text)
    to_number: Mapped[str | None] = mapped_column(Text)
    uuid: Mapped[str | None] = mapped_column(Text)
    direction: Mapped[str | None] = mapped_column(Text)
    answered: Mapped[bool | None]
    start_time: Mapped[datetime | None]
    duration_seconds: Mapped[int | None] = mapped_column(Integer)
    # Not jsonb, which reorders keys and rewrites numbers.
    extra: Mapped[dict[str, Any] | None] = mapped_column(JSON, deferred=True, deferred_raiseload=True)
    """What the gateway told and the columns cannot say (`recordings.gateway_shape`)."""

    transcription_id: Mapped[str | None] = mapped_column(Text)
    transcription_text: Mapped[str | None] = mapped_column(Text, deferred=True, deferred_raiseload=True)
    transcription_data: Mapped[Any | None] = mapped_column(JSONB, deferred=True, deferred_raiseload=True)
    """Transcript of earlier systems; this one keeps `transcription_words`."""
    transcription_language_code: Mapped[str | None] = mapped_column(Text)
    transcription_language_probability: Mapped[Decimal | None] = mapped_column(Numeric)
    transcription_words: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), deferred=True, deferred_raiseload=True
    )
    """`transcriptions.words.pack`."""
    transcription_state: Mapped[TranscriptionState] = mapped_column(Text, server_default=PENDING)
    transcription_error: Mapped[str | None] = mapped_column(Text)
    transcription_run: Mapped[str | None] = mapped_column(Text)
    """The run that took this recording up last."""
    silent: Mapped[bool] = mapped_column(server_default="false")
    """Transcribed, and nobody speaks in it."""
    has_transcription: Mapped[bool] = mapped_column(server_default="false")
    transcribed_at: Mapped[datetime | None]
