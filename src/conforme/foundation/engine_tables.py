"""How the engine uses its tables, changed where that costs or where its order is not ours.

Methods of the engine's system database are replaced on the instance that `durable` made; none of them is public. What
is not plain is always left to the method that was there. The reasons are in docs/adr/0001-durable-engine.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from conforme.foundation import job_rows
from conforme.foundation.outages import is_outage


@dataclass(frozen=True, slots=True)
class Improvements:
    """What is changed for an engine that runs jobs."""

    alone: Engine
    """Its connections, each statement by itself."""
    fresh: set[str]
    """Kept here: jobs that run here and had no step stored when they were claimed."""
    ticking: set[str]
    """Lanes that schedules queue work on."""
    per_key: Mapping[str, int]
    """Limits of the lanes that are limited per key."""
    owner_of: Callable[[str], str | None]
    """Token by which the execution that calls holds a job."""

    def apply(self, database: Any) -> None:
        # The engine asks every second which queues there are; ours are served by `durable`.
        database.list_queues = lambda **_: []
        # Among keys it draws lots: here the most urgent go first.
        database.get_queue_partitions = self._open_keys
        self._look_up_less(database)
        self._record_at_once(database)

    def _open_keys(self, queue_name: str) -> list[str]:
        """Keys whose work may start now, of the most urgent priority only, oldest first."""
        values = {"lane": queue_name, "per_key": self.per_key[queue_name]}
        with self.alone.connect() as connection:
            return list(connection.scalars(job_rows.OPEN_KEYS, values))

    def _look_up_less(self, database: Any) -> None:
        """Stored results are looked up only for a job that had any when this execution of it began.

        A look for its cancellation would come with it: that is told at once. And which version is the latest is asked
        only where a schedule may have queued work, because nothing else is queued without a version.
        """
        read_claimed, read_step = database.get_workflow_statuses, database.check_operation_execution

        def claimed(workflow_ids: list[str]) -> list[dict[str, Any]]:
            found = read_claimed(workflow_ids)
            restarted = [each["workflow_uuid"] for each in found if each["recovery_attempts"] != 1]
            begun = self._begun(restarted) if restarted else set[str]()
            self.fresh.difference_update(begun)
            self.fresh.update({each["workflow_uuid"] for each in found} - begun)
            return found

        def stored(workflow_id: str, function_id: int, function_name: str, **owner: Any) -> Any:
            if workflow_id in self.fresh:
                return None
            return read_step(workflow_id, function_id, function_name, **owner)

        def versioned(claim: Callable[..., Any]) -> Callable[..., Any]:
            def run(queue: Any, *place: Any, **options: Any) -> Any:
                if queue.name not in self.ticking:
                    options["is_latest_version"] = False
                return claim(queue, *place, **options)

            return run

        database.get_workflow_statuses = claimed
        database.check_operation_execution = stored
        database.start_queued_workflows = versioned(database.start_queued_workflows)
        database.start_queued_partitioned_workflows = versioned(database.start_queued_partitioned_workflows)

    def _record_at_once(self, database: Any) -> None:
        """A step's result is stored by one statement, which holds the job, checks its owner, and inserts."""
        record = database.record_operation_result

        def recorded(result: Any, **rest: Any) -> None:
            owner = self.owner_of(result["workflow_uuid"])
            at = int(time.time() * 1000)
            plain = not rest and owner is not None and result["child_workflow_id"] is None
            if not plain or not self._recorded({**result, "owner_xid": owner, "completed_at_epoch_ms": at}):
                rest.setdefault("completed_at_epoch_ms", at)
                record(result, **rest)

        database.record_operation_result = recorded

    def _recorded(self, facts: Mapping[str, Any]) -> bool:
        """Whether a step's result is stored; if not, the engine says why, or waits for a database that is away."""
        try:
            with self.alone.connect() as connection:
                return connection.scalar(job_rows.RECORD_STEP, facts) == facts["completed_at_epoch_ms"]
        except DBAPIError as error:
            if is_outage(error):
                return False
            raise

    def _begun(self, ids: Iterable[str]) -> set[str]:
        with self.alone.connect() as connection:
            return set(connection.scalars(job_rows.BEGUN, {"ids": list(ids)}))


class Gathered:
    """Stands for a connection where the engine inserts the rows of a job: they are kept, and inserted together."""

    def __init__(self) -> None:
        self._jobs: list[dict[str, Any]] = []
        self._inputs: list[dict[str, Any]] = []

    def keep(self, name: str, row: dict[str, Any]) -> Gathered:
        {"insert_workflow_status": self._jobs, "insert_workflow_input": self._inputs}[name].append(row)
        return self

    def fetchone(self) -> None:
        """No such job was there before: `insert` says what was."""

    def get_execution_options(self) -> dict[str, Any]:
        return {}

    def execution_options(self, **_: Any) -> Gathered:
        return self

    def insert(self, connection: Connection, parent: str | None) -> list[str]:
        """Inserts what was gathered, as children of `parent`. Returns the ids that were taken: those are left alone."""
        jobs = [job | {"parent_workflow_id": parent} for job in self._jobs]
        written = set(
            connection.scalars(job_rows.enqueue(tuple(jobs[0])), {"jobs": jobs, "inputs": self._inputs})
        )
        ids = [str(job["workflow_uuid"]) for job in self._jobs]
        return [id for id in ids if id not in written]


def gather(database: Any) -> None:
    """Rows that the engine inserts on a `Gathered` are kept there."""
    execute = database._execute_prepared  # noqa: SLF001

    def prepared(connection: Any, name: str, values: dict[str, Any], *rest: Any, **options: Any) -> Any:
        if isinstance(connection, Gathered):
            return connection.keep(name, values)
        return execute(connection, name, values, *rest, **options)

    vars(database)["_execute_prepared"] = prepared


class EngineJson:
    """The engine's serializer: never pickle."""

    def name(self) -> str:
        return "conforme_json"

    def serialize(self, data: Any) -> str:
        return job_rows.dump(data)

    def deserialize(self, serialized_data: str) -> Any:
        return job_rows.load(serialized_data)
