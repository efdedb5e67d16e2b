"""`Idempotency-Key`: what a client's key has led to, so that asking again with it asks for nothing new."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Text, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, mapped_column

from conforme.accounts.actor import Actor
from conforme.audits.errors import IdempotencyKeyReused
from conforme.foundation.database import Base, WriteSession
from conforme.foundation.errors import Invalid

MAX_KEY = 200


class IdempotencyKey(Base):
    """What a client's key has already led to."""

    __tablename__ = "idempotency_keys"

    actor: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(Text)
    response: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


def fingerprint_of(wish: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()


async def claim(
    session: WriteSession, actor: Actor, key: str | None, wish: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The answer given under this key before, or None when it is ours now, or there is none.

    Raises:
        Invalid: no key to use.
        IdempotencyKeyReused: it stands for another wish.
    """
    if key is None:
        return None
    if not key.strip() or len(key) > MAX_KEY:
        raise Invalid(f"Idempotency-Key must have 1 to {MAX_KEY} characters", field="Idempotency-Key")
    fingerprint = fingerprint_of(wish)
    mine = await session.scalar(
        insert(IdempotencyKey)
        .values(actor=actor.name, key=key, fingerprint=fingerprint)
        .on_conflict_do_nothing()
        .returning(text("1"))
    )
    if mine is not None:
        return None
    stored = (
        await session.scalars(
            select(IdempotencyKey).where(IdempotencyKey.actor == actor.name, IdempotencyKey.key == key)
        )
    ).one()
    if stored.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return stored.response


async def keep(session: WriteSession, actor: Actor, key: str | None, answer: dict[str, Any]) -> None:
    """Stores what the key led to, in the transaction that claimed it."""
    if key is not None:
        await session.execute(
            update(IdempotencyKey)
            .where(IdempotencyKey.actor == actor.name, IdempotencyKey.key == key)
            .values(response=answer)
        )


async def one_at_a_time(session: WriteSession, what: str) -> None:
    """Callers with the same wish queue here until the first one has committed."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0))))


async def side_by_side(session: WriteSession, what: str) -> None:
    """Holds up those who are to be alone with `what` (`one_at_a_time`), and not one another."""
    await session.execute(select(func.pg_advisory_xact_lock_shared(func.hashtextextended(what, 0))))
