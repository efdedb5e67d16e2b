"""How far each reader of the event log that tells the world has come."""

from datetime import datetime

from sqlalchemy import Text, func
from sqlalchemy.orm import Mapped, mapped_column

from conforme.foundation.database import Base


class RealtimeCursor(Base):
    """`last_event_id` and everything below it has been told, or need not be."""

    __tablename__ = "realtime_cursors"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    last_event_id: Mapped[int]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
