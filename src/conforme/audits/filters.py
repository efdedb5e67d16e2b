"""What a list of audits is narrowed to, how it is sorted and which part of it is shown (spec/audits §10.1). Pure."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final, Generic, TypeVar

from conforme.audits.models import STATUSES
from conforme.audits.verdicts import Niveau
from conforme.foundation.errors import Invalid
from conforme.foundation.query import (
    Limits,
    Query,
    flag,
    id_or_none,
    members,
    moment,
    number,
    one_of,
    text_or_none,
    whole_number,
    words,
)
from conforme.foundation.web import INT64_MAX, Page

T = TypeVar("T")

SORTS: Final = ("created_at", "completed_at", "score_percentage", "duration_ms")
NULLABLE: Final = frozenset({"completed_at", "duration_ms"})
"""What audits that have not ended lack; they come last, whichever way is sorted."""
LIMIT: Final = Limits(default=100, low=1, high=500)
LIMIT_OF_FICHE: Final = Limits(default=50, low=1, high=100)
"""Audits of one fiche are shown with all their steps."""
OFFSET: Final = Limits(default=0)


@dataclass(frozen=True)
class Between(Generic[T]):
    """Both ends included; None is open."""

    low: T | None = None
    high: T | None = None

    def __bool__(self) -> bool:
        return self.low is not None or self.high is not None


Value = datetime | Decimal | int | None


@dataclass(frozen=True)
class Cursor:
    """The last audit of a page: the next one begins behind it, whatever was added or deleted meanwhile."""

    value: Value
    """What was sorted by; None for an audit that lacks it."""
    id: int


@dataclass(frozen=True)
class Filters:
    """Empty and None mean not asked. Recordings, agence, sales date and freshness are the fiche's."""

    fiche_ids: Sequence[str] = ()
    status: Sequence[str] = ()
    audit_config_ids: Sequence[int] = ()
    groupes: Sequence[str] = ()
    sales_dates: Sequence[str] = ()
    niveau: Sequence[str] = ()
    automation_schedule_ids: Sequence[int] = ()
    automation_run_ids: Sequence[int] = ()
    trigger_source: Sequence[str] = ()
    groupe_query: str = ""
    agence_query: str = ""
    prospect_query: str = ""
    q: str = ""
    created: Between[datetime] = Between()
    fetched: Between[datetime] = Between()
    revalidated: Between[datetime] = Between()
    sold: Between[str] = Between()
    """As text: YYYY-MM-DD."""
    recordings: Between[Decimal] = Between()
    score: Between[Decimal] = Between()
    duration_ms: Between[Decimal] = Between()
    tokens: Between[Decimal] = Between()
    is_compliant: bool | None = None
    has_recordings: bool | None = None
    has_failed_steps: bool | None = None
    latest_only: bool = True
    include_deleted: bool = False
    sort_by: str = "created_at"
    descending: bool = True
    page: Page = field(default_factory=lambda: Page(limit=LIMIT.default, offset=0))
    cursor: Cursor | None = None


def parse_filters(query: Query) -> Filters:
    """The query of lists and groups: members that cannot be are dropped, dates, pages and cursors refused.

    Raises:
        Invalid: in the words of the contract.
    """
    sort_by = query.get("sort_by", "")
    sort_by = sort_by if sort_by in SORTS else "created_at"
    descending = query.get("sort_order") != "asc"
    return Filters(
        fiche_ids=members(query, "fiche_ids", text_or_none),
        status=members(query, "status", one_of(STATUSES)),
        audit_config_ids=members(query, "audit_config_ids", id_or_none),
        groupes=members(query, "groupes", text_or_none),
        sales_dates=members(query, "sales_dates", text_or_none),
        niveau=members(query, "niveau", one_of(each.value for each in Niveau)),
        automation_schedule_ids=members(query, "automation_schedule_ids", id_or_none),
        automation_run_ids=members(query, "automation_run_ids", id_or_none),
        trigger_source=members(query, "trigger_source", text_or_none),
        groupe_query=words(query, "groupe_query"),
        agence_query=words(query, "agence_query"),
        prospect_query=words(query, "prospect_query"),
        q=words(query, "q"),
        created=Between(moment(query, "date_from"), moment(query, "date_to")),
        fetched=Between(moment(query, "fetched_at_from"), moment(query, "fetched_at_to")),
        revalidated=Between(moment(query, "last_revalidated_from"), moment(query, "last_revalidated_to")),
        sold=Between(words(query, "sales_date_from") or None, words(query, "sales_date_to") or None),
        recordings=_numbers(query, "recordings_count_min", "recordings_count_max"),
        score=_numbers(query, "score_min", "score_max"),
        duration_ms=_numbers(query, "duration_min_ms", "duration_max_ms"),
        tokens=_numbers(query, "tokens_min", "tokens_max"),
        is_compliant=flag(query, "is_compliant"),
        has_recordings=flag(query, "has_recordings"),
        has_failed_steps=flag(query, "has_failed_steps"),
        latest_only=flag(query, "latest_only") is not False,
        include_deleted=flag(query, "include_deleted") is True,
        sort_by=sort_by,
        descending=descending,
        page=page_of(query),
        cursor=_cursor(words(query, "cursor"), sort_by, descending=descending),
    )


def page_of(query: Query, limit: Limits = LIMIT) -> Page:
    return Page(limit=whole_number(query, "limit", limit), offset=whole_number(query, "offset", OFFSET))


def _numbers(query: Query, low: str, high: str) -> Between[Decimal]:
    return Between(number(query, low), number(query, high))


# Cursors


def cursor_text(sort_by: str, cursor: Cursor, *, descending: bool) -> str:
    """What a client gives back to read on: it says how was sorted, so that it cannot be used for another order."""
    # With the microseconds that the wire leaves out.
    value = cursor.value.isoformat() if isinstance(cursor.value, datetime) else cursor.value
    told = [sort_by, "desc" if descending else "asc", None if value is None else str(value), cursor.id]
    return base64.urlsafe_b64encode(json.dumps(told, separators=(",", ":")).encode()).decode().rstrip("=")


def _cursor(text: str, sort_by: str, *, descending: bool) -> Cursor | None:
    if not text:
        return None
    try:
        told = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        name, order, value, number = told
        if [name, order] != [sort_by, "desc" if descending else "asc"]:
            raise Invalid("cursor belongs to another order", field="cursor")
        return Cursor(_value_of(sort_by, value), _id_of(number))
    except (ValueError, TypeError, ArithmeticError, binascii.Error, RecursionError):
        raise Invalid("Invalid cursor", field="cursor") from None


def _id_of(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= INT64_MAX:
        raise ValueError("no id")
    return number


def _value_of(sort_by: str, text: object) -> Value:
    if text is None and sort_by in NULLABLE:
        return None
    if not isinstance(text, str):
        raise TypeError("no value")
    if sort_by == "score_percentage":
        score = Decimal(text)
        if not score.is_finite():
            raise ValueError("no score")
        return score
    if sort_by == "duration_ms":
        return min(max(int(text), -INT64_MAX), INT64_MAX)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return moment
