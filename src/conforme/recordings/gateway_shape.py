"""A call in the gateway's shape (spec/fiches §1.1) out of the columns of its row, and what those cannot say.

The gateway tells more of a call than there are columns for: keys we do not know, a time as it was written, a number
given as "" that we read from the file's name. That difference is kept beside the columns as a patch (`fiches.patch`).
"""

from collections.abc import Mapping
from typing import Any, Final

from conforme.fiches.patch import Json, apply, diff
from conforme.foundation.web import iso

COLUMNS: Final = (
    "call_id",
    "recording_url",
    "direction",
    "answered",
    "start_time",
    "duration_seconds",
    "from_number",
    "to_number",
)
"""Keys of a call that are columns, in the order a fiche shows them (spec/fiches §2.3)."""


def beyond_columns(columns: Mapping[str, Any], told: Json) -> Json:
    """The patch that makes `told` of what `columns` say; `{}` when they say it all."""
    return diff(_of_columns(columns), told) or {}


def as_told(columns: Mapping[str, Any], extra: Json | None) -> Json:
    """The call as the gateway told it; an address that is known is shown whatever was said of it since."""
    told = apply(extra, _of_columns(columns))
    return told | {"recording_url": columns["recording_url"] or told.get("recording_url")}


def _of_columns(columns: Mapping[str, Any]) -> Json:
    shape = {name: columns[name] for name in COLUMNS}
    return shape | {"recording_url": shape["recording_url"] or None, "start_time": iso(shape["start_time"])}
