"""Steps that must come before others, checked by the times of their evidence (pure).

A step flagged `chronological_important` opens a part of the call: what it asks for has to be said before the steps
behind it are gone through. Its point comes too late when its first evidence begins after the subject of the steps
behind it was taken up: after the evidence of at least `TAKEN_UP` of the later steps that are not flagged themselves
(of all of them, where there are fewer with evidence). One later subject touched early is small talk; several are the
sale. Flagged steps are not held against each other: within an opening, any order will do.

Only what is known counts. A point without located words, with words whose time nobody knows, or that names a fault or
is not to be heard in the call, is never late; nor does such evidence make another one late.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from conforme.audit_configs.rules import Rules, StepRule
from conforme.audits.verdicts import Statut

TAKEN_UP: Final = 3
"""Later steps whose evidence must have begun for the subject to be taken up."""


class Moment(NamedTuple):
    """When words were spoken: recordings follow one another in order of time."""

    recording: int
    seconds: float


class PointKey(NamedTuple):
    """A control point; both numbers count from 1."""

    position: int
    number: int


@dataclass(frozen=True, slots=True)
class Late:
    """A point whose first evidence came after its time."""

    key: PointKey
    said: Moment
    taken_up: Moment
    """When the steps behind it had been taken up."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What is held about one point: its status, and when each of its passages begins (None: unknown)."""

    statut: Statut
    moments: tuple[Moment | None, ...]

    @property
    def first(self) -> Moment | None:
        """The earliest moment; None where one of them is unknown, for it may have been the first."""
        known = [moment for moment in self.moments if moment is not None]
        return min(known) if known and len(known) == len(self.moments) else None


def late_points(rules: Rules, heard: Mapping[PointKey, Heard]) -> list[Late]:
    """The points of flagged steps that were met too late, in the order of the rules."""
    firsts = {step.position: first for step in rules.steps if (first := _first_of(step, heard)) is not None}
    return [
        Late(key, said, taken_up)
        for step in rules.steps
        if step.chronological_important and (taken_up := _taken_up(step, rules.steps, firsts)) is not None
        for key, said in _said(step, heard)
        if said > taken_up
    ]


def _counts(step: StepRule, number: int) -> bool:
    point = step.control_points[number - 1]
    return point.audible and not point.forbidden


def _said(step: StepRule, heard: Mapping[PointKey, Heard]) -> Iterable[tuple[PointKey, Moment]]:
    """The points of a step that the words meet, each with the moment of its first evidence."""
    for number in range(1, len(step.control_points) + 1):
        key = PointKey(step.position, number)
        held = heard.get(key)
        if held is None or held.statut not in {Statut.PRESENT, Statut.PARTIEL} or not _counts(step, number):
            continue
        if (first := held.first) is not None:
            yield key, first


def _first_of(step: StepRule, heard: Mapping[PointKey, Heard]) -> Moment | None:
    return min((said for _, said in _said(step, heard)), default=None)


def _taken_up(step: StepRule, steps: Sequence[StepRule], firsts: Mapping[int, Moment]) -> Moment | None:
    """When the steps behind this one had been taken up; None while none was."""
    behind = sorted(
        firsts[other.position]
        for other in steps
        if other.position > step.position and not other.chronological_important and other.position in firsts
    )
    return behind[min(TAKEN_UP, len(behind)) - 1] if behind else None
