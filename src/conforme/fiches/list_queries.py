"""Every read of many cached fiches at once; all of them within the actor's scope."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import load_only

from conforme.accounts.actor import Actor
from conforme.fiches.coverage import Span
from conforme.fiches.job_queries import not_denied
from conforme.fiches.list_schemas import (
    AuditsOfFiche,
    FicheState,
    ListedFiche,
)
from conforme.fiches.models import FicheCache
from conforme.fiches.ports import Session, connected
from conforme.fiches.schemas import AuditStatus, TranscriptionStatus
from conforme.fiches.scope import visible

_SHOWN = (
    FicheCache.fiche_id,
    FicheCache.groupe,
    FicheCache.agence_nom,
    FicheCache.prospect_nom,
    FicheCache.prospect_prenom,
    FicheCache.prospect_email,
    FicheCache.prospect_tel,
    FicheCache.fetched_at,
    FicheCache.created_at,
)
_NAMES = tuple(column.key for column in _SHOWN)


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list: up to `limit` fiches behind the row `after`, less the first `offset` of them."""

    limit: int
    offset: int = 0
    after: int | None = None


@dataclass(frozen=True, slots=True)
class PageOfRows:
    total: int
    """Fiches in the whole list."""
    rows: Sequence[FicheCache]
    more: bool
    """Whether any come behind them."""


async def sold(session: Session, actor: Actor, span: Span, window: Window) -> PageOfRows:
    """The fiches sold on those days, newest row first, without what a list does not show of them."""
    of_days = FicheCache.sales_date.between(span.start.isoformat(), span.end.isoformat())
    within = select(FicheCache.id).where(of_days, not_denied(), visible(actor))
    seen = within.cte("seen").prefix_with("materialized")
    ids = select(seen.c.id).order_by(seen.c.id.desc()).limit(window.limit + 1).offset(window.offset)
    if window.after is not None:
        ids = ids.where(seen.c.id < window.after)
    total = select(func.count()).select_from(seen).scalar_subquery()
    page = select(total, func.array(ids.scalar_subquery(), type_=ARRAY(BigInteger)))
    count, found = (await session.execute(page)).one()
    rows = await _rows(session, found[: window.limit]) if found else ()
    return PageOfRows(count, rows, more=len(found) > window.limit)


async def _rows(session: Session, ids: Sequence[int]) -> Sequence[FicheCache]:
    """Rows that were found within the actor's scope."""
    query = select(FicheCache).where(FicheCache.id.in_(ids)).order_by(FicheCache.id.desc())
    return (await session.scalars(query.options(load_only(*_SHOWN, raiseload=True)))).all()


async def described(session: Session, actor: Actor, rows: Sequence[FicheCache]) -> list[ListedFiche]:
    """The rows with their calls and audits: as many statements for a thousand fiches as for one."""
    ports, ids = connected(), [row.id for row in rows]
    if not ids:
        return []
    calls = await ports.listed_calls(session, actor, ids)
    transcriptions = await ports.transcription_statuses(session, actor, ids)
    audits = await ports.audits_of_fiches(session, actor, [row.fiche_id for row in rows])
    return [
        ListedFiche(
            **{name: getattr(row, name) for name in _NAMES},
            transcription=transcriptions.get(row.id) or TranscriptionStatus(),
            audit=audits.get(row.fiche_id) or AuditsOfFiche(),
            recordings=list(calls.get(row.id, ())),
        )
        for row in rows
    ]


async def states(session: Session, actor: Actor, fiche_ids: Sequence[str]) -> dict[str, FicheState]:
    """How far each of these fiches is; zeros for one that is unknown or out of scope."""
    query = select(FicheCache.fiche_id, FicheCache.id).where(
        FicheCache.fiche_id.in_(fiche_ids), visible(actor), _told_of()
    )
    known = {row.fiche_id: row.id for row in await session.execute(query)}
    ports = connected()
    transcriptions = await ports.transcription_statuses(session, actor, list(known.values()))
    audits = await ports.audits_of_fiches(session, actor, list(known))

    def state(fiche_id: str) -> FicheState:
        if fiche_id not in known:
            return FicheState()
        counted = audits.get(fiche_id)
        return FicheState(
            has_data=True,
            transcription=transcriptions.get(known[fiche_id]) or TranscriptionStatus(),
            audit=counted or AuditStatus(),
        )

    return {fiche_id: state(fiche_id) for fiche_id in fiche_ids}


def _told_of() -> ColumnElement[bool]:
    """The CRM has told of the fiche; its mere denial leaves a row too."""
    return or_(FicheCache.listed_at.is_not(None), FicheCache.details_fetched_at.is_not(None))
