"""Every SELECT on schedules, and those on runs that schedules need."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import SecretStr
from sqlalchemy import exists, func, select, text, true
from sqlalchemy.orm import aliased

from conforme.automation.models import OPEN, PENDING, AutomationRun, AutomationSchedule, AutomationTick
from conforme.foundation import sealing
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.web import Page
from conforme.settings import Settings

Session = ReadSession | WriteSession
_NEXT_RUN = text("select nextval(pg_get_serial_sequence('automation_runs', 'id'))")


async def schedule(session: Session, schedule_id: int) -> AutomationSchedule | None:
    return await session.get(AutomationSchedule, schedule_id)


async def held(session: WriteSession, schedule_id: int) -> AutomationSchedule | None:
    """The schedule as it is now, held until the transaction ends: what it fires, it fires one after the other."""
    query = select(AutomationSchedule).where(AutomationSchedule.id == schedule_id).with_for_update()
    return await session.scalar(query.execution_options(populate_existing=True))


async def listed(
    session: Session, page: Page, *, include_inactive: bool
) -> tuple[Sequence[AutomationSchedule], int]:
    """A page, newest first, and how many there are."""
    wanted = true() if include_inactive else AutomationSchedule.is_active
    query = select(AutomationSchedule).where(wanted)
    query = query.order_by(AutomationSchedule.created_at.desc(), AutomationSchedule.id.desc())
    rows = (await session.scalars(query.limit(page.limit).offset(page.offset))).all()
    counted = select(func.count()).select_from(AutomationSchedule).where(wanted)
    return rows, await session.scalar(counted) or 0


async def last_runs(session: Session, schedule_id: int, limit: int) -> Sequence[AutomationRun]:
    """Newest first."""
    query = select(AutomationRun).where(AutomationRun.schedule_id == schedule_id)
    return (await session.scalars(query.order_by(AutomationRun.id.desc()).limit(limit))).all()


async def open_runs(session: Session, schedule_id: int) -> Sequence[AutomationRun]:
    """Runs that have not ended, oldest first."""
    query = select(AutomationRun).where(
        AutomationRun.schedule_id == schedule_id, AutomationRun.status.in_(OPEN)
    )
    return (await session.scalars(query.order_by(AutomationRun.id))).all()


async def due_ids(session: Session, at: datetime, limit: int) -> Sequence[int]:
    """Schedules whose due time has come, the longest overdue first."""
    query = select(AutomationSchedule.id).where(
        AutomationSchedule.is_active, AutomationSchedule.next_due_at <= at
    )
    return (await session.scalars(query.order_by(AutomationSchedule.next_due_at).limit(limit))).all()


async def stranded_ids(session: Session, limit: int) -> Sequence[int]:
    """Schedules of which a run waits, and none is under way that would call it."""
    working = aliased(AutomationRun)
    under_way = exists().where(
        working.schedule_id == AutomationRun.schedule_id,
        working.status.in_(OPEN),
        working.waiting.is_(False),
    )
    waiting = select(AutomationRun.schedule_id).where(AutomationRun.status == PENDING, AutomationRun.waiting)
    return (await session.scalars(waiting.where(~under_way).distinct().limit(limit))).all()


async def run_for(session: Session, schedule_id: int, due: datetime) -> AutomationRun | None:
    query = select(AutomationRun).where(AutomationRun.schedule_id == schedule_id, AutomationRun.due_at == due)
    return await session.scalar(query)


async def next_run_id(session: WriteSession) -> int:
    """The number of the next run: its job is named after it, in the row itself."""
    return (await session.execute(_NEXT_RUN)).scalar_one()


async def last_tick(session: Session) -> AutomationTick | None:
    return await session.get(AutomationTick, 1)


async def count_active(session: Session, *, due_before: datetime | None = None) -> int:
    """How many schedules are active; only those that have been due since before then, where it is given."""
    counted = select(func.count()).select_from(AutomationSchedule).where(AutomationSchedule.is_active)
    if due_before is not None:
        counted = counted.where(AutomationSchedule.next_due_at < due_before)
    return await session.scalar(counted) or 0


async def token_of(session: Session, settings: Settings, schedule_id: int) -> SecretStr | None:
    """The token a schedule brings along for the CRM; None: it has none, or is gone.

    Raises:
        Misconfigured: it was sealed with a key that is no longer known.
    """
    query = select(AutomationSchedule.external_api_key).where(AutomationSchedule.id == schedule_id)
    sealed = await session.scalar(query)
    return None if sealed is None else sealing.unseal(sealed, settings)


async def any_sealed(session: Session) -> bool:
    """Whether any schedule keeps a key of its own."""
    return bool(
        await session.scalar(select(exists().where(AutomationSchedule.external_api_key.is_not(None))))
    )
