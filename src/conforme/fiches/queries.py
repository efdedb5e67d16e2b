"""Every read of cached fiches; all of them within the actor's scope."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import exists, or_, select

from conforme.accounts.actor import Actor
from conforme.crm.schemas import FicheDetails
from conforme.fiches import bulk
from conforme.fiches.models import NOT_FOUND, SECTION_TABLES, FicheCache, FicheDay
from conforme.fiches.patch import Json
from conforme.fiches.policy import CacheFacts
from conforme.fiches.ports import RecordingsStore, Session
from conforme.fiches.scope import visible
from conforme.fiches.sections import MAIL_DEVIS, FicheRows, join


@dataclass(frozen=True, slots=True)
class Cached:
    """A row of the cache, whether the actor may see it or not: who asks decides what to say."""

    row: FicheCache
    in_scope: bool
    facts: CacheFacts

    @property
    def is_listed_or_detailed(self) -> bool:
        """The CRM has told of the fiche; a mere denial is not worth showing."""
        return self.row.listed_at is not None or self.row.details_fetched_at is not None


async def cached(session: Session, actor: Actor, recordings: RecordingsStore, fiche_id: str) -> Cached | None:
    """What the cache holds of a fiche; None when nothing."""
    devis = SECTION_TABLES[MAIL_DEVIS.table].c.fiche_cache_id == FicheCache.id
    query = select(FicheCache, visible(actor), exists().where(devis)).where(FicheCache.fiche_id == fiche_id)
    found = (await session.execute(query)).one_or_none()
    if found is None:
        return None
    row, in_scope, has_devis = found
    calls = await recordings.facts(session, actor, row.id)
    facts = CacheFacts(
        fetched_at=row.fetched_at,
        expires_at=row.expires_at,
        detailed=row.details_fetched_at is not None,
        not_found=row.details_success is False and row.details_message == NOT_FOUND,
        success=row.details_success is True,
        recordings_told=row.recordings_count or 0,
        recordings_stored=calls.stored,
        blank_urls=calls.blank_urls,
        mail_devis_known=has_devis or "mail_devis" in row.raw_data,
    )
    return Cached(row, bool(in_scope), facts)


async def document(
    session: Session, actor: Actor, recordings: RecordingsStore, row: FicheCache, *, mail_devis: bool
) -> Json | None:
    """A cached fiche in the gateway's shape; None out of scope. The quote mail only when `mail_devis`."""
    tables = await bulk.read_sections(session, actor, row.id, mail_devis=mail_devis)
    if tables is None:
        return None
    raw_data = {key: value for key, value in row.raw_data.items() if mail_devis or key != "mail_devis"}
    root = {
        "id": row.id,
        "fiche_id": row.fiche_id,
        "details_success": row.details_success,
        "details_message": row.details_message,
        "raw_data": raw_data,
    }
    calls = await recordings.listed(session, actor, row.id)
    return _with_cle(join(FicheRows(root, tables, calls)), row.cle)


def document_of(details: FicheDetails, recordings: RecordingsStore) -> Json:
    """The same shape straight from the gateway's answer, for when it could not be stored."""
    body = {**details.payload(), "recordings": recordings.shown(details.recordings)}
    return _with_cle(body, details.information.cle if details.information else None)


def _with_cle(body: Json, cle: str | None) -> Json:
    head = {"success": body["success"], "message": body["message"], "cle": cle}
    return head | body


async def of_day(session: Session, actor: Actor, day: date) -> Sequence[FicheCache]:
    """The fiches sold on a day, newest row first; those the CRM denies are left out."""
    denied: Any = FicheCache.details_message == NOT_FOUND
    query = (
        select(FicheCache)
        .where(FicheCache.sales_date == day.isoformat(), visible(actor))
        .where(or_(FicheCache.details_message.is_(None), ~denied))
        .order_by(FicheCache.id.desc())
    )
    return (await session.scalars(query)).all()


async def day_fetched(session: Session, day: date) -> FicheDay | None:
    """How the last fetch of a day of sales went; None when there was none."""
    return await session.get(FicheDay, day)
