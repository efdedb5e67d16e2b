"""Payloads made to fit the provider's limit (spec/realtime §1.3, §1.4). Pure."""

import json
from collections.abc import Mapping
from typing import Any

PROVIDER_LIMIT_BYTES = 10_240
"""More than this per event is refused by Pusher."""
FLOOR_BYTES = 1000

KEPT = (
    "audit_id",
    "audit_db_id",
    "audit_config_id",
    "fiche_id",
    "event_id",
    "batch_id",
    "job_id",
    "jobId",
    "rerun_id",
    "rerun_scope",
    "step_position",
    "step_name",
    "control_point_index",
    "schedule_id",
    "run_id",
    "status",
    "progress",
    "current_phase",
    "progress_percentage",
    "completed_steps",
    "total_steps",
    "failed_steps",
    "completedSteps",
    "totalSteps",
    "failedSteps",
    "completedDays",
    "totalDays",
    "totalFiches",
)
"""What a reduced payload keeps, as the contract lists it."""
ORDERING = ("event_uid", "emitted_at")
"""What our payloads have beyond the contract; a client resumes from them, so they are kept as well."""
COUNTED = ("datesCompleted", "datesRemaining", "datesFailed")
ENVELOPE = ("topic", "type", "timestamp")
TRUNCATED: Mapping[str, Any] = {"truncated": True}


def as_json(value: Any) -> str:
    """JSON as a browser would write it: no spaces, no escapes but the necessary ones."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair is no UTF-8
        return json.dumps(value, separators=(",", ":"))
    return text


def payload_limit(configured: int) -> int:
    """The bytes a payload may have, whatever was configured."""
    return min(max(configured, FLOOR_BYTES), PROVIDER_LIMIT_BYTES)


def as_object(payload: Any) -> Mapping[str, Any]:
    """The payload, or `{"value": payload}` when it is no object."""
    return payload if isinstance(payload, Mapping) else {"value": payload}


def fitted(payload: Any, limit: int) -> str:
    """The payload as JSON of at most `limit` bytes: whole, else reduced, else `{"truncated":true}`."""
    given = as_object(payload)
    whole = as_json(given)
    if len(whole.encode()) <= limit:
        return whole
    less = as_json(reduced(given))
    return less if len(less.encode()) <= limit else as_json(TRUNCATED)


def reduced(payload: Any) -> Mapping[str, Any]:
    """What of a payload tells which thing changed and how far it is, and that it was cut."""
    if not isinstance(payload, Mapping):
        return TRUNCATED
    if "data" in payload and all(isinstance(payload.get(key), str) for key in ENVELOPE):
        kept = {key: payload[key] for key in (*ENVELOPE, "source", "id") if key in payload}
        return {**kept, "data": reduced(payload["data"]), **TRUNCATED}
    kept = {key: payload[key] for key in (*KEPT, *ORDERING) if key in payload}
    counts = {
        f"{key}Count": len(payload[key]) for key in COUNTED if isinstance(payload.get(key), list | tuple)
    }
    return {**kept, **counts, **TRUNCATED}
