"""The tables of the cache (spec/fiches §2.1): `fiche_cache`, its sections, which days were fetched, and fetches of ranges."""

from datetime import date, datetime
from functools import partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Computed,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy import Column as TableColumn
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from conforme.fiches.layout import EXTRA, ROOT, ROOT_KEY, Form, Kind, Node
from conforme.fiches.sections import FICHE, INFORMATION
from conforme.foundation.database import Base, Updated

NOT_FOUND = "NOT_FOUND"
"""`details_message` of a fiche that the CRM said it does not have."""


FICHE_FACTS = [
    "groupe",
    "attribution_user_id",
    "sales_date",
    "has_recordings",
    "recordings_count",
    "fetched_at",
    "last_revalidated_at",
    "sought",
    "sought_contact",
    "sought_agence",
]


def _sought(expression: str) -> Mapped[str | None]:
    """Lower case, cut to what an index can hold, kept by the database; read by no query, only searched."""
    return mapped_column(Text, Computed(expression, persisted=True), deferred=True, deferred_raiseload=True)


class FicheCache(Updated, Base):
    """One fiche, as far as it is known.

    A row comes from a listing, from a fetch by id, from the CRM's denial, or from several of them. What a listing
    tells and when is kept apart from the details' freshness.
    """

    __tablename__ = ROOT
    __table_args__ = (
        UniqueConstraint("fiche_id"),
        Index(None, "expires_at"),
        # They find whose a fiche is without reading it.
        Index("ix_fiche_cache_groupe", "groupe", "id"),
        Index("ix_fiche_cache_attribution_user_id", "attribution_user_id", "id"),
        Index(None, "sales_date"),
        Index(None, "last_revalidated_at"),
        # What lists of audits look for in fiches, beside rows that are many times as wide.
        Index("ix_fiche_cache_facts", "id", postgresql_include=FICHE_FACTS),
    )

    fiche_id: Mapped[str] = mapped_column(Text)
    groupe: Mapped[str | None] = mapped_column(Text)
    """The sales group it belongs to, as its details say or, while there are none, a listing."""
    attribution_user_id: Mapped[str | None] = mapped_column(Text)
    """The CRM user it is attributed to, told in the same way."""
    agence_nom: Mapped[str | None] = mapped_column(Text)
    prospect_nom: Mapped[str | None] = mapped_column(Text)
    prospect_prenom: Mapped[str | None] = mapped_column(Text)
    prospect_email: Mapped[str | None] = mapped_column(Text)
    prospect_tel: Mapped[str | None] = mapped_column(Text)
    sales_date: Mapped[str | None] = mapped_column(Text)
    """YYYY-MM-DD: the day searched when a listing held it, within a longer range searched the likeliest; else the day
    it was entered."""
    sold_from: Mapped[date | None] = mapped_column(Date)
    sold_to: Mapped[date | None] = mapped_column(Date)
    """The narrowest range, both ends included, whose search held it as a sale; one day when that is sure."""
    cle: Mapped[str | None] = mapped_column(Text)
    details_success: Mapped[bool | None]
    details_message: Mapped[str | None] = mapped_column(Text)
    raw_data: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    """Keys of the details that no section holds; for a fiche only listed, what the listing said."""
    has_recordings: Mapped[bool] = mapped_column(server_default="false")
    recordings_count: Mapped[int | None] = mapped_column(Integer)
    fetched_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When the content was fetched that `expires_at` speaks of."""
    expires_at: Mapped[datetime]
    last_revalidated_at: Mapped[datetime | None]
    """When the CRM last spoke of the fiche, in whatever way."""
    details_fetched_at: Mapped[datetime | None]
    """When the sections were fetched; None for a fiche only listed or only denied."""
    listed_at: Mapped[datetime | None]
    """When a listing last held it."""
    sought: Mapped[str | None] = _sought(
        "lower(left(fiche_id, 40) || chr(10) || coalesce(left(prospect_prenom, 100), '') || ' ' ||"
        " coalesce(left(prospect_nom, 100), '') || ' ' || coalesce(left(prospect_prenom, 100), ''))"
    )
    """Its number, and the prospect's names in either order."""
    sought_contact: Mapped[str | None] = _sought(
        "lower(coalesce(left(prospect_email, 200), '') || chr(10) || coalesce(left(prospect_tel, 40), ''))"
    )
    sought_agence: Mapped[str | None] = _sought("lower(coalesce(left(agence_nom, 100), ''))")


class FicheDay(Base):
    """A day of sales and how its last fetch went: a day without sales is covered too."""

    __tablename__ = "fiche_days"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    fetched_at: Mapped[datetime | None]
    """When the day was last fetched well."""
    expected: Mapped[int] = mapped_column(Integer, server_default="0")
    """Fiches the gateway announced."""
    stored: Mapped[int] = mapped_column(Integer, server_default="0")
    quarantined: Mapped[int] = mapped_column(Integer, server_default="0")
    """Fiches that could not be read."""
    quarantine: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    """Of the first of them `fiche_id`, as far as it can be read, and `reason`."""
    searched_from: Mapped[date | None] = mapped_column(Date)
    searched_to: Mapped[date | None] = mapped_column(Date)
    """The range, both ends included, whose search told of the day last; null: the day alone."""
    error: Mapped[str | None] = mapped_column(Text)
    """Why the last attempt failed; None when it went well."""
    attempted_at: Mapped[datetime]


class ProgressiveFetchJob(Base):
    """The fetch of a range of days (spec/automation §6): each of its days known before, remaining or failed."""

    __tablename__ = "progressive_fetch_jobs"
    __table_args__ = (
        CheckConstraint("status in ('pending', 'processing', 'complete', 'failed')", name="status"),
        # Of one range there is one fetch at a time: who asks meanwhile belongs to it.
        Index(
            "uq_progressive_fetch_jobs_processing",
            "start_date",
            "end_date",
            "refresh",
            unique=True,
            postgresql_where=text("status = 'processing'"),
        ),
        Index(None, "status"),
        Index("ix_progressive_fetch_jobs_range", "start_date", "end_date"),
        Index(None, "created_at"),
        Index(None, "completed_at"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    start_date: Mapped[date] = mapped_column(Date)
    end_date: Mapped[date] = mapped_column(Date)
    refresh: Mapped[bool] = mapped_column(server_default="false")
    """Days are searched although they are known."""
    status: Mapped[str] = mapped_column(Text)
    progress: Mapped[int] = mapped_column(Integer, server_default="0")
    total_days: Mapped[int] = mapped_column(Integer)
    days_known: Mapped[int] = mapped_column(Integer, server_default="0")
    """How many of them were not to be searched when it began: known, or failed a moment ago."""
    completed_days: Mapped[int] = mapped_column(Integer, server_default="0")
    total_fiches: Mapped[int] = mapped_column(Integer, server_default="0")
    dates_already_fetched: Mapped[list[date]] = mapped_column(ARRAY(Date), server_default="{}")
    dates_remaining: Mapped[list[date]] = mapped_column(ARRAY(Date), server_default="{}")
    dates_failed: Mapped[list[date]] = mapped_column(ARRAY(Date), server_default="{}")
    date_errors: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    """Why each of the failed days did, by YYYY-MM-DD."""
    attempt: Mapped[int] = mapped_column(Integer, server_default="1")
    """How often durable work was begun for it: the first, and one for each time it had come to a halt."""
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When it last got on."""
    completed_at: Mapped[datetime | None]


class ProgressiveFetchAsker(Base):
    """Somebody who asked for the range of a fetch: they may look at it."""

    __tablename__ = "progressive_fetch_askers"

    job_id: Mapped[str] = mapped_column(
        ForeignKey("progressive_fetch_jobs.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    """Name of the actor."""
    user_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


_TYPES: dict[Kind, TypeEngine[Any]] = {
    Kind.TEXT: Text(),
    Kind.NUMBER: BigInteger(),
    Kind.FLAG: Boolean(),
    Kind.TEXTS: ARRAY(Text()),
    # Not jsonb, which reorders keys and rewrites numbers: what was answered is shown in the order it was asked.
    Kind.JSON: JSON(),
}
_moment = partial(TableColumn, type_=DateTime(timezone=True), server_default=func.now(), nullable=False)


def _table(node: Node, parent: str) -> Table:
    """The table of a section."""
    target = ROOT if node.parent_key == ROOT_KEY else parent
    columns = [
        TableColumn("id", BigInteger(), primary_key=True),
        TableColumn(
            node.parent_key, BigInteger(), ForeignKey(f"{target}.id", ondelete="CASCADE"), nullable=False
        ),
        *([TableColumn(node.index_column, Integer(), nullable=False)] if node.is_list else []),
        *([TableColumn(node.key_column, Text(), nullable=False)] if node.key_column else []),
        *(TableColumn(column.name, _TYPES[column.kind]) for column in (*node.columns, *node.derived_columns)),
        TableColumn(EXTRA, JSON()),
        _moment("created_at"),
        *([_moment("updated_at", onupdate=func.now())] if node.form is Form.ONE else []),
    ]
    return Table(node.table, Base.metadata, *columns, UniqueConstraint(*_unique(node)), *_indexes(node))


def _unique(node: Node) -> tuple[str, ...]:
    if node.form is Form.ONE:
        return (node.parent_key,)
    return (node.parent_key, node.key_column or node.index_column)


def _indexes(node: Node) -> list[Index]:
    return [Index(None, name) for name in node.indexed]


def _tables(root: Node) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for node in root.below:
        tables[node.table] = _table(node, root.table)
        tables |= _tables(node)
    return tables


SECTION_TABLES = _tables(FICHE)
"""By name, parents before children."""

information = SECTION_TABLES[INFORMATION.table]
