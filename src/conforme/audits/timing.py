"""Chronology, applied to what is stored: a point met too late is met in part.

What is found is appended as a verdict of its own; what people said stands above it, as above all that machines say.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, cast

from sqlalchemy import select

from conforme.audit_configs.rules import Rules
from conforme.audits import facts, history
from conforme.audits.chronology import Heard, Late, Moment, PointKey, late_points
from conforme.audits.history import Fact
from conforme.audits.models import AuditRow, CitationRow, ControlPointRow
from conforme.audits.timeline import clock
from conforme.audits.verdicts import Statut
from conforme.foundation.database import WriteSession

NOTE = "[Auto-check] Dit trop tard, à {said} : la suite de l'entretien était engagée à {taken_up}."


async def apply(session: WriteSession, audit: AuditRow, rules: Rules) -> None:
    """Appends, for each step in which a point came too late, that it did; done once for the same findings.

    The caller holds the audit.
    """
    late = await found_late(session, audit.id, rules)
    for step in rules.steps:
        if step.position in late:
            before = await facts.open_step(session, audit.id, step.position)
            after = history.after(before, late[step.position])
            if after == before:
                continue
            content, basis = late[step.position].content, {"config_revision_id": audit.config_revision_id}
            said: dict[str, Any] = {"kind": "chronology", "author": facts.MODEL, "content": content, **basis}
            await facts.append(session, audit.id, step.position, **said)
            await facts.hold(session, audit.id, step, after)


async def found_late(session: WriteSession, audit_id: int, rules: Rules) -> dict[int, Fact]:
    """By position of a step, what is to be said of its points that came too late, as the rows stand."""
    if not any(step.chronological_important for step in rules.steps):
        return {}
    notes: dict[int, dict[str, str]] = defaultdict(dict)
    for late in late_points(rules, await _heard(session, audit_id)):
        notes[late.key.position][str(late.key.number)] = _note(late)
    return {position: Fact("chronology", {"late": each}) for position, each in notes.items()}


def _note(late: Late) -> str:
    return NOTE.format(said=_when(late.said), taken_up=_when(late.taken_up))


def _when(moment: Moment) -> str:
    return f"{clock(moment.seconds)} de l'enregistrement {moment.recording + 1}"


async def _heard(session: WriteSession, audit_id: int) -> dict[PointKey, Heard]:
    query = (
        select(
            ControlPointRow.step_position,
            ControlPointRow.control_point_index,
            ControlPointRow.statut,
            CitationRow.recording_index,
            CitationRow.start_ms,
        )
        .outerjoin(
            CitationRow,
            (CitationRow.audit_id == ControlPointRow.audit_id)
            & (CitationRow.step_position == ControlPointRow.step_position)
            & (CitationRow.control_point_index == ControlPointRow.control_point_index),
        )
        .where(ControlPointRow.audit_id == audit_id)
    )
    found: dict[PointKey, tuple[Statut, list[Moment | None]]] = {}
    rows = cast("Iterable[Any]", await session.execute(query))  # an outer join has nulls
    for position, number, statut, recording, start_ms in rows:
        _, moments = found.setdefault(PointKey(position, number), (Statut(statut), []))
        if recording is not None:
            moments.append(None if start_ms is None else Moment(recording, start_ms / 1000))
    return {key: Heard(statut, tuple(moments)) for key, (statut, moments) in found.items()}
