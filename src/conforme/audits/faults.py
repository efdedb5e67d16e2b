"""Whether a passage says what a quote says: the verdict on an alignment (pure).

The thresholds are those of `Tolerance`. One negation, number, date or decisive word that differs is enough; the rest
is a budget, so that many small differences are refused as well.
"""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Final

from conforme.audits.alignment import ELLIPSIS, REFUSED, Alignment, Change, Edit, Tolerance
from conforme.audits.lexicon import Kind, kind
from conforme.audits.verdicts import DropReason


def fault(
    alignment: Alignment, quote: Sequence[str], heard: Sequence[str], tolerance: Tolerance
) -> DropReason | None:
    """Why the passage found is not what the quote says; `None` when it is."""
    if _heard_share(alignment, quote) < tolerance.heard_share:
        return DropReason.NOT_FOUND
    refused = [edit for edit in alignment.edits if edit.cost >= REFUSED]
    if refused:
        return _reason(refused, quote, heard)
    if _exchanged(alignment, quote, heard, tolerance):
        return DropReason.WORDS
    if _spliced(alignment, quote, tolerance):
        return DropReason.GAP
    return None if _within(alignment, quote, tolerance) else DropReason.WORDS


def _counted(quote: Sequence[str]) -> int:
    """Words of a quote that are neither fillers nor ellipses."""
    return sum(word != ELLIPSIS and kind(word) is not Kind.FILLER for word in quote)


def _heard_share(alignment: Alignment, quote: Sequence[str]) -> float:
    heard = sum(
        sum(kind(word) is not Kind.FILLER for word in quote[edit.quote : edit.quote_end])
        for edit in alignment.edits
        if edit.change in {"same", "sound", "spacing"}
    )
    return heard / max(1, _counted(quote))


def _reason(refused: Sequence[Edit], quote: Sequence[str], heard: Sequence[str]) -> DropReason:
    kinds = {
        kind(word)
        for edit in refused
        for word in (*quote[edit.quote : edit.quote_end], *heard[edit.heard : edit.heard_end])
    }
    if Kind.NEGATION in kinds:
        return DropReason.NEGATION
    return DropReason.NUMBER if kinds & {Kind.NUMBER, Kind.DATE} else DropReason.WORDS


def _exchanged(
    alignment: Alignment, quote: Sequence[str], heard: Sequence[str], tolerance: Tolerance
) -> bool:
    """Whether a word put in stands for one left out beside it: only light words may be exchanged so."""
    put_in = [edit for edit in alignment.edits if edit.change == "put_in" and edit.cost > tolerance.filler]
    left_out = [
        edit for edit in alignment.edits if edit.change == "left_out" and edit.cost > tolerance.filler
    ]
    return any(
        abs(one.heard - other.heard) <= tolerance.beside
        and not kind(quote[one.quote]) is kind(heard[other.heard]) is Kind.LIGHT
        for one in put_in
        for other in left_out
    )


def _spliced(alignment: Alignment, quote: Sequence[str], tolerance: Tolerance) -> bool:
    """Whether too many words in a row were passed over."""
    passed_over = (list(run) for change, run in groupby(alignment.edits, _change) if change == "left_out")
    return any(_too_long(run, tolerance) for run in passed_over) or _gaps_too_long(
        alignment, quote, tolerance
    )


def _change(edit: Edit) -> Change:
    return edit.change


def _too_long(run: Sequence[Edit], tolerance: Tolerance) -> bool:
    """A content word may be passed over by itself, light words by two, pauses longer."""
    missed = [edit for edit in run if edit.cost > tolerance.filler]
    content = any(edit.cost == tolerance.left_out for edit in missed)
    return len(missed) > (1 if content else tolerance.longest_skip) or len(run) > tolerance.longest_pause


def _gaps_too_long(alignment: Alignment, quote: Sequence[str], tolerance: Tolerance) -> bool:
    fragments = [len(piece) for piece in fragments_of(quote)]
    gaps = [finish - start for start, finish in gaps_of(alignment)]
    return any(
        gap > (tolerance.longest_gap if min(sides) >= tolerance.short_fragment else tolerance.short_gap)
        for gap, sides in zip(gaps, pairwise(fragments), strict=True)
    )


def fragments_of(quote: Sequence[str]) -> list[list[str]]:
    """The pieces between the ellipses of a quote."""
    pieces: list[list[str]] = [[]]
    for word in quote:
        if word == ELLIPSIS:
            pieces.append([])
        else:
            pieces[-1].append(word)
    return pieces


def gaps_of(alignment: Alignment) -> list[tuple[int, int]]:
    """The heard units [start, end) that each ellipsis of a quote stands for."""
    gaps: list[tuple[int, int]] = []
    for edit in alignment.edits:
        if edit.change == "gap" and edit.quote_end > edit.quote:
            gaps.append((edit.heard, edit.heard))
        elif edit.change == "gap":
            gaps[-1] = (gaps[-1][0], edit.heard_end)
    return gaps


def _within(alignment: Alignment, quote: Sequence[str], tolerance: Tolerance) -> bool:
    """Whether the edits stay within the budget, and enough was heard that means something."""
    edits = [edit for edit in alignment.edits if edit.cost]
    words = _counted(quote)
    floor = tolerance.at_least if words >= tolerance.enough_words else tolerance.at_least / 2
    if sum(edit.cost for edit in edits) > max(floor, tolerance.share * words):
        return False
    left_out = sum(edit.cost == tolerance.left_out for edit in edits if edit.change == "left_out")
    if left_out > words // tolerance.words_per_left_out:
        return False
    return not edits or _meaning(alignment, quote) >= tolerance.heard_content


def _meaning(alignment: Alignment, quote: Sequence[str]) -> int:
    """Words heard as quoted that mean something by themselves."""
    return sum(
        any(kind(word) not in _MEANINGLESS for word in quote[edit.quote : edit.quote_end])
        for edit in alignment.edits
        if edit.change in {"same", "sound", "spacing", "misheard"}
    )


_MEANINGLESS: Final = frozenset({Kind.LIGHT, Kind.FILLER, Kind.PERSON})
