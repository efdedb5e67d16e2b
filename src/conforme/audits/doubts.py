"""Why a verdict may be wrong, and how sure it is all the same: what a person is asked to look at (pure).

A doubt changes no status. Whoever holds a verdict says what speaks against it; the review queue shows the points with
the least certain one first, and a human review settles them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

DECIMALS: Final = 4
"""With which a certainty is stored."""


class DoubtReason(StrEnum):
    """What speaks against a verdict."""

    LOW_RECOGNITION = "low_recognition"
    """The recogniser was not sure of the words it rests on."""
    NEAR_MISS = "near_miss"
    """A quote was refused although a passage resembles it."""
    ROLE_UNSURE = "role_unsure"
    """The rule says who must speak, and it is not certain who did."""
    WRONG_SPEAKER = "wrong_speaker"
    """The words were found, but the other party spoke them."""
    RUNS_DISAGREE = "runs_disagree"
    """Asked twice, the model gave different statuses."""
    CHRONOLOGY = "chronology"
    """The words were spoken before or after their time."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """One thing that speaks against the verdict on a control point."""

    reason: DoubtReason
    certainty: float
    """How far the verdict is to be trusted all the same: from 0 (not at all) to 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.certainty <= 1:
            raise ValueError("a certainty lies between 0 and 1")


Doubts = tuple[Doubt, ...]


def certainty(doubts: Iterable[Doubt]) -> float | None:
    """That of the doubt which weighs most; `None` where nothing speaks against the verdict."""
    return min((round(doubt.certainty, DECIMALS) for doubt in doubts), default=None)


def merged(doubts: Iterable[Doubt]) -> Doubts:
    """One doubt per reason, the one that weighs most; the least certain first."""
    worst: dict[DoubtReason, Doubt] = {}
    for doubt in doubts:
        known = worst.get(doubt.reason)
        if known is None or doubt.certainty < known.certainty:
            worst[doubt.reason] = doubt
    return tuple(sorted(worst.values(), key=lambda doubt: (doubt.certainty, doubt.reason)))


def to_json(doubts: Iterable[Doubt]) -> list[dict[str, Any]]:
    """As they are stored and shown: `[{"reason": "near_miss", "certainty": 0.5}]`."""
    return [{"reason": doubt.reason.value, "certainty": round(doubt.certainty, DECIMALS)} for doubt in doubts]


def from_json(stored: Iterable[Mapping[str, Any]]) -> Doubts:
    return tuple(Doubt(DoubtReason(each["reason"]), float(each["certainty"])) for each in stored)
