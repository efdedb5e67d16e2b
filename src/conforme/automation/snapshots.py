"""What a run goes by, frozen when it is asked for: a later edit of the schedule changes nothing about it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from conforme.automation.columns import owner_of, rules_of
from conforme.automation.models import AutomationRun, AutomationSchedule
from conforme.automation.rules import ScheduleRules, Selection
from conforme.foundation.web import iso


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does, and to which fiches."""

    rules: ScheduleRules
    selection: Selection
    """The one that was given with the trigger, else the schedule's."""


def snapshot_of(
    schedule: AutomationSchedule, *, overrides: Selection | None, due: datetime | None
) -> dict[str, Any]:
    """The contract's members, and beside them `rules`; neither addresses nor keys."""
    return {
        "schedule": {"name": schedule.name, "scheduleType": schedule.schedule_type},
        "overrides": None if overrides is None else overrides.wire,
        "due_at": iso(due),
        "acts_for": owner_of(schedule).name,
        "rules": rules_of(schedule).model_dump(mode="json"),
    }


def plan_of(run: AutomationRun) -> Plan:
    """Reads a run's snapshot."""
    snapshot = run.config_snapshot
    rules = ScheduleRules.model_validate(snapshot["rules"])
    overrides = snapshot["overrides"]
    return Plan(rules, rules.selection if overrides is None else Selection.model_validate(overrides))
