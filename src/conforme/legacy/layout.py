"""The tables of the original, as far as they are taken over (spec/audits §12, fiches §2–4, automation §10, realtime §7).

A kind is what is taken over at a time: a row and everything that hangs on it. Kinds are listed in the order in which
they need each other.
"""

from dataclasses import dataclass, field
from typing import Final

from conforme.fiches.layout import ROOT, ROOT_KEY
from conforme.fiches.sections import FICHE, nodes


@dataclass(frozen=True, slots=True)
class Child:
    """A table whose rows hang on a row of a kind, or on a row of another such table."""

    table: str
    key: str
    """The column that points at the parent."""
    parent: str | None = None
    """The parent's table; None is the kind's own."""


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    table: str
    needed: tuple[str, ...]
    """Columns without which nothing can be made of a row; whatever else may be missing."""
    children: tuple[Child, ...] = ()
    beside: tuple[str, ...] = ()
    """Small tables that every row is read with."""
    tables: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = {self.table, *self.beside, *(child.table for child in self.children)}
        object.__setattr__(self, "tables", frozenset(names))


def _sections() -> tuple[Child, ...]:
    """The section tables have the names and keys of ours, which were made of the same contract."""
    parents = {
        child.table: node.table for node in nodes() for child in node.below if child.parent_key != ROOT_KEY
    }
    return tuple(Child(node.table, node.parent_key, parents.get(node.table)) for node in nodes(FICHE))


def _of_audit(*tables: str) -> tuple[Child, ...]:
    return tuple(Child(table, "audit_id") for table in tables)


STEPS: Final = "audit_step_results"
POINTS: Final = "audit_step_result_control_points"
CITATIONS: Final = "audit_step_result_citations"
REVIEWS: Final = "audit_step_result_human_reviews"
RERUNS: Final = "audit_step_result_rerun_events"
OUTCOMES_OF_RUN: Final = "automation_run_fiche_results"
CHUNKS: Final = "recording_transcription_chunks"

ROLES: Final = Kind(
    "roles", "roles", ("id", "key", "name"), (Child("role_permissions", "role_id"),), ("permissions",)
)
TEAMS: Final = Kind("teams", "teams", ("id", "crm_group_id", "name"))
USERS: Final = Kind(
    "users", "users", ("id", "email"), (Child("user_roles", "user_id"), Child("user_teams", "user_id"))
)
CONFIGS: Final = Kind("configs", "audit_configs", ("id", "name"), (Child("audit_steps", "audit_config_id"),))
FICHES: Final = Kind("fiches", ROOT, ("id", "fiche_id"), _sections())
RECORDINGS: Final = Kind(
    "recordings", "recordings", ("id", ROOT_KEY, "call_id"), (Child(CHUNKS, "recording_id"),)
)
SCHEDULES: Final = Kind("schedules", "automation_schedules", ("id",))
RUNS: Final = Kind("runs", "automation_runs", ("id", "schedule_id"), (Child(OUTCOMES_OF_RUN, "run_id"),))
AUDITS: Final = Kind(
    "audits",
    "audits",
    ("id", ROOT_KEY, "audit_config_id", "status"),
    _of_audit(STEPS, POINTS, CITATIONS, REVIEWS, RERUNS),
)

KINDS: Final = (ROLES, TEAMS, USERS, CONFIGS, FICHES, RECORDINGS, SCHEDULES, RUNS, AUDITS)
BY_NAME: Final = {kind.name: kind for kind in KINDS}

SECRETS: Final = {
    "automation_schedules": frozenset({"external_api_key"}),
}
"""Columns that are not even read."""

LEFT_BEHIND: Final = {
    "refresh_tokens": "everybody signs in anew",
    "user_invite_tokens": "invite again whom you still wait for",
    "automation_logs": "old lines are not kept here either",
}
"""Tables that are not taken over on purpose, and what that means."""
