"""Schedules as the wire shows them."""

from collections.abc import Sequence
from typing import Any, Final

from conforme.automation.columns import rules_of
from conforme.automation.models import AutomationRun, AutomationSchedule
from conforme.automation.rules import Budget, ScheduleRules, Timing
from conforme.automation.schemas import RunLine, ScheduleBody, ScheduleOut, ScheduleWithRuns
from conforme.foundation import sealing
from conforme.settings import Settings

_FROM_ROW: Final = tuple(
    name
    for name in ScheduleOut.model_fields
    if name not in {*ScheduleRules.model_fields, *Timing.model_fields}
    and name not in {"fiche_selection", "budget", "external_api_key", "next_run_at", "specific_audit_configs"}
)


def schedule_out(row: AutomationSchedule, settings: Settings) -> ScheduleOut:
    return ScheduleOut.model_validate(_shown(row, settings))


def with_runs(row: AutomationSchedule, runs: Sequence[AutomationRun], settings: Settings) -> ScheduleWithRuns:
    lines = [RunLine.model_validate(run) for run in runs]
    return ScheduleWithRuns.model_validate(_shown(row, settings) | {"runs": lines})


def body_of(row: AutomationSchedule) -> dict[str, Any]:
    """The body that would describe the schedule as it is; its secrets, which it would leave alone, left out."""
    rules = rules_of(row)
    plain = {name: getattr(row, name) for name in ScheduleBody.model_fields if name in _FROM_ROW}
    whole = {
        **plain,
        **_dumped(rules),
        "fiche_selection": rules.selection.wire,
        "budget": rules.budget.model_dump(mode="json", by_alias=True),
    }
    return {_wire_name(name): value for name, value in whole.items()}


def _wire_name(name: str) -> str:
    return ScheduleBody.model_fields[name].alias or name


def _dumped(rules: ScheduleRules) -> dict[str, Any]:
    flat = rules.model_dump(exclude={"timing", "selection", "budget"}) | rules.timing.model_dump()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in flat.items()}


def _shown(row: AutomationSchedule, settings: Settings) -> dict[str, Any]:
    rules = rules_of(row)
    key = row.external_api_key
    return {
        **{name: getattr(row, name) for name in _FROM_ROW},
        **_dumped(rules),
        "specific_audit_configs": [str(each) for each in rules.specific_audit_configs],
        "fiche_selection": rules.selection.wire,
        "budget": Budget.model_validate(rules.budget),
        "external_api_key": None if key is None else sealing.masked(key, settings),
        "next_run_at": row.next_due_at if row.is_active else None,
    }
