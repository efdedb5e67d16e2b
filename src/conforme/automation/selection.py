"""Which fiches a run takes: days, filters, the sample and the cut (spec/automation §4.1.3, §4.3, §12.8–9). Pure.

What is known of a fiche before its details are may be old: only a group that is known to be another one, and audits
that are stored, decide early. The rest is decided when the details are there.
"""

import calendar
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Final

from conforme.automation.rules import Sample, Selection, Stratum

NOT_FOUND: Final = "Fiche not found (404)"
OTHER_GROUP: Final = "Group not selected"
AUDITED: Final = "Already audited"
NO_RECORDINGS: Final = "No recordings"
OUT_OF_SCOPE: Final = "Not among the fiches of the schedule's owner"
UNKNOWN_STRATUM: Final = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fiche that a run may take, as far as it is known before its details are asked for."""

    fiche_id: str
    groupe: str | None = None
    advisor: str | None = None
    audited: bool = False
    """Each configuration of the run has a completed latest audit of it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a run takes of its candidates; each of them is taken, ignored or left."""

    taken: tuple[str, ...]
    ignored: Mapping[str, str]
    """By fiche, why."""
    left: int = 0
    """Eligible, and neither in the sample nor within `maxFiches`."""


@dataclass(frozen=True, slots=True)
class Details:
    """A fiche as its details tell of it."""

    found: bool
    groupe: str | None = None
    recordings: int = 0


def days_of(selection: Selection, today: date) -> tuple[date, ...]:
    """The days whose sales a run looks at, none of them to come; `today` is the day in the schedule's zone."""
    span = _span(selection, today)
    if span is None:
        return ()
    first, last = span[0], min(span[1], today)
    return tuple(first + timedelta(days=rank) for rank in range((last - first).days + 1))


def _span(selection: Selection, today: date) -> tuple[date, date] | None:
    yesterday = today - timedelta(days=1)
    match selection.date_range:
        case "last_24h":
            return yesterday, today
        case "yesterday":
            return yesterday, yesterday
        case "last_week":
            return today - timedelta(days=7), today
        case "last_month":
            return a_month_before(today), today
        case "custom":
            first = selection.custom_start
            return None if first is None else (first, selection.custom_end or first)
        case None:
            return None


def a_month_before(day: date) -> date:
    """The same day of the month before, or that month's last day."""
    year, month = (day.year, day.month - 1) if day.month > 1 else (day.year - 1, 12)
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def choose(candidates: Sequence[Candidate], selection: Selection, *, seed: int = 0) -> Choice:
    """What a run takes, in the order given; a fiche that is named twice counts once.

    A fiche that the selection names and that is no candidate is ignored: its owner does not see it, or nobody does.
    """
    once = list({each.fiche_id: each for each in candidates}.values())
    reasons = {each.fiche_id: early_reason(each, selection) for each in once}
    named = selection.fiche_ids if selection.mode == "manual" else ()
    reasons |= {fiche_id: OUT_OF_SCOPE for fiche_id in named if fiche_id not in reasons}
    eligible = [each for each in once if reasons[each.fiche_id] is None]
    drawn = eligible if selection.sample is None else sampled(eligible, selection.sample, seed)
    taken = drawn[: selection.max_fiches]
    return Choice(
        taken=tuple(each.fiche_id for each in taken),
        ignored={fiche_id: reason for fiche_id, reason in reasons.items() if reason is not None},
        left=len(eligible) - len(taken),
    )


def early_reason(candidate: Candidate, selection: Selection) -> str | None:
    """Why a fiche is not taken, as far as that is known before its details are; None: it may be."""
    if selection.only_unaudited and candidate.audited:
        return AUDITED
    return _of_group(candidate.groupe, selection) if candidate.groupe is not None else None


def late_reason(details: Details, selection: Selection, *, most_recordings: int) -> str | None:
    """Why a fiche is ignored now that its details are known; None: it is worked on."""
    if not details.found:
        return NOT_FOUND
    if reason := _of_group(details.groupe, selection):
        return reason
    if details.recordings > most_recordings:
        return f"Too many recordings ({details.recordings}>{most_recordings})"
    return NO_RECORDINGS if selection.only_with_recordings and not details.recordings else None


def _of_group(groupe: str | None, selection: Selection) -> str | None:
    return OTHER_GROUP if selection.groupes and groupe not in selection.groupes else None


def sampled(candidates: Sequence[Candidate], sample: Sample, seed: int) -> list[Candidate]:
    """The part of the candidates that is drawn, in the order given; the order has no part in which are drawn.

    Of each stratum the percentage, rounded up; a count is shared out among the strata by their sizes (largest
    remainders). Within a stratum each fiche has the same chance.
    """
    strata: dict[str, list[str]] = defaultdict(list)
    for each in candidates:
        strata[_stratum(each, sample.stratify_by)].append(each.fiche_id)
    sizes = {name: len(ids) for name, ids in strata.items()}
    chance = random.Random(seed)  # noqa: S311 -- to be drawn again by whoever knows the seed
    drawn: set[str] = set()
    for name, share in sorted(shares(sizes, sample).items()):
        drawn.update(chance.sample(sorted(strata[name]), share))
    return [each for each in candidates if each.fiche_id in drawn]


def _stratum(candidate: Candidate, by: Stratum | None) -> str:
    match by:
        case "groupe":
            return candidate.groupe or UNKNOWN_STRATUM
        case "advisor":
            return candidate.advisor or UNKNOWN_STRATUM
        case None:
            return UNKNOWN_STRATUM


def shares(sizes: Mapping[str, int], sample: Sample) -> dict[str, int]:
    """How many are drawn of each stratum."""
    if sample.percentage is not None:
        part = Fraction(sample.percentage) / 100
        return {name: math.ceil(size * part) for name, size in sizes.items()}
    total = sum(sizes.values())
    count = min(sample.count or 0, total)
    exact = {name: Fraction(count * size, total) for name, size in sizes.items()} if total else {}
    whole = {name: math.floor(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
    for name in by_remainder[: count - sum(whole.values())]:
        whole[name] += 1
    return whole


def most_recordings(selection: Selection, configured: int, ceiling: int) -> int:
    """The recordings a fiche may have: the selection's limit, else the configured one (0: none), at most `ceiling`."""
    return min(ceiling, selection.max_recordings_per_fiche or configured or ceiling)
