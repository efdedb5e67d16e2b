"""Time zones by their IANA names."""

from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


@cache
def zone_of(name: str) -> ZoneInfo:
    """The zone of that name. Raises ValueError for what is none, be it a file that the system keeps beside zones."""
    if name not in _names():
        raise ValueError("must be a time zone of the IANA database, for example Europe/Paris")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError):
        raise ValueError("must be a time zone of the IANA database, for example Europe/Paris") from None
