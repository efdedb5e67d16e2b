"""One audit in full, and the verdicts of several at once."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ScalarSelect, func, literal_column, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import InstrumentedAttribute

from conforme.accounts.actor import Actor
from conforme.audits import queries, trails, views
from conforme.audits.links import links_of
from conforme.audits.models import CitationRow, ControlPointRow, DroppedCitationRow, StepResultRow
from conforme.audits.queries import Session, Verdicts
from conforme.audits.schemas import AuditDetail
from conforme.foundation import ledger
from conforme.foundation.errors import NotFound

R = TypeVar("R", StepResultRow, ControlPointRow, CitationRow, DroppedCitationRow)
Q = TypeVar("Q", CitationRow, DroppedCitationRow)


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
    """What is stored about the steps of these audits, by three statements; the caller has checked the scope."""
    steps = select(StepResultRow).where(StepResultRow.audit_id.in_(audit_ids))
    found_steps = _by_audit(await session.scalars(steps.order_by(StepResultRow.step_position)))
    points: list[ControlPointRow] = []
    citations: list[CitationRow] = []
    dropped: list[DroppedCitationRow] = []
    told = select(ControlPointRow, _CITED, _DROPPED).where(ControlPointRow.audit_id.in_(audit_ids))
    for point, cited, unheard in await session.execute(told.order_by(*_PLACE)):
        points.append(point)
        citations += [_citation(quote) for quote in cited or ()]
        dropped += [DroppedCitationRow(**quote) for quote in unheard or ()]
    found_points, found_dropped = _by_audit(points), _by_audit(dropped)
    found_citations = _by_audit(citations)
    said = await trails.of_audits(session, audit_ids)
    return {
        each: Verdicts(
            found_steps.get(each, []),
            found_points.get(each, []),
            found_citations.get(each, []),
            found_dropped.get(each, []),
            said[each],
        )
        for each in audit_ids
    }


def _citation(quote: dict[str, Any]) -> CitationRow:
    at = quote.pop("minutage_secondes")  # whole seconds come as integers
    return CitationRow(**quote, minutage_secondes=None if at is None else float(at))


def _quotes(table: type[Q], order: InstrumentedAttribute[int], *names: str) -> ScalarSelect[Any]:
    """What a point has of these quotes, as JSON with these columns and those of their place."""
    asked = (*(column.key for column in _PLACE), *names)
    members = (each for name in asked for each in (literal_column(f"'{name}'"), getattr(table, name)))
    listed = func.jsonb_agg(aggregate_order_by(func.jsonb_build_object(*members), order))
    here = (getattr(table, column.key) == column for column in _PLACE)
    return select(listed).where(*here).correlate(ControlPointRow).scalar_subquery()


_PLACE = (ControlPointRow.audit_id, ControlPointRow.step_position, ControlPointRow.control_point_index)
_CITED = _quotes(CitationRow, CitationRow.citation_index, *views.CITATION_FIELDS)
_DROPPED = _quotes(DroppedCitationRow, DroppedCitationRow.id, "texte", "reason")
"""The quotes of a point that nobody was found to say."""


def _by_audit(rows: Iterable[R]) -> dict[int, list[R]]:
    found: dict[int, list[R]] = {}
    for row in rows:
        found.setdefault(row.audit_id, []).append(row)
    return found
