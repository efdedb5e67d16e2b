"""What a run goes by, frozen when it is asked for: a later edit of the schedule changes nothing about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

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


_FICHE_IDS: Final = ("ficheIds", "fiche_ids")


def shown_snapshot(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """A snapshot without the fiches its selections name, whose number (`ficheIdsCount`) stands for them. Pure.

    Whoever sees a run need not see its fiches, and a page of runs would name the same thousands again and again.
    """
    shown: dict[str, Any] = {}
    for name, value in snapshot.items():
        if name in _FICHE_IDS and isinstance(value, list):
            shown["ficheIdsCount"] = len(cast("list[Any]", value))
        elif isinstance(value, Mapping):
            shown[name] = shown_snapshot(cast("Mapping[str, Any]", value))
        else:
            shown[name] = value
    return shown


def plan_of(run: AutomationRun) -> Plan:
    """Reads a run's snapshot."""
    snapshot = run.config_snapshot
    rules = ScheduleRules.model_validate(snapshot["rules"])
    overrides = snapshot["overrides"]
    return Plan(rules, rules.selection if overrides is None else Selection.model_validate(overrides))
