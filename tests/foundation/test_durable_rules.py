"""The pure rules of durable work: what is refused, how long a retry waits, how errors cross the engine."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from conforme.foundation import faults, job_rows
from conforme.foundation.errors import ConformeError, External, Invalid, NotFound
from conforme.foundation.jobs import (
    Child,
    Job,
    Lane,
    LaneLimits,
    Retry,
    check_children,
    check_dispatch,
    lanes_of,
)
from conforme.settings import Settings


class Nothing(BaseModel):
    pass


async def body(context: Any, payload: Nothing) -> None:
    """Does nothing."""


UP, DOWN = Lane("up"), Lane("down")
KEYED = Lane("keyed", lambda _: LaneLimits(per_key=1))
PARENT, CHILD, KEYED_JOB = Job("parent", UP, body), Job("child", DOWN, body), Job("keyed", KEYED, body)
SETTINGS = Settings.model_validate({})


def child(id: str, job: Job[Nothing] = CHILD, key: str | None = None) -> Child:
    return Child(job=job, payload=Nothing(), id=id, key=key)


@pytest.mark.parametrize("id", ["", "  ", "x" * 301, "a\x00b"])
def test_an_id_that_cannot_be_stored_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match="id of a parent"):
        check_dispatch(PARENT, id, None, SETTINGS)


def test_a_lane_limited_per_key_needs_a_key() -> None:
    with pytest.raises(ValueError, match="with a key"):
        check_dispatch(KEYED_JOB, "id", None, SETTINGS)
    check_dispatch(KEYED_JOB, "id", "fiche-1", SETTINGS)


def test_children_on_their_parents_lane_are_refused() -> None:
    with pytest.raises(ValueError, match="wait for ever"):
        check_children(PARENT, [child("a", PARENT)], SETTINGS)


def test_children_are_told_apart_and_have_their_keys() -> None:
    with pytest.raises(ValueError, match="have one id"):
        check_children(PARENT, [child("a"), child("a")], SETTINGS)
    with pytest.raises(ValueError, match="with a key"):
        check_children(PARENT, [child("a"), child("b", KEYED_JOB)], SETTINGS)
    check_children(PARENT, [child("a"), child("b", KEYED_JOB, "k")], SETTINGS)


def test_two_lanes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two lanes"):
        lanes_of([PARENT, Job("other", Lane("up"), body)], [])


def test_the_payload_is_read_from_the_body() -> None:
    assert PARENT.payload_type is Nothing


@given(
    attempt=st.integers(1, 10_000),
    base=st.floats(0.001, 100),
    cap=st.floats(0.001, 1000),
    chance=st.floats(0, 1),
    asked=st.none() | st.floats(0, 1e6),
)
def test_a_retry_waits_within_its_cap_and_never_less_than_asked(
    attempt: int, base: float, cap: float, chance: float, asked: float | None
) -> None:
    retry = Retry(attempts=3, base_seconds=base, cap_seconds=cap, when=lambda _: True)
    wait = retry.wait_seconds(attempt, External(retry_after=asked), chance=chance)
    assert wait >= (asked or 0)
    assert 0 < wait <= max(cap, asked or 0)


def test_a_retry_doubles_its_wait() -> None:
    retry = Retry(attempts=5, base_seconds=1, cap_seconds=5, when=lambda _: True)
    assert [retry.wait_seconds(n, ValueError(), chance=0) for n in (1, 2, 3, 4)] == [1, 2, 4, 5]


@given(message=st.text(), retryable=st.booleans(), retry_after=st.none() | st.floats(0, 100))
def test_our_errors_cross_the_engine_unchanged(
    message: str, retryable: bool, retry_after: float | None
) -> None:
    sent = External(message, retryable=retryable, retry_after=retry_after)
    back = job_rows.load(job_rows.dump(sent))
    assert type(back) is External
    assert (back.message, back.code, back.status) == (sent.message, sent.code, sent.status)
    assert (back.retryable, back.retry_after) == (retryable, retry_after)
    assert str(back) == str(sent)


@pytest.mark.parametrize(
    "error",
    [NotFound.of("fiche", 1), Invalid("no", field="a.b"), faults.StepTimeout(), faults.DeadlineExceeded()],
)
def test_every_error_keeps_its_class_and_attributes(error: ConformeError) -> None:
    back = job_rows.load(job_rows.dump(error))
    assert type(back) is type(error)
    assert vars(back) == vars(error)


def test_an_error_of_others_says_only_what_it_is() -> None:
    fault = faults.to_fault(KeyError("Mme Martin"))
    assert "Martin" not in job_rows.dump(fault)
    assert job_rows.load(job_rows.dump(fault)).message == "Internal error (KeyError)"


def test_an_error_whose_class_is_gone_keeps_its_message_and_code() -> None:
    fault = {"$fault": "Gone", "message": "said so", "code": "GONE_ERROR", "attributes": {}}
    back = faults.from_fault(fault)
    assert (type(back), back.message, back.code) == (faults.StepFailed, "said so", "GONE_ERROR")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda t: t != faults.MARK), inner),
    )
)
def test_any_json_value_survives(value: Any) -> None:
    assert job_rows.load(job_rows.dump(value)) == value


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(TypeError, match="must return JSON"):
        job_rows.dump({1, 2})
