"""Human review: a person's word on a step or on one of its points, above the model's (spec/audits §9.2).

Each review is appended with its author, and everything that rests on it is computed anew in the same transaction.
"""

from dataclasses import dataclass
from typing import Any

from conforme.accounts.actor import Actor
from conforme.audit_configs.revisions import revision
from conforme.audit_configs.rules import StepRule
from conforme.audits import facts, history, queries, totals
from conforme.audits.errors import AuditNotEnded
from conforme.audits.history import Fact, Held
from conforme.audits.models import OPEN, AuditRow
from conforme.audits.queries import Session
from conforme.audits.scoring import decide
from conforme.audits.verdicts import Conforme, Niveau, Statut
from conforme.foundation.database import WriteSession
from conforme.foundation.errors import Invalid, NotFound

STEP, POINT = "Audit step result", "Audit control point"


@dataclass(frozen=True, slots=True)
class PointReview:
    """What a person says of a control point; one of the first two at least."""

    statut: Statut | None
    commentaire: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StepReview:
    """What a person concludes on a step; what they leave out stays as it stands where that fits."""

    conforme: Conforme
    traite: bool = True
    score: int | None = None
    niveau: Niveau | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """A step of an audit that is held: nothing else is said of it meanwhile."""

    audit: AuditRow
    step: StepRule
    held: Held


async def review_point(
    session: WriteSession, actor: Actor, audit_id: int, place: tuple[int, int], said: PointReview
) -> None:
    """Appends a person's word on the point `place`, (step position, number).

    Raises:
        NotFound: no such point of an audit in the actor's scope.
        AuditNotEnded: it is still being audited.
    """
    position, number = place
    found = await open_for(session, actor, audit_id, position, POINT)
    if found is None or number not in found.held.points:
        raise NotFound.of(POINT, f"{position}/{number}")
    over = {"statut": said.statut and said.statut.value, "commentaire": said.commentaire}
    content = {
        "point": found.held.points[number]["point"],
        **{name: value for name, value in over.items() if value is not None},
    }
    await _append(session, actor, found, Fact("review", content, number), said.reason)


async def review_step(
    session: WriteSession, actor: Actor, audit_id: int, position: int, said: StepReview
) -> None:
    """Appends a person's conclusion on a step.

    Raises:
        NotFound: no such step of an audit in the actor's scope.
        AuditNotEnded: it is still being audited.
        Invalid: the score exceeds the step's weight.
    """
    found = await open_for(session, actor, audit_id, position, STEP)
    if found is None:
        raise NotFound.of(STEP, position)
    if said.score is not None and said.score > found.step.weight:
        message = f"Invalid review audit step result input: score: must not exceed {found.step.weight}"
        raise Invalid(message, field="score")
    standing = history.score(found.step, found.held)
    decided = decide(said.conforme, found.step.weight, standing, niveau=said.niveau, score=said.score)
    content = {
        "traite": said.traite,
        "conforme": decided.conforme.value,
        "score": decided.score,
        "niveau_conformite": decided.niveau.value,
    }
    await _append(session, actor, found, Fact("review", content), said.reason)


async def open_for(
    session: WriteSession, actor: Actor, audit_id: int, position: int, what: str
) -> Open | None:
    """The step, held with its audit; None when nothing is stored of it.

    Raises:
        NotFound: no such audit in the actor's scope; said of `what` was asked for.
        AuditNotEnded: it is still being audited.
    """
    if await queries.one(session, actor, audit_id) is None:
        raise NotFound.of(what, position)
    audit = await queries.locked(session, audit_id)
    if audit is None or audit.deleted_at is not None:
        raise NotFound.of(what, position)
    if audit.status in OPEN:
        raise AuditNotEnded
    step = await step_of(session, audit.config_revision_id, position)
    if step is None or not await queries.has_step(session, audit_id, position):
        return None
    return Open(audit, step, await facts.open_step(session, audit_id, position))


async def step_of(session: Session, revision_id: int, position: int) -> StepRule | None:
    pinned = await revision(session, revision_id)
    return next((step for step in pinned.rules.steps if step.position == position), None)


async def _append(session: WriteSession, actor: Actor, found: Open, fact: Fact, reason: str | None) -> None:
    now = history.after(found.held, fact)
    await facts.append(
        session,
        found.audit.id,
        found.step.position,
        control_point_index=fact.point,
        kind="review",
        author=actor.name,
        user_id=actor.user_id,
        reason=reason,
        content=dict(fact.content),
        before=_shape(found.step, found.held, fact.point),
        after=_shape(found.step, now, fact.point),
    )
    await facts.hold(session, found.audit.id, found.step, now)
    await totals.restate(session, found.audit)


def _shape(step: StepRule, now: Held, number: int | None) -> dict[str, Any]:
    if number is None:
        return history.step_shape(step, now)
    return history.point_shape(step, now, number)
