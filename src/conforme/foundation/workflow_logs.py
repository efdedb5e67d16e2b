"""The lines of workflows: what the event log tells of a run, kept for who looks into one run afterwards.

A line is written by the database with its event, in the transaction of the change it tells of (trigger
`log_workflow_events`): a step that is carried out again after a crash adds none. It is written only on connections
that say so (`WORKFLOW_LOG_DB_ENABLED`). `trace_id` is the id of the run: its job's, and what its events carry.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Index, Text, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from conforme.foundation.database import Base, Identified, ReadSession
from conforme.foundation.query import Limits, Query, moment, whole_number, words
from conforme.foundation.redaction import redact, redact_text
from conforme.foundation.web import Wire, WireId, WireTime

_LIMIT, _OFFSET = Limits(default=200, low=1, high=1000), Limits(default=0)


class WorkflowLog(Identified, Base):
    """Names are those of the logs route (spec/audits §10.2)."""

    __tablename__ = "workflow_logs"
    __table_args__ = (
        Index(None, "workflow", "entity_type", "entity_id", "id"),
        Index(None, "trace_id"),
        Index(None, "level"),
        Index(None, "inngest_event_id"),
        Index(None, "created_at"),
    )

    workflow: Mapped[str] = mapped_column(Text)
    """`audit`, `transcription`, `automation` or `fiche`."""
    level: Mapped[str] = mapped_column(Text)
    """`info` or `error`."""
    entity_type: Mapped[str | None] = mapped_column(Text)
    entity_id: Mapped[str | None] = mapped_column(Text)
    trace_id: Mapped[str | None] = mapped_column(Text)
    inngest_event_id: Mapped[str | None] = mapped_column(Text)
    function_id: Mapped[str | None] = mapped_column(Text)
    step_name: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))


class LogLine(Wire):
    id: WireId
    workflow: str
    level: str
    entity_type: str | None
    entity_id: str | None
    trace_id: str | None
    inngest_event_id: str | None
    function_id: str | None
    step_name: str | None
    message: str
    data: dict[str, Any]
    created_at: WireTime


class LogLines(BaseModel):
    """A page of lines, oldest first; `count` is how many this page has."""

    success: bool = True
    data: list[LogLine]
    count: int
    trace_id: str | None = None
    """Where one run was asked for."""
    limit: int
    offset: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines of one entity."""

    level: str | None
    since: datetime | None
    until: datetime | None
    limit: int
    offset: int
    trace_id: str | None = None


def wanted_of(query: Query) -> Wanted:
    """The query of a logs route.

    Raises:
        Invalid: `Invalid since (expected ISO 8601 date-time)`, the same for `until`; a limit that is no number.
    """
    return Wanted(
        level=words(query, "level") or None,
        since=moment(query, "since"),
        until=moment(query, "until"),
        limit=whole_number(query, "limit", _LIMIT),
        offset=whole_number(query, "offset", _OFFSET),
        trace_id=words(query, "run_id") or words(query, "trace_id") or None,
    )


async def lines_of(
    session: ReadSession, workflow: str, entity: tuple[str, str], wanted: Wanted
) -> Sequence[WorkflowLog]:
    """Lines of one entity, its type and id, oldest first. The caller has checked that it is in scope."""
    query = select(WorkflowLog).where(
        WorkflowLog.workflow == workflow,
        WorkflowLog.entity_type == entity[0],
        WorkflowLog.entity_id == entity[1],
    )
    if wanted.level:
        query = query.where(WorkflowLog.level == wanted.level)
    if wanted.trace_id:
        query = query.where(WorkflowLog.trace_id == wanted.trace_id)
    if wanted.since:
        query = query.where(WorkflowLog.created_at >= wanted.since)
    if wanted.until:
        query = query.where(WorkflowLog.created_at <= wanted.until)
    page = query.order_by(WorkflowLog.id).limit(wanted.limit).offset(wanted.offset)
    return (await session.scalars(page)).all()


def page_of(rows: Sequence[WorkflowLog], wanted: Wanted) -> LogLines:
    """The rows as they are shown: redacted once more, whoever wrote them."""
    traced = {"trace_id": wanted.trace_id} if wanted.trace_id else {}
    return LogLines(
        success=True,
        data=[_shown(row) for row in rows],
        count=len(rows),
        limit=wanted.limit,
        offset=wanted.offset,
        **traced,
    )


def _shown(row: WorkflowLog) -> LogLine:
    line = LogLine.model_validate(row)
    return line.model_copy(update={"message": redact_text(row.message), "data": redact(row.data)})
