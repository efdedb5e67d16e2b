"""Errors that cross the engine: stored as JSON, given back as what they were, never with personal data.

Our own errors (`ConformeError`) are written for the caller: class, message, code and plain attributes are kept.
Of any other error only the name of its class is told.
"""

from __future__ import annotations

from typing import Any, cast

from conforme.foundation.errors import ConformeError, External, Unavailable

MARK = "$fault"


class StepFailed(ConformeError):
    """A step failed"""


class StepTimeout(External):
    """A step took too long"""

    code = "TIMEOUT"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, retryable=True)


class DeadlineExceeded(Unavailable):
    """The job did not end before its deadline"""

    code = "DEADLINE_EXCEEDED"


def to_fault(error: BaseException) -> dict[str, Any]:
    """A JSON object from which `from_fault` makes the error again."""
    known = presentable(error)
    plain = {
        name: value
        for name, value in vars(known).items()
        if isinstance(value, str | int | float | bool | None)
    }
    return {MARK: type(known).__qualname__, "message": known.message, "code": known.code, "attributes": plain}


def from_fault(fault: dict[str, Any]) -> ConformeError:
    """The error that was stored; a plain `StepFailed` with its code when its class is no more."""
    kind = _classes().get(str(fault.get(MARK)), StepFailed)
    error = kind.__new__(kind)
    message = str(fault.get("message", ""))
    error.message, error.field, error.args = message, None, (message,)
    vars(error).update(cast("dict[str, Any]", fault.get("attributes", {})))
    if error.code != fault.get("code"):
        vars(error)["code"] = fault.get("code")
    return error


def presentable(error: BaseException) -> ConformeError:
    """The error itself when it is ours; else one that names its class and nothing it said."""
    if isinstance(error, ConformeError):
        return error
    if isinstance(error, TimeoutError):
        return StepTimeout()
    return StepFailed(f"Internal error ({type(error).__name__})")


def _classes() -> dict[str, type[ConformeError]]:
    found: dict[str, type[ConformeError]] = {}
    todo: list[type[ConformeError]] = [ConformeError]
    while todo:
        kind = todo.pop()
        found[kind.__qualname__] = kind
        todo.extend(kind.__subclasses__())
    return found
