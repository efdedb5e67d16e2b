"""The review queue: points whose verdict is unsure, worst first. A human review of a point takes it off."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB

from conforme.accounts.actor import Actor
from conforme.audit_configs.models import AuditConfig
from conforme.audits.doubts import DECIMALS, DoubtReason
from conforme.audits.models import AuditRow, ControlPointRow, StepResultRow
from conforme.audits.queries import in_scope
from conforme.foundation.database import ReadSession
from conforme.foundation.errors import Invalid
from conforme.foundation.web import INT64_MAX

_CURSOR = re.compile(r"([01]\.[0-9]{4})_([1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Unsure:
    """What the queue is narrowed to, and where its page begins."""

    reasons: Sequence[DoubtReason] = ()
    audit_config_ids: Sequence[int] = ()
    limit: int = 50
    behind: tuple[float, int] | None = None
    """Certainty and id of the last point of the page before."""


def cursor_of(certainty: float, point_id: int) -> str:
    """Where the next page begins, for the caller to send back."""
    return f"{certainty:.{DECIMALS}f}_{point_id}"


def read_cursor(text: str) -> tuple[float, int]:
    """Raises `Invalid` for what `cursor_of` never made."""
    found = _CURSOR.fullmatch(text)
    if found is None or int(found[2]) > INT64_MAX:
        raise Invalid("Invalid cursor", field="cursor")
    return float(found[1]), int(found[2])


async def unsure(session: ReadSession, actor: Actor, wanted: Unsure) -> list[dict[str, Any]]:
    """One page, and one point more where there is another page: points of latest, completed audits in scope."""
    query = (
        select(
            ControlPointRow.id,
            ControlPointRow.audit_id,
            AuditRow.tracking_id,
            AuditRow.fiche_id,
            AuditRow.audit_config_id,
            AuditConfig.name.label("audit_config_name"),
            ControlPointRow.step_position,
            StepResultRow.step_name,
            StepResultRow.is_critical,
            ControlPointRow.control_point_index,
            ControlPointRow.point,
            ControlPointRow.statut,
            ControlPointRow.commentaire,
            ControlPointRow.certainty,
            ControlPointRow.doubts,
            AuditRow.completed_at,
        )
        .join(AuditRow, AuditRow.id == ControlPointRow.audit_id)
        .join(AuditConfig, AuditConfig.id == AuditRow.audit_config_id)
        .join(
            StepResultRow,
            (StepResultRow.audit_id == ControlPointRow.audit_id)
            & (StepResultRow.step_position == ControlPointRow.step_position),
        )
        .where(in_scope(actor), *_conditions(wanted))
        .order_by(ControlPointRow.certainty, ControlPointRow.id)
        .limit(wanted.limit + 1)
    )
    return [dict(row) for row in (await session.execute(query)).mappings()]


def _conditions(wanted: Unsure) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        ControlPointRow.certainty.is_not(None),
        AuditRow.is_latest.is_(True),
        AuditRow.deleted_at.is_(None),
        AuditRow.status == "completed",
    ]
    if wanted.audit_config_ids:
        conditions.append(AuditRow.audit_config_id.in_(wanted.audit_config_ids))
    if wanted.reasons:
        named = (ControlPointRow.doubts.cast(JSONB).contains([{"reason": each}]) for each in wanted.reasons)
        conditions.append(or_(*named))
    if wanted.behind is not None:
        here = tuple_(ControlPointRow.certainty, ControlPointRow.id)
        conditions.append(here > tuple_(*wanted.behind))
    return conditions
