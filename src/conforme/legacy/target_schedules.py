"""Schedules and their runs into the tables of automation: inactive, and ended."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select

from conforme.accounts.actor import Actor
from conforme.automation.columns import owner_columns
from conforme.automation.models import AutomationRun, AutomationRunFiche, AutomationSchedule
from conforme.automation.snapshots import snapshot_of
from conforme.foundation.database import WriteSession
from conforme.foundation.rows import write_rows
from conforme.legacy import layout, mapping_schedules, target
from conforme.legacy.layout import Kind
from conforme.legacy.mapping_schedules import OldRun, OldSchedule
from conforme.legacy.source import Bundle
from conforme.legacy.target import IMPORTER, Brought, Mapped, Written

OWNER: Final = Actor.system("legacy-import")
"""The original's schedules saw every fiche."""
INACTIVE: Final = (
    "Schedules came inactive: activate each when the original no longer runs it. A key of the CRM that one held was not"
    " taken over"
)
WEBHOOK: Final = "Schedules told a webhook: enter its address, and a secret, again"
CONFIG_GONE: Final = "Configurations that schedules name did not come, and were left out"


class Schedules:
    kind: Kind = layout.SCHEDULES

    def read(self, bundle: Bundle) -> OldSchedule:
        return mapping_schedules.schedule(bundle)

    async def write(self, session: WriteSession, rows: Sequence[Mapped]) -> Written:
        outcome = Written()
        numbers = await target.numbered(session, AutomationSchedule, [row.id for row in rows])
        named = [number for row in rows for number in row.value.config_ids]
        configs = await target.ids_here(session, layout.CONFIGS, named)
        values = [
            {
                "id": numbers[row.id],
                **owner_columns(OWNER),
                **row.value.columns,
                **row.value.beside,
                "is_active": False,
                "specific_audit_configs": [configs[each] for each in row.value.config_ids if each in configs],
            }
            for row in rows
        ]
        await write_rows(session, target.rows(AutomationSchedule, values))
        outcome.brought += [Brought(row.id, numbers[row.id]) for row in rows]
        outcome.notes[INACTIVE] += len(rows)
        if webhooks := sum(row.value.had_webhook for row in rows):
            outcome.notes[WEBHOOK] += webhooks
        if gone := sum(number not in configs for number in named):
            outcome.notes[CONFIG_GONE] += gone
        return outcome


class Runs:
    kind: Kind = layout.RUNS

    def __init__(self, now: datetime) -> None:
        self._now = now

    def read(self, bundle: Bundle) -> OldRun:
        return mapping_schedules.run(bundle, self._now)

    async def write(self, session: WriteSession, rows: Sequence[Mapped]) -> Written:
        outcome = Written()
        here = await target.ids_here(session, layout.SCHEDULES, [row.value.schedule_id for row in rows])
        outcome.refused |= {
            row.id: f"schedule_id: schedule {row.value.schedule_id} did not come"
            for row in rows
            if row.value.schedule_id not in here
        }
        fit = [row for row in rows if row.id not in outcome.refused]
        if not fit:
            return outcome
        query = select(AutomationSchedule).where(AutomationSchedule.id.in_(list(here.values())))
        schedules = {each.id: each for each in await session.scalars(query)}
        numbers = await target.numbered(session, AutomationRun, [row.id for row in fit])
        runs = [_run(row, numbers[row.id], schedules[here[row.value.schedule_id]]) for row in fit]
        fiches = [{"run_id": numbers[row.id], **each} for row in fit for each in row.value.fiches]
        await write_rows(session, target.rows(AutomationRun, runs), target.rows(AutomationRunFiche, fiches))
        outcome.brought += [Brought(row.id, numbers[row.id]) for row in fit]
        return outcome


def _run(row: Mapped, number: int, schedule: AutomationSchedule) -> dict[str, Any]:
    """What it went by there is told in its snapshot, beside what its schedule says here."""
    old: OldRun = row.value
    snapshot = snapshot_of(schedule, overrides=None, due=None) | {"imported": old.snapshot}
    return {
        "id": number,
        "schedule_id": schedule.id,
        "job_id": f"legacy-automation-run-{row.id}",
        "requested_by": IMPORTER,
        "config_snapshot": snapshot,
        **old.columns,
    }
