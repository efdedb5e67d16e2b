"""What the engine's tables say of jobs, read and written by plain statements; and the JSON that is stored in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, cast

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TEXT

from conforme.foundation import faults
from conforme.foundation.database import Database
from conforme.foundation.errors import ConformeError
from conforme.foundation.jobs import Outcome

State = Literal["queued", "running", "done", "failed", "cancelled"]

STATES: dict[str, State] = {
    "ENQUEUED": "queued",
    "DELAYED": "queued",
    "PENDING": "running",
    "SUCCESS": "done",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}
ENDED = frozenset({"done", "failed", "cancelled"})

ROWS = text(
    "select workflow_uuid, s.status, s.owner_xid, o.output, o.error from dbos.workflow_status s"
    " left join dbos.workflow_output o using (workflow_uuid) where workflow_uuid = any(:ids)"
).bindparams(bindparam("ids", type_=ARRAY(TEXT)))
BEGUN = text(
    "select distinct workflow_uuid from dbos.operation_outputs where workflow_uuid = any(:ids)"
).bindparams(bindparam("ids", type_=ARRAY(TEXT)))
"""Those of the jobs of which a step was stored."""
HOLD = text("select status, owner_xid from dbos.workflow_status where workflow_uuid = :id for no key update")
"""Locks a job's row, so that cancelling it and giving it children cannot cross."""
ADOPT = text(
    "update dbos.workflow_status set parent_workflow_id = :parent"
    " where workflow_uuid = any(:ids) and parent_workflow_id is null"
).bindparams(bindparam("ids", type_=ARRAY(TEXT)))
WAITS = text(
    "select exists (select from dbos.workflow_status where queue_name = :lane and status = 'ENQUEUED')"
)
RECORD_STEP = text(
    """
    with held as (
      select application_name from dbos.workflow_status
      where workflow_uuid = :workflow_uuid and owner_xid = :owner_xid for no key update
    )
    insert into dbos.operation_outputs as stored
      (workflow_uuid, function_id, function_name, output, error, serialization,
       started_at_epoch_ms, completed_at_epoch_ms, application_name, retention_timestamp)
    select :workflow_uuid, :function_id, :function_name, :output, :error, :serialization,
      :started_at_epoch_ms, :completed_at_epoch_ms, application_name,
      (extract(epoch from now()) * 1000)::bigint
    from held
    on conflict (workflow_uuid, function_id) do update set completed_at_epoch_ms = stored.completed_at_epoch_ms
    returning completed_at_epoch_ms
    """
)
"""Stores a step's result while `owner_xid` holds the job: then the time of its completion, or that stored before."""
_ENQUEUE = """
with queued as (
  insert into dbos.workflow_status ({columns})
  select {columns} from jsonb_populate_recordset(null::dbos.workflow_status, :jobs)
  on conflict (workflow_uuid) do nothing returning workflow_uuid
), given as (
  insert into dbos.workflow_input (workflow_uuid, inputs)
  select workflow_uuid, inputs from jsonb_populate_recordset(null::dbos.workflow_input, :inputs)
  join queued using (workflow_uuid) on conflict do nothing
)
select workflow_uuid from queued
"""
CHILDREN = text("select workflow_uuid from dbos.workflow_status where parent_workflow_id = :id")
EXPIRED = text(
    "select workflow_uuid from dbos.workflow_status"
    " where completed_at < (extract(epoch from now()) * 1000)::bigint - :age limit :batch"
)
EXPIRED_LIKE = text(
    "select workflow_uuid from dbos.workflow_status"
    " where completed_at between (extract(epoch from now()) * 1000)::bigint - 86400000"
    " and (extract(epoch from now()) * 1000)::bigint - :age"
    " and exists (select from unnest(:beginnings) beginning where starts_with(workflow_uuid, beginning))"
    " limit :batch"
).bindparams(bindparam("beginnings", type_=ARRAY(TEXT)))
"""Looks at one day: what such jobs hold is forgotten all day long, and what escaped that goes with everything else."""
OPEN_KEYS = text(
    """
    with waiting as (
      select queue_partition_key as key, min(priority) as priority, min(created_at) as since
      from dbos.workflow_status
      where queue_name = :lane and status = 'ENQUEUED' and queue_partition_key is not null group by 1
    ), free as (
      select * from waiting where (
        select count(*) from dbos.workflow_status
        where queue_name = :lane and status = 'PENDING' and queue_partition_key = waiting.key
      ) < :per_key
    )
    select key from free where priority = (select min(priority) from free) order by since limit 50
    """
)


@cache
def enqueue(columns: tuple[str, ...]) -> TextClause:
    """Inserts rows of jobs (`jobs`) and of what they are given (`inputs`); answers the ids that were free."""
    statement = text(_ENQUEUE.format(columns=", ".join(columns)))
    return statement.bindparams(bindparam("jobs", type_=JSONB), bindparam("inputs", type_=JSONB))


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as stored."""

    id: str
    status: str
    owner: str | None
    """Token of the execution that holds it; changes at each takeover."""
    output: str | None
    error: str | None

    @property
    def state(self) -> State:
        return STATES[self.status]

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def outcome(self) -> Outcome:
        if self.state == "done":
            return Outcome(id=self.id, ok=True, value=load(self.output))
        if self.state == "cancelled":
            return Outcome(id=self.id, ok=False, error="Cancelled", code="CANCELLED", cancelled=True)
        if self.error is None:
            return Outcome(id=self.id, ok=False, error="Given up after too many crashes", code="ABANDONED")
        fault = load(self.error)
        known = fault if isinstance(fault, ConformeError) else faults.StepFailed()
        return Outcome(id=self.id, ok=False, error=known.message, code=known.code)


async def read_rows(database: Database, ids: list[str]) -> dict[str, JobRow]:
    """The rows of those jobs that exist, by id."""
    async with database.alone() as connection:
        return {row[0]: JobRow(*row) for row in await connection.execute(ROWS, {"ids": ids})}


async def expired(
    database: Database, older_than_seconds: float, batch: int, like: Sequence[str]
) -> list[str]:
    """Up to `batch` jobs that ended longer ago than that; with `like`, of those whose ids begin so."""
    query = EXPIRED_LIKE.bindparams(beginnings=list(like)) if like else EXPIRED
    async with database.read() as session:
        found = await session.scalars(query, {"age": int(older_than_seconds * 1000), "batch": batch})
        return list(found)


def dump(data: Any) -> str:
    """JSON text of a payload, a result or an error. Raises TypeError for what is not JSON."""
    if isinstance(data, BaseException):
        data = faults.to_fault(data)
    return json.dumps(data, default=_plain, ensure_ascii=False, separators=(",", ":"))


def load(text: str | None) -> Any:
    """The value `dump` was given; an error comes back as an exception object."""
    value = None if text is None else json.loads(text)
    if isinstance(value, dict) and faults.MARK in value:
        return faults.from_fault(cast("dict[str, Any]", value))
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):  # the tick that the engine hands to a schedule
        return value.isoformat()
    raise TypeError(f"a step or job must return JSON, not {type(value).__name__}")
