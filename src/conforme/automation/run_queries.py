"""Every read of runs for the work itself, which sees all there is; `run_reads` is for those who look."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from sqlalchemy import (
    Numeric,
    any_,
    delete,
    exists,
    func,
    null,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from conforme.accounts.actor import Actor
from conforme.audits.idempotency import one_at_a_time, side_by_side
from conforme.audits.models import OPEN as OPEN_AUDITS
from conforme.audits.models import AuditRow
from conforme.automation.models import (
    FAILED,
    IGNORED,
    OPEN,
    AutomationRun,
    AutomationRunFiche,
    AutomationRunListed,
)
from conforme.automation.selection import Candidate
from conforme.fiches.models import FicheCache
from conforme.fiches.scope import visible
from conforme.foundation.arrays import numbers, texts
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.ledger import LlmCall
from conforme.recordings.models import Recording

Session = ReadSession | WriteSession


async def held(session: WriteSession, run_id: int) -> AutomationRun | None:
    """The run as it is now, held until the transaction ends: it and its fiches change one transaction after the other."""
    query = select(AutomationRun).where(AutomationRun.id == run_id).with_for_update()
    return await session.scalar(query.execution_options(populate_existing=True))


async def item(session: Session, run_id: int, fiche_id: str) -> AutomationRunFiche | None:
    return await session.get(AutomationRunFiche, (run_id, fiche_id), populate_existing=True)


async def waiting(session: WriteSession, run_id: int, limit: int) -> Sequence[AutomationRunFiche]:
    """The next fiches to begin, in their order."""
    query = (
        select(AutomationRunFiche)
        .where(
            AutomationRunFiche.run_id == run_id,
            AutomationRunFiche.outcome.is_(None),
            AutomationRunFiche.queued.is_(False),
        )
        .order_by(AutomationRunFiche.rank, AutomationRunFiche.fiche_id)
        .limit(limit)
    )
    return (await session.scalars(query.execution_options(populate_existing=True))).all()


@dataclass(frozen=True, slots=True)
class InWork:
    """The fiches of a run that are being worked on, and what is held back for them."""

    fiches: int
    micros: int
    audio_seconds: Decimal


async def in_work(session: Session, run_id: int) -> InWork:
    query = select(
        func.count(),
        func.coalesce(func.sum(AutomationRunFiche.reserved_micros), 0),
        func.coalesce(func.sum(AutomationRunFiche.reserved_audio_seconds), 0),
    ).where(
        AutomationRunFiche.run_id == run_id,
        AutomationRunFiche.outcome.is_(None),
        AutomationRunFiche.queued,
    )
    count, micros, seconds = (await session.execute(query)).one()
    return InWork(count, int(micros), Decimal(seconds))


async def working(session: Session, run_id: int) -> Sequence[AutomationRunFiche]:
    """The fiches being worked on, those that cost something now first."""
    query = (
        select(AutomationRunFiche)
        .where(
            AutomationRunFiche.run_id == run_id,
            AutomationRunFiche.outcome.is_(None),
            AutomationRunFiche.queued,
        )
        .order_by(AutomationRunFiche.stage, AutomationRunFiche.rank)
    )
    return (await session.scalars(query)).all()


async def close_waiting(session: WriteSession, run: AutomationRun, reason: str) -> int:
    """Ignores what has not been begun; how many fiches that were."""
    closing = (
        update(AutomationRunFiche)
        .where(
            AutomationRunFiche.run_id == run.id,
            AutomationRunFiche.outcome.is_(None),
            AutomationRunFiche.queued.is_(False),
        )
        .values(outcome=IGNORED, ignore_reason=reason, error=None, error_code=None)
        .returning(AutomationRunFiche.fiche_id)
        .execution_options(synchronize_session=False)
    )
    return len((await session.scalars(closing)).all())


async def reopen(session: WriteSession, run: AutomationRun, undone: Sequence[str]) -> tuple[int, int]:
    """What failed waits again, and what was ignored for one of the reasons `undone`; how many of each."""
    chosen = or_(
        AutomationRunFiche.outcome == FAILED,
        (AutomationRunFiche.outcome == IGNORED) & AutomationRunFiche.ignore_reason.in_(list(undone)),
    )
    counted = await session.execute(
        select(AutomationRunFiche.outcome, func.count())
        .where(AutomationRunFiche.run_id == run.id, chosen)
        .group_by(AutomationRunFiche.outcome)
    )
    counts = {str(outcome): count for outcome, count in counted}
    await session.execute(
        update(AutomationRunFiche)
        .where(AutomationRunFiche.run_id == run.id, chosen)
        .values(
            outcome=None,
            error=None,
            error_code=None,
            ignore_reason=None,
            queued=False,
            stage="selected",
            attempt=0,
        )
        .execution_options(synchronize_session=False)
    )
    return counts.get(FAILED, 0), counts.get(IGNORED, 0)


@dataclass(frozen=True, slots=True)
class AuditState:
    id: int
    config_id: int
    job_id: str
    status: str
    error: str | None
    error_code: str | None


async def audits_of(session: Session, audit_ids: Sequence[int]) -> list[AuditState]:
    query = select(
        AuditRow.id,
        AuditRow.audit_config_id,
        AuditRow.job_id,
        AuditRow.status,
        AuditRow.error_message,
        AuditRow.error_code,
    ).where(AuditRow.id.in_(list(audit_ids)), AuditRow.deleted_at.is_(None))
    return [AuditState(*row) for row in await session.execute(query.order_by(AuditRow.id))]


def is_open(audit: AuditState) -> bool:
    return audit.status in OPEN_AUDITS


@dataclass(frozen=True, slots=True)
class Paid:
    """What one fiche of a run has cost: its audits, and the speech of the transcriptions the run had made."""

    micros: int
    audio_seconds: Decimal
    transcriptions: int


async def paid_for(session: Session, item: AutomationRunFiche) -> Paid:
    made = (
        select(Recording.id)
        .join(FicheCache, FicheCache.id == Recording.fiche_cache_id)
        .where(
            FicheCache.fiche_id == item.fiche_id,
            Recording.has_transcription,
            Recording.transcription_run.like(f"automation-{item.run_id}-transcribe-%"),
        )
    )
    # Each half by an index of its own: with one condition or the other the whole ledger would be read.
    call, cost = LlmCall.id.label("call"), LlmCall.cost_micros.label("cost")
    audits = select(call, cost, null().cast(Numeric).label("speech")).where(
        LlmCall.audit_id == any_(numbers(item.audit_ids))
    )
    speech = select(call, cost, LlmCall.audio_seconds).where(
        LlmCall.kind == "speech", LlmCall.recording_id.in_(made)
    )
    both = union_all(audits, speech).subquery()
    once = (
        select(func.max(both.c.cost).label("cost"), func.max(both.c.speech).label("speech"))
        .group_by(both.c.call)
        .subquery()
    )
    bill = select(
        func.coalesce(func.sum(once.c.cost), 0),
        func.coalesce(func.sum(once.c.speech), 0),
    )
    micros, seconds = (await session.execute(bill)).one()
    count = await session.scalar(select(func.count()).select_from(made.subquery()))
    return Paid(int(micros), Decimal(seconds or 0), count or 0)


async def sold_on(session: Session, actor: Actor, days: Sequence[date]) -> list[Candidate]:
    """The fiches sold on these days that the actor may see, by day, then in the order they became known."""
    denied = FicheCache.details_message.is_not_distinct_from("NOT_FOUND")
    query = (
        select(FicheCache.fiche_id, FicheCache.groupe, FicheCache.attribution_user_id)
        .where(FicheCache.sales_date.in_([day.isoformat() for day in days]), visible(actor), ~denied)
        .order_by(FicheCache.sales_date, FicheCache.id)
    )
    return [Candidate(*row) for row in await session.execute(query)]


async def note_listed(session: WriteSession, run_id: int, fiche_ids: Sequence[str]) -> None:
    """Keeps what was listed for this run alone, until its fiches are chosen."""
    if fiche_ids:
        rows = [{"run_id": run_id, "fiche_id": fiche_id} for fiche_id in fiche_ids]
        await session.execute(insert(AutomationRunListed).on_conflict_do_nothing(), rows)


async def listed_for(session: Session, actor: Actor, run_id: int) -> list[Candidate]:
    """The fiches that were listed for this run and that the actor may see, in the order of `sold_on`."""
    listed = select(AutomationRunListed.fiche_id).where(AutomationRunListed.run_id == run_id)
    query = (
        select(FicheCache.fiche_id, FicheCache.groupe, FicheCache.attribution_user_id)
        .where(FicheCache.fiche_id.in_(listed), visible(actor))
        .order_by(FicheCache.sales_date, FicheCache.id)
    )
    return [Candidate(*row) for row in await session.execute(query)]


async def forget_listed(session: WriteSession, run_id: int) -> None:
    await session.execute(delete(AutomationRunListed).where(AutomationRunListed.run_id == run_id))


async def named(session: Session, actor: Actor, fiche_ids: Sequence[str]) -> list[Candidate]:
    """These fiches in this order, with what is known of them; unknown ones only for those who see everything."""
    query = select(FicheCache.fiche_id, FicheCache.groupe, FicheCache.attribution_user_id)
    rows = await session.execute(query.where(FicheCache.fiche_id == any_(texts(fiche_ids)), visible(actor)))
    known = {row[0]: Candidate(*row) for row in rows}
    if actor.scope.value != "ALL":
        return [known[fiche_id] for fiche_id in fiche_ids if fiche_id in known]
    return [known.get(fiche_id) or Candidate(fiche_id) for fiche_id in fiche_ids]


async def audited_by_all(session: Session, fiche_ids: Sequence[str], config_ids: Sequence[int]) -> set[str]:
    """Those of these fiches of which each of these configurations has a completed latest audit."""
    if not config_ids:
        return set()
    query = (
        select(AuditRow.fiche_id)
        .where(
            AuditRow.fiche_id == any_(texts(fiche_ids)),
            AuditRow.audit_config_id.in_(list(config_ids)),
            AuditRow.is_latest,
            AuditRow.status == "completed",
            AuditRow.deleted_at.is_(None),
        )
        .group_by(AuditRow.fiche_id)
        .having(func.count(AuditRow.audit_config_id.distinct()) == len(set(config_ids)))
    )
    return set(await session.scalars(query))


@dataclass(frozen=True, slots=True)
class Silent:
    """A piece of work that has not got on for a while; it may have lost its job."""

    run_id: int
    job_id: str
    fiche_id: str | None = None
    """None: the run itself, which looks for its fiches."""
    stage: str = ""
    begun: int = 0


async def silent(session: Session, after: timedelta, limit: int) -> list[Silent]:
    before = func.now() - after
    runs = select(AutomationRun.id, AutomationRun.job_id).where(
        AutomationRun.status.in_(OPEN),
        AutomationRun.waiting.is_(False),
        AutomationRun.selected_at.is_(None),
        AutomationRun.updated_at < before,
    )
    at_work = exists().where(
        AuditRow.id == any_(AutomationRunFiche.audit_ids),
        AuditRow.status.in_(OPEN_AUDITS),
        AuditRow.deleted_at.is_(None),
    )
    items = (
        select(
            AutomationRunFiche.run_id,
            AutomationRunFiche.job_id,
            AutomationRunFiche.fiche_id,
            AutomationRunFiche.stage,
            AutomationRunFiche.begun,
        )
        .join(AutomationRun, AutomationRun.id == AutomationRunFiche.run_id)
        .where(
            AutomationRun.status.in_(OPEN),
            AutomationRunFiche.outcome.is_(None),
            AutomationRunFiche.queued,
            AutomationRunFiche.updated_at < before,
            ~at_work,  # its end will be told
        )
        .order_by(AutomationRunFiche.updated_at)
    )
    found = [Silent(run_id, job_id) for run_id, job_id in await session.execute(runs.limit(limit))]
    rows = await session.execute(items.limit(limit))
    return found + [
        Silent(run_id, job_id or "", fiche_id, stage, begun)
        for run_id, job_id, fiche_id, stage, begun in rows
    ]


async def share(session: WriteSession, run_id: int) -> None:
    """Keeps the run from being cancelled until the transaction ends; many may share, a canceller waits."""
    await side_by_side(session, _name(run_id))


async def exclude(session: WriteSession, run_id: int) -> None:
    """Waits until nobody shares the run."""
    await one_at_a_time(session, _name(run_id))


def _name(run_id: int) -> str:
    return f"automation-run:{run_id}"
