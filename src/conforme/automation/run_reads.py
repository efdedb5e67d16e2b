"""Every read of runs by those who look at them.

Whoever may read automation sees every run and its numbers; of its fiches, and of what its log says about them, those
within their scope (spec/automation §12.21). To follow a run live, stop it or take it up again it must be one of their
own schedules; with scope ALL all are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select, true

from conforme.accounts.actor import Actor, Scope
from conforme.automation.errors import NotOwnSchedule
from conforme.automation.models import (
    FAILED,
    IGNORED,
    SUCCESSFUL,
    AutomationLog,
    AutomationRun,
    AutomationRunFiche,
    AutomationSchedule,
)
from conforme.automation.run_telling import CHANNEL_PREFIX
from conforme.fiches.models import FicheCache
from conforme.fiches.scope import visible
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.errors import NotFound
from conforme.foundation.web import INT64_MAX, Page

Session = ReadSession | WriteSession
MAX_SUMMARY = 5000
"""Fiches that a summary names of each outcome; the rest is paged (`…/fiches`)."""


def _watched_by(actor: Actor) -> ColumnElement[bool]:
    """A condition on `automation_runs`: those of the actor's own schedules, and those they asked for."""
    if actor.scope is Scope.ALL:
        return true()
    asked = [AutomationSchedule.asked_by == actor.name]
    if actor.user_id is not None:
        asked.append(AutomationSchedule.user_id == actor.user_id)
    own = select(AutomationSchedule.id).where(or_(*asked))
    return or_(AutomationRun.requested_by == actor.name, AutomationRun.schedule_id.in_(own))


async def require(session: Session, run_id: int) -> AutomationRun:
    """The run. Raises `NotFound`."""
    run = await session.get(AutomationRun, run_id)
    if run is None:
        raise NotFound("Run not found")
    return run


async def require_own(session: Session, actor: Actor, run_id: int) -> AutomationRun:
    """The run. Raises `NotFound`, and `NotOwnSchedule` for one that is not the actor's to change."""
    run = await require(session, run_id)
    if not await session.scalar(select(exists().where(AutomationRun.id == run_id, _watched_by(actor)))):
        raise NotOwnSchedule
    return run


async def visible_run_ids(session: Session, actor: Actor, names: Iterable[str]) -> set[str]:
    """Those of these names (`automation-run-<id>`) that stand for a run that the actor may watch."""
    by_id = {int(text): name for name in names if (text := name.removeprefix(CHANNEL_PREFIX)).isdecimal()}
    ids = [each for each in by_id if each <= INT64_MAX]
    query = select(AutomationRun.id).where(AutomationRun.id.in_(ids), _watched_by(actor))
    return {by_id[each] for each in await session.scalars(query)}


async def listed(
    session: Session, page: Page, *, schedule_id: int | None = None
) -> tuple[Sequence[AutomationRun], int]:
    """A page of runs, newest first, and how many there are."""
    wanted = [true() if schedule_id is None else AutomationRun.schedule_id == schedule_id]
    total = await session.scalar(select(func.count()).select_from(AutomationRun).where(*wanted))
    query = select(AutomationRun).where(*wanted).order_by(AutomationRun.id.desc())
    rows = (await session.scalars(query.limit(page.limit).offset(page.offset))).all()
    return rows, total or 0


async def logs(
    session: Session, actor: Actor, run_id: int, page: Page, *, level: str | None = None
) -> tuple[Sequence[AutomationLog], int]:
    """A page of a run's log, oldest first, and how many lines there are."""
    wanted = [AutomationLog.run_id == run_id]
    if actor.scope is not Scope.ALL:
        about = AutomationLog.details["fiche_id"].astext
        seen = exists().where(FicheCache.fiche_id == about, visible(actor))
        wanted.append(or_(about.is_(None), seen))
    if level is not None:
        wanted.append(AutomationLog.level == level)
    total = await session.scalar(select(func.count()).select_from(AutomationLog).where(*wanted))
    query = select(AutomationLog).where(*wanted).order_by(AutomationLog.id)
    rows = (await session.scalars(query.limit(page.limit).offset(page.offset))).all()
    return rows, total or 0


def _of_run(actor: Actor, run_id: int) -> list[ColumnElement[bool]]:
    """The run's fiches within the actor's scope."""
    wanted = [AutomationRunFiche.run_id == run_id]
    if actor.scope is not Scope.ALL:
        seen = exists().where(FicheCache.fiche_id == AutomationRunFiche.fiche_id, visible(actor))
        wanted.append(seen)
    return wanted


async def fiches(
    session: Session, actor: Actor, run_id: int, page: Page, *, outcome: str | None
) -> tuple[Sequence[AutomationRunFiche], int]:
    """A page of a run's fiches by id, and how many there are; `open` are those without an outcome."""
    wanted = _of_run(actor, run_id)
    if outcome == "open":
        wanted.append(AutomationRunFiche.outcome.is_(None))
    elif outcome is not None:
        wanted.append(AutomationRunFiche.outcome == outcome)
    total = await session.scalar(select(func.count()).select_from(AutomationRunFiche).where(*wanted))
    query = select(AutomationRunFiche).where(*wanted).order_by(AutomationRunFiche.fiche_id)
    rows = (await session.scalars(query.limit(page.limit).offset(page.offset))).all()
    return rows, total or 0


@dataclass(frozen=True, slots=True)
class Result:
    """One outcome of a run."""

    fiche_id: str
    reason: str | None
    recordings_count: int | None


async def results(
    session: Session, actor: Actor, run_id: int, outcome: str, *, limit: int = MAX_SUMMARY
) -> list[Result]:
    """The fiches of one outcome, by id."""
    reason = func.coalesce(AutomationRunFiche.error, AutomationRunFiche.ignore_reason)
    query = (
        select(AutomationRunFiche.fiche_id, reason, AutomationRunFiche.recordings_count)
        .where(*_of_run(actor, run_id), AutomationRunFiche.outcome == outcome)
        .order_by(AutomationRunFiche.fiche_id)
        .limit(limit)
    )
    return [Result(*row) for row in await session.execute(query)]


async def summary(session: Session, actor: Actor, run: AutomationRun) -> dict[str, Any]:
    """`resultSummary` rebuilt from the outcomes (spec/automation §4.5)."""
    successful = await results(session, actor, run.id, SUCCESSFUL)
    failed = await results(session, actor, run.id, FAILED)
    ignored = await results(session, actor, run.id, IGNORED)
    return {
        "successful": [each.fiche_id for each in successful],
        "failed": [{"ficheId": each.fiche_id, "error": each.reason or ""} for each in failed],
        "ignored": [_ignored(each) for each in ignored],
        "transcriptions": run.transcriptions_run,
        "audits": run.audits_run,
    }


def _ignored(each: Result) -> dict[str, Any]:
    counted = {} if each.recordings_count is None else {"recordingsCount": each.recordings_count}
    return {"ficheId": each.fiche_id, "reason": each.reason or "", **counted}
