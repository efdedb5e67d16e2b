"""What was changed and what was refused, in a chain of hashes that shows any later change.

Each row holds the SHA-256 of itself and of the hash before it. The database refuses to change, delete or truncate
rows; whoever goes around that breaks the chain, and `verify` says where.
"""

import hashlib
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, insert, select, text

from conforme.accounts.models import AuditLogRow
from conforme.foundation.database import ReadSession, WriteSession, now
from conforme.foundation.logging import correlation_id

LOCK_KEY = 7_266_013_002
"""Advisory lock under which rows are added: one after the other."""
GENESIS = bytes(32)
VERIFY_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened: who did what to whom."""

    actor: str
    action: str
    target: str
    details: Mapping[str, Any]


async def record(session: WriteSession, actor: str, action: str, target: str, **details: Any) -> None:
    """Adds a row in the caller's transaction; others that add rows wait until it ends.

    `details` hold ids, keys and flags: never a secret, never personal data.
    """
    await session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
    last = (
        await session.execute(
            select(AuditLogRow.id, AuditLogRow.hash).order_by(AuditLogRow.id.desc()).limit(1)
        )
    ).one_or_none()
    number, previous = (1, GENESIS) if last is None else (last.id + 1, last.hash)
    at, entry = now(), Entry(actor, action, target, details)
    await session.execute(
        insert(AuditLogRow).values(
            id=number,
            at=at,
            actor=actor,
            action=action,
            target=target,
            details=dict(details),
            request_id=correlation_id(),
            previous=previous,
            hash=chained(previous, number, at, entry, correlation_id()),
        )
    )


def chained(previous: bytes, number: int, at: datetime, entry: Entry, request_id: str | None) -> bytes:
    """The hash of a row: SHA-256 over the hash before it and the row's canonical JSON."""
    content = [
        number,
        at.astimezone(UTC).isoformat(timespec="microseconds"),
        entry.actor,
        entry.action,
        entry.target,
        entry.details,
        request_id,
    ]
    canonical = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(previous + canonical.encode()).digest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a walk along the chain found."""

    rows: int
    head: bytes
    """Hash of the last good row; kept elsewhere, it shows later whether rows were cut off the end."""
    broken_at: int | None
    """Id of the first row that is missing or was changed."""


async def verify(session: ReadSession) -> Verdict:
    """Walks the whole chain."""
    expected, head = 1, GENESIS
    async for row in _rows(session):
        entry = Entry(row.actor, row.action, row.target, row.details)
        sound = (
            row.id == expected
            and row.previous == head
            and row.hash == chained(head, row.id, row.at, entry, row.request_id)
        )
        if not sound:
            return Verdict(expected - 1, head, expected)
        expected, head = expected + 1, row.hash
    return Verdict(expected - 1, head, None)


async def _rows(session: ReadSession) -> AsyncGenerator[AuditLogRow]:
    last = 0
    while True:
        query = select(AuditLogRow).where(AuditLogRow.id > last).order_by(AuditLogRow.id).limit(VERIFY_PAGE)
        page = (await session.scalars(query)).all()
        for row in page:
            yield row
        if len(page) < VERIFY_PAGE:
            return
        last = page[-1].id


async def page(
    session: ReadSession, *, limit: int, offset: int, action: str | None = None
) -> tuple[list[AuditLogRow], int]:
    """The newest rows first, and how many there are."""
    wanted = [AuditLogRow.action == action] if action else []
    total = await session.scalar(select(func.count()).select_from(AuditLogRow).where(*wanted))
    query = select(AuditLogRow).where(*wanted).order_by(AuditLogRow.id.desc()).limit(limit).offset(offset)
    return list((await session.scalars(query)).all()), total or 0
