"""What a schedule says, from and to the columns that hold it."""

from typing import Any, Final

from conforme.accounts.actor import Actor, Scope
from conforme.automation.due import cron_of
from conforme.automation.models import AutomationSchedule
from conforme.automation.rules import Budget, Sample, ScheduleRules, Selection, Timing

_SELECTION: Final = "fiche_selection_"
_NESTED: Final = frozenset({"timing", "selection", "budget"})
_PLAIN: Final = tuple(name for name in ScheduleRules.model_fields if name not in _NESTED)


def rules_of(row: AutomationSchedule) -> ScheduleRules:
    """What the schedule says now."""
    return ScheduleRules(
        timing=timing_of(row),
        selection=selection_of(row),
        budget=Budget.model_validate({name: getattr(row, name) for name in Budget.model_fields}),
        **{name: getattr(row, name) for name in _PLAIN},
    )


def timing_of(row: AutomationSchedule) -> Timing:
    """Taken as it is stored: a schedule whose zone was abolished can still be read, and given another one."""
    return Timing.model_construct(**{name: getattr(row, name) for name in Timing.model_fields})


def selection_of(row: AutomationSchedule) -> Selection:
    return Selection.model_validate(
        {name: getattr(row, _SELECTION + name) for name in Selection.model_fields}
    )


def columns_of(rules: ScheduleRules) -> dict[str, Any]:
    """Values for the columns; the expression that is stored is the one that the timing stands for."""
    timing, selection = rules.timing, rules.selection
    columns = {name: getattr(timing, name) for name in Timing.model_fields}
    columns["cron_expression"] = cron_of(timing)
    columns |= {_SELECTION + name: _stored(getattr(selection, name)) for name in Selection.model_fields}
    columns |= {name: getattr(rules.budget, name) for name in Budget.model_fields}
    return columns | {name: _stored(getattr(rules, name)) for name in _PLAIN}


def _stored(value: Any) -> Any:
    match value:
        case tuple():
            return list(value)
        case Sample():
            return value.model_dump(mode="json", exclude_none=True)
        case _:
            return value


def owner_columns(actor: Actor) -> dict[str, Any]:
    return {
        "asked_by": actor.name,
        "scope": actor.scope.value,
        "groupes": sorted(actor.groupes),
        "crm_user_id": actor.crm_user_id,
        "user_id": actor.user_id,
    }


def owner_of(row: AutomationSchedule) -> Actor:
    """Whoever created the schedule, as far as they saw when they did: whose fiches its runs may take."""
    return Actor(
        name=row.asked_by,
        scope=Scope(row.scope),
        groupes=frozenset(row.groupes),
        crm_user_id=row.crm_user_id,
        user_id=row.user_id,
    )
