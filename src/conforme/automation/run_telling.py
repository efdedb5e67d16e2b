"""What is told of a run: its realtime events (spec/realtime §3.5) and the domain events of its end."""

from datetime import datetime
from typing import Any, Final

from conforme.automation.models import AutomationRun
from conforme.automation.rules import Selection
from conforme.foundation.events import Draft, job_channel
from conforme.foundation.web import iso

MAX_GROUPES_TOLD: Final = 10
CHANNEL_PREFIX: Final = "automation-run-"
NO_FICHES: Final = "no_fiches_manual"
NO_DATES: Final = "no_dates"


def subject_of(run_id: int) -> str:
    """The name under which clients follow a run: its `job_id` on the wire."""
    return f"{CHANNEL_PREFIX}{run_id}"


def started(run: AutomationRun) -> Draft:
    return _told(run, "started", due_at=iso(run.due_at), status="running")


def selection(run: AutomationRun, selected: Selection, found: dict[str, int]) -> Draft:
    """`found` is `total_fiches` (manual) or `total_dates`."""
    groupes = {"groupes": list(selected.groupes)} if len(selected.groupes) <= MAX_GROUPES_TOLD else {}
    return _told(
        run,
        "selection",
        mode=selected.mode,
        dateRange=selected.date_range,
        **groupes,
        groupes_count=len(selected.groupes),
        onlyWithRecordings=selected.only_with_recordings,
        onlyUnaudited=selected.only_unaudited,
        maxFiches=selected.max_fiches,
        maxRecordingsPerFiche=selected.max_recordings_per_fiche,
        useRlm=selected.use_rlm,
        **found,
    )


def progress(run: AutomationRun) -> Draft:
    return _told(
        run,
        "progress",
        days_processed=run.days_done,
        days_total=run.days_total,
        successful=run.successful_fiches,
        failed=run.failed_fiches,
        ignored=run.ignored_fiches,
        audits=run.audits_run,
        total_fiches=run.total_fiches,
    )


def ended(run: AutomationRun, reason: str | None = None) -> list[Draft]:
    """The end of a run that was not cut short by an error of its own; `reason` when there was nothing to do."""
    counts: dict[str, Any] = {
        "total_fiches": run.total_fiches,
        "successful_fiches": run.successful_fiches,
        "failed_fiches": run.failed_fiches,
    }
    beside: dict[str, Any] = {
        "ignored_fiches": run.ignored_fiches,
        "transcriptions_run": run.transcriptions_run,
        "audits_run": run.audits_run,
        "duration_ms": run.duration_ms,
    }
    told = {"reason": reason} if reason else beside
    return [
        _told(run, "completed", status=run.status, **counts, **told),
        _domain(run, "completed", status=run.status, **counts, duration_ms=run.duration_ms),
    ]


def failed(run: AutomationRun) -> list[Draft]:
    """The run ended by an error of its own: it could not select, or had nothing to audit by."""
    error = run.error_message or ""
    return [
        _told(run, "failed", status="failed", error=error, duration_ms=run.duration_ms),
        _domain(run, "failed", error=error),
    ]


def _told(run: AutomationRun, name: str, **fields: Any) -> Draft:
    return Draft(f"automation.run.{name}", _ids(run) | fields, [job_channel(subject_of(run.id))])


def _domain(run: AutomationRun, name: str, **fields: Any) -> Draft:
    return Draft(f"automation/{name}", _ids(run) | fields, [job_channel(subject_of(run.id))])


def _ids(run: AutomationRun) -> dict[str, Any]:
    return {"job_id": subject_of(run.id), "schedule_id": str(run.schedule_id), "run_id": str(run.id)}


def milliseconds(start: datetime | None, end: datetime) -> int:
    return int((end - (start or end)).total_seconds() * 1000)
