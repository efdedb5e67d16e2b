"""Reading the query of a request: what the contract lets pass in silence, and what it refuses by name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from conforme.foundation.errors import Invalid
from conforme.foundation.web import INT64_MAX, no_nul

T = TypeVar("T")
Query = Mapping[str, str]

MAX_MEMBERS = 500
MAX_TEXT = 200
_TRUE_WORDS = frozenset({"true", "1"})


@dataclass(frozen=True, slots=True)
class Limits:
    """A whole number that is brought within its bounds."""

    default: int
    low: int = 0
    high: int = INT64_MAX


def whole_number(query: Query, name: str, limits: Limits) -> int:
    """The number, within its limits.

    Raises:
        Invalid: `Invalid query parameters`, when it is no whole number.
    """
    text = query.get(name, "").strip()
    if not text:
        return limits.default
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    if not digits.isascii() or not digits.isdigit():
        raise Invalid("Invalid query parameters", field=name)
    # As many digits as it takes to be out of bounds: longer numbers cost time to read.
    return min(max(sign * int(digits[:20]), limits.low), limits.high)


def members(query: Query, name: str, read: Callable[[str], T | None]) -> tuple[T, ...]:
    """Those of a comma-separated list that `read` accepts; the others are dropped."""
    parts = [part.strip() for part in query.get(name, "").split(",")][:MAX_MEMBERS]
    return tuple(each for part in parts if part and (each := read(part)) is not None)


def one_of(words: Iterable[str]) -> Callable[[str], str | None]:
    """For `members`: words of an enumeration, as they are spelled."""
    known = frozenset(words)
    return lambda text: text if text in known else None


def id_or_none(text: str) -> int | None:
    """For `members`: an id that a row may have."""
    fits = text.isascii() and text.isdigit() and len(text) <= 19
    return int(text) if fits and 0 < int(text) <= INT64_MAX else None


def text_or_none(text: str) -> str | None:
    """For `members`: text that can be stored."""
    try:
        return no_nul(text)
    except ValueError:
        return None


def flag(query: Query, name: str) -> bool | None:
    """`true` or anything else; None when it is not asked."""
    return query[name].strip().lower() in _TRUE_WORDS if query.get(name) else None


def number(query: Query, name: str) -> Decimal | None:
    """A number; what cannot be read as one is ignored, as the contract says of filters."""
    try:
        read = Decimal(query.get(name, "").strip()[:40])
    except InvalidOperation:
        return None
    return read if read.is_finite() and abs(read) < INT64_MAX else None


def moment(query: Query, name: str) -> datetime | None:
    """ISO 8601; without a zone in UTC.

    Raises:
        Invalid: `Invalid <name> (expected ISO 8601 date-time)`.
    """
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        # A plus that was not encoded arrives as a space.
        parsed = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"Invalid {name} (expected ISO 8601 date-time)", field=name) from None


def words(query: Query, name: str) -> str:
    """Text that is looked for; empty when none is.

    Raises:
        Invalid: longer than `MAX_TEXT`, or not to be stored.
    """
    text = query.get(name, "").strip()
    if len(text) > MAX_TEXT:
        raise Invalid(f"{name} must have at most {MAX_TEXT} characters", field=name)
    try:
        return str(no_nul(text))
    except ValueError as error:
        raise Invalid(f"{name} {error}", field=name) from None
