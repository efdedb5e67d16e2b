"""Due times: those of a well-kept cron library, in any zone, through every change of the clock."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from due_reference import ZONES, reference
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conforme.automation.due import backlog, cron_of, next_due, upcoming
from conforme.automation.firing import Missed, decide
from conforme.automation.rules import Timing

WINDOW = timedelta(minutes=20)


def cron(expression: str, zone: str = "UTC") -> Timing:
    return Timing(schedule_type="CRON", cron_expression=expression, timezone=zone)


def at(text: str, zone: str = "UTC") -> datetime:
    """A moment by the clock on the wall."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def shown(instants: Sequence[datetime], zone: str) -> list[str]:
    return [format(instant.astimezone(ZoneInfo(zone)), "%Y-%m-%d %H:%M %Z") for instant in instants]


@st.composite
def _field(draw: st.DrawFn, low: int, high: int) -> str:
    def part() -> str:
        match draw(st.sampled_from(["number", "range", "range step", "open step", "star step"])):
            case "number":
                return str(draw(st.integers(low, high)))
            case "range":
                return "{}-{}".format(*draw(_ends(low, high)))
            case "range step":
                return "{}-{}/{}".format(*draw(_ends(low, high)), draw(st.integers(1, 20)))
            case "open step":
                return f"{draw(st.integers(low, high))}/{draw(st.integers(1, 20))}"
            case _:
                return f"*/{draw(st.integers(1, 20))}"

    return "*" if draw(st.booleans()) else ",".join(part() for _ in range(draw(st.integers(1, 3))))


@st.composite
def _ends(draw: st.DrawFn, low: int, high: int) -> tuple[int, int]:
    first = draw(st.integers(low, high - 1))
    return first, draw(st.integers(first + 1, high))


EXPRESSIONS = st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 7)).map(
    " ".join
)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)).map(  # noqa: DTZ001 -- the zone is set behind it
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)


def _is_ever_due(expression: str) -> bool:
    try:
        return bool(cron(expression))
    except ValueError:
        return False


def _comparable(expression: str, zone: str) -> bool:
    """Over a change by half an hour the library strides in whole ones, and loses a time of what recurs."""
    return not (zone == "Australia/Lord_Howe" and expression.split()[1].startswith("*"))


@given(expression=EXPRESSIONS.filter(_is_ever_due), zone=st.sampled_from(ZONES), after=MOMENTS)
def test_an_expression_is_due_when_the_library_says_so(expression: str, zone: str, after: datetime) -> None:
    assume(_comparable(expression, zone))
    assert upcoming(cron(expression, zone), after, 5) == reference(expression, zone, after, 5)


@settings(max_examples=30)
@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    zone=st.sampled_from([*ZONES, "America/Havana", "Africa/Cairo", "America/Santiago", "Asia/Beirut"]),
    year=st.integers(2020, 2034),
)
def test_a_daily_time_is_due_once_a_day_through_the_changes_of_any_year(
    minute: int, hour: int, zone: str, year: int
) -> None:
    timing = Timing(schedule_type="DAILY", time_of_day=f"{hour:02}:{minute:02}", timezone=zone)
    after = at(f"{year}-01-01", zone) - timedelta(seconds=1)
    due = upcoming(timing, after, 365)
    assert due == reference(f"{minute} {hour} * * *", zone, after, 365)
    assert len({instant.astimezone(ZoneInfo(zone)).date() for instant in due}) == 365


def test_a_time_that_does_not_exist_is_due_once_right_after_the_gap() -> None:
    """Weakness 9 of spec/automation §12."""
    timing = cron("0,15,30,45 2 * * *", "Europe/Paris")
    due = upcoming(timing, at("2026-03-28 03:00", "Europe/Paris"), 2)
    assert shown(due, "Europe/Paris") == ["2026-03-29 03:00 CEST", "2026-03-30 02:00 CEST"]


def test_a_time_that_occurs_twice_is_due_the_first_time() -> None:
    """Weakness 9 of spec/automation §12."""
    timing = cron("30 2 * * *", "Europe/Paris")
    due = upcoming(timing, at("2026-10-24 03:00", "Europe/Paris"), 2)
    assert shown(due, "Europe/Paris") == ["2026-10-25 02:30 CEST", "2026-10-26 02:30 CET"]


def test_what_recurs_every_hour_keeps_its_interval_through_both_changes() -> None:
    timing = cron("0 * * * *", "Europe/Paris")
    spring = upcoming(timing, at("2026-03-29 00:30", "Europe/Paris"), 3)
    autumn = upcoming(timing, at("2026-10-25 00:30", "Europe/Paris"), 5)
    assert {later - earlier for earlier, later in pairwise(spring)} == {timedelta(hours=1)}
    assert {later - earlier for earlier, later in pairwise(autumn)} == {timedelta(hours=1)}


def test_a_day_that_a_zone_left_out_is_made_up_for_at_the_next_midnight() -> None:
    timing = Timing(schedule_type="DAILY", time_of_day="10:00", timezone="Pacific/Apia")
    due = upcoming(timing, at("2011-12-29 10:00", "Pacific/Apia"), 2)
    assert shown(due, "Pacific/Apia") == ["2011-12-31 00:00 +14", "2011-12-31 10:00 +14"]


def test_a_monthly_schedule_skips_no_month() -> None:
    """Weakness 9 of spec/automation §12."""
    timing = Timing(schedule_type="MONTHLY", time_of_day="02:00", day_of_month=31)
    due = upcoming(timing, at("2027-12-31 02:00"), 4)
    assert [instant.date().isoformat() for instant in due] == [
        "2028-01-31",
        "2028-02-29",
        "2028-03-31",
        "2028-04-30",
    ]
    assert cron_of(timing) == "0 2 31 * *"


@pytest.mark.parametrize(
    ("fields", "expression"),
    [
        ({"schedule_type": "MANUAL"}, None),
        ({"schedule_type": "DAILY", "time_of_day": "06:05"}, "5 6 * * *"),
        ({"schedule_type": "WEEKLY", "time_of_day": "23:59", "day_of_week": 0}, "59 23 * * 0"),
        ({"schedule_type": "CRON", "cron_expression": " */5  8-18 * *  1-5 "}, "*/5 8-18 * * 1-5"),
        ({"schedule_type": "WEEKLY", "time_of_day": "06:05"}, None),
    ],
)
def test_each_type_has_the_expression_of_the_contract(fields: dict[str, Any], expression: str | None) -> None:
    timing = Timing.model_validate(fields)
    assert cron_of(timing) == expression
    assert (next_due(timing, at("2026-01-01")) is None) == (expression is None)


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("* * * *", "must have 5 fields"),
        ("0 0 * * * *", "must have 5 fields"),
        ("60 0 * * *", "minute: '60' is outside 0 to 59"),
        ("0 24 * * *", "hour: '24' is outside"),
        ("0 0 0 * *", "day of month: '0' is outside"),
        ("0 0 * 13 *", "month: '13' is outside"),
        ("0 0 * * 8", "day of week: '8' is outside"),
        ("0 0 * * MON", "day of week: 'MON' is neither"),
        ("0 */0 * * *", "hour: a step must be at least 1"),
        ("0 9-8 * * *", "hour: '9-8' runs backwards"),
        ("0 0 31 2,4 *", "never due"),
        ("0, 0 * * *", "minute: '' is neither"),
        ("@daily", "must have 5 fields"),
    ],
)
def test_an_expression_that_would_silently_never_fire_is_refused(expression: str, complaint: str) -> None:
    """Weakness 10 of spec/automation §12."""
    with pytest.raises(ValueError, match=complaint):
        cron(expression)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "posixrules", "europe/paris"])
def test_a_zone_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="time zone of the IANA database"):
        cron("0 0 * * *", name)


def test_the_thirtieth_of_february_is_due_on_a_weekday_when_either_is_enough() -> None:
    due = upcoming(cron("0 0 30 2 1"), at("2026-01-01"), 2)
    assert [instant.date().isoformat() for instant in due] == ["2026-02-02", "2026-02-09"]


SCHEDULES = (
    "30 2 * * *",
    "15 3 * * 0",
    "0 6 1 * *",
    "45 1 29 2 *",
    "10,40 1-2 * 3,10 *",
    "0 9 13 * 5",
)
RECURRING = ("15 */6 * * *",)
START, END, MINUTE = at("2024-01-01"), at("2029-01-01"), timedelta(minutes=1)


def _minute(waiting: Sequence[datetime | None]) -> float:
    """The minute of the walk in which something is due next: a look before it finds nothing."""
    return min((due - START) / MINUTE for due in waiting if due)


@pytest.mark.parametrize("zone", ZONES)
def test_a_clock_of_five_years_fires_each_due_time_of_the_library_once_and_no_other(zone: str) -> None:
    schedules = [*SCHEDULES, *(RECURRING if zone == "Europe/Paris" else [])]
    timings = [cron(expression, zone) for expression in schedules]
    waiting = [next_due(timing, START) for timing in timings]
    fired: list[list[datetime]] = [[] for _ in timings]
    earliest = _minute(waiting)
    for minute in range(1, int((END - START) / MINUTE) + 1):
        if minute < earliest:
            continue
        now = START + minute * MINUTE
        for number, timing in enumerate(timings):
            first = waiting[number]
            if first is None or first > now:
                continue
            firing = decide(timing, "last", first, now, WINDOW)
            assert (firing.due, firing.late, firing.missed) == (now, False, None)
            fired[number].append(now)
            waiting[number] = firing.next_due
        earliest = _minute(waiting)
    for expression, times in zip(schedules, fired, strict=True):
        assert times == reference(expression, zone, START, len(times))
        assert reference(expression, zone, times[-1], 1)[0] > END


@settings(max_examples=40)
@given(
    expression=EXPRESSIONS.filter(_is_ever_due), zone=st.sampled_from(ZONES), start=MOMENTS, data=st.data()
)
def test_however_irregularly_the_clock_is_looked_at_each_due_time_runs_or_is_missed_once(
    expression: str, zone: str, start: datetime, data: st.DataObject
) -> None:
    timing = cron(expression, zone)
    whole, ran, missed, waiting, now = upcoming(timing, start, 40), 0, 0, next_due(timing, start), start
    assert waiting
    while waiting and waiting <= whole[-1]:
        now = max(now, waiting) + timedelta(seconds=data.draw(st.integers(0, 400_000)))
        firing = decide(timing, data.draw(st.sampled_from(["last", "none"])), waiting, now, WINDOW)
        ran += firing.due is not None
        missed += firing.missed.count if firing.missed else 0
        assert firing.next_due is None or firing.next_due > now
        waiting = firing.next_due
    assert ran + missed == backlog(timing, whole[0], now).count


def test_after_an_outage_the_last_due_time_runs_late_and_the_others_are_told_of() -> None:
    timing = cron("0 6 * * *")
    firing = decide(timing, "last", at("2026-01-05 06:00"), at("2026-01-08 15:00"), WINDOW)
    assert firing.due == at("2026-01-08 06:00")
    assert firing.late
    assert firing.missed == Missed(at("2026-01-05 06:00"), at("2026-01-07 06:00"), 3)
    assert firing.next_due == at("2026-01-09 06:00")


def test_where_nothing_is_to_be_caught_up_on_an_outage_is_only_told_of() -> None:
    timing = cron("0 6 * * *")
    firing = decide(timing, "none", at("2026-01-05 06:00"), at("2026-01-06 06:21"), WINDOW)
    assert firing.due is None
    assert firing.missed == Missed(at("2026-01-05 06:00"), at("2026-01-06 06:00"), 2)
    in_time = decide(timing, "none", at("2026-01-06 06:00"), at("2026-01-06 06:20"), WINDOW)
    assert in_time.due == at("2026-01-06 06:00")
    assert not in_time.late
