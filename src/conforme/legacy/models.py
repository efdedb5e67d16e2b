"""What an import keeps of itself: how far it is, what became of each row, what could not be read."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from conforme.foundation.database import Base


class LegacyImport(Base):
    """How far a kind of rows is."""

    __tablename__ = "legacy_imports"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    cursor: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """The last id of the original that was looked at."""
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class LegacyId(Base):
    """What became of a row of the original."""

    __tablename__ = "legacy_ids"
    __table_args__ = (Index(None, "kind", "id"),)

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    legacy_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[int] = mapped_column(BigInteger)
    """Its id here."""
    written: Mapped[bool]
    """False when the same thing was here already, and was left as it is."""
    digest: Mapped[str] = mapped_column(Text)
    """SHA-256 of the row and of what hangs on it, as the original had them."""


class LegacyQuarantine(Base):
    """A row that could not be taken over; it is tried again by the next import."""

    __tablename__ = "legacy_quarantine"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    legacy_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(Text)
    """Names tables, columns and ids; no value of them."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class LegacySchedule(Base):
    """Rows that were kept as the original had them by imports that could not take schedules over yet.

    Nothing is written here any more; the next import takes their originals over.
    """

    __tablename__ = "legacy_schedules"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    legacy_table: Mapped[str] = mapped_column(Text)
    legacy_id: Mapped[int] = mapped_column(BigInteger)
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (Index("uq_legacy_schedules_row", "legacy_table", "legacy_id", unique=True),)
