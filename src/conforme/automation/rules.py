"""What a schedule says: when it is due, which fiches it takes, what is done with them, and what bounds it. Pure.

The wire reads schedules into these, the tables hold them, and a run works from the copy in its snapshot. Field names
are those of spec/automation §1 in snake_case; what goes beyond it says so.
"""

import re
from datetime import date, time
from decimal import Decimal
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from conforme.automation.cron import Cron
from conforme.automation.zones import zone_of
from conforme.foundation.web import INT64_MAX, Text

ScheduleType = Literal["MANUAL", "DAILY", "WEEKLY", "MONTHLY", "CRON"]
Mode = Literal["date_range", "manual", "filter"]
DateRange = Literal["last_24h", "yesterday", "last_week", "last_month", "custom"]
TranscriptionPriority = Literal["low", "normal", "high"]
Overlap = Literal["refuse", "queue"]
CatchUp = Literal["last", "none"]
Stratum = Literal["groupe", "advisor"]

MAX_FICHE_IDS: Final = 10_000
MAX_GROUPES: Final = 500
_FRENCH_DAY = re.compile(r"(\d{2})/(\d{2})/(\d{4})", re.ASCII)
_ISO_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_SEPARATORS = re.compile(r"[,\s]+")


def day_of(written: str) -> date:
    """The day that is written DD/MM/YYYY or YYYY-MM-DD. Raises ValueError for what is no such day."""
    if found := _FRENCH_DAY.fullmatch(written):
        day, month, year = map(int, found.groups())
    elif found := _ISO_DAY.fullmatch(written):
        year, month, day = map(int, found.groups())
    else:
        raise ValueError("must be a day written DD/MM/YYYY or YYYY-MM-DD")
    try:
        return date(year, month, day)
    except ValueError:
        raise ValueError("must be a day of the calendar") from None


def time_of(written: str) -> time:
    """The time of day that is written HH:MM. Raises ValueError for what is none."""
    found = _TIME.fullmatch(written)
    if found is None:
        raise ValueError("must be a time from 00:00 to 23:59, written HH:MM")
    return time(int(found[1]), int(found[2]))


def _a_day(written: str) -> str:
    day_of(written)
    return written


def _a_time(written: str) -> str:
    time_of(written)
    return written


def _a_zone(name: str) -> str:
    zone_of(name)
    return name


def _an_expression(written: str) -> str:
    Cron.parse(written)
    return " ".join(written.split())


def _split(value: object) -> object:
    """Ids may come several to a string, as people paste them (spec/automation §4.1.3); each counts once."""
    if not isinstance(value, list | tuple):
        return value
    pasted = [
        part for each in value for part in (_SEPARATORS.split(each) if isinstance(each, str) else [each])
    ]
    return tuple(dict.fromkeys(part for part in pasted if part != ""))


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value.strip() for value in values if value.strip()))


Day = Annotated[Text, Field(max_length=10), AfterValidator(_a_day)]
TimeOfDay = Annotated[Text, AfterValidator(_a_time)]
Zone = Annotated[Text, Field(max_length=64), AfterValidator(_a_zone)]
Expression = Annotated[Text, Field(max_length=200), AfterValidator(_an_expression)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
FicheId = Annotated[Text, Field(min_length=1, max_length=40, pattern=r"^[0-9]+$")]
Groupe = Annotated[Text, Field(max_length=200)]
ConfigId = Annotated[int, Field(ge=1, le=INT64_MAX)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Sample(_Frozen):
    """Which part of what is selected is listened to (beyond the contract: the law wants it to be a sample)."""

    percentage: Annotated[Decimal, Field(gt=0, le=100, max_digits=6, decimal_places=3)] | None = None
    """Of the selected fiches, of each stratum rounded up."""
    count: Count | None = None
    seed: Annotated[int, Field(ge=0, le=INT64_MAX)] | None = None
    """The same seed over the same fiches draws the same sample; None: each run draws one and keeps it."""
    stratify_by: Stratum | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.percentage is None) == (self.count is None):
            raise ValueError("must have either a percentage or a count")
        return self


class Selection(_Frozen):
    """Which fiches a run takes (spec/automation §1.2)."""

    mode: Mode
    date_range: DateRange | None = None
    custom_start_date: Day | None = None
    custom_end_date: Day | None = None
    groupes: Annotated[tuple[Groupe, ...], Field(max_length=MAX_GROUPES), AfterValidator(_once)] = ()
    only_with_recordings: bool = False
    only_unaudited: bool = False
    use_rlm: bool = False
    max_fiches: Count | None = None
    """Of the whole run, not of each day."""
    max_recordings_per_fiche: Count | None = None
    fiche_ids: Annotated[tuple[FicheId, ...], Field(max_length=MAX_FICHE_IDS), BeforeValidator(_split)] = ()
    sample: Sample | None = None

    @property
    def custom_start(self) -> date | None:
        return None if self.custom_start_date is None else day_of(self.custom_start_date)

    @property
    def custom_end(self) -> date | None:
        return None if self.custom_end_date is None else day_of(self.custom_end_date)


class Timing(_Frozen):
    """When a schedule is due (spec/automation §1.1, §1.3)."""

    schedule_type: ScheduleType
    timezone: Zone = "UTC"
    cron_expression: Expression | None = None
    """What was given; the other types derive theirs: `cron_of`."""
    time_of_day: TimeOfDay | None = None
    day_of_week: Annotated[int, Field(ge=0, le=6)] | None = None
    """0 is Sunday."""
    day_of_month: Annotated[int, Field(ge=1, le=31)] | None = None
    """In a month that has no such day, its last one."""

    @property
    def missing(self) -> str | None:
        """Why it can never be due, in the contract's words; None when nothing is missing."""
        needed = _NEEDED[self.schedule_type]
        if any(getattr(self, name) is None for name in needed):
            wire = " and ".join(_WIRE[name] for name in needed)
            return f"{self.schedule_type} schedule requires {wire}"
        return None

    @property
    def missing_field(self) -> str | None:
        """The first field that is missing, as the wire names it."""
        needed = _NEEDED[self.schedule_type]
        return next((_WIRE[name] for name in needed if getattr(self, name) is None), None)


_NEEDED: Final[dict[ScheduleType, tuple[str, ...]]] = {
    "MANUAL": (),
    "DAILY": ("time_of_day",),
    "WEEKLY": ("time_of_day", "day_of_week"),
    "MONTHLY": ("time_of_day", "day_of_month"),
    "CRON": ("cron_expression",),
}
_WIRE: Final = {
    "time_of_day": "timeOfDay",
    "day_of_week": "dayOfWeek",
    "day_of_month": "dayOfMonth",
    "cron_expression": "cronExpression",
}


class Budget(_Frozen):
    """What one run may use (beyond the contract); None is no limit. What does not fit any more is not begun."""

    max_cost: Annotated[Decimal, Field(gt=0, le=1_000_000, max_digits=13, decimal_places=6)] | None = None
    """In the currency of the price table."""
    max_audio_minutes: Count | None = None
    """Minutes of speech sent to be transcribed."""
    max_fiches: Count | None = None
    """Fiches worked on, however many were selected."""


class ScheduleRules(_Frozen):
    """All that a run goes by; whom to tell, and secrets, are no part of it."""

    timing: Timing
    selection: Selection
    run_transcription: bool = True
    skip_if_transcribed: bool = True
    transcription_priority: TranscriptionPriority = "normal"
    run_audits: bool = True
    use_automatic_audits: bool = True
    specific_audit_configs: Annotated[tuple[ConfigId, ...], Field(max_length=100)] = ()
    continue_on_error: bool = True
    retry_failed: bool = False
    max_retries: Annotated[int, Field(ge=0, le=5)] = 0
    overlap: Overlap = "refuse"
    """What happens when it is due while a run of it is under way."""
    catch_up: CatchUp = "last"
    """What happens to due times that passed while nothing could fire them: the last one runs late, or none does."""
    budget: Budget = Budget()
