"""Columns of the original as values of ours; a column that is not there reads as null.

Raises `BadRow` with the column's name, never with what it holds.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

from conforme.legacy.errors import BadRow

Row = Mapping[str, Any]
T = TypeVar("T")

INT64: Final = 2**63
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""A time that nobody tells, where there must be one."""


def text(row: Row, name: str) -> str | None:
    """Text; null stays null."""
    value = row.get(name)
    return None if value is None else str(value)


def filled(row: Row, name: str) -> str:
    """Text that must say something."""
    value = (text(row, name) or "").strip()
    if not value:
        raise BadRow(f"{name}: is blank")
    return value


def flag(row: Row, name: str, default: bool) -> bool:
    value = row.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadRow(f"{name}: is neither true nor false")
    return value


def whole(row: Row, name: str) -> int | None:
    """A whole number that a column of ours can hold."""
    value = row.get(name)
    if value is None:
        return None
    number = _number(name, value)
    if number != number.to_integral_value() or not -INT64 <= number < INT64:
        raise BadRow(f"{name}: is no whole number")
    return int(number)


def known(row: Row, name: str) -> int:
    """A whole number that must be there."""
    value = whole(row, name)
    if value is None:
        raise BadRow(f"{name}: is null")
    return value


def amount(row: Row, name: str, limit: Decimal, default: Decimal) -> Decimal:
    """A number from 0 to below `limit`."""
    value = row.get(name)
    if value is None:
        return default
    number = _number(name, value)
    if not 0 <= number < limit:
        raise BadRow(f"{name}: is out of bounds")
    return number


def _number(name: str, value: Any) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise BadRow(f"{name}: is no number") from None
    if isinstance(value, bool) or not number.is_finite():
        raise BadRow(f"{name}: is no number")
    return number


def real(row: Row, name: str) -> float | None:
    value = row.get(name)
    return None if value is None else float(_number(name, value))


def moment(row: Row, name: str) -> datetime | None:
    """A time; the original stores UTC without saying so."""
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise BadRow(f"{name}: is no time") from None
    if not isinstance(value, datetime):
        raise BadRow(f"{name}: is no time")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def choice(row: Row, name: str, options: Collection[str], default: str | None = None) -> str:
    """One of a few words."""
    value = text(row, name)
    if value is None and default is not None:
        return default
    if value is None or value not in options:
        raise BadRow(f"{name}: is not one of {', '.join(sorted(options))}")
    return value


def texts(row: Row, name: str) -> list[str]:
    """A list of texts; nulls in it are left out."""
    value = row.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRow(f"{name}: is no list")
    return [str(each) for each in value if each is not None]


def mapping(row: Row, name: str) -> dict[str, Any]:
    """A JSON object; anything else is none."""
    value = row.get(name)
    return dict(value) if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """The JSON objects of a JSON list."""
    return [dict(each) for each in value if isinstance(each, dict)] if isinstance(value, list) else []
