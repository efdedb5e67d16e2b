"""The days that lists of fiches are asked for (spec/fiches §2.5, spec/automation §6). Pure.

A day is a date of the calendar as the CRM writes it, never a moment: nothing is converted from or to a zone, and so no
day is shifted.
"""

import re
from datetime import date

from conforme.fiches.coverage import Span
from conforme.foundation.errors import Invalid

BAD_FORMAT = "Invalid date format. Use YYYY-MM-DD"
OUT_OF_ORDER = "startDate must be before or equal to endDate"
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def missing(field: str) -> Invalid:
    return Invalid(f"Missing or invalid {field} parameter (YYYY-MM-DD required)", field=field)


def day_or_none(text: str | None) -> date | None:
    """The day that is written so; None for what is no day, `2025-13-40` too."""
    if text is None or not _ISO.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def given_day(text: str | None, field: str) -> date:
    """Raises `Invalid`, naming the field, for what is missing or no day."""
    if not text:
        raise missing(field)
    day = day_or_none(text)
    if day is None:
        raise Invalid(BAD_FORMAT, field=field)
    return day


def given_days(start: str | None, end: str | None) -> Span:
    """Raises `Invalid`, naming the field, for what is missing, no day, or out of order."""
    for text, field in ((start, "startDate"), (end, "endDate")):
        if not text:
            raise missing(field)
    span = Span(given_day(start, "startDate"), given_day(end, "endDate"))
    if span.end < span.start:
        raise Invalid(OUT_OF_ORDER, field="startDate")
    return span
