"""The table of transcript chunks."""

from sqlalchemy import Double, ForeignKey, Integer, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from conforme.foundation.database import Base, Identified


class TranscriptionChunk(Identified, Base):
    """Ten turns of a recording (spec/fiches §4); times in seconds, null where the provider gave none."""

    __tablename__ = "recording_transcription_chunks"
    __table_args__ = (UniqueConstraint("recording_id", "chunk_index"),)

    recording_id: Mapped[int] = mapped_column(ForeignKey("recordings.id", ondelete="CASCADE"))
    chunk_index: Mapped[int] = mapped_column(Integer)
    start_timestamp: Mapped[float | None] = mapped_column(Double)
    end_timestamp: Mapped[float | None] = mapped_column(Double)
    message_count: Mapped[int] = mapped_column(Integer)
    speakers: Mapped[list[str]] = mapped_column(ARRAY(Text))
    full_text: Mapped[str] = mapped_column(Text)
