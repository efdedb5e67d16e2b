"""What speaks against a verdict as soon as its quotes have been looked for (pure).

Two things are known then: how sure the recogniser was of the words that were found, and whether a quote that was
refused resembles something that was said.
"""

from collections.abc import Iterable
from dataclasses import replace
from statistics import fmean
from typing import Final

from conforme.audits import doubts
from conforme.audits.doubts import Doubt, DoubtReason
from conforme.audits.passages import TranscriptIndex
from conforme.audits.verdicts import Citation, DroppedCitation, DropReason, PointFinding

LOW_RECOGNITION: Final = 0.7
"""Words recognised with less confidence than this, on average, are no firm ground for a verdict."""

NEAR_MISSES: Final = {
    DropReason.WORDS: 0.4,
    DropReason.GAP: 0.5,
    DropReason.NUMBER: 0.6,
    DropReason.NEGATION: 0.7,
}
"""How far a verdict is to be trusted that rests on the refusal of such a quote: a negation is rarely misheard."""


def doubted(point: PointFinding, index: TranscriptIndex) -> PointFinding:
    """The same finding with what speaks against it, beside the doubts it has already."""
    found = (*point.doubts, *_near_misses(point), *_hardly_heard(point, index))
    return replace(point, doubts=doubts.merged(found))


def _near_misses(point: PointFinding) -> Iterable[Doubt]:
    """Only where nothing else was found: a verdict with evidence does not need the quote that was refused."""
    if point.citations or point.statut is point.model_statut:
        return ()
    return (_near_miss(quote) for quote in point.dropped if quote.reason in NEAR_MISSES)


def _near_miss(quote: DroppedCitation) -> Doubt:
    return Doubt(DoubtReason.NEAR_MISS, NEAR_MISSES[quote.reason])


def _hardly_heard(point: PointFinding, index: TranscriptIndex) -> Iterable[Doubt]:
    """The best of its quotes decides: one that was heard well is enough."""
    heard = [_confidence(quote, index) for quote in point.citations]
    known = [confidence for confidence in heard if confidence is not None]
    if known and len(known) == len(heard) and max(known) < LOW_RECOGNITION:
        yield Doubt(DoubtReason.LOW_RECOGNITION, max(known))


def _confidence(quote: Citation, index: TranscriptIndex) -> float | None:
    """Mean confidence of the recogniser in the words of a quote; None when it told none."""
    words = index.heard[quote.recording_index].recording.words[quote.first_word : quote.last_word + 1]
    told = [word.confidence for word in words if word.confidence is not None]
    return fmean(told) if told else None
