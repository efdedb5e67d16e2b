"""Whether a configuration is in force for the calls it is to judge: told before anything is paid (pure).

A configuration has a first and a last day (`valid_from`, `valid_to`) and may be for one origin of the call; so has each
of its control points. The day is that of the last call, in UTC: a sale is judged by the rules of the day it was made.
What is not known restricts nothing (`origin` tells what the CRM says of an origin).
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime

from conforme.audit_configs.rules import ANY_ORIGIN, Origins, Rules
from conforme.audits.errors import AuditFailed, ConfigurationNotInForce


def day_of(starts: Iterable[datetime | None]) -> date | None:
    """The day of the last call, None while no call has a known time."""
    known = [start.astimezone(UTC) if start.tzinfo else start for start in starts if start is not None]
    return max(known).date() if known else None


def outside(rules: Rules, day: date | None, origins: Origins = ANY_ORIGIN) -> str | None:
    """Why the rules do not apply to a sale of that day and origin; None when they do, or when nobody knows."""
    if rules.applies(day, origins):
        return None
    if rules.applies(day):
        return f"The configuration is for {rules.call_origin} calls; these are {' or '.join(sorted(origins))}"
    first = f"from {rules.valid_from}" if rules.valid_from else ""
    last = f"to {rules.valid_to}" if rules.valid_to else ""
    force = " ".join(part for part in (first, last) if part)
    return f"The configuration is in force {force}; the calls are of {day}"


def require_in_force(rules: Rules, starts: Iterable[datetime | None], origins: Origins = ANY_ORIGIN) -> None:
    """Raises `AuditFailed` (code CONFIG_NOT_IN_FORCE): for a queued audit, before speech or model are paid."""
    if (reason := outside(rules, day_of(starts), origins)) is not None:
        raise AuditFailed(reason, phase="configuration", code="CONFIG_NOT_IN_FORCE")


def refuse_outside(rules: Rules, starts: Iterable[datetime | None], origins: Origins = ANY_ORIGIN) -> None:
    """Raises `ConfigurationNotInForce`: for a request, where the calls are known already."""
    if (reason := outside(rules, day_of(starts), origins)) is not None:
        raise ConfigurationNotInForce(reason)
