"""Days as the CRM writes them. Pure."""

import re
from datetime import date

_LEADING_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)", re.ASCII)
_LEADING_FRENCH = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?!\d)", re.ASCII)


def day_of(text: str | None) -> str | None:
    """The day a date of the CRM begins with, as YYYY-MM-DD; None when there is no such day.

    Reads `YYYY-MM-DD…` and `D/M/YYYY…`.
    """
    if found := _LEADING_ISO.match(text or ""):
        year, month, day = map(int, found.groups())
    elif found := _LEADING_FRENCH.match(text or ""):
        day, month, year = map(int, found.groups())
    else:
        return None
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None
