"""What an import did, would do, or finds afterwards: for people and as JSON. Ids and counts, no personal data."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table

Mode = Literal["import", "dry-run", "verify"]
MOST_LISTED: Final = 1_000
"""Rows set aside, or different, that a report names; the counts are of all."""
MOST_SHOWN: Final = 20
TITLES: Final[dict[Mode, str]] = {
    "import": "Import of the original",
    "dry-run": "What an import would bring",
    "verify": "Verification of the import",
}


@dataclass(slots=True)
class KindReport:
    """Counts of one kind of rows."""

    source: int = 0
    """Rows that the original has."""
    imported: int = 0
    """Rows written by this run; of a dry run, those that would be."""
    known: int = 0
    """Rows that an earlier import brought."""
    already_here: int = 0
    """Of this run: things that were here already, and were left as they are."""
    renumbered: int = 0
    """Of this run: rows whose number was taken here."""
    quarantined: int = 0
    """Rows set aside."""
    sampled: int = 0
    """Rows that a verification compared."""
    different: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One row that was set aside, or differs."""

    table: str
    id: int
    reason: str


@dataclass(slots=True)
class Report:
    mode: Mode
    kinds: dict[str, KindReport] = field(default_factory=dict[str, KindReport])
    lines: list[Line] = field(default_factory=list[Line])
    notes: Counter[str] = field(default_factory=Counter[str])
    left: dict[str, str] = field(default_factory=dict[str, str])
    """Tables that were not taken over, each with its number of rows and why."""
    absent: list[str] = field(default_factory=list[str])
    """Tables that this original does not have."""

    def kind(self, name: str) -> KindReport:
        return self.kinds.setdefault(name, KindReport())

    def line(self, table: str, number: int, reason: str) -> None:
        if len(self.lines) < MOST_LISTED:
            self.lines.append(Line(table, number, reason))

    @property
    def clean(self) -> bool:
        """Nothing was set aside, nothing differs."""
        return not any(each.quarantined or each.different for each in self.kinds.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "clean": self.clean,
            "kinds": {name: _counts(self.mode, each) for name, each in self.kinds.items()},
            "set_aside" if self.mode != "verify" else "different": [
                {"table": each.table, "id": each.id, "reason": each.reason} for each in self.lines
            ],
            "notes": dict(self.notes.most_common()),
            "not_taken_over": self.left,
            "absent": self.absent,
        }


COLUMNS: Final[dict[Mode, tuple[str, ...]]] = {
    "import": ("source", "imported", "known", "already_here", "renumbered", "quarantined"),
    "dry-run": ("source", "imported", "known", "quarantined"),
    "verify": ("source", "known", "quarantined", "sampled", "different"),
}


def _counts(mode: Mode, counted: KindReport) -> dict[str, int]:
    return {name: getattr(counted, name) for name in COLUMNS[mode]}


def show(report: Report, console: Console) -> None:
    """The report as a table, with what else there is to know below it."""
    names = COLUMNS[report.mode]
    table = Table("kind", *(name.replace("_", " ") for name in names), title=TITLES[report.mode])
    for name, counted in report.kinds.items():
        table.add_row(name, *(str(getattr(counted, each)) for each in names))
    console.print(table)
    for sentence, count in report.notes.most_common():
        console.print(f"{count} × {sentence}", highlight=False)
    _listed(console, "Not taken over", (f"{table}: {why}" for table, why in report.left.items()))
    _listed(console, "Not in this original", report.absent)
    what = "Different" if report.mode == "verify" else "Set aside"
    _listed(console, what, (f"{each.table} {each.id}: {each.reason}" for each in report.lines[:MOST_SHOWN]))
    if len(report.lines) > MOST_SHOWN:
        console.print(f"  … and {len(report.lines) - MOST_SHOWN} more; --json lists them", highlight=False)


def _listed(console: Console, title: str, lines: Iterable[str]) -> None:
    found = list(lines)
    if found:
        console.print(f"{title}:", highlight=False)
        for line in found:
            console.print(f"  {line}", highlight=False, markup=False)
