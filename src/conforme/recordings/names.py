"""What the address and the fields of a recording say about the call: pure functions, no clock, no server zone.

The gateway names its files `{uuid}-DD-MM-YY-HHhMM-{from}-{to}.mp3` (spec/fiches §3); some carry one number only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final
from urllib.parse import unquote, urlsplit

GATEWAY_ZONE: Final[tzinfo] = UTC
"""Zone of times without one. The gateway's own start times are in UTC and its file names repeat them."""

_FILE_NAME = re.compile(
    r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"-(?P<day>\d{2})-(?P<month>\d{2})-(?P<year>\d{2})-(?P<hour>\d{2})h(?P<minute>\d{2})"
    r"-(?P<first>\d+)(?:-(?P<second>\d+))?\.mp3",
    re.IGNORECASE | re.ASCII,
)
_DAY_FIRST = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})[ T](\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)
_YEAR_FIRST = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What the gateway gave of a call; `None` = not given. `call_id` names it within its fiche."""

    call_id: str
    recording_url: str | None = None
    start_time: str | None = None
    duration_seconds: int | None = None
    direction: str | None = None
    answered: bool | None = None
    from_number: str | None = None
    to_number: str | None = None
    told: Mapping[str, Any] | None = None
    """The gateway's own object, keys we do not know included."""


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """What could be read of a call. `date` is DD/MM/YYYY and `time` HH:MM, both in UTC; "" = unknown."""

    uuid: str = ""
    started: datetime | None = None
    from_number_raw: str = ""
    to_number_raw: str = ""

    @property
    def date(self) -> str:
        return self.started.strftime("%d/%m/%Y") if self.started else ""

    @property
    def time(self) -> str:
        return self.started.strftime("%H:%M") if self.started else ""

    def wire(self) -> dict[str, str]:
        """The `parsed` object of spec/fiches §3."""
        return {
            "uuid": self.uuid,
            "date": self.date,
            "time": self.time,
            "timestamp": _instant(self.started),
            "from_number": displayed(self.from_number_raw),
            "to_number": displayed(self.to_number_raw),
            "from_number_raw": self.from_number_raw,
            "to_number_raw": self.to_number_raw,
        }


def parse(facts: CallFacts) -> ParsedCall | None:
    """The call as its file name tells it, completed by the fields; `None` when neither says anything."""
    given = ParsedCall(
        started=start_of(facts.start_time),
        from_number_raw=facts.from_number or "",
        to_number_raw=facts.to_number or "",
    )
    named = _parse_file_name(facts) or given
    found = ParsedCall(
        uuid=named.uuid,
        started=named.started or given.started,
        from_number_raw=named.from_number_raw or given.from_number_raw,
        to_number_raw=named.to_number_raw or given.to_number_raw,
    )
    return None if found == ParsedCall() else found


def start_of(text: str | None) -> datetime | None:
    """The instant a gateway time means, in UTC; `None` for an impossible date or an unknown form.

    ISO 8601 with or without zone, `YYYY-MM-DD[T ]HH:MM` and, day first, `D/M/YYYY HH:MM` (spec/fiches §3).
    """
    shown = (text or "").strip()
    try:
        if _YEAR_FIRST.match(shown):
            return _in_utc(datetime.fromisoformat(shown))
        return _day_first(shown)
    except (ValueError, OverflowError):
        return None


def displayed(number: str) -> str:
    """French numbers of eleven digits beginning with 33 as `+33 6 11 22 33 44`; others unchanged."""
    if len(number) != 11 or not number.startswith("33") or not number.isascii() or not number.isdigit():
        return number
    pairs = [number[at : at + 2] for at in range(3, 11, 2)]
    return " ".join(["+33", number[2], *pairs])


def _parse_file_name(facts: CallFacts) -> ParsedCall | None:
    match = _FILE_NAME.fullmatch(_last_segment(facts.recording_url or ""))
    if match is None:
        return None
    day, month, year, hour, minute = (int(match[part]) for part in ("day", "month", "year", "hour", "minute"))
    first, second = match["first"], match["second"]
    alone_is_caller = second is None and facts.direction == "in"
    return ParsedCall(
        uuid=match["uuid"],
        started=_moment(2000 + year, month, day, hour, minute),
        from_number_raw=first if second is not None or alone_is_caller else "",
        to_number_raw=second or ("" if alone_is_caller else first),
    )


def _last_segment(url: str) -> str:
    try:
        return unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    except ValueError:
        return ""


def _moment(year: int, month: int, day: int, hour: int, minute: int) -> datetime | None:
    try:
        return _in_utc(datetime(year, month, day, hour, minute))  # noqa: DTZ001 -- the zone is given next
    except ValueError:
        return None


def _day_first(text: str) -> datetime | None:
    match = _DAY_FIRST.fullmatch(text)
    if match is None:
        return None
    day, month, year, hour, minute, second = (int(part or 0) for part in match.groups())
    return _in_utc(datetime(year, month, day, hour, minute, second))  # noqa: DTZ001 -- the zone is given next


def _in_utc(moment: datetime) -> datetime:
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=GATEWAY_ZONE)
    return zoned.astimezone(UTC)


def _instant(moment: datetime | None) -> str:
    if moment is None:
        return ""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
