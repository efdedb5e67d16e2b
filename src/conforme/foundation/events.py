"""The event log: an event is written in the transaction of the change it tells of.

Whoever tells the world (streams, Pusher, webhooks) reads this log and nothing else. Events carry ids and counts,
never personal data.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Text, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from conforme.foundation.database import Base, Connection, Identified, ReadSession, Writer, WriteSession
from conforme.foundation.rows import Rows, write_rows

NOTIFY_CHANNEL = "conforme_events"
GLOBAL_CHANNEL = "private-global"
_NOTIFY = (
    f"select pg_notify('{NOTIFY_CHANNEL}', max(id)::text) from written"  # noqa: S608 -- a name of our own
    " having current_setting('conforme.notify', true) is distinct from 'off'"
)
_OUTSIDE_CHANNEL = re.compile(r"[^A-Za-z0-9_\-=@,.;]")
MAX_CHANNEL_ID = 180


class EventRow(Identified, Base):
    __tablename__ = "events"
    # A writer has its transaction id before it draws an event's: followers reason on it (realtime.hub).
    id: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, server_default=text("next_event_id()"), sort_order=-10
    )
    __table_args__ = (
        Index(None, "created_at"),
        Index("ix_events_channels", "channels", postgresql_using="gin"),
    )

    name: Mapped[str] = mapped_column(Text)
    channels: Mapped[list[str]] = mapped_column(ARRAY(Text))
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log; `id` grows, and is what a client resumes from."""

    id: int
    name: str
    channels: tuple[str, ...]
    payload: dict[str, Any]
    created_at: datetime


def _channel(kind: str, identifier: object) -> str:
    clean = _OUTSIDE_CHANNEL.sub("_", str(identifier).strip())[:MAX_CHANNEL_ID]
    return f"private-{kind}-{clean}"


def audit_channel(identifier: object) -> str:
    """Channel of one audit, by tracking id or database id."""
    return _channel("audit", identifier)


def fiche_channel(identifier: object) -> str:
    return _channel("fiche", identifier)


def job_channel(identifier: object) -> str:
    return _channel("job", identifier)


def user_channel(user_id: int | str) -> str:
    """Channel of one person: what changes about their account."""
    return _channel("user", user_id)


@dataclass(frozen=True, slots=True)
class Draft:
    """An event about to be written."""

    name: str
    payload: Mapping[str, Any]
    channels: Sequence[str]


async def record(
    session: WriteSession, name: str, payload: Mapping[str, Any], channels: Sequence[str]
) -> None:
    """Writes one event; it is told when, and only if, the session commits."""
    await record_all(session, [Draft(name, payload, channels)])


async def record_all(session: Writer, drafts: Sequence[Draft]) -> None:
    """Writes events in this order, in one statement."""
    await write_rows(session, rows_of(drafts))


def rows_of(drafts: Sequence[Draft]) -> Rows:
    """The events as rows, to be written with those they tell of; followers are told when all is committed."""
    values = [
        {
            "name": draft.name,
            "channels": list(dict.fromkeys(draft.channels)),
            "payload": dict(draft.payload),
        }
        for draft in drafts
    ]
    return Rows(EventRow, values, "returning id", _NOTIFY)


@dataclass(frozen=True, slots=True)
class Horizon:
    """What the database's clock of transactions says: all below `xmin` have ended, `xmax` is the next to begin."""

    last_id: int
    xmin: int
    xmax: int


async def horizon(session: ReadSession) -> Horizon:
    row = (
        await session.execute(
            text(
                "select coalesce((select max(id) from events), 0),"
                " pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint from pg_current_snapshot() s"
            )
        )
    ).one()
    return Horizon(*row)


_PAGE = text(
    "select pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint,"
    " e.id, e.name, e.channels, e.payload, e.created_at"
    " from pg_current_snapshot() s left join lateral"
    " (select * from events where id > :last_id order by id limit :limit) e on true order by e.id"
)


@dataclass(frozen=True, slots=True)
class LogPage:
    """Events behind an id, in order, and the clock of transactions of the snapshot that shows them."""

    events: list[Event]
    xmin: int
    xmax: int


async def page(connection: Connection, last_id: int, *, limit: int) -> LogPage:
    """One look at the log, in one statement: followers look many times a second."""
    rows = (await connection.execute(_PAGE, {"last_id": last_id, "limit": limit})).all()
    found = [Event(row[2], row[3], tuple(row[4]), row[5], row[6]) for row in rows if row[2] is not None]
    return LogPage(found, rows[0][0], rows[0][1])


async def after(
    session: ReadSession, last_id: int, *, limit: int, channels: Sequence[str] = (), up_to: int | None = None
) -> list[Event]:
    """Events behind `last_id` in order; only those of `channels` when given."""
    query = select(EventRow).where(EventRow.id > last_id).order_by(EventRow.id).limit(limit)
    if channels:
        query = query.where(EventRow.channels.overlap(list(channels)))
    if up_to is not None:
        query = query.where(EventRow.id <= up_to)
    rows = (await session.scalars(query)).all()
    return [Event(row.id, row.name, tuple(row.channels), row.payload, row.created_at) for row in rows]
