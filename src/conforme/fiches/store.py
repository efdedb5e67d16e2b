"""Writes of the cache (spec/fiches §2.2). The caller commits.

Three things are told of a fiche, and none spoils the others: a listing (one line, often), its details (all sections),
and the CRM's denial (a marker with a short life).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import InstrumentedAttribute

from conforme.crm.errors import GatewayFailed
from conforme.crm.schemas import FicheDetails, SalesFiche
from conforme.fiches import bulk
from conforme.fiches.coverage import Span
from conforme.fiches.days import day_of
from conforme.fiches.models import NOT_FOUND, FicheCache, FicheDay, information
from conforme.fiches.sections import FicheRows, split
from conforme.foundation.database import WriteSession

MAIL_DEVIS_NULL = {"mail_devis": None}
"""In `raw_data`: the quote mail was asked for and there is none."""


class FicheIncomplete(GatewayFailed):
    """The CRM gateway answered a fiche without its information."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """When something was learnt, and until when it holds."""

    at: datetime
    lasts: timedelta

    @property
    def until(self) -> datetime:
        return self.at + self.lasts


async def write_details(
    session: WriteSession, details: FicheDetails, fresh: Freshness, *, sales_date: date | None = None
) -> int:
    """Replaces what is cached of a fiche by its details; returns the id of its `fiche_cache` row.

    A handful of statements, however many rows. The quote mail is left alone when the gateway was not asked for it; the
    day of sale is kept unless `sales_date` says better.

    Raises:
        FicheIncomplete: the details have no `information`.
    """
    if details.information is None:
        raise FicheIncomplete
    rows = split(details.payload())
    answered = details.mail_devis_answered
    fiche_cache_id = await _write_root(
        session, _envelope(details, rows, fresh, sales_date), answered, sales_date
    )
    await bulk.replace_sections(session, fiche_cache_id, rows, mail_devis=answered)
    return fiche_cache_id


def _envelope(
    details: FicheDetails, rows: FicheRows, fresh: Freshness, sales_date: date | None
) -> dict[str, Any]:
    """The columns of `fiche_cache` that a fiche's details fill."""
    known, prospect = details.information, details.prospect
    assert known is not None  # noqa: S101 -- the caller refused such details
    return {
        "fiche_id": known.fiche_id,
        "groupe": known.groupe,
        "attribution_user_id": known.attribution_user_id,
        "agence_nom": known.agence_nom,
        "cle": known.cle,
        "prospect_nom": prospect and prospect.nom,
        "prospect_prenom": prospect and prospect.prenom,
        "prospect_email": prospect and prospect.mail,
        "prospect_tel": prospect and (prospect.telephone or prospect.mobile),
        "sales_date": sales_date.isoformat() if sales_date else day_of(known.date_insertion),
        "details_success": details.success,
        "details_message": details.message,
        "raw_data": rows.root["raw_data"],
        "has_recordings": bool(details.recordings),
        "recordings_count": len(details.recordings),
        "fetched_at": fresh.at,
        "expires_at": fresh.until,
        "last_revalidated_at": fresh.at,
        "details_fetched_at": fresh.at,
        **({"sold_from": sales_date, "sold_to": sales_date} if sales_date else {}),
    }


async def _write_root(
    session: WriteSession, values: dict[str, Any], mail_devis: bool, sales_date: date | None
) -> int:
    """Upserts the row and, by doing so, holds its lock until the transaction ends."""
    statement = insert(FicheCache).values(values)
    written: dict[str, Any] = {name: statement.excluded[name] for name in values if name != "fiche_id"}
    if not mail_devis:
        written["raw_data"] = statement.excluded.raw_data.op("||")(_known_null())
    if sales_date is None:
        written["sales_date"] = func.coalesce(FicheCache.sales_date, statement.excluded.sales_date)
    for name in ("prospect_nom", "prospect_prenom", "prospect_email", "prospect_tel"):
        written[name] = func.coalesce(statement.excluded[name], getattr(FicheCache, name))
    upsert = statement.on_conflict_do_update(
        index_elements=[FicheCache.fiche_id], set_={**written, "updated_at": func.now()}
    )
    return (await session.execute(upsert.returning(FicheCache.id))).scalar_one()


def _known_null() -> ColumnElement[Any]:
    """`raw_data`'s word that there is no quote mail, carried over when it was not asked for again."""
    null_marker = literal(MAIL_DEVIS_NULL, JSONB)
    return case((FicheCache.raw_data.contains(null_marker), null_marker), else_=literal({}, JSONB))


async def mark_not_found(session: WriteSession, fiche_id: str, fresh: Freshness) -> int:
    """Notes that the CRM has no such fiche; what was known of it stays, unread while the marker lives."""
    values = {
        "fiche_id": fiche_id,
        "details_success": False,
        "details_message": NOT_FOUND,
        "fetched_at": fresh.at,
        "expires_at": fresh.until,
        "last_revalidated_at": fresh.at,
    }
    upsert = insert(FicheCache).values(values)
    return (
        await session.execute(
            upsert.on_conflict_do_update(
                index_elements=[FicheCache.fiche_id], set_={**values, "updated_at": func.now()}
            ).returning(FicheCache.id)
        )
    ).scalar_one()


_SUMMARY_COLUMNS = (
    "fiche_id",
    "prospect_nom",
    "prospect_prenom",
    "prospect_email",
    "prospect_tel",
    "cle",
    "groupe",
    "attribution_user_id",
    "raw_data",
    "has_recordings",
    "recordings_count",
    "sold_from",
    "sold_to",
)


async def write_summaries(
    session: WriteSession,
    fiches: Sequence[SalesFiche],
    fresh: Freshness,
    *,
    sales_date: date,
    with_recordings: bool,
    sold: Mapping[str, Span] | None = None,
) -> int:
    """Notes the lines of one day's listing; returns how many fiches it told of.

    `sold` says between which days a fiche was sold where that is less sure than `sales_date`.

    Additive: a fiche whose details are cached keeps them, their freshness, its counters and whose it is; a marker keeps
    its end.
    Calls are counted only `with_recordings`, since a listing may leave them out.
    """
    that_day, spans = Span(sales_date, sales_date), sold or {}
    told_last = {
        fiche.id: _summary(fiche, with_recordings, spans.get(fiche.id, that_day)) for fiche in fiches
    }
    # In one order, so that two listings at once wait for each other instead of for each other's locks.
    lines = [told_last[fiche_id] for fiche_id in sorted(told_last)]
    if not lines:
        return 0
    given = bulk.recordset("lines", FicheCache.__table__, _SUMMARY_COLUMNS, lines)
    told = {
        **{name: given.c[name] for name in _SUMMARY_COLUMNS},
        "sales_date": literal(sales_date.isoformat()),
        "fetched_at": literal(fresh.at),
        "expires_at": literal(fresh.until),
        "last_revalidated_at": literal(fresh.at),
        "listed_at": literal(fresh.at),
    }
    statement = insert(FicheCache).from_select(list(told), select(*told.values()), include_defaults=False)
    upsert = statement.on_conflict_do_update(
        index_elements=[FicheCache.fiche_id], set_=_summary_update(statement.excluded, with_recordings)
    )
    await session.execute(upsert)
    await _patch_cle(session, lines)
    return len(lines)


def _summary(fiche: SalesFiche, with_recordings: bool, sold: Span) -> dict[str, Any]:
    line = fiche.model_dump(exclude={"recordings", "cle"})
    return {
        "fiche_id": fiche.id,
        "prospect_nom": fiche.nom or None,
        "prospect_prenom": fiche.prenom or None,
        "prospect_email": fiche.email or None,
        "prospect_tel": fiche.telephone or fiche.telephone_2 or None,
        "cle": fiche.cle or None,
        "groupe": fiche.told("groupe"),
        "attribution_user_id": fiche.told("attribution_user_id"),
        "raw_data": {**line, "_salesListOnly": True},
        "has_recordings": bool(fiche.recordings),
        "recordings_count": len(fiche.recordings) if with_recordings else None,
        "sold_from": sold.start.isoformat(),
        "sold_to": sold.end.isoformat(),
    }


def _summary_update(told: Any, with_recordings: bool) -> dict[str, Any]:
    undetailed = FicheCache.details_fetched_at.is_(None)
    unmarked = and_(
        undetailed,
        or_(FicheCache.details_message.is_(None), FicheCache.details_message != NOT_FOUND),
    )

    def only(condition: ColumnElement[bool], column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
        return case((condition, told[column.key]), else_=column)

    counted = and_(undetailed, literal(with_recordings))
    owners = (FicheCache.groupe, FicheCache.attribution_user_id)
    names = ("prospect_nom", "prospect_prenom", "prospect_email", "prospect_tel", "cle")
    return {
        **{name: func.coalesce(told[name], getattr(FicheCache, name)) for name in names},
        # Whose a fiche is decides who sees it: its details have the last word, and silence takes nothing back.
        **{each.key: only(and_(undetailed, told[each.key].is_not(None)), each) for each in owners},
        "raw_data": only(undetailed, FicheCache.raw_data),
        "has_recordings": only(counted, FicheCache.has_recordings),
        "recordings_count": only(counted, FicheCache.recordings_count),
        "fetched_at": only(unmarked, FicheCache.fetched_at),
        "expires_at": only(unmarked, FicheCache.expires_at),
        "sales_date": told.sales_date,
        "sold_from": told.sold_from,
        "sold_to": told.sold_to,
        "last_revalidated_at": told.last_revalidated_at,
        "listed_at": told.listed_at,
        "updated_at": func.now(),
    }


async def _patch_cle(session: WriteSession, lines: Sequence[dict[str, Any]]) -> None:
    """A listing's newer key of a fiche also goes into its details."""
    keys = [{"fiche_id": line["fiche_id"], "cle": line["cle"]} for line in lines if line["cle"]]
    given = bulk.recordset("keys", FicheCache.__table__, ("fiche_id", "cle"), keys)
    patch = (
        update(information)
        .values(cle=given.c.cle)
        .where(
            FicheCache.fiche_id == given.c.fiche_id,
            information.c.fiche_cache_id == FicheCache.id,
            information.c.cle.is_distinct_from(given.c.cle),
        )
    )
    await session.execute(patch)


class Placed(Protocol):
    """The day a sale is noted on, and the days between which it surely was."""

    @property
    def day(self) -> date: ...
    @property
    def sold(self) -> Span: ...


async def move(session: WriteSession, day: date, places: Mapping[str, Placed]) -> None:
    """Notes sales, by fiche id, on other days than `day`; one that is not noted there any more is left alone."""
    if not places:
        return
    rows = [
        {
            "fiche_id": fiche_id,
            "sales_date": place.day.isoformat(),
            "sold_from": place.sold.start.isoformat(),
            "sold_to": place.sold.end.isoformat(),
        }
        for fiche_id, place in sorted(places.items())
    ]
    moved = ("sales_date", "sold_from", "sold_to")
    given = bulk.recordset("places", FicheCache.__table__, ("fiche_id", *moved), rows)
    await session.execute(
        update(FicheCache)
        .values({name: given.c[name] for name in moved})
        .where(FicheCache.fiche_id == given.c.fiche_id, FicheCache.sales_date == day.isoformat())
        .execution_options(synchronize_session=False)
    )


async def recount(session: WriteSession, days: Iterable[date]) -> None:
    """Counts anew what is noted on days that a search has touched, the one it told of and others."""
    affected = sorted(days)
    if not affected:
        return
    listed = (
        select(func.count())
        .select_from(FicheCache)
        .where(
            FicheCache.sales_date == func.to_char(FicheDay.day, "YYYY-MM-DD"),
            FicheCache.sold_from.is_not(None),
        )
        .correlate(FicheDay)
        .scalar_subquery()
    )
    await session.execute(
        update(FicheDay)
        .where(FicheDay.day.in_(affected))
        .values(stored=listed, expected=listed + FicheDay.quarantined)
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True, slots=True)
class DayFetched:
    """How the fetch of a day of sales went, in numbers of fiches."""

    expected: int = 0
    stored: int = 0
    quarantined: int = 0
    error: str | None = None
    quarantine: Sequence[Mapping[str, str | None]] = ()
    """Of the first that could not be read, `fiche_id` and `reason`."""
    searched: Span | None = None
    """The range that was searched; None: the day alone."""


async def note_day(session: WriteSession, day: date, at: datetime, fetched: DayFetched) -> None:
    """Notes in the ledger of days how a search begun at `at` went; a failure leaves what earlier ones covered.

    Of two searches the one that began later has the last word.
    """
    if fetched.error is None:
        values: dict[str, Any] = {
            "attempted_at": at,
            "fetched_at": at,
            "expected": fetched.expected,
            "stored": fetched.stored,
            "quarantined": fetched.quarantined,
            "quarantine": list(map(dict, fetched.quarantine)),
            "searched_from": fetched.searched and fetched.searched.start,
            "searched_to": fetched.searched and fetched.searched.end,
            "error": None,
        }
    else:
        values = {"attempted_at": at, "error": fetched.error}
    await session.execute(
        insert(FicheDay)
        .values(day=day, **values)
        .on_conflict_do_update(index_elements=[FicheDay.day], set_=values, where=FicheDay.attempted_at <= at)
    )
