"""What a schedule says: when it is due, which fiches it takes, what is done with them, and what bounds it. Pure.

The wire reads schedules into these, the tables hold them, and a run works from the copy in its snapshot. Field names
are those of spec/automation §1 in snake_case; what goes beyond it says so.
"""

import re
from collections.abc import Iterable
from datetime import date, time
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    model_validator,
)
from pydantic.alias_generators import to_camel

from conforme.automation.cron import Cron
from conforme.automation.zones import zone_of
from conforme.foundation.web import INT64_MAX, Text, decimal_text

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
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
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
        return () if value is None else value
    pasted = [
        part for each in value for part in (_SEPARATORS.split(each) if isinstance(each, str) else [each])
    ]
    return without_repeats(part for part in pasted if part != "")


def without_repeats(values: Iterable[object]) -> tuple[object, ...]:
    """Each text once; what is none stays as it is, to be refused by its place."""
    given = tuple(values)
    texts = all(isinstance(value, str) for value in given)
    return tuple(dict.fromkeys(given)) if texts else given


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value.strip() for value in values if value.strip()))


Day = Annotated[Text, Field(max_length=10), AfterValidator(_a_day)]
TimeOfDay = Annotated[Text, AfterValidator(_a_time)]
Zone = Annotated[Text, Field(max_length=64), AfterValidator(_a_zone)]
Expression = Annotated[Text, Field(max_length=200), AfterValidator(_an_expression)]
Exact = Annotated[Decimal, PlainSerializer(decimal_text, return_type=str, when_used="json")]
Count = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
FicheId = Annotated[Text, Field(min_length=1, max_length=40, pattern=r"^[0-9]+$")]
Groupes = Annotated[
    tuple[Annotated[Text, Field(max_length=200)], ...],
    BeforeValidator(lambda value: () if value is None else value),
    Field(max_length=MAX_GROUPES),
    AfterValidator(_once),
]


class _Frozen(BaseModel):
    """Also as the wire spells it, in camelCase; what it does not know it drops."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, validate_by_name=True
    )


class Sample(_Frozen):
    """Which part of what is selected is listened to (beyond the contract: the law wants it to be a sample)."""

    percentage: Annotated[Exact, Field(gt=0, le=100, max_digits=6, decimal_places=3)] | None = None
    """Of the selected fiches, of each stratum rounded up."""
    count: Count | None = None
    seed: Annotated[StrictInt, Field(ge=0, le=INT64_MAX)] | None = None
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
    groupes: Groupes = ()
    only_with_recordings: StrictBool = False
    only_unaudited: StrictBool = False
    use_rlm: StrictBool = False
    max_fiches: Count | None = None
    """Of the whole run, not of each day."""
    max_recordings_per_fiche: Count | None = None
    fiche_ids: Annotated[tuple[FicheId, ...], Field(max_length=MAX_FICHE_IDS), BeforeValidator(_split)] = ()
    sample: Sample | None = None

    @model_validator(mode="after")
    def _days_in_order(self) -> Self:
        if self.date_range == "custom" and self.mode != "manual" and self.custom_start is None:
            raise ValueError("customStartDate is required where dateRange is custom")
        if self.custom_start and self.custom_end and self.custom_end < self.custom_start:
            raise ValueError("customEndDate must not be before customStartDate")
        return self

    @property
    def wire(self) -> dict[str, Any]:
        """As the wire shows it: empty optionals left out, the three booleans never (spec/automation §1.4)."""
        whole = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {name: value for name, value in whole.items() if value != []}

    @property
    def custom_start(self) -> date | None:
        return None if self.custom_start_date is None else day_of(self.custom_start_date)

    @property
    def custom_end(self) -> date | None:
        return None if self.custom_end_date is None else day_of(self.custom_end_date)


class Timing(_Frozen):
    """When a schedule is due (spec/automation §1.1, §1.3); may lack what its type needs: see `missing`."""

    schedule_type: ScheduleType
    timezone: Zone = "UTC"
    cron_expression: Expression | None = None
    """What was given; the other types derive theirs: `cron_of`."""
    time_of_day: TimeOfDay | None = None
    day_of_week: Annotated[StrictInt, Field(ge=0, le=6)] | None = None
    """0 is Sunday."""
    day_of_month: Annotated[StrictInt, Field(ge=1, le=31)] | None = None
    """In a month that has no such day, its last one."""

    @property
    def missing(self) -> str | None:
        """The first field that its type needs and it lacks, as the wire names it."""
        return next((to_camel(name) for name in self.needed if getattr(self, name) is None), None)

    @property
    def needed(self) -> tuple[str, ...]:
        return _NEEDED[self.schedule_type]

    @property
    def requirement(self) -> str:
        """What its type needs, in the contract's words."""
        return f"{self.schedule_type} schedule requires {' and '.join(map(to_camel, self.needed))}"


_NEEDED: Final[dict[ScheduleType, tuple[str, ...]]] = {
    "MANUAL": (),
    "DAILY": ("time_of_day",),
    "WEEKLY": ("time_of_day", "day_of_week"),
    "MONTHLY": ("time_of_day", "day_of_month"),
    "CRON": ("cron_expression",),
}


def _junk_dropped(values: object) -> object:
    """Ids as numbers or digits; what is neither is dropped, as the contract says."""
    if not isinstance(values, list | tuple):
        return ()
    texts = [str(value) for value in values if isinstance(value, int | str) and not isinstance(value, bool)]
    known = [int(text) for text in texts if _DIGITS.fullmatch(text.strip())]
    return tuple(dict.fromkeys(number for number in known if 0 < number <= INT64_MAX))


ConfigIds = Annotated[tuple[int, ...], BeforeValidator(_junk_dropped), Field(max_length=100)]


class Budget(_Frozen):
    """What one run may use (beyond the contract); None is no limit. What does not fit any more is not begun."""

    max_cost: Annotated[Exact, Field(gt=0, le=1_000_000, max_digits=13, decimal_places=6)] | None = None
    """In the currency of the price table."""
    max_audio_minutes: Count | None = None
    """Minutes of speech sent to be transcribed."""
    max_fiches: Count | None = None
    """Fiches worked on, however many were selected."""


class WorkRules(BaseModel):
    """How the fiches of a run are worked on: what a schedule says of it, in any of its forms."""

    run_transcription: StrictBool = True
    skip_if_transcribed: StrictBool = True
    transcription_priority: TranscriptionPriority = "normal"
    run_audits: StrictBool = True
    use_automatic_audits: StrictBool = True
    specific_audit_configs: ConfigIds = ()
    continue_on_error: StrictBool = True
    retry_failed: StrictBool = False
    max_retries: Annotated[StrictInt, Field(ge=0, le=5)] = 0
    overlap: Overlap = "refuse"
    """What happens when it is due while a run of it is under way."""
    catch_up: CatchUp = "last"
    """What happens to due times that passed while nothing could fire them: the last one runs late, or none does."""
    budget: Budget = Budget()


class ScheduleRules(WorkRules, _Frozen):
    """All that a run goes by; whom to tell, and secrets, are no part of it."""

    timing: Timing
    selection: Selection
