"""Reads a gateway's body into JSON that PostgreSQL can hold.

PostgreSQL text holds neither NUL nor half a surrogate pair, and JSON has no infinity: all three come in from careless
producers and from hostile ones, and are cleaned here, once, before anybody looks at the value.
"""

import json
import math
import re
from typing import Any

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
MAX_DEPTH = 100
"""Levels of nesting; the gateway's own shapes have nine."""


class MalformedJsonError(ValueError):
    """The body is not JSON, or nested beyond any use."""


def parse(body: bytes) -> Any:
    """The JSON value of a UTF-8 body, storable.

    Raises:
        MalformedJsonError: not UTF-8, not JSON, nested deeper than `MAX_DEPTH`, or a number no computer writes.
    """
    try:
        value = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise MalformedJsonError from None
    return storable(value)


def storable(value: Any, depth: int = 0) -> Any:
    """The same value with NUL dropped, lone surrogates replaced and numbers without JSON form as null."""
    if depth > MAX_DEPTH:
        raise MalformedJsonError
    match value:
        case str():
            return _text(value)
        case dict():
            return {_text(key): storable(item, depth + 1) for key, item in value.items()}
        case list():
            return [storable(item, depth + 1) for item in value]
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value


def _text(value: str) -> str:
    if _UNSTORABLE.search(value) is None:
        return value
    return _UNSTORABLE.sub(lambda found: "" if found.group() == "\0" else "\ufffd", value)
