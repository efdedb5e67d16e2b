"""Every read of recordings; all of them within the actor's scope."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, undefer

from conforme.accounts.actor import Actor, Scope
from conforme.fiches.models import NOT_FOUND, FicheCache
from conforme.fiches.scope import visible
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.errors import Forbidden, NotFound
from conforme.recordings.models import FAILED, RUNNING, Recording

Session = ReadSession | WriteSession
Deferred = Sequence[InstrumentedAttribute[Any]]

OLDEST_FIRST = (Recording.start_time.asc().nulls_last(), Recording.id.asc())
TEXT = (Recording.transcription_text, Recording.transcription_data)
TRANSCRIPT = (*TEXT, Recording.transcription_words)
"""Columns that are read only when asked for."""


async def cached_fiche(session: Session, actor: Actor, fiche_id: str) -> int:
    """The cache id of a fiche the actor may see.

    Raises:
        NotFound: nobody has fetched it, or the CRM denies it; said only to those who see everything.
        Forbidden: out of scope.
    """
    # The CRM's mere denial leaves a row too.
    told = or_(
        FicheCache.details_message.is_distinct_from(NOT_FOUND),
        FicheCache.listed_at.is_not(None),
        FicheCache.details_fetched_at.is_not(None),
    )
    query = select(FicheCache.id, visible(actor)).where(FicheCache.fiche_id == fiche_id, told)
    row = (await session.execute(query)).one_or_none()
    if row is None and actor.scope is Scope.ALL:
        raise NotFound(f"Fiche {fiche_id} not found in cache")
    if row is None or not row[1]:
        raise Forbidden
    return row[0]


async def require_visible(session: Session, actor: Actor, fiche_ids: Sequence[str]) -> None:
    """Raises `Forbidden` unless the actor may see every one of these (distinct) fiches; ALL may name unknown ones."""
    if actor.scope is Scope.ALL:
        return
    seen = (
        select(func.count()).select_from(FicheCache).where(FicheCache.fiche_id.in_(fiche_ids), visible(actor))
    )
    if await session.scalar(seen) != len(fiche_ids):
        raise Forbidden


async def of_fiche(
    session: Session, actor: Actor, fiche_cache_id: int, *, also: Deferred = ()
) -> Sequence[Recording]:
    """The recordings of a fiche, oldest first; `also` names the columns to read besides (`TEXT`, `TRANSCRIPT`)."""
    query = _visible(actor, Recording.fiche_cache_id == fiche_cache_id).order_by(*OLDEST_FIRST)
    return (await session.scalars(query.options(*map(undefer, also)))).all()


async def one(
    session: Session, actor: Actor, fiche_cache_id: int, call_id: str, *, also: Deferred = ()
) -> Recording | None:
    query = _visible(actor, Recording.fiche_cache_id == fiche_cache_id, Recording.call_id == call_id)
    return (await session.scalars(query.options(*map(undefer, also)))).one_or_none()


async def by_id(session: Session, actor: Actor, recording_id: int, *, also: Deferred = ()) -> Recording:
    """A recording in scope by its id. Raises `NotFound`."""
    query = _visible(actor, Recording.id == recording_id)
    found = (await session.scalars(query.options(*map(undefer, also)))).one_or_none()
    if found is None:
        raise NotFound.of("Recording", recording_id)
    return found


async def running(
    session: Session, actor: Actor, *, since: datetime, limit: int = 500
) -> Sequence[Recording]:
    """Recordings that have been running since before `since`, those for longest first."""
    query = _visible(actor, Recording.transcription_state == RUNNING, Recording.updated_at < since)
    return (await session.scalars(query.order_by(Recording.updated_at).limit(limit))).all()


@dataclass(frozen=True, slots=True)
class Counts:
    """How far the recordings of a fiche are; `settled` and `failed` count what one run has ended."""

    total: int
    transcribed: int
    failed: int
    settled: int

    @classmethod
    def of(cls, rows: Sequence[Recording]) -> "Counts":
        """Counts of rows at hand, whichever run ended them."""
        transcribed = sum(row.has_transcription for row in rows)
        failed = sum(row.transcription_state == FAILED for row in rows)
        return cls(len(rows), transcribed, failed, transcribed + failed)

    @property
    def pending(self) -> int:
        return self.total - self.transcribed

    @property
    def percentage(self) -> int:
        """Share transcribed, 0 to 100, rounded half up."""
        return (200 * self.transcribed + self.total) // (2 * self.total) if self.total else 0


async def counts(session: Session, actor: Actor, fiche_cache_id: int, run: str) -> Counts:
    failed = (Recording.transcription_state == FAILED) & (Recording.transcription_run == run)
    settled = failed | (Recording.has_transcription & (Recording.transcription_run == run))
    of_scope = _visible(actor, Recording.fiche_cache_id == fiche_cache_id)
    query = of_scope.with_only_columns(
        func.count(),
        func.count().filter(Recording.has_transcription),
        func.count().filter(failed),
        func.count().filter(settled),
    )
    return Counts(*(await session.execute(query)).one())


def _visible(actor: Actor, *conditions: ColumnElement[bool]) -> Select[Recording]:
    within = select(Recording).join(FicheCache, FicheCache.id == Recording.fiche_cache_id)
    return within.where(visible(actor), *conditions)
