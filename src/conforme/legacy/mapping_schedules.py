"""Schedules and their runs as the original had them, made into ours (spec/automation §1, §10); pure.

A schedule is read as the body that would create it here, so that whatever is refused there is refused here, with the
same reason. It comes inactive: the original may still be running, and nothing is to be fired twice.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic.alias_generators import to_camel

from conforme.automation.models import COMPLETED, FAILED, IGNORED, OUTCOMES, PARTIAL, SUCCESSFUL
from conforme.automation.schemas import ScheduleBody
from conforme.automation.service import CREATE, read_body, values_of
from conforme.foundation.errors import Invalid
from conforme.legacy.errors import BadRow
from conforme.legacy.layout import OUTCOMES_OF_RUN
from conforme.legacy.mapping_people import stamps
from conforme.legacy.source import Bundle
from conforme.legacy.values import Row, choice, filled, known, mapping, moment, text, whole

SELECTION: Final = "fiche_selection_"
LEFT: Final = frozenset({"external_api_key", "webhook_url", "webhook_secret", "is_active"})
"""What a body names and is not read as it stands in the row."""
LAST: Final = ("success", "partial", "failed")
OPEN: Final = ("pending", "running")
STILL_RUNNING: Final = timedelta(days=1)
"""As of audits: what was begun longer ago never ends."""
MANUAL: Final = "manual"


@dataclass(frozen=True, slots=True)
class OldSchedule:
    columns: dict[str, Any]
    beside: dict[str, Any]
    """What it has counted, and when it last ran."""
    config_ids: tuple[int, ...]
    """As the original numbers them."""
    had_webhook: bool


@dataclass(frozen=True, slots=True)
class OldRun:
    schedule_id: int
    """As the original numbers it."""
    columns: dict[str, Any]
    snapshot: dict[str, Any]
    fiches: tuple[dict[str, Any], ...]


def schedule(bundle: Bundle) -> OldSchedule:
    """Raises `BadRow` for what would be refused here."""
    row = bundle.row
    try:
        asked = read_body(_body(row), CREATE)
    except Invalid as error:
        raise BadRow(error.hint or f"{error.field}: {error.message}") from None
    columns = values_of(asked)
    created_by = text(row, "created_by")
    del columns["is_active"], columns["specific_audit_configs"]
    return OldSchedule(
        columns | {"created_by": created_by},
        _beside(row),
        asked.specific_audit_configs,
        bool(text(row, "webhook_url")),
    )


def _body(row: Row) -> dict[str, Any]:
    """The columns under their names on the wire; null is as good as absent."""
    names = (name for name in ScheduleBody.model_fields if name not in LEFT)
    body = {to_camel(name): row[name] for name in names if row.get(name) is not None}
    if body.get("scheduleType") != "CRON":  # derived there as here
        body.pop("cronExpression", None)
    selection = {
        to_camel(name.removeprefix(SELECTION)): value
        for name, value in row.items()
        if name.startswith(SELECTION) and value is not None
    }
    return body | {"ficheSelection": {"mode": "date_range"} | selection}


def _beside(row: Row) -> dict[str, Any]:
    status = text(row, "last_run_status")
    counted = ("total_runs", "successful_runs", "failed_runs")
    return {
        "last_run_at": moment(row, "last_run_at"),
        "last_run_status": status if status in LAST else None,
        **{name: whole(row, name) or 0 for name in counted},
        **stamps(row),
    }


def run(bundle: Bundle, now: datetime) -> OldRun:
    """Raises `BadRow` for one that may still be under way there, too."""
    row = bundle.row
    fiches = tuple(_fiche(each, rank) for rank, each in enumerate(bundle.of(OUTCOMES_OF_RUN)))
    started = moment(row, "started_at")
    snapshot = mapping(row, "config_snapshot")
    columns = {
        "trigger": "schedule" if snapshot.get("due_at") else MANUAL,
        "started_at": started,
        "selected_at": started,
        "completed_at": moment(row, "completed_at"),
        "duration_ms": whole(row, "duration_ms"),
        **_counted(row, fiches),
        "transcriptions_run": whole(row, "transcriptions_run") or 0,
        "audits_run": whole(row, "audits_run") or 0,
        "result_summary": {},
        **_ended(row, started, now),
    }
    return OldRun(known(row, "schedule_id"), columns, snapshot, fiches)


def _ended(row: Row, started: datetime | None, now: datetime) -> dict[str, Any]:
    status = choice(row, "status", (*OPEN, COMPLETED, PARTIAL, FAILED))
    told = text(row, "error_message")
    if status not in OPEN:
        return {"status": status, "error_message": told}
    if started is not None and now - started < STILL_RUNNING:
        raise BadRow("status: it has not ended there yet")
    return {"status": FAILED, "error_message": told or "The original never ended it"}


def _counted(row: Row, fiches: tuple[dict[str, Any], ...]) -> dict[str, int]:
    """The counters of the outcomes, which the original did not keep to; its own where it has no outcomes."""
    if not fiches:
        told = {name: whole(row, name) or 0 for name in ("successful_fiches", "failed_fiches")}
        return {**told, "total_fiches": whole(row, "total_fiches") or 0, "ignored_fiches": 0}
    counts = Counter(each["outcome"] for each in fiches)
    return {
        "total_fiches": counts[SUCCESSFUL] + counts[FAILED],
        "successful_fiches": counts[SUCCESSFUL],
        "failed_fiches": counts[FAILED],
        "ignored_fiches": counts[IGNORED],
    }


def _fiche(row: Mapping[str, Any], rank: int) -> dict[str, Any]:
    created = stamps(row)["created_at"]
    return {
        "fiche_id": filled(row, "fiche_id"),
        "outcome": choice(row, "status", OUTCOMES),
        "error": text(row, "error"),
        "ignore_reason": text(row, "ignore_reason"),
        "recordings_count": whole(row, "recordings_count"),
        "stage": "audits",
        "queued": True,
        "rank": rank,
        "created_at": created,
        "updated_at": created,
    }
