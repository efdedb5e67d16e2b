"""How a run gets on: each fiche has one outcome, the counters are those of the outcomes, and the end comes by itself.

Whoever changes a run or one of its fiches holds the run's row, and does all that follows in the same transaction:
counters, what is told, what is begun next, and the end of the run when nothing is left. So nobody waits for a run, and
a process that dies leaves none half counted. Whoever ends an audit holds the audit first, then the run: nobody who
holds a run waits for an audit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import update

from conforme.audits.models import AuditRow
from conforme.automation import run_logs, run_queries, run_telling
from conforme.automation.models import (
    CANCELLED,
    COMPLETED,
    FAILED,
    IGNORED,
    OPEN,
    PARTIAL,
    SUCCESSFUL,
    AutomationRun,
    AutomationRunFiche,
    AutomationSchedule,
)
from conforme.automation.rules import Budget
from conforme.automation.run_queries import AuditState
from conforme.automation.snapshots import Plan, plan_of
from conforme.foundation import events
from conforme.foundation.database import WriteSession, now
from conforme.foundation.durable import Durable

SELECTED, DETAILS, TRANSCRIPTION, AUDITS = "selected", "details", "transcription", "audits"
"""How far a fiche has come."""

RUN_CANCELLED: Final = "Run cancelled"
AFTER_ERROR: Final = "Not begun: a fiche failed and continueOnError is off"
OVER_BUDGET: Final = "Not begun: the budget of the run is used up"
STALLED_AUDIT: Final = "Audit incomplete (timeout/stall)"
NO_AUDIT_LEFT: Final = "Its audits were deleted"
MICROS: Final = 1_000_000
MAX_ERROR: Final = 2000


@dataclass(frozen=True, slots=True)
class End:
    """What becomes of a fiche; `reason` is its error, or why it is ignored."""

    outcome: str
    reason: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Reserved:
    """What a fiche is expected to take of a budget."""

    micros: int = 0
    audio_seconds: Decimal = Decimal(0)


SUCCESS: Final = End(SUCCESSFUL)


async def end_fiche(
    session: WriteSession, durable: Durable, run: AutomationRun, item: AutomationRunFiche, end: End
) -> None:
    """Gives a fiche its outcome, or another try when it failed and may have one. The run is held."""
    if end.outcome == FAILED and _may_try_again(run, item):
        item.attempt += 1
        item.stage, item.queued = SELECTED, False
        key = f"again-{item.fiche_id}-{item.begun}"
        await run_logs.write(
            session,
            run.id,
            "warning",
            "Fiche is tried again",
            key=key,
            fiche_id=item.fiche_id,
            why=end.reason,
        )
        await _count_work(session, run, item)  # what the try cost is spent, whatever becomes of the next one
    else:
        await _settle(session, run, item, end)
    item.reserved_micros, item.reserved_audio_seconds = 0, Decimal(0)
    await session.flush()
    await go_on(session, durable, run)


def _may_try_again(run: AutomationRun, item: AutomationRunFiche) -> bool:
    plan = plan_of(run)
    left = plan.rules.retry_failed and item.attempt < plan.rules.max_retries
    return left and run.status in OPEN and why_to_stop(run, plan) is None


async def _settle(session: WriteSession, run: AutomationRun, item: AutomationRunFiche, end: End) -> None:
    if item.outcome is not None:  # an audit of a run that had ended was resumed by itself
        count(run, item.outcome, -1)
    count(run, end.outcome, 1)
    reason = end.reason and end.reason[:MAX_ERROR]
    item.outcome, item.queued = end.outcome, True
    item.error = reason if end.outcome == FAILED else None
    item.error_code = end.code if end.outcome == FAILED else None
    item.ignore_reason = reason if end.outcome == IGNORED else None
    await _count_work(session, run, item)
    if end.outcome == FAILED:
        key = f"failed-{item.fiche_id}-{item.begun}"
        await run_logs.write(
            session, run.id, "error", "Fiche failed", key=key, fiche_id=item.fiche_id, why=reason
        )


def count(run: AutomationRun, outcome: str, by: int) -> None:
    """The counter of an outcome; what is ignored leaves the total (spec/automation §4.4)."""
    name = f"{outcome}_fiches"
    setattr(run, name, getattr(run, name) + by)
    if outcome == IGNORED:
        run.total_fiches -= by


async def _count_work(session: WriteSession, run: AutomationRun, item: AutomationRunFiche) -> None:
    """What was done and paid for this fiche, as the ledger and the rows say: real work alone is counted."""
    await session.flush()
    paid = await run_queries.paid_for(session, item)
    done = sum(each.status == "completed" for each in await run_queries.audits_of(session, item.audit_ids))
    run.transcriptions_run += paid.transcriptions - item.transcriptions_run
    run.audits_run += done - item.audits_run
    run.spent_micros += paid.micros - item.spent_micros
    run.spent_audio_seconds += paid.audio_seconds - item.spent_audio_seconds
    item.transcriptions_run, item.audits_run = paid.transcriptions, done
    item.spent_micros, item.spent_audio_seconds = paid.micros, paid.audio_seconds


async def go_on(session: WriteSession, durable: Durable, run: AutomationRun) -> None:
    """Begins what there is room for, or ends the run when nothing is left; tells how far it is. The run is held."""
    if run.status not in OPEN:
        await _count_late(session, run)
        return
    if run.selected_at is None:
        return
    plan = plan_of(run)
    if reason := why_to_stop(run, plan):
        closed = await run_queries.close_waiting(session, run, reason)
        count(run, IGNORED, closed)
    await _begin_more(session, durable, run)
    await session.flush()
    await events.record_all(session, [run_telling.progress(run)])
    if run.successful_fiches + run.failed_fiches == run.total_fiches:
        await finish(session, durable, run)


def why_to_stop(run: AutomationRun, plan: Plan) -> str | None:
    if run.cancel_requested_at is not None:
        return RUN_CANCELLED
    if run.failed_fiches and not plan.rules.continue_on_error:
        return AFTER_ERROR
    return OVER_BUDGET if run.exhausted else None


async def _begin_more(session: WriteSession, durable: Durable, run: AutomationRun) -> None:
    from conforme.automation.run_workflows import dispatch_fiche  # the jobs end fiches, which begins others

    busy = await run_queries.in_work(session, run.id)
    room = durable.settings.automation_fiches_in_work - busy.fiches
    for item in await run_queries.waiting(session, run.id, room) if room > 0 else ():
        item.queued, item.stage = True, DETAILS
        item.begun += 1
        await dispatch_fiche(session, durable, run, item)
    await session.flush()


async def _count_late(session: WriteSession, run: AutomationRun) -> None:
    """The end of an audit changed the outcome of a fiche after the run had ended: its status follows."""
    if run.status != CANCELLED:
        run.status = status_of(run)
    await session.flush()


async def reserve(
    session: WriteSession, run: AutomationRun, item: AutomationRunFiche, needs: Reserved, *, first: bool
) -> bool:
    """Holds back what a fiche is expected to take; False, and nothing more is begun, when it does not fit."""
    busy = await run_queries.in_work(session, run.id)
    budget = plan_of(run).rules.budget
    exhausted = exhausted_by(
        budget,
        micros=run.spent_micros + busy.micros - item.reserved_micros + needs.micros,
        audio_seconds=run.spent_audio_seconds
        + busy.audio_seconds
        - item.reserved_audio_seconds
        + needs.audio_seconds,
        fiches=run.spent_fiches + first,
    )
    if exhausted is not None:
        run.exhausted = exhausted
        return False
    item.reserved_micros, item.reserved_audio_seconds = needs.micros, needs.audio_seconds
    run.spent_fiches += first
    return True


def exhausted_by(budget: Budget, *, micros: int, audio_seconds: Decimal, fiches: int) -> str | None:
    """Which limit of a budget that much goes beyond; None: it fits. Pure."""
    if budget.max_cost is not None and micros > budget.max_cost * MICROS:
        return "cost"
    if budget.max_audio_minutes is not None and audio_seconds > budget.max_audio_minutes * 60:
        return "audio_minutes"
    if budget.max_fiches is not None and fiches > budget.max_fiches:
        return "fiches"
    return None


async def audit_ended(session: WriteSession, durable: Durable, audit: AuditRow) -> None:
    """Counts the end of an audit in its run: the last one of a fiche gives the fiche its outcome."""
    if audit.automation_run_id is None:
        return
    run = await run_queries.held(session, audit.automation_run_id)
    item = run and await run_queries.item(session, run.id, audit.fiche_id)
    if run is None or item is None or audit.id not in item.audit_ids or item.stage != AUDITS:
        return
    await end_with_audits(session, durable, run, item)


async def end_with_audits(
    session: WriteSession, durable: Durable, run: AutomationRun, item: AutomationRunFiche
) -> bool:
    """Ends a fiche whose audits have all ended; False while one of them is open. The run is held."""
    audits = await run_queries.audits_of(session, item.audit_ids)
    if any(run_queries.is_open(each) for each in audits):
        return False
    end = end_by(audits, cancelled=run.cancel_requested_at is not None)
    if item.outcome != end.outcome or item.error != end.reason:
        await end_fiche(session, durable, run, item, end)
    return True


def end_by(audits: Sequence[AuditState], *, cancelled: bool) -> End:
    """What becomes of a fiche by its audits, all of which have ended. Pure."""
    if not audits:
        return End(FAILED, NO_AUDIT_LEFT, "NOT_FOUND")
    lacking = [each for each in audits if each.status != "completed"]
    if not lacking:
        return SUCCESS
    if cancelled and all(each.error_code == "CANCELLED" for each in lacking):
        return End(IGNORED, RUN_CANCELLED)
    first = lacking[0]
    stalled = first.error_code == "AUDIT_TIMEOUT"
    reason = STALLED_AUDIT if stalled else first.error or "The audit failed"
    return End(FAILED, reason, first.error_code)


def status_of(run: AutomationRun) -> str:
    """How a run that has no open fiche stands; an incomplete one is never `completed`."""
    if run.cancel_requested_at is not None:
        return CANCELLED
    if not run.failed_fiches and not run.days_failed:
        stopped_early = run.exhausted is not None
        return PARTIAL if stopped_early else COMPLETED
    return PARTIAL if run.successful_fiches else FAILED


async def finish(
    session: WriteSession,
    durable: Durable,
    run: AutomationRun,
    *,
    reason: str | None = None,
    summary: Mapping[str, Any] | None = None,
) -> None:
    """Ends the run, and all that follows from it in the same transaction. The run is held."""
    run.status = status_of(run)
    run.result_summary = dict(summary or {})
    if run.days_failed:
        run.error_message = f"{run.days_failed} day(s) could not be listed"
        run.error_code = "DAYS_NOT_LISTED"
    await _close(session, run)
    await run_logs.write(
        session,
        run.id,
        "info",
        f"Automation {run.status}",
        key=f"ended-{run.attempt}",
        total=run.total_fiches,
        successful=run.successful_fiches,
        failed=run.failed_fiches,
        ignored=run.ignored_fiches,
    )
    await events.record_all(session, run_telling.ended(run, reason))
    await _follow(session, durable, run, tell=reason is None)


async def fail(
    session: WriteSession, durable: Durable, run: AutomationRun, message: str, code: str | None
) -> None:
    """Ends a run that could not select its fiches, or has nothing to audit by. The run is held."""
    run.status = FAILED
    run.error_message, run.error_code = message[:MAX_ERROR], code
    run.error_details = {"name": code or "ERROR"}
    run.result_summary = {}
    await _close(session, run)
    key = f"ended-{run.attempt}"
    await run_logs.write(session, run.id, "error", f"Automation failed: {message}", key=key)
    await events.record_all(session, run_telling.failed(run))
    await _follow(session, durable, run, tell=True)


async def _close(session: WriteSession, run: AutomationRun) -> None:
    run.completed_at = ended = now()
    run.duration_ms = run_telling.milliseconds(run.started_at, ended)
    await session.flush()
    await _count_on_schedule(session, run)


async def _count_on_schedule(session: WriteSession, run: AutomationRun) -> None:
    """The schedule's own counters; partial ones move neither (spec/automation §4.1.7). Added, never read back.

    A run that never began is none of its runs: another may be under way.
    """
    if run.started_at is None:
        return
    word = {COMPLETED: "success", FAILED: "failed"}.get(run.status, "partial")
    again = run.attempt > 1
    table = AutomationSchedule
    await session.execute(
        update(table)
        .where(table.id == run.schedule_id)
        .values(
            last_run_status=word,
            total_runs=table.total_runs + (0 if again else 1),
            successful_runs=table.successful_runs + int(word == "success"),
            failed_runs=table.failed_runs + int(word == "failed" and not again),
        )
        .execution_options(synchronize_session=False)
    )


async def _follow(session: WriteSession, durable: Durable, run: AutomationRun, *, tell: bool) -> None:
    from conforme.automation.run_workflows import dispatch_end  # as above

    await dispatch_end(session, durable, run, tell=tell)
