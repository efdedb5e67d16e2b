"""Due times of a well-kept cron library, which ours are held against."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim

ZONES = ("Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Chatham")
"""Two hemispheres, one without changes of the clock, one that changes by half an hour, two with odd offsets."""


def reference(expression: str, zone: str, after: datetime, count: int) -> list[datetime]:
    return list(islice(_times(expression, zone, after), count))


def reference_until(expression: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    return list(takewhile(lambda found: found <= until, _times(expression, zone, after)))


def _times(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    """The library's times. It reads `*/n` as unrestricted days, and minutes of `*` as an interval: we do neither."""
    minute, hour, day, month, weekday = expression.split()
    spelt = [minute.replace("*", "0-59"), hour, _restricted(day, "1-31"), month, _restricted(weekday, "0-7")]
    # It counts in whole seconds.
    return (found.astimezone(UTC) for found in CronSim(" ".join(spelt), after.astimezone(ZoneInfo(zone))))


def _restricted(field: str, whole: str) -> str:
    return field if field == "*" else field.replace("*", whole)
