"""The `transcription.*` events (spec/realtime §3.2), each written in the transaction of what it tells.

They carry ids and counts. A recording's URL, which may name a phone or be signed, stays out.
"""

from datetime import datetime
from typing import Any

from conforme.foundation import events
from conforme.foundation.database import WriteSession
from conforme.foundation.web import iso
from conforme.recordings.queries import Counts
from conforme.transcriptions.runs import FicheRun, RecordingRun


async def checked(session: WriteSession, run: FicheRun, *, total: int, todo: int) -> None:
    await _tell(
        session,
        "status_check",
        run,
        status="checked",
        total_recordings=total,
        already_transcribed=total - todo,
        needs_transcription=todo,
        is_complete=todo == 0,
    )


async def started(session: WriteSession, run: FicheRun, *, total: int, at: datetime) -> None:
    await _tell(
        session,
        "started",
        run,
        status="started",
        total_recordings=total,
        priority=run.priority,
        started_at=iso(at),
    )


async def recording_started(session: WriteSession, run: RecordingRun) -> None:
    await _tell(session, "recording_started", run, status="processing", **_place(run))


async def recording_completed(session: WriteSession, run: RecordingRun, transcription_id: str) -> None:
    known = _place(run) | {"transcription_id": transcription_id}
    await _tell(session, "recording_completed", run, status="completed", **known)


async def recording_failed(session: WriteSession, run: RecordingRun, error: str) -> None:
    await _tell(session, "recording_failed", run, status="failed", **_place(run), error=error)


async def progress(session: WriteSession, run: RecordingRun, counts: Counts) -> None:
    await _tell(
        session,
        "progress",
        run,
        status="in_progress",
        total_recordings=counts.total,
        transcribed=counts.transcribed,
        pending=counts.pending,
        failed=counts.failed,
        progress_percentage=counts.percentage,
    )


async def completed(
    session: WriteSession, run: FicheRun, counts: Counts, *, started_at: datetime, at: datetime
) -> None:
    await _tell(
        session,
        "completed",
        run,
        status="completed",
        total_recordings=counts.total,
        transcribed=counts.transcribed,
        failed=counts.failed,
        duration_seconds=_seconds(started_at, at),
        completed_at=iso(at),
    )


async def failed(session: WriteSession, run: FicheRun, error: str, *, at: datetime) -> None:
    """The run ended before any recording was looked at."""
    await _tell(
        session,
        "failed",
        run,
        status="failed",
        error=error,
        failed_at=iso(at),
        partial_results={"total": 0, "transcribed": 0, "failed": 0},
    )


def _place(run: RecordingRun) -> dict[str, Any]:
    return {
        "call_id": run.call_id,
        "recording_index": run.recording_index,
        "total_to_transcribe": run.total_to_transcribe,
    }


def _seconds(since: datetime, until: datetime) -> float:
    return max(round((until - since).total_seconds(), 3), 0.0)


async def _tell(session: WriteSession, what: str, run: FicheRun | RecordingRun, **fields: Any) -> None:
    payload = {"fiche_id": run.fiche_id, "run_id": run.run_id, **fields}
    await events.record(session, f"transcription.{what}", payload, [events.fiche_channel(run.fiche_id)])
