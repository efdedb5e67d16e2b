"""Cron expressions in the dialect of spec/automation §3. Pure.

Five fields of numbers: `*`, `*/n`, `a`, `a-b`, `a-b/n`, `a/n` (from a to the field's end), and lists of these. Day of
week is 0 to 7, 0 and 7 both being Sunday. Where day of month and day of week are both restricted, either is enough;
only a bare `*` leaves a field unrestricted.
"""

import calendar
import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final

_FIELDS: Final = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 7),
)
_PART = re.compile(r"(?:\*|(?P<low>\d{1,3})(?:-(?P<high>\d{1,3}))?)(?:/(?P<step>\d{1,3}))?", re.ASCII)
_LONGEST: Final = {month: calendar.monthrange(2000, month)[1] for month in range(1, 13)}
"""Days of each month, February in a leap year."""


@dataclass(frozen=True, slots=True)
class Cron:
    """The values that each field allows."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    any_day: bool
    any_weekday: bool
    by_interval: bool
    """The hour begins with `*`: it recurs through the day, rather than at times that a person chose."""

    @staticmethod
    def parse(expression: str) -> "Cron":
        """Reads an expression. Raises ValueError, naming the field at fault, also for one that is never due."""
        return _parsed(expression)

    def falls_on(self, day: date) -> bool:
        """Whether any time of this day of the calendar is due."""
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return in_month and in_week
        return in_month or in_week


@lru_cache(maxsize=1024)
def _parsed(expression: str) -> Cron:
    parts = expression.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            f"must have 5 fields (minute, hour, day of month, month, day of week), not {len(parts)}"
        )
    minutes, hours, days, months, weekdays = (
        _values(part, *field) for part, field in zip(parts, _FIELDS, strict=True)
    )
    any_day, any_weekday = parts[2] == "*", parts[4] == "*"
    if any_weekday and not any(min(days) <= _LONGEST[month] for month in months):
        raise ValueError("is never due: no month it names has such a day")
    return Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        any_day=any_day,
        any_weekday=any_weekday,
        by_interval=parts[1].startswith("*"),
    )


def _values(text: str, name: str, low: int, high: int) -> frozenset[int]:
    return frozenset(value for part in text.split(",") for value in _range(part, name, low, high))


def _range(part: str, name: str, low: int, high: int) -> range:
    found = _PART.fullmatch(part)
    if found is None:
        raise ValueError(f"{name}: {part[:20]!r} is neither *, a number, a range nor a step")
    step = int(found["step"] or 1)
    first = low if found["low"] is None else int(found["low"])
    alone = found["low"] is not None and found["high"] is None and found["step"] is None
    last = first if alone else high if found["high"] is None else int(found["high"])
    if step == 0:
        raise ValueError(f"{name}: a step must be at least 1")
    if not low <= first <= high or not low <= last <= high:
        raise ValueError(f"{name}: {part[:20]!r} is outside {low} to {high}")
    if first > last:
        raise ValueError(f"{name}: {part[:20]!r} runs backwards")
    return range(first, last + 1, step)
