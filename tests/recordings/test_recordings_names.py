"""What a file name and the gateway's fields tell of a call."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.recordings.names import CallFacts, ParsedCall, displayed, parse, start_of

NAMED = "https://cdn.example.test/r/0a1b2c3d-1111-4222-8333-444455556666-05-01-26-08h14-33199001234-33639981122.mp3"


def _read(
    url: str | None,
    start_time: str | None = None,
    direction: str | None = None,
    from_number: str | None = None,
) -> ParsedCall | None:
    return parse(CallFacts("77001", url, start_time, direction=direction, from_number=from_number))


def test_a_file_name_tells_the_call_its_time_and_both_numbers() -> None:
    parsed = _read(NAMED)
    assert parsed is not None
    assert parsed.wire() == {
        "uuid": "0a1b2c3d-1111-4222-8333-444455556666",
        "date": "05/01/2026",
        "time": "08:14",
        "timestamp": "2026-01-05T08:14:00.000Z",
        "from_number": "+33 1 99 00 12 34",
        "to_number": "+33 6 39 98 11 22",
        "from_number_raw": "33199001234",
        "to_number_raw": "33639981122",
    }


@pytest.mark.parametrize("tail", ["?X-Signature=abc/def-1", "#t=12", "?a=b#c"])
def test_query_and_fragment_are_no_part_of_the_name(tail: str) -> None:
    assert _read(NAMED + tail) == _read(NAMED)


def test_the_name_is_read_in_any_case() -> None:
    assert _read(NAMED.upper()) is not None


@pytest.mark.parametrize(
    ("direction", "caller", "called"),
    [("out", "", "33639981122"), (None, "", "33639981122"), ("in", "33639981122", "")],
)
def test_a_name_with_one_number_gives_the_other_party(
    direction: str | None, caller: str, called: str
) -> None:
    url = NAMED.replace("-33199001234", "")
    parsed = _read(url, direction=direction)
    assert parsed is not None
    assert (parsed.from_number_raw, parsed.to_number_raw) == (caller, called)


def test_what_the_name_lacks_comes_from_the_fields() -> None:
    url = NAMED.replace("-33199001234", "").replace("05-01-26", "31-02-26")
    parsed = _read(url, start_time="05/10/2025 09:30", direction="out", from_number="0199005566")
    assert parsed is not None
    assert (parsed.from_number_raw, parsed.date, parsed.time) == ("0199005566", "05/10/2025", "09:30")


@pytest.mark.parametrize(
    "url", [None, "", "https://cdn.example.test/audio.mp3", "http://[oops", NAMED + ".exe"]
)
def test_without_a_readable_name_the_fields_speak(url: str | None) -> None:
    parsed = _read(url, start_time="2026-01-05T09:14:03+01:00")
    assert parsed is not None
    assert (parsed.uuid, parsed.date, parsed.time) == ("", "05/01/2026", "08:14")


def test_when_nothing_is_known_nothing_is_said() -> None:
    assert _read("https://cdn.example.test/audio.mp3") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-05T08:14:03.120+00:00", datetime(2026, 1, 5, 8, 14, 3, 120_000, UTC)),
        ("2026-01-05T08:14:03.120123Z", datetime(2026, 1, 5, 8, 14, 3, 120_123, UTC)),
        ("2026-01-05 08:14", datetime(2026, 1, 5, 8, 14, tzinfo=UTC)),
        ("2026-01-05T08:14:03", datetime(2026, 1, 5, 8, 14, 3, tzinfo=UTC)),
        ("05/10/2025 08:14", datetime(2025, 10, 5, 8, 14, tzinfo=UTC)),
        ("5/1/2026 8:14:09", datetime(2026, 1, 5, 8, 14, 9, tzinfo=UTC)),
        ("2025-13-40 10:00", None),
        ("31/02/2025 10:00", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("2026-01-05", None),
        ("05/01/2026", None),
        ("hier", None),
        ("", None),
        (None, None),
    ],
)
def test_start_times_are_read_day_first_in_utc_and_impossible_ones_refused(
    text: str | None, expected: datetime | None
) -> None:
    assert start_of(text) == expected


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2069, 12, 31)))  # noqa: DTZ001
def test_a_time_without_zone_does_not_depend_on_the_server(moment: datetime) -> None:
    assert start_of(moment.isoformat()) == moment.replace(tzinfo=UTC)


@given(st.text(max_size=80), st.text(max_size=40), st.sampled_from(["in", "out", None]))
def test_no_text_whatever_breaks_the_reading(url: str, time: str, direction: str | None) -> None:
    parsed = _read(url, start_time=time, direction=direction)
    assert parsed is None or set(parsed.wire()) >= {"uuid", "timestamp"}


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2099, 12, 31)))  # noqa: DTZ001
def test_the_time_in_a_name_is_read_back(moment: datetime) -> None:
    url = NAMED.replace("05-01-26-08h14", moment.strftime("%d-%m-%y-%Hh%M"))
    parsed = _read(url)
    assert parsed is not None
    assert parsed.started == moment.replace(second=0, microsecond=0, tzinfo=UTC)


@pytest.mark.parametrize("number", ["0639981122", "33", "44199001234", "3363998112a", "³³639981122"])
def test_only_french_international_numbers_are_spaced(number: str) -> None:
    assert displayed(number) == number
