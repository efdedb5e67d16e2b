"""Histories of runs, reruns, reviews and crashes, replayed on the database.

After each of them what is read equals a fresh computation from what was appended, and nothing that was ever appended
has changed.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from conforme.audit_configs.revisions import Revision
from conforme.audits import details, endings, facts, history, queries, reruns, reviews, stages, totals
from conforme.audits.models import AuditRow, VerdictRow
from conforme.audits.reruns import RerunWish
from conforme.audits.reviews import PointReview, StepReview
from conforme.audits.scoring import score_audit
from conforme.audits.verdicts import Conforme, Niveau, Statut
from conforme.foundation import events
from conforme.foundation.database import Database, ReadSession
from conforme.foundation.ledger import LlmCall
from conforme.foundation.llm import ModelRefused
from conforme.foundation.resources import Resources
from judged_audits import ACTOR, NEAR, QUOTE, Crash, Opinion, begun, dying_before, judged, resources_of
from rubrics import rules, step

STATUTS = sorted(Statut)
RULES = rules().model_copy(
    update={
        "steps": (
            step(1, weight=5, is_critical=True),
            step(
                2,
                weight=3,
                control_points=["Premier.", {"text": "Second.", "weight": 3, "critical": True}, "Tiers."],
            ),
        )
    }
)
SIZES = {each.position: len(each.control_points) for each in RULES.steps}


@dataclass
class Site:
    """One audit, the model that judges it, and every verdict seen so far."""

    resources: Resources
    model: Opinion
    audit_id: int
    pinned: Revision
    seen: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])

    @property
    def database(self) -> Database:
        return self.resources.database


@dataclass(frozen=True)
class Op:
    """One thing that happens, and the statement before which the process dies the first time."""

    kind: str
    position: int
    point: int
    statuts: tuple[str, ...]
    quote: str
    flag: bool
    dies: int | None


ops = st.builds(
    Op,
    st.sampled_from(
        [
            "rerun step",
            "rerun point",
            "rerun fails",
            "review point",
            "review comment",
            "review step",
            "resume",
        ]
    ),
    st.sampled_from(sorted(SIZES)),
    st.integers(1, 2),
    st.tuples(*[st.sampled_from(STATUTS)] * 3),
    st.sampled_from([QUOTE, NEAR]),
    st.booleans(),
    st.none() | st.integers(0, 32),
)
outages = st.sets(st.sampled_from(sorted(SIZES)))


# To shrink a history costs minutes of database; it is printed as it was found.
@settings(
    max_examples=12, phases=(Phase.explicit, Phase.generate), report_multiple_bugs=False, print_blob=False
)
@given(st.lists(ops, min_size=3, max_size=9), outages)
async def test_what_is_read_follows_from_what_was_appended_whatever_happens(
    database: Database, several: list[Op], failed: set[int]
) -> None:
    model = Opinion()
    resources = resources_of(database, model)
    audit_id, pinned = await begun(database, RULES)
    site = Site(resources, model, audit_id, pinned)
    for position in SIZES:
        if position in failed:
            await stages.give_up(resources, audit_id, position, "no answer", job_id="job")
        else:
            await stages.analyse(resources, audit_id, position)
    await _end(site)
    await _check(site)
    for op in several:
        await _perform(site, op)
        await _check(site)


async def _end(site: Site) -> None:
    try:
        await endings.finish(site.resources, site.audit_id)
    except endings.AuditFailed as reason:
        await endings.fail(site.resources, site.audit_id, reason)


async def _perform(site: Site, op: Op) -> None:
    work = await _work(site, op)
    if op.dies is None:
        await work()
    elif await _dies(site, op.dies, work):
        await _check(site)
        await work()


Work = Callable[[], Awaitable[object]]


async def _work(site: Site, op: Op) -> Work:
    site.model.statuts = dict(enumerate(op.statuts, 1))
    site.model.quote = op.quote
    site.model.error = ModelRefused("refused") if op.kind == "rerun fails" else None
    return await WORK.get(op.kind, _run)(site, op)


async def _resume(site: Site, op: Op) -> Work:
    """A failed audit is worked on once more, be it by a replica that believes an analysed step is due."""
    async with site.database.write() as session:
        audit = await queries.row(session, site.audit_id)
        if audit.status != "failed":
            return _nothing
        audit.status = "running"

    async def work() -> None:
        await stages.analyse(site.resources, site.audit_id, op.position)
        await _end(site)

    return work


async def _rerun(site: Site, op: Op) -> Work:
    point = op.point if op.kind == "rerun point" else None
    wish = RerunWish(op.position, point, "Regardez mieux.", replace_reviews=op.flag)
    async with site.database.read() as session:
        known = history.held(await facts.of_step(session, site.audit_id, op.position))
    if point is not None and point not in known.points:
        return _nothing
    async with site.database.write() as session:
        row, _ = await reruns.request(session, ACTOR, site.audit_id, wish)

    async def work() -> None:
        await reruns.begin(site.resources, row.event_id)
        try:
            await reruns.carry_out(site.resources, row.event_id)
        except ModelRefused as error:
            await reruns.fail(site.resources, row.event_id, error)

    return work


async def _nothing() -> None: ...


async def _review(site: Site, op: Op) -> Work:
    async with site.database.read() as session:
        known = history.held(await facts.of_step(session, site.audit_id, op.position))
    if op.point not in known.points:
        return _nothing
    statut = Statut(op.statuts[0]) if op.kind == "review point" else None
    said = PointReview(statut, "Réécouté." if op.flag or statut is None else None, "Appel réécouté")

    async def work() -> None:
        async with site.database.write() as session:
            await reviews.review_point(session, ACTOR, site.audit_id, (op.position, op.point), said)

    return work


async def _decide(site: Site, op: Op) -> Work:
    score = min(len(op.statuts[0]) % 6, 3) if op.flag else None
    said = StepReview(sorted(Conforme)[op.point], traite=op.statuts[1] != "ABSENT", score=score)

    async def work() -> None:
        async with site.database.write() as session:
            await reviews.review_step(session, ACTOR, site.audit_id, op.position, said)

    return work


WORK: dict[str, Callable[[Site, Op], Awaitable[Work]]] = {
    "rerun step": _rerun,
    "rerun point": _rerun,
    "rerun fails": _rerun,
    "review point": _review,
    "review comment": _review,
    "review step": _decide,
    "resume": _resume,
}


async def _check(site: Site) -> None:
    async with site.database.read() as session:
        await _nothing_appended_has_changed(session, site)
        held = {
            position: history.held(await facts.of_step(session, site.audit_id, position))
            for position in SIZES
        }
        stored = (await details.verdicts_of(session, [site.audit_id]))[site.audit_id]
        begun = {each.step_position for each in stored.steps}
        for rule in RULES.steps:
            if rule.position in begun:
                _rows_say(rule.position, held[rule.position], stored)
            else:
                assert held[rule.position] == history.NOTHING
        audit = await queries.row(session, site.audit_id)
        fresh = score_audit(
            [history.outcome(rule, held[rule.position]) for rule in RULES.steps], Niveau(RULES.compliant_from)
        )
        spent = await session.scalar(
            select(func.sum(LlmCall.prompt_tokens + LlmCall.output_tokens)).where(
                LlmCall.audit_id == site.audit_id
            )
        )
    analysed = sum(each.analysed for each in held.values())
    if audit.status != "running":  # counted when it ends
        assert (audit.successful_steps, audit.failed_steps) == (analysed, len(SIZES) - analysed)
        assert (audit.total_tokens or 0) <= (spent or 0)
    if audit.status != "completed":
        return
    assert audit.score_percentage == audit.overall_score == fresh.percentage
    assert (audit.earned_weight, audit.total_weight) == (Decimal(fresh.earned), Decimal(fresh.total))
    assert (audit.niveau, audit.is_compliant) == (fresh.niveau, fresh.is_compliant)
    assert (audit.critical_passed, audit.critical_total) == (fresh.critical_passed, fresh.critical_total)
    if "audit" in audit.result_data:
        assert audit.result_data["audit"]["compliance"] == totals.compliance(fresh)
        assert audit.result_data["audit"]["results"]["compliance"] == totals.compliance(fresh)
        counted = audit.result_data["statistics"]
        assert (counted["successful_steps"], counted["failed_steps"]) == (analysed, len(SIZES) - analysed)
        assert counted["citations_located"] == len(stored.citations)
        assert counted["citations_dropped"] == len(stored.dropped)


async def _nothing_appended_has_changed(session: ReadSession, site: Site) -> None:
    rows = await session.execute(
        select(VerdictRow.__table__).where(VerdictRow.audit_id == site.audit_id).order_by(VerdictRow.id)
    )
    now = {row["id"]: dict(row) for row in rows.mappings()}
    assert {known: now.get(known) for known in site.seen} == site.seen
    site.seen = now


def _rows_say(position: int, held: history.Held, stored: queries.Verdicts) -> None:
    """The rows of a step are what holds of it, to the last quote."""
    [row] = [each for each in stored.steps if each.step_position == position]
    rule = next(each for each in RULES.steps if each.position == position)
    shape = history.step_shape(rule, held)
    assert row.traite is held.analysed
    assert (row.conforme, row.niveau_conformite) == (shape["conforme"], shape["niveau_conformite"])
    assert (row.score, row.decided) == (shape["score"], held.decided)
    points = [each for each in stored.points if each.step_position == position]
    assert [each.control_point_index for each in points] == held.numbers
    for point in points:
        expected = held.point(point.control_point_index)
        assert {name: getattr(point, name) for name in facts.POINT_COLUMNS} == {
            name: expected[name] for name in facts.POINT_COLUMNS
        }
        assert (point.certainty is None) is (expected["doubts"] == [])
        place = (position, point.control_point_index)
        quotes = [
            each.texte for each in stored.citations if (each.step_position, each.control_point_index) == place
        ]
        assert quotes == [quote["texte"] for quote in expected["citations"]]
    assert row.total_citations == sum(len(point["citations"]) for point in held.points.values())
    assert row.dropped_citations == sum(len(point["dropped"]) for point in held.points.values())


@pytest.mark.parametrize(
    "change",
    ["update audit_verdicts set reason = 'other'", "delete from audit_verdicts", "delete from audits"],
)
async def test_the_database_itself_refuses_to_change_or_delete_a_verdict(
    database: Database, change: str
) -> None:
    await judged(resources_of(database, Opinion()), RULES)
    with pytest.raises(DBAPIError):
        async with database.write() as session:
            await session.execute(text(change))


@pytest.mark.parametrize("kind", ["run", "outage", *sorted({*WORK} - {"review comment"})])
async def test_what_is_cut_off_before_each_of_its_statements_in_turn_is_said_and_told_once(
    database: Database, kind: str
) -> None:
    """The process dies before the first statement of the work, then before the second, and so on.

    Once something of it is stored, it dies before the first of what is left.
    """
    op = Op(kind, 2, 2, ("ABSENT", "PARTIEL", "PRESENT"), QUOTE, flag=True, dies=None)
    whole, cut = [await _ready(database, op) for _ in range(2)]
    await (await _work(whole, op))()
    work = await _work(cut, op)
    deaths, statement, known = 0, 0, await _shown(cut)
    while await _dies(cut, statement, work):
        await _check(cut)
        before, known = known, await _shown(cut)
        statement = statement + 1 if known == before else 0
        deaths += 1
        assert deaths < 100
    await _check(cut)
    assert deaths > 10
    assert await _shown(cut) == await _shown(whole)


async def _ready(database: Database, op: Op) -> Site:
    """An audit as it stands before the work: not analysed, failed for want of a step, or completed."""
    model = Opinion()
    site = Site(resources_of(database, model), model, *await begun(database, RULES))
    if op.kind not in {"run", "outage"}:
        await (await _run(site, replace(op, kind="outage" if op.kind == "resume" else "run")))()
    return site


async def _run(site: Site, op: Op) -> Work:
    """The steps of a new audit and its end; in an outage the second of them could not be analysed."""

    async def work() -> None:
        await stages.analyse(site.resources, site.audit_id, 1)
        if op.kind == "outage":
            await stages.give_up(site.resources, site.audit_id, 2, "no answer", job_id="job")
        else:
            await stages.analyse(site.resources, site.audit_id, 2)
        await _end(site)

    return work


async def _dies(site: Site, statement: int, work: Work) -> bool:
    try:
        async with dying_before(site.database, statement):
            await work()
    except Crash:
        return True
    return False


async def _shown(site: Site) -> tuple[str, list[history.Fact], Counter[str]]:
    """How the audit stands, what was said of it, and how often what was told: that a step begins, at every attempt."""
    channels = [events.audit_channel(str(site.audit_id))]
    async with site.database.read() as session:
        status = (await queries.row(session, site.audit_id)).status
        said = [fact for position in SIZES for fact in await facts.of_step(session, site.audit_id, position)]
        told = await events.after(session, 0, limit=1000, channels=channels)
    return status, said, Counter(each.name for each in told if each.name != "audit.step_started")


async def test_steps_stored_without_their_verdict_get_it_before_anything_is_added(database: Database) -> None:
    """An audit of an earlier version, or one that was imported."""
    audit_id = await judged(resources_of(database, Opinion()), RULES)
    async with database.write() as session:
        before = (await details.verdicts_of(session, [audit_id]))[audit_id]
        expected = history.held(await facts.of_step(session, audit_id, 2))
        await session.execute(text("set local session_replication_role = replica"))
        await session.execute(text("delete from audit_verdicts"))
    async with database.write() as session:
        assert await facts.open_step(session, audit_id, 2) == expected
        again = (await details.verdicts_of(session, [audit_id]))[audit_id]
        assert [each.id for each in again.points] == [each.id for each in before.points]
    async with database.read() as session:
        assert [fact.kind for fact in await facts.of_step(session, audit_id, 2)] == ["run"]


async def test_what_people_said_of_a_step_survives_that_it_is_analysed_after_all(database: Database) -> None:
    model = Opinion()
    resources = resources_of(database, model)
    audit_id = await judged(resources, RULES)
    async with database.write() as session:
        said = PointReview(Statut.ABSENT, None)
        await reviews.review_point(session, ACTOR, audit_id, (1, 2), said)
        undone = StepReview(Conforme.NON_CONFORME, traite=False)
        await reviews.review_step(session, ACTOR, audit_id, 1, undone)
        await session.execute(update(AuditRow).values(status="running"))
    await stages.give_up(resources, audit_id, 1, "no answer", job_id="job")
    assert (await stages.analyse(resources, audit_id, 1))["cached"] is False
    async with database.read() as session:
        point = await queries.point(session, ACTOR, audit_id, 1, 2)
        row = await queries.step(session, audit_id, 1)
    assert point is not None
    assert (point.statut, row.traite, row.decided) == ("ABSENT", True, None)
