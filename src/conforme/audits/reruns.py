"""Reruns: the model looks again at one step or one control point (spec/audits §9.1).

A rerun is asked for in the caller's transaction, carried out by a durable job, one after another for each audit, and
always ends with an event. What it finds is appended; what people said stays above it unless the caller said otherwise.
"""

from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import exists, func, select

from conforme.accounts.actor import Actor
from conforme.audit_configs.revisions import revision, revision_for_run
from conforme.audit_configs.rules import StepRule
from conforme.audits import facts, history, queries, reviews, stages, telling_again, timing, totals
from conforme.audits.analysis import StepAnalysis, analyse_step
from conforme.audits.case import Case, case_of, freeze
from conforme.audits.endings import REAP_AFTER, REAP_PAGE, WORKING
from conforme.audits.errors import AnswerIncomplete, RerunLost, StepChanged, WordsNotFrozen
from conforme.audits.history import Fact, Held, Json
from conforme.audits.models import AuditRow, RerunRow
from conforme.audits.prompting import Again, again_version
from conforme.audits.reviews import Open
from conforme.foundation import events
from conforme.foundation.database import ReadSession, WriteSession, now
from conforme.foundation.errors import ConformeError, NotFound
from conforme.foundation.job_context import without_values
from conforme.foundation.ledger import PriceTable, model_call, record_call
from conforme.foundation.llm import ModelError, Spent
from conforme.foundation.resources import Resources
from conforme.settings import Settings

log = structlog.get_logger(__name__)

WAITING = ("queued", "running")


@dataclass(frozen=True, slots=True)
class RerunWish:
    """What is to be looked at again."""

    position: int
    point: int | None = None
    custom_prompt: str | None = None
    use_current: bool = False
    """By today's rules and words instead of those of the audit."""
    replace_reviews: bool = False
    """What is found takes the place of what people said, too."""


# Asking


async def request(
    session: WriteSession, actor: Actor, audit_id: int, wish: RerunWish
) -> tuple[RerunRow, bool]:
    """The rerun's row, and whether it is new: the same wish that has not ended yet is the same rerun.

    Raises:
        NotFound: no such step or point of an audit in the actor's scope.
        AuditNotEnded: it is still being audited.
        WordsNotFrozen: the audit ended before its words were known.
        StepChanged: today's rules have another step in that place.
    """
    what = reviews.STEP if wish.point is None else reviews.POINT
    found = await reviews.open_for(session, actor, audit_id, wish.position, what)
    if found is None or (wish.point is not None and wish.point not in found.held.points):
        raise NotFound.of(what, wish.position if wish.point is None else f"{wish.position}/{wish.point}")
    if found.audit.transcript_snapshot_id is None:
        raise WordsNotFrozen
    if (same := await _waiting(session, actor, audit_id, wish)) is not None:
        return same, False
    row = RerunRow(
        audit_id=audit_id,
        step_position=wish.position,
        control_point_index=wish.point,
        event_id=await _event_id(session, audit_id, wish),
        custom_prompt=wish.custom_prompt,
        use_current=wish.use_current,
        replace_reviews=wish.replace_reviews,
        config_revision_id=await _revision_id(session, actor, found, wish),
        transcript_snapshot_id=None if wish.use_current else found.audit.transcript_snapshot_id,
        requested_by=actor.name,
        user_id=actor.user_id,
    )
    session.add(row)
    await session.flush()
    return row, True


async def _waiting(session: WriteSession, actor: Actor, audit_id: int, wish: RerunWish) -> RerunRow | None:
    return await session.scalar(
        select(RerunRow).where(
            RerunRow.audit_id == audit_id,
            RerunRow.step_position == wish.position,
            RerunRow.control_point_index.is_not_distinct_from(wish.point),
            RerunRow.custom_prompt.is_not_distinct_from(wish.custom_prompt),
            RerunRow.use_current.is_(wish.use_current),
            RerunRow.replace_reviews.is_(wish.replace_reviews),
            RerunRow.requested_by == actor.name,
            RerunRow.status.in_(WAITING),
        )
    )


async def _event_id(session: WriteSession, audit_id: int, wish: RerunWish) -> str:
    place = f"step-rerun-{audit_id}-{wish.position}"
    if wish.point is not None:
        place = f"step-cp-rerun-{audit_id}-{wish.position}-{wish.point}"
    milliseconds = int(now().timestamp() * 1000)
    while await session.scalar(
        select(exists().where(RerunRow.event_id == (event_id := f"{place}-{milliseconds}")))
    ):
        milliseconds += 1
    return event_id


async def _revision_id(session: WriteSession, actor: Actor, found: Open, wish: RerunWish) -> int:
    if not wish.use_current:
        return found.audit.config_revision_id
    today = await revision_for_run(session, found.audit.audit_config_id, created_by=actor.name)
    step = await reviews.step_of(session, today.id, wish.position)
    if step is None or not same_step(found.step, step):
        raise StepChanged
    return today.id


def same_step(one: StepRule, other: StepRule) -> bool:
    """Whether two revisions mean the same step: as many points, and its name or all their texts unchanged."""
    texts, others = ([point.text for point in step.control_points] for step in (one, other))
    return len(texts) == len(others) and (one.name == other.name or texts == others)


# Carrying out


async def begin(resources: Resources, event_id: str) -> dict[str, Any]:
    """Marks the rerun as running and tells so; freezes today's words where they are asked for."""
    async with resources.database.write() as session:
        row = await _locked(session, event_id)
        if row.status not in WAITING:
            return {"open": False}
        audit = await queries.row(session, row.audit_id)
        if row.transcript_snapshot_id is None:
            row.transcript_snapshot_id = await _todays_words(session, audit, resources.settings)
        if row.status == "queued":
            row.status = "running"
            await events.record_all(session, [telling_again.started(audit, row)])
        await session.flush()
    return {"open": True}


async def _todays_words(session: WriteSession, audit: AuditRow, settings: Settings) -> int:
    words, _recordings = await stages.heard(session, audit, settings)
    return await freeze(session, audit.fiche_id, words)


async def carry_out(resources: Resources, event_id: str) -> dict[str, Any]:
    """Asks the model, and appends what it found with its cost, its events and all that rests on it, in one transaction.

    Done once, however often it is called: what was appended before is not asked again.

    Raises:
        ConformeError: nothing came of it; what was paid is in the ledger.
    """
    async with resources.database.read() as session:
        row = await _row(session, event_id)
        if row.status not in WAITING:
            return {"cached": True}
        audit = await queries.row(session, row.audit_id)
        before = history.held(await facts.of_step(session, audit.id, row.step_position))
    case = await _case(resources, row)
    step = case.step(row.step_position)
    tools = stages.tools_again(resources.settings, audit)
    try:
        analysis = await analyse_step(
            resources.model,
            case,
            step,
            cache_key=f"audit-{audit.id}",
            policy=stages.policy_of(resources.settings),
            model_name=audit.model,
            tools=tools,
            again=_again(row, before),
        )
    except ModelError as error:
        await _bill(resources, row, error.spent)
        raise
    finally:
        for spent in await stages.asked_on_the_way(tools):
            await _bill(resources, row, spent)
    if analysis.finding.missing:
        await _bill(resources, row, analysis.spent)
        raise AnswerIncomplete(analysis.finding.missing)
    return await _keep(resources, event_id, analysis)


async def _case(resources: Resources, row: RerunRow) -> Case:
    assert row.transcript_snapshot_id is not None  # noqa: S101 -- frozen when the rerun began
    async with resources.database.alone() as connection:
        return await case_of(
            connection, revision_id=row.config_revision_id, snapshot_id=row.transcript_snapshot_id
        )


def _again(row: RerunRow, before: Held) -> Again:
    number = row.control_point_index
    if number is None:
        return Again(custom_prompt=row.custom_prompt)
    known = before.point(number)
    return Again(number, row.custom_prompt, known["statut"], known["commentaire"])


async def _bill(resources: Resources, row: RerunRow, spent: Spent | None) -> None:
    """A failed question may have cost money: the ledger says so."""
    if spent is None or spent.attempts == 0:
        return
    async with resources.database.write() as session:
        await _record(session, resources, row, spent)


async def _record(session: WriteSession, resources: Resources, row: RerunRow, spent: Spent) -> None:
    call = model_call(spent, purpose="audit-rerun", audit_id=row.audit_id, step_position=row.step_position)
    await record_call(session, call, PriceTable.load(resources.settings.price_table))


async def _keep(resources: Resources, event_id: str, analysis: StepAnalysis) -> dict[str, Any]:
    async with resources.database.write() as session:
        row = await _row(session, event_id)
        audit = await queries.locked(session, row.audit_id)
        row = await _locked(session, event_id)
        await _record(session, resources, row, analysis.spent)  # paid in any case
        if audit is None or row.status not in WAITING:
            return {"cached": True}
        step = await reviews.step_of(session, audit.config_revision_id, row.step_position)
        assert step is not None  # noqa: S101 -- it was there when the rerun was asked for
        held = await facts.open_step(session, audit.id, row.step_position)
        turn = await _append(session, Open(audit, step, held), row, analysis)
        row.status = "completed"
        await totals.restate(session, audit)
        await events.record_all(session, telling_again.completed(audit, row, turn))
    return turn.summary(row)


async def _append(
    session: WriteSession, found: Open, row: RerunRow, analysis: StepAnalysis
) -> telling_again.Turn:
    fact = _fact(row, analysis)
    after = history.after(found.held, fact)
    changed = after.points if row.control_point_index is None else {row.control_point_index}
    await facts.hold(session, found.audit.id, found.step, after, quotes=list(changed))
    settled = await _in_its_time(session, found, after)
    turn = telling_again.Turn.of(found.step, found.held, settled, row.control_point_index)
    basis = facts.Basis(row.config_revision_id, row.transcript_snapshot_id)
    await facts.append(
        session,
        found.audit.id,
        found.step.position,
        control_point_index=row.control_point_index,
        kind="rerun",
        author=row.requested_by,
        user_id=row.user_id,
        reference=telling_again.rerun_id(row),
        event_id=row.event_id,
        custom_prompt=row.custom_prompt,
        replaces_reviews=row.replace_reviews,
        content=dict(fact.content),
        before=turn.before,
        after=turn.after,
        **facts.said_by_model(analysis, basis, again_version(tools=analysis.looked is not None)),
    )
    return turn


async def _in_its_time(session: WriteSession, found: Open, after: Held) -> Held:
    """What holds once the order of the call was looked at, as restating the audit will do.

    What is told of a rerun is what is stored.
    """
    if found.audit.status != "completed":
        return after
    pinned = await revision(session, found.audit.config_revision_id)
    late = await timing.found_late(session, found.audit.id, pinned.rules)
    return history.after(after, late[found.step.position]) if found.step.position in late else after


def _fact(row: RerunRow, analysis: StepAnalysis) -> Fact:
    content: Json = facts.step_content(analysis)
    if row.control_point_index is not None:
        finding = next(each for each in content["points"] if each["numero"] == row.control_point_index)
        content = {"point": finding["point"], "finding": finding}
    return Fact("rerun", content, row.control_point_index, row.replace_reviews)


# Ending without a verdict


async def fail(resources: Resources, event_id: str, error: ConformeError) -> dict[str, Any]:
    """Ends the rerun: nothing of the audit changes, and whoever waits is told why."""
    async with resources.database.write() as session:
        row = await _locked(session, event_id)
        await _end_as_failed(session, row, error)
    return {"status": row.status, "error": row.error}


async def _end_as_failed(session: WriteSession, row: RerunRow, error: ConformeError) -> bool:
    """Ends a rerun that has not ended; whether it was to be ended."""
    if row.status not in WAITING:
        return False
    row.status, row.error, row.error_code = "failed", error.message[:2000], error.code
    await session.flush()
    audit = await queries.row(session, row.audit_id)
    await events.record_all(session, [telling_again.failed(audit, row)])
    return True


async def reap(resources: Resources) -> dict[str, Any]:
    """Ends reruns whose job has ended or was lost without saying so, however many others wait for their turn."""
    reaped = after = 0
    while silent := await _silent(resources, after):
        after = silent[-1][0]
        states = await resources.durable.states([event_id for _, event_id in silent])
        for event_id in (each for _, each in silent if states.get(each) not in WORKING):
            reaped += await _reap(resources, event_id)
    return {"reaped": reaped}


async def _reap(resources: Resources, event_id: str) -> bool:
    try:
        async with resources.database.write() as session:
            ended = await _end_as_failed(session, await _locked(session, event_id), RerunLost())
    except Exception as error:  # one must not keep the others from their end
        log.exception("not reaped", job_id=event_id, exc_info=without_values(error))
        return False
    if ended:
        log.warning("rerun reaped", job_id=event_id)
    return ended


async def _silent(resources: Resources, after: int) -> list[tuple[int, str]]:
    silent = RerunRow.updated_at < func.now() - REAP_AFTER
    query = select(RerunRow.id, RerunRow.event_id).where(RerunRow.status.in_(WAITING), silent)
    async with resources.database.read() as session:
        found = await session.execute(query.where(RerunRow.id > after).order_by(RerunRow.id).limit(REAP_PAGE))
        return [(number, event_id) for number, event_id in found]


async def _row(session: ReadSession | WriteSession, event_id: str) -> RerunRow:
    return (await session.scalars(select(RerunRow).where(RerunRow.event_id == event_id))).one()


async def _locked(session: WriteSession, event_id: str) -> RerunRow:
    query = select(RerunRow).where(RerunRow.event_id == event_id).with_for_update()
    return (await session.scalars(query.execution_options(populate_existing=True))).one()
