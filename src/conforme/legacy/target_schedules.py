"""Schedules and their runs, kept row by row until something here takes them up."""

from collections.abc import Sequence
from typing import Any

from conforme.foundation.database import WriteSession
from conforme.foundation.rows import Rows, write_rows
from conforme.legacy import layout, target
from conforme.legacy.layout import SECRETS, Kind
from conforme.legacy.models import LegacySchedule
from conforme.legacy.source import Bundle
from conforme.legacy.target import Brought, Mapped, Written

OldRows = tuple[tuple[str, int, dict[str, Any]], ...]
"""Table, id, row."""


class Schedules:
    """Schedules, or runs: each row with those below it."""

    def __init__(self, kind: Kind, note: str) -> None:
        self._kind = kind
        self._note = note

    @property
    def kind(self) -> Kind:
        return self._kind

    def read(self, bundle: Bundle) -> OldRows:
        return old_rows(self._kind, bundle)

    async def write(self, session: WriteSession, rows: Sequence[Mapped]) -> Written:
        """The numbers stay those of the original: audits tell them in `resultData.imported`."""
        values = [
            {"legacy_table": table, "legacy_id": number, "content": content}
            for row in rows
            for table, number, content in row.value
        ]
        again = "on conflict (legacy_table, legacy_id) do update set content = excluded.content"
        await write_rows(session, Rows(LegacySchedule, values, again))
        outcome = Written(brought=[Brought(row.id, row.id) for row in rows])
        outcome.notes[self._note] += len(rows)
        return outcome


def old_rows(kind: Kind, bundle: Bundle) -> OldRows:
    """The row and those below it as JSON; pure. What is secret is not among their columns."""
    below = ((child.table, row) for child in kind.children for row in bundle.of(child.table))
    return tuple(
        (table, int(row["id"]), _content(table, row)) for table, row in ((kind.table, bundle.row), *below)
    )


def _content(table: str, row: Any) -> dict[str, Any]:
    return {name: target.jsonable(value) for name, value in row.items() if name not in SECRETS.get(table, ())}


def schedules() -> Schedules:
    return Schedules(
        layout.SCHEDULES,
        "Schedules are kept in legacy_schedules and do not run; a key of the CRM that one held was not taken over",
    )


def runs() -> Schedules:
    return Schedules(layout.RUNS, "Runs of schedules are kept in legacy_schedules")
