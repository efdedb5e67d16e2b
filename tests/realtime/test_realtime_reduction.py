"""What is published fits the provider's limit, and keeps what tells which thing changed (spec/realtime §1.3, §1.4)."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from conforme.realtime.reduction import KEPT, PROVIDER_LIMIT_BYTES, as_json, fitted, payload_limit, reduced

NAMES = st.sampled_from([*KEPT, "call_id", "error", "datesCompleted", "datesFailed", "data", "topic", "type"])
SMALL = st.integers() | st.booleans() | st.none() | st.text(max_size=8)
VALUES = SMALL | st.lists(st.text(max_size=200), max_size=60) | st.text(max_size=3000)
PAYLOADS = st.dictionaries(NAMES | st.text(max_size=12), VALUES, max_size=40)
LIMITS = st.integers(1000, PROVIDER_LIMIT_BYTES)


@given(PAYLOADS | VALUES, LIMITS)
def test_whatever_is_published_is_an_object_within_the_limit(payload: Any, limit: int) -> None:
    data = fitted(payload, limit)
    assert len(data.encode()) <= limit
    assert isinstance(json.loads(data), dict)


@given(st.dictionaries(st.sampled_from(KEPT), st.integers(0, 10**9) | st.text("abc", max_size=8)), LIMITS)
def test_a_payload_that_is_too_large_keeps_the_listed_keys_and_says_that_it_was_cut(
    listed: dict[str, Any], limit: int
) -> None:
    payload = {**listed, "comparison": "x" * limit, "datesFailed": ["2026-01-05"] * 3}
    if len(as_json(listed)) < 900:
        assert json.loads(fitted(payload, limit)) == {**listed, "datesFailedCount": 3, "truncated": True}


@given(PAYLOADS, LIMITS)
def test_a_payload_that_fits_is_left_alone(payload: dict[str, Any], limit: int) -> None:
    if len(as_json(payload).encode()) <= limit:
        assert json.loads(fitted(payload, limit)) == payload


def test_when_even_the_listed_keys_are_too_large_nothing_is_left_but_that() -> None:
    assert fitted({"step_name": "é" * 9000}, 9000) == '{"truncated":true}'
    assert fitted("x" * 9000, 1000) == '{"truncated":true}'


def test_what_orders_an_event_is_kept_as_well() -> None:
    given = {"event_uid": "7", "emitted_at": "2026-01-05T09:14:02.120Z", "audit_id": "a", "error": "x" * 1000}
    assert json.loads(fitted(given, 1000)) == {
        "event_uid": "7",
        "emitted_at": "2026-01-05T09:14:02.120Z",
        "audit_id": "a",
        "truncated": True,
    }


def test_an_envelope_of_old_keeps_its_head_and_reduces_its_data() -> None:
    envelope = {
        "topic": "audits",
        "type": "progress",
        "timestamp": "2026-01-05T09:14:02.120Z",
        "source": "worker",
        "id": 7,
        "extra": 1,
        "data": {"audit_id": "a", "words": ["x"]},
    }
    assert reduced(envelope) == {
        "topic": "audits",
        "type": "progress",
        "timestamp": "2026-01-05T09:14:02.120Z",
        "source": "worker",
        "id": 7,
        "data": {"audit_id": "a", "truncated": True},
        "truncated": True,
    }
    assert reduced({**envelope, "data": "words"})["data"] == {"truncated": True}
    assert reduced({**envelope, "topic": 7}) == {"truncated": True}


def test_lists_of_dates_become_their_number() -> None:
    payload = {"jobId": "j", "datesCompleted": ["a", "b"], "datesRemaining": [], "datesFailed": "none"}
    assert reduced(payload) == {
        "jobId": "j",
        "datesCompletedCount": 2,
        "datesRemainingCount": 0,
        "truncated": True,
    }


def test_the_limit_is_at_least_that_of_the_contract_and_at_most_that_of_the_provider() -> None:
    assert [payload_limit(asked) for asked in (1, 9000, 99_999)] == [1000, 9000, 10_240]


def test_half_a_surrogate_pair_is_published_escaped() -> None:
    assert json.loads(fitted({"value": "\ud83d"}, 1000).encode()) == {"value": "\ud83d"}
