"""On which day a sale is noted that the search of a range has found. Pure.

A listing does not say which of the days searched it holds a sale for: `date_insertion` is when the fiche was entered,
often earlier, and `date_modification` is any change. What is sure is the range; within it the likeliest day is taken,
and both are kept, so that a later search of fewer days corrects it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from conforme.crm.gateway import SalesListing
from conforme.crm.schemas import SalesFiche
from conforme.crm.validation import Quarantined
from conforme.fiches.coverage import Span
from conforme.fiches.days import day_of


@dataclass(frozen=True, slots=True)
class Place:
    """The day a sale is noted on, and the days between which it surely was."""

    day: date
    sold: Span


@dataclass(frozen=True, slots=True)
class DayOfListing:
    """What a listing tells of one of the days searched."""

    fiches: tuple[SalesFiche, ...] = ()
    sold: Mapping[str, Span] | None = None
    """By fiche id."""
    quarantined: tuple[Quarantined, ...] = ()

    @property
    def fiche_ids(self) -> list[str]:
        """Of all that it tells of, as far as they are named."""
        aside = [each.fiche_id for each in self.quarantined if each.fiche_id]
        return [fiche.id for fiche in self.fiches] + aside

    def as_listing(self) -> SalesListing:
        """As if the day had been listed alone."""
        return SalesListing(self.fiches, self.quarantined, len(self.fiches) + len(self.quarantined))


def place(
    told: Iterable[str | None], known: Place | None, searched: Span, days: Sequence[date]
) -> Place | None:
    """Where a sale goes that the search of `searched` for `days` has found.

    `told` are dates of the CRM, the most telling first; `known` is what earlier searches said. None for a sale that is
    known to be of another day than those.
    """
    window = _narrowed(searched, known)
    candidates = [day for day in days if window.start <= day <= window.end]
    if not candidates:
        return None
    guesses = [known.day] if known else []
    guesses += [date.fromisoformat(day) for text in told if (day := day_of(text))]
    likeliest = next((day for day in guesses if day in candidates), None)
    if likeliest is None:
        wanted = guesses[-1] if guesses else candidates[0]
        likeliest = min(candidates, key=lambda day: abs(day - wanted))
    return Place(likeliest, window)


def _narrowed(searched: Span, known: Place | None) -> Span:
    """What both searches say together; the newer one alone when they contradict each other."""
    if known is None:
        return searched
    start, end = max(searched.start, known.sold.start), min(searched.end, known.sold.end)
    return Span(start, end) if start <= end else searched


def displaced(known: Place, searched: Span) -> Place:
    """Where a sale goes that was noted on a day of `searched` and that its search has not found.

    It is of one of the other days between which it was known to be. There is such a day.
    """
    before = Span(known.sold.start, searched.start - timedelta(days=1))
    after = Span(searched.end + timedelta(days=1), known.sold.end)
    if before.start > before.end:
        return Place(after.start, after)
    return Place(before.end, before if after.start > after.end else known.sold)


def by_day(
    listing: SalesListing, known: Mapping[str, Place], searched: Span, days: Sequence[date]
) -> dict[date, DayOfListing]:
    """The listing of `searched`, divided among the days it was searched for; each of them is there, with sales or not."""
    fiches: dict[date, list[SalesFiche]] = {day: [] for day in days}
    sold: dict[date, dict[str, Span]] = {day: {} for day in days}
    aside: dict[date, list[Quarantined]] = {day: [] for day in days}
    for fiche in listing.fiches:
        told = (fiche.date_modification, fiche.date_insertion)
        if found := place(told, known.get(fiche.id), searched, days):
            fiches[found.day].append(fiche)
            sold[found.day][fiche.id] = found.sold
    for each in listing.quarantined:
        if found := place(each.dates, known.get(each.fiche_id or ""), searched, days):
            aside[found.day].append(each)
    return {day: DayOfListing(tuple(fiches[day]), sold[day], tuple(aside[day])) for day in days}


def is_short(listing: SalesListing) -> bool:
    """Whether the gateway announced more sales than it sent."""
    return listing.total > len(listing.fiches) + len(listing.quarantined)


def halves(days: Sequence[date]) -> tuple[tuple[date, ...], tuple[date, ...]]:
    """Two shorter searches in place of one; of two days or more."""
    middle = (len(days) + 1) // 2
    return tuple(days[:middle]), tuple(days[middle:])
