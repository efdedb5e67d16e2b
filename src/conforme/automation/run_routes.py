"""`/api/automation`: runs, what became of their fiches, their logs, stopping them, and the dry run (spec/automation §2)."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query

from conforme.accounts.actor import Actor
from conforme.accounts.auth import may
from conforme.automation import queries, run_reads, stopping
from conforme.automation.columns import owner_of, rules_of
from conforme.automation.models import AutomationLog, AutomationRun, AutomationRunFiche, AutomationSchedule
from conforme.automation.outcomes import MICROS
from conforme.automation.preview import Calls, Estimate, Preview, Price, preview
from conforme.automation.run_schemas import (
    EstimateOut,
    Left,
    LogLine,
    Logs,
    NotTaken,
    PreviewBody,
    PreviewOut,
    RunFicheOut,
    RunFiches,
    RunOut,
    Runs,
    RunWithLogs,
)
from conforme.automation.run_work import has_own_token
from conforme.automation.service import require_own
from conforme.automation.snapshots import Plan, shown_snapshot
from conforme.fiches.range_fetch import RangeAsked, fetch_range
from conforme.foundation.errors import NotFound
from conforme.foundation.resources import Resources
from conforme.foundation.web import ERRORS, Answer, Page, Pagination, ResourcesDep, path_id

router = APIRouter(prefix="/api/automation", tags=["automation"], responses=ERRORS)

Reader = Annotated[Actor, may("automation.read")]
Writer = Annotated[Actor, may("automation.read", "automation.write")]
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Level = Literal["debug", "info", "warning", "error"]
OutcomeName = Literal["open", "successful", "failed", "ignored"]
RUN: Final = "run id"
SCHEDULE: Final = "schedule id"
FIRST_LOGS: Final = Page(limit=100, offset=0)
LISTED: Final = 1000


@router.get("/schedules/{schedule_id}/runs")
async def of_schedule(
    resources: ResourcesDep, _actor: Reader, schedule_id: str, limit: Limit = 20, offset: Offset = 0
) -> Runs:
    """The runs of a schedule, newest first."""
    number, page = path_id(schedule_id, SCHEDULE), Page(limit=limit, offset=offset)
    async with resources.database.read() as session:
        await _schedule(session, number)
        rows, total = await run_reads.listed(session, page, schedule_id=number)
    return _runs(rows, total, page)


@router.get("/runs")
async def listing(resources: ResourcesDep, _actor: Reader, limit: Limit = 20, offset: Offset = 0) -> Runs:
    """All runs, newest first."""
    page = Page(limit=limit, offset=offset)
    async with resources.database.read() as session:
        rows, total = await run_reads.listed(session, page)
    return _runs(rows, total, page)


@router.get("/runs/{run_id}")
async def one(resources: ResourcesDep, actor: Reader, run_id: str) -> Answer[RunWithLogs]:
    """A run, what became of its fiches, and the beginning of its log."""
    number = path_id(run_id, RUN)
    async with resources.database.read() as session:
        run = await run_reads.require(session, number)
        lines, _ = await run_reads.logs(session, actor, number, FIRST_LOGS)
        summary = run.result_summary or await run_reads.summary(session, actor, run)
    shown = _shown(run) | {"result_summary": summary, "logs": [_line(each) for each in lines]}
    return Answer(data=RunWithLogs.model_validate(shown))


@router.get("/runs/{run_id}/logs")
async def logs(
    resources: ResourcesDep,
    actor: Reader,
    run_id: str,
    level: Level | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Logs:
    """A run's log, oldest first."""
    number, page = path_id(run_id, RUN), Page(limit=limit, offset=offset)
    async with resources.database.read() as session:
        await run_reads.require(session, number)
        lines, total = await run_reads.logs(session, actor, number, page, level=level)
    return Logs(data=[_line(each) for each in lines], count=len(lines), pagination=_pages(page, total))


@router.get("/runs/{run_id}/fiches")
async def fiches(
    resources: ResourcesDep,
    actor: Reader,
    run_id: str,
    outcome: OutcomeName | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> RunFiches:
    """The fiches of a run, each with its one outcome."""
    number, page = path_id(run_id, RUN), Page(limit=limit, offset=offset)
    async with resources.database.read() as session:
        await run_reads.require(session, number)
        rows, total = await run_reads.fiches(session, actor, number, page, outcome=outcome)
    return RunFiches(data=[_fiche(each) for each in rows], count=len(rows), pagination=_pages(page, total))


@router.post("/runs/{run_id}/cancel")
async def cancel(resources: ResourcesDep, actor: Writer, run_id: str) -> Answer[RunOut]:
    """Begins nothing more, and ends what has begun; calls in flight are cut off."""
    async with resources.database.write() as session:
        run = await stopping.cancel(session, resources.durable, actor, path_id(run_id, RUN))
    return Answer(data=RunOut.model_validate(_shown(run)))


@router.post("/runs/{run_id}/retry-failed")
async def retry_failed(resources: ResourcesDep, actor: Writer, run_id: str) -> Answer[RunOut]:
    """Takes up what failed or was left undone; what succeeded is left alone, and what was analysed is not paid again."""
    async with resources.database.write() as session:
        run = await stopping.retry_failed(session, resources.durable, actor, path_id(run_id, RUN))
    return Answer(data=RunOut.model_validate(_shown(run)))


@router.post("/schedules/{schedule_id}/preview")
async def dry_run(
    resources: ResourcesDep, actor: Writer, schedule_id: str, body: PreviewBody | None = None
) -> Answer[PreviewOut]:
    """What a run started now would take, how many minutes of speech, and how much money; nothing is begun."""
    asked = body or PreviewBody()
    async with resources.database.read() as session:
        schedule = await _schedule(session, path_id(schedule_id, SCHEDULE))
        require_own(actor, schedule)
        rules = rules_of(schedule)
        plan = Plan(rules, asked.overrideFicheSelection or rules.selection)
        own = has_own_token(schedule)
        found = await preview(session, resources, owner_of(schedule), plan, own_token=own)
    # A fetch asks with the product's own token: it would tell nothing of what another one sees.
    fetch_id = await _fetch(resources, actor, found) if asked.fetch and not own else None
    return Answer(data=_preview(plan, found, fetch_id))


async def _fetch(resources: Resources, actor: Actor, found: Preview) -> str | None:
    if not found.days_unknown:
        return None
    span = RangeAsked(found.days_unknown[0], found.days_unknown[-1])
    async with resources.database.write() as session:
        job = await fetch_range(session, resources, actor, span)
    return None if job is None else job.id


async def _schedule(session: queries.Session, schedule_id: int) -> AutomationSchedule:
    row = await queries.schedule(session, schedule_id)
    if row is None:
        raise NotFound("Schedule not found")
    return row


def _runs(rows: Sequence[AutomationRun], total: int, page: Page) -> Runs:
    data = [RunOut.model_validate(_shown(row)) for row in rows]
    return Runs(
        data=data, count=len(data), limit=page.limit, offset=page.offset, pagination=_pages(page, total)
    )


def _pages(page: Page, total: int) -> Pagination:
    return Pagination.model_validate(page.describe(total))


def _shown(run: AutomationRun) -> dict[str, Any]:
    plain = {name: getattr(run, name) for name in RunOut.model_fields if hasattr(run, name)}
    return plain | {
        "config_snapshot": shown_snapshot(run.config_snapshot),
        "cost": _money(run.spent_micros),
        "audio_seconds": run.spent_audio_seconds,
    }


def _money(micros: int) -> Decimal:
    return Decimal(micros) / MICROS


def _line(row: AutomationLog) -> LogLine:
    return LogLine(
        id=row.id, level=row.level, message=row.message, timestamp=row.timestamp, metadata=row.details
    )


def _fiche(row: AutomationRunFiche) -> RunFicheOut:
    plain = {name: getattr(row, name) for name in RunFicheOut.model_fields if hasattr(row, name)}
    return RunFicheOut.model_validate(plain | {"tries": row.begun, "cost": _money(row.spent_micros)})


def _preview(plan: Plan, found: Preview, fetch_id: str | None) -> PreviewOut:
    choice, calls = found.choice, found.calls
    ignored = list(choice.ignored.items())[:LISTED]
    return PreviewOut(
        mode=plan.selection.mode,
        days=list(found.days),
        days_unknown=list(found.days_unknown),
        fetch_job_id=fetch_id,
        audit_config_ids=list(found.config_ids),
        configs_left_out=[Left(id=config_id, why=why) for config_id, why in found.left_out.items()],
        candidates=found.candidates,
        taken=list(choice.taken[:LISTED]),
        taken_count=len(choice.taken),
        ignored=[NotTaken(fiche_id=fiche_id, reason=reason) for fiche_id, reason in ignored],
        ignored_count=len(choice.ignored),
        left_count=choice.left,
        seed=found.seed,
        fiches_without_details=found.without_details,
        **_figures(plan, calls, found.price),
        currency=found.price.currency,
        exhausted=found.exhausted,
        estimated=found.estimated and _estimate(plan, found.estimated),
    )


def _estimate(plan: Plan, estimated: Estimate) -> EstimateOut:
    figures = _figures(plan, estimated.calls, estimated.price)
    return EstimateOut(
        basis=estimated.basis, fiches=estimated.fiches, exhausted=estimated.exhausted, **figures
    )


def _figures(plan: Plan, calls: Calls, price: Price) -> dict[str, Any]:
    return {
        "recordings": calls.recordings,
        "minutes_of_speech": _minutes(calls.seconds),
        "minutes_to_transcribe": _minutes(calls.unheard_seconds if plan.rules.run_transcription else 0),
        "transcription_cost": price.transcription,
        "audit_cost": price.audits,
        "cost": price.total,
    }


def _minutes(seconds: int) -> Decimal:
    return (Decimal(seconds) / 60).quantize(Decimal("0.1"))
