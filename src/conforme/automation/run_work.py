"""The stages of a run: it begins, looks for its fiches, and is left to them; each one durable step.

Every stage may run again after a crash: what is stored already is neither stored nor told a second time.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy.dialects.postgresql import insert

from conforme.accounts.actor import Actor
from conforme.audit_configs.drafts import require_runnable
from conforme.audit_configs.queries import automatic_ids
from conforme.automation import outcomes, run_logs, run_queries, run_telling
from conforme.automation.columns import owner_of
from conforme.automation.models import (
    IGNORED,
    OPEN,
    RUNNING,
    AutomationRun,
    AutomationRunFiche,
    AutomationSchedule,
)
from conforme.automation.rules import Sample, ScheduleRules, Selection
from conforme.automation.selection import Candidate, Choice, choose, days_of
from conforme.automation.snapshots import Plan, plan_of
from conforme.automation.zones import zone_of
from conforme.fiches.coverage import coverage, known_days
from conforme.foundation import events
from conforme.foundation.database import ReadSession, WriteSession, now
from conforme.foundation.errors import Conflict, ConformeError, Invalid, NotFound
from conforme.foundation.resources import Resources

NO_CONFIGS: Final = "No audit configs resolved"
INSERTED_AT_ONCE: Final = 1000
SEEDS: Final = 2**53
"""Seeds that a run draws by itself: any JSON reader holds them exactly."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What came of listing the sales of a day."""

    fiche_ids: Sequence[str] = ()
    """Where the schedule has a token of its own: what that one sees."""
    why: str | None = None
    """Why the day could not be listed."""


class NoAuditConfigs(Conflict):
    """No audit configs resolved"""

    code = "NO_AUDIT_CONFIGS"


async def begin(resources: Resources, run_id: int) -> dict[str, Any]:
    """Marks the run as running and resolves what it goes by; the days whose sales are to be listed first.

    A schedule with a token of its own may see other sales than the product: whatever is known, its days are listed
    anew, and `own_token_of` says whose token that is.

    Raises:
        Invalid: it looks at more days than are fetched at once.
        NoAuditConfigs: there is nothing to audit by.
    """
    async with resources.database.write() as session:
        run = await run_queries.held(session, run_id)
        if run is None or run.status not in OPEN or run.cancel_requested_at or run.selected_at:
            return {"go": False, "days": []}
        plan = plan_of(run)
        days = days_of_run(run, plan)
        if run.started_at is None:
            await _start(session, run, plan, days)
    require_short(resources, days)
    if plan.rules.run_audits and not run.audit_config_ids:
        raise NoAuditConfigs
    async with resources.database.read() as session:
        schedule = await session.get_one(AutomationSchedule, run.schedule_id)
        own = schedule.id if has_own_token(schedule) else None
        due = days if own else await unknown_days(session, resources, days)
    return {"go": True, "days": [day.isoformat() for day in due], "own_token_of": own}


async def _start(session: WriteSession, run: AutomationRun, plan: Plan, days: Sequence[date]) -> None:
    run.status, run.started_at = RUNNING, run.started_at or now()
    run.days_total = len(days)
    await run_queries.forget_listed(session, run.id)
    configs, dropped = await resolved_configs(session, plan.rules)
    run.audit_config_ids = list(configs)
    await session.flush()
    for config_id, why in dropped.items():
        await run_logs.write(
            session,
            run.id,
            "warning",
            "Audit configuration left out",
            key=f"config-{config_id}-{run.attempt}",
            audit_config_id=config_id,
            why=why,
        )
    manual = plan.selection.mode == "manual"
    found = {"total_fiches": len(plan.selection.fiche_ids)} if manual else {"total_dates": len(days)}
    await run_logs.write(
        session,
        run.id,
        "info",
        "Automation started",
        key=f"started-{run.attempt}",
        audit_config_ids=list(configs),
        **found,
    )
    told = [run_telling.started(run), run_telling.selection(run, plan.selection, found)]
    await events.record_all(session, told)


async def resolved_configs(
    session: ReadSession | WriteSession, rules: ScheduleRules
) -> tuple[tuple[int, ...], dict[int, str]]:
    """The configurations every fiche is audited by, and those that cannot run, with the reason."""
    if not rules.run_audits:
        return (), {}
    automatic = await automatic_ids(session) if rules.use_automatic_audits else ()
    runnable: list[int] = []
    dropped: dict[int, str] = {}
    for config_id in dict.fromkeys((*rules.specific_audit_configs, *automatic)):
        try:
            await require_runnable(session, config_id)
        except (Invalid, NotFound) as error:
            dropped[config_id] = error.message
        else:
            runnable.append(config_id)
    return tuple(runnable), dropped


def days_of_run(run: AutomationRun, plan: Plan) -> tuple[date, ...]:
    """The days a run looks at, by the calendar of its schedule's zone at the time it was due."""
    return days_at(plan.selection, plan.rules.timing.timezone, run.due_at or run.created_at)


def require_short(resources: Resources, days: Sequence[date]) -> None:
    """Raises `Invalid` for more days than are fetched at once."""
    longest = resources.settings.fiche_range_max_days
    if len(days) > longest:
        raise Invalid(f"The range has {len(days)} days; the most is {longest}", field="ficheSelection")


def days_at(selection: Selection, zone: str, moment: datetime) -> tuple[date, ...]:
    if selection.mode == "manual":
        return ()
    return days_of(selection, moment.astimezone(zone_of(zone)).date())


async def unknown_days(
    session: ReadSession | WriteSession, resources: Resources, days: Sequence[date]
) -> tuple[date, ...]:
    """Those of the days whose sales are to be listed: the others are known to the last sale."""
    if not days:
        return ()
    holds = timedelta(seconds=resources.settings.fiche_running_day_seconds)
    known = set(known_days(await coverage(session, days[0], days[-1]), now(), running_holds=holds))
    return tuple(day for day in days if day not in known)


async def note_days(
    resources: Resources, run_id: int, listed: Mapping[str, Listed], *, done: int, failed: int
) -> dict[str, Any]:
    """Notes days that were listed, or could not be; whether the run goes on.

    `done` and `failed` count all days until now, these among them: noted again after a crash they count once.
    """
    async with resources.database.write() as session:
        run = await run_queries.held(session, run_id)
        if run is None or run.status not in OPEN or run.cancel_requested_at:
            return {"go": False}
        if run.days_done >= done:
            return {"go": True}
        run.days_done, run.days_failed = done, failed
        await session.flush()
        ids = dict.fromkeys(fiche_id for each in listed.values() for fiche_id in each.fiche_ids)
        await run_queries.note_listed(session, run_id, tuple(ids))
        for day, each in listed.items():
            if each.why is not None:
                key = f"day-{day}-{run.attempt}"
                await run_logs.write(
                    session, run_id, "error", "Day not listed", key=key, day=day, why=each.why
                )
        await events.record_all(session, [run_telling.progress(run)])
    return {"go": True}


async def select_fiches(resources: Resources, run_id: int, *, as_listed: bool = False) -> dict[str, Any]:
    """Chooses the fiches, stores each as an item of work, and begins the first of them.

    `as_listed`: of days, only what was listed for this run.
    """
    async with resources.database.write() as session:
        run = await run_queries.held(session, run_id)
        if run is None or run.status not in OPEN or run.cancel_requested_at or run.selected_at:
            return {"go": False}
        plan = plan_of(run)
        run.selected_at = now()
        run.days_done = run.days_total
        if nothing := _nothing_to_do(run, plan):
            reason, message = nothing
            summary = {"message": message, "ficheIds": []}
            await outcomes.finish(session, resources.durable, run, reason=reason, summary=summary)
            return {"go": True, "taken": 0}
        owner = await owner_of_run(session, run)
        days = days_of_run(run, plan)
        listed = run.id if as_listed else None
        candidates = await candidates_of(session, owner, plan, days, run.audit_config_ids, listed_for=listed)
        choice = await _chosen(session, run, plan, candidates)
        await run_queries.forget_listed(session, run_id)
        await outcomes.go_on(session, resources.durable, run)
    return {"go": True, "taken": len(choice.taken)}


def _nothing_to_do(run: AutomationRun, plan: Plan) -> tuple[str, str] | None:
    if plan.selection.mode == "manual":
        empty = not plan.selection.fiche_ids
        return (run_telling.NO_FICHES, "No fiches found") if empty else None
    return None if run.days_total else (run_telling.NO_DATES, "No dates to query")


def has_own_token(schedule: AutomationSchedule) -> bool:
    """Whether the CRM is asked with a token that the schedule brings along."""
    return schedule.external_api_key is not None


async def owner_of_run(session: ReadSession | WriteSession, run: AutomationRun) -> Actor:
    """Whose fiches the run may take."""
    return owner_of(await session.get_one(AutomationSchedule, run.schedule_id))


async def candidates_of(
    session: ReadSession | WriteSession,
    owner: Actor,
    plan: Plan,
    days: Sequence[date],
    config_ids: Sequence[int],
    *,
    listed_for: int | None = None,
) -> list[Candidate]:
    """The fiches that may be taken, in the order of work; of days, those sold on them, or `listed_for` a run."""
    if plan.selection.mode == "manual":
        found = await run_queries.named(session, owner, plan.selection.fiche_ids)
    elif listed_for is not None:
        found = await run_queries.listed_for(session, owner, listed_for)
    else:
        found = await run_queries.sold_on(session, owner, days)
    if not plan.selection.only_unaudited:
        return found
    ids = [each.fiche_id for each in found]
    audited = await run_queries.audited_by_all(session, ids, config_ids)
    return [Candidate(each.fiche_id, each.groupe, each.advisor, each.fiche_id in audited) for each in found]


def seed_of(sample: Sample) -> int:
    """What a sample is drawn with: the seed it names, or one of its own."""
    return secrets.randbelow(SEEDS) if sample.seed is None else sample.seed


async def _chosen(
    session: WriteSession, run: AutomationRun, plan: Plan, candidates: Sequence[Candidate]
) -> Choice:
    sample = plan.selection.sample
    if sample is not None and run.sample_seed is None:
        run.sample_seed = seed_of(sample)
    choice = choose(candidates, plan.selection, seed=run.sample_seed or 0)
    run.total_fiches, run.ignored_fiches = len(choice.taken), len(choice.ignored)
    run.left_fiches = choice.left
    await session.flush()
    await _store(session, run.id, choice)
    await run_logs.write(
        session,
        run.id,
        "info",
        "Fiches selected",
        key=f"selected-{run.attempt}",
        candidates=len(candidates),
        taken=len(choice.taken),
        ignored=len(choice.ignored),
        left=choice.left,
        seed=run.sample_seed,
    )
    return choice


async def _store(session: WriteSession, run_id: int, choice: Choice) -> None:
    taken: list[dict[str, Any]] = [
        {"run_id": run_id, "fiche_id": fiche_id, "rank": rank, "outcome": None, "ignore_reason": None}
        for rank, fiche_id in enumerate(choice.taken)
    ]
    ignored: list[dict[str, Any]] = [
        {"run_id": run_id, "fiche_id": fiche_id, "rank": 0, "outcome": IGNORED, "ignore_reason": reason}
        for fiche_id, reason in choice.ignored.items()
    ]
    rows = taken + ignored
    for first in range(0, len(rows), INSERTED_AT_ONCE):
        some = rows[first : first + INSERTED_AT_ONCE]
        await session.execute(insert(AutomationRunFiche).values(some).on_conflict_do_nothing())


async def fail(resources: Resources, run_id: int, error: ConformeError) -> dict[str, Any]:
    """Ends a run that cannot go on; what it had begun is left to itself."""
    async with resources.database.write() as session:
        run = await run_queries.held(session, run_id)
        if run is not None and run.status in OPEN and run.selected_at is None:
            await outcomes.fail(session, resources.durable, run, error.message, error.code)
    return {"failed": error.message}
