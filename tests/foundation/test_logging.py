"""Logging: one chain for structlog and the standard library, redacted, correlated, one line per event."""

import asyncio
import io
import json
import logging
from collections.abc import Generator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from conforme.foundation.logging import (
    bind_correlation,
    clear_correlation,
    configure_logging,
    correlated,
    correlation_id,
)
from conforme.settings import Settings


@pytest.fixture
def lines() -> Generator[io.StringIO]:
    """Where log lines go; logging is put back as it was."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.raiseExceptions)
    stream = io.StringIO()
    configure_logging(Settings(log_format="json", log_level="debug"), stream)
    yield stream
    root.handlers[:], logging.raiseExceptions = before[0], before[2]
    root.setLevel(before[1])
    structlog.reset_defaults()
    clear_correlation()


def written(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_level_time_and_logger(lines: io.StringIO) -> None:
    structlog.get_logger("conforme.audits").info("audit_started", audit_id=12)
    (line,) = written(lines)
    assert line["event"] == "audit_started"
    assert (line["level"], line["logger"], line["audit_id"]) == ("info", "conforme.audits", 12)
    assert line["timestamp"].endswith("Z")


def test_the_standard_library_goes_through_the_same_chain(lines: io.StringIO) -> None:
    with correlated("run-1"):
        logging.getLogger("some.library").warning("called %s with %s", "0639980012", {"password": "x"})
    (line,) = written(lines)
    assert "0639980012" not in line["event"]
    assert (line["level"], line["logger"], line["correlation_id"]) == ("warning", "some.library", "run-1")


def test_fields_are_redacted_by_key_and_by_pattern(lines: io.StringIO) -> None:
    log = structlog.get_logger("x")
    log.info(
        "sent", headers={"authorization": "Bearer abc", "accept": "json"}, note="FR7630006000011234567890189"
    )
    text = lines.getvalue()
    assert "Bearer abc" not in text
    assert "FR76" not in text
    assert written(lines)[0]["headers"]["accept"] == "json"


def test_an_exception_is_logged_with_its_place_and_without_its_secrets(lines: io.StringIO) -> None:
    def fail() -> None:
        raise ValueError("cannot reach postgresql://u:hunter2@db/x for jeanne@example.test")

    try:
        fail()
    except ValueError:
        structlog.get_logger("x").exception("failed")
        logging.getLogger("y").exception("failed too")
    for line in written(lines):
        assert "in fail" in line["exception"]
        assert "ValueError" in line["exception"]
        assert "hunter2" not in line["exception"]
        assert "jeanne" not in line["exception"]


def test_a_very_long_traceback_keeps_its_end(lines: io.StringIO) -> None:
    def fail() -> None:
        raise ValueError("x\n" * 50_000 + "the end")

    try:
        fail()
    except ValueError:
        structlog.get_logger("x").exception("failed")
    (line,) = written(lines)
    assert line["exception"].endswith("the end")
    assert len(line["exception"]) <= 8000


def test_a_value_cannot_forge_a_line_nor_colour_a_terminal() -> None:
    stream = io.StringIO()
    configure_logging(Settings(log_format="console"), stream)
    try:
        structlog.get_logger("x").info("read\nlevel=error forged", note="\x1b[31mred\x00\r\nmore")
        assert len(stream.getvalue().splitlines()) == 1
        assert "\x1b" not in stream.getvalue()
    finally:
        logging.getLogger().handlers.clear()
        structlog.reset_defaults()


def test_below_the_level_nothing_is_written() -> None:
    stream = io.StringIO()
    configure_logging(Settings(log_format="json", log_level="warning"), stream)
    try:
        structlog.get_logger("x").info("quiet")
        logging.getLogger("y").info("quiet")
        logging.getLogger("httpx2").info("HTTP Request: GET https://x.example.test/?key=1")
        assert not stream.getvalue()
    finally:
        logging.getLogger().handlers.clear()
        structlog.reset_defaults()


def test_http_clients_do_not_log_the_urls_they_call(lines: io.StringIO) -> None:
    logging.getLogger("httpx2").info("HTTP Request: GET https://x.example.test/?key=1")
    assert not lines.getvalue()


def test_a_malformed_record_is_not_printed_raw(lines: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("y").warning("%s and %s", "0639980012")  # noqa: PLE1206 -- the point
    assert "0639980012" not in lines.getvalue() + "".join(capfd.readouterr())


@pytest.mark.parametrize("given_id", [None, "", "a b", "x" * 129, "évil", "a\nb"])
def test_a_missing_or_malformed_correlation_id_is_replaced(given_id: str | None) -> None:
    known = bind_correlation(given_id)
    assert known != given_id
    assert correlation_id() == known
    clear_correlation()
    assert correlation_id() is None


def test_a_correlation_id_given_by_the_caller_is_kept() -> None:
    assert bind_correlation("req-1.a:b_c") == "req-1.a:b_c"
    clear_correlation()


def test_leaving_an_inner_context_restores_the_outer_one(lines: io.StringIO) -> None:
    log = structlog.get_logger("x")
    with correlated("outer", fiche_id="12"), correlated("inner", audit_id=3):
        log.info("inside")
    assert correlation_id() is None
    (line,) = written(lines)
    assert (line["correlation_id"], line["fiche_id"], line["audit_id"]) == ("inner", "12", 3)


async def test_tasks_do_not_share_their_correlation_id() -> None:
    async def one(name: str) -> str | None:
        with correlated(name):
            await asyncio.sleep(0)
            return correlation_id()

    assert await asyncio.gather(*(one(f"task-{n}") for n in range(20))) == [f"task-{n}" for n in range(20)]


@given(
    st.dictionaries(
        st.text(max_size=30), st.text(max_size=100) | st.integers() | st.binary(max_size=10), max_size=5
    )
)
def test_any_fields_make_one_json_line(fields: dict[str, Any]) -> None:
    stream = io.StringIO()
    configure_logging(Settings(log_format="json"), stream)
    try:
        logging.getLogger("x").info("event", extra=None)
        structlog.get_logger("x").info("event", fields=fields)
        assert len([json.loads(line) for line in stream.getvalue().split("\n") if line]) == 2
    finally:
        logging.getLogger().handlers.clear()
        structlog.reset_defaults()
