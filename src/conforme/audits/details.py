"""One audit in full, and the verdicts of several at once."""

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from conforme.accounts.actor import Actor
from conforme.audits import queries, trails, views
from conforme.audits.links import links_of
from conforme.audits.models import CitationRow, ControlPointRow, DroppedCitationRow, StepResultRow
from conforme.audits.queries import Session, Verdicts
from conforme.audits.schemas import AuditDetail
from conforme.foundation import ledger
from conforme.foundation.errors import NotFound

R = TypeVar("R", StepResultRow, ControlPointRow, CitationRow, DroppedCitationRow)


async def detail_of(session: Session, actor: Actor, audit_id: int) -> AuditDetail:
    """The audit with its verdicts, what they rest on and what they cost.

    Raises:
        NotFound: no such audit in the actor's scope.
    """
    found = await queries.one(session, actor, audit_id)
    if found is None:
        raise NotFound("Audit not found")
    return views.detail(
        found,
        (await verdicts_of(session, [audit_id]))[audit_id],
        await ledger.summary(session, audit_id),
        await links_of(session, [found.audit]),
        revision_number=await queries.revision_number(session, found.audit.config_revision_id),
        transcript_sha256=await queries.snapshot_sha256(session, found.audit.transcript_snapshot_id),
    )


async def verdicts_of(session: Session, audit_ids: Sequence[int]) -> dict[int, Verdicts]:
    """What is stored about the steps of these audits, by four statements; the caller has checked the scope."""
    steps = _by_audit(await _all(session, _of(StepResultRow, audit_ids), "step_position"))
    points: list[ControlPointRow] = []
    dropped: list[DroppedCitationRow] = []
    told = select(ControlPointRow, _DROPPED).where(ControlPointRow.audit_id.in_(audit_ids))
    for point, quotes in await session.execute(told.order_by(*_PLACE)):
        points.append(point)
        dropped += [DroppedCitationRow(**quote) for quote in quotes or ()]
    found_points, found_dropped = _by_audit(points), _by_audit(dropped)
    places = ("step_position", "control_point_index", "citation_index")
    citations = _by_audit(await _all(session, _of(CitationRow, audit_ids), *places))
    said = await trails.of_audits(session, audit_ids)
    return {
        each: Verdicts(
            steps.get(each, []),
            found_points.get(each, []),
            citations.get(each, []),
            found_dropped.get(each, []),
            said[each],
        )
        for each in audit_ids
    }


_PLACE = (ControlPointRow.audit_id, ControlPointRow.step_position, ControlPointRow.control_point_index)
_DROPPED = (
    select(
        func.jsonb_agg(
            aggregate_order_by(
                func.jsonb_build_object(
                    "audit_id",
                    DroppedCitationRow.audit_id,
                    "step_position",
                    DroppedCitationRow.step_position,
                    "control_point_index",
                    DroppedCitationRow.control_point_index,
                    "texte",
                    DroppedCitationRow.texte,
                    "reason",
                    DroppedCitationRow.reason,
                ),
                DroppedCitationRow.id,
            )
        )
    )
    .where(
        DroppedCitationRow.audit_id == ControlPointRow.audit_id,
        DroppedCitationRow.step_position == ControlPointRow.step_position,
        DroppedCitationRow.control_point_index == ControlPointRow.control_point_index,
    )
    .correlate(ControlPointRow)
    .scalar_subquery()
)
"""The quotes of a point that nobody was found to say."""


def _of(table: type[R], audit_ids: Sequence[int]) -> Select[R]:
    return select(table).where(table.audit_id.in_(audit_ids))


async def _all(session: Session, query: Select[R], *order: str) -> list[R]:
    columns = query.selected_columns
    return list(await session.scalars(query.order_by(*(columns[name] for name in order))))


def _by_audit(rows: Sequence[R]) -> dict[int, list[R]]:
    found: dict[int, list[R]] = {}
    for row in rows:
        found.setdefault(row.audit_id, []).append(row)
    return found
