"""The wire of runs (spec/automation §2): camelCase, ids as strings."""

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel

from conforme.automation.rules import Selection
from conforme.foundation.web import Pagination, Wire, WireId, WireScore, WireTime


class RunOut(Wire):
    """A run as lists show it."""

    id: WireId
    schedule_id: WireId
    status: str
    """`pending`, `running`, `completed`, `partial`, `failed` or `cancelled`."""
    started_at: WireTime | None
    completed_at: WireTime | None
    duration_ms: int | None
    total_fiches: int
    successful_fiches: int
    failed_fiches: int
    ignored_fiches: int
    transcriptions_run: int
    audits_run: int
    error_message: str | None
    error_details: dict[str, Any] | None
    config_snapshot: dict[str, Any]
    result_summary: dict[str, Any] | None
    trigger: str
    due_at: WireTime | None
    attempt: int
    """The first, and one for each time that what failed was taken up again."""
    cancel_requested_at: WireTime | None
    exhausted: str | None
    """Which budget ended it early: `cost`, `audio_minutes` or `fiches`."""
    sample_seed: int | None
    left_fiches: int
    """Eligible, and neither in the sample nor within the selection's limit."""
    days_total: int
    days_done: int
    days_failed: int
    cost: WireScore
    """Paid for it until now, in the currency of the price table."""
    audio_seconds: WireScore
    """Speech that was transcribed for it."""


class LogLine(Wire):
    id: WireId
    level: str
    message: str
    timestamp: WireTime
    metadata: dict[str, Any]


class RunWithLogs(RunOut):
    logs: list[LogLine]
    """The first hundred lines; the rest is paged (`…/logs`)."""


class Runs(BaseModel):
    success: Literal[True] = True
    data: list[RunOut]
    count: int
    limit: int
    offset: int
    pagination: Pagination


class Logs(BaseModel):
    success: Literal[True] = True
    data: list[LogLine]
    count: int
    pagination: Pagination


class RunFicheOut(Wire):
    """One fiche of a run."""

    fiche_id: str
    outcome: str | None
    """`successful`, `failed` or `ignored`; null while it is waited for."""
    stage: str
    """How far it has come: `selected`, `details`, `transcription` or `audits`."""
    error: str | None
    error_code: str | None
    ignore_reason: str | None
    recordings_count: int | None
    transcriptions_run: int
    audits_run: int
    audit_ids: list[WireId]
    tries: int
    cost: WireScore
    updated_at: WireTime


class RunFiches(BaseModel):
    success: Literal[True] = True
    data: list[RunFicheOut]
    count: int
    pagination: Pagination


class PreviewBody(BaseModel):
    """What is to be previewed; nothing said: the schedule as it is."""

    overrideFicheSelection: Selection | None = None  # noqa: N815 -- as the trigger has it
    fetch: bool = False
    """Have the days listed that are not known yet; ask again when that has ended."""


class Left(Wire):
    """A configuration that cannot run."""

    id: WireId
    why: str


class NotTaken(Wire):
    fiche_id: str
    reason: str


class EstimateOut(Wire):
    """What fiches without details may come to, if they are like others; in none of the figures beside it."""

    basis: str
    """`range`: like the other fiches of this selection; `last_30_days`: like all whose details are that young."""
    fiches: int
    recordings: int
    minutes_of_speech: WireScore
    minutes_to_transcribe: WireScore
    transcription_cost: WireScore
    audit_cost: WireScore
    cost: WireScore
    exhausted: str | None
    """Which budget of the schedule that would go beyond together with what is known."""


class PreviewOut(Wire):
    """What a run started now would take, as far as it is known without asking the CRM."""

    mode: str
    days: list[date]
    days_unknown: list[date]
    """Their sales are not known yet: the run would have them listed first."""
    fetch_job_id: str | None
    """The fetch that lists them, when one was asked for."""
    audit_config_ids: list[WireId]
    configs_left_out: list[Left]
    candidates: int
    taken: list[str]
    """The first thousand."""
    taken_count: int
    ignored: list[NotTaken]
    """The first thousand."""
    ignored_count: int
    left_count: int
    seed: int | None
    """Of the sample; a run draws its own unless the schedule names one."""
    fiches_without_details: int
    """Of those taken: their calls are not known, and are in none of the figures below."""
    recordings: int
    minutes_of_speech: WireScore
    minutes_to_transcribe: WireScore
    transcription_cost: WireScore
    audit_cost: WireScore
    cost: WireScore
    currency: str
    exhausted: str | None
    """Which budget of the schedule that would go beyond."""
    estimated: EstimateOut | None
    """Null where details lack of no fiche, or there is nothing to estimate by."""
