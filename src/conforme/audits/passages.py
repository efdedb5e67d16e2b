"""The words of a fiche, ready to be searched: built once per audit, asked once per quote (pure).

Every unit becomes one character, so that an exact quote is a substring and a likely passage is found by the longest
common subsequence, both at C speed. Only the few stretches that survive are aligned word by word.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from rapidfuzz.distance import LCSseq

from conforme.audits.alignment import ELLIPSIS, Likeness, Tolerance
from conforme.audits.lexicon import Kind, kind
from conforme.audits.normalise import Unit, units
from conforme.audits.timeline import Recording, Timeline

_FIRST_CODE: Final = 0x10000
_LAST_CODE: Final = 0x10FFFD
_TOO_MANY: Final = "\0"
_UNHEARD: Final = "\1"
_SENTENCE_ENDS: Final = (".", "?", "!", "…")


class _Alphabet(dict[str, str]):
    """One character per distinct unit."""

    def __missing__(self, key: str) -> str:
        code = _FIRST_CODE + len(self)
        self[key] = made = chr(code) if code <= _LAST_CODE else _TOO_MANY
        return made

    def spell(self, keys: Iterable[str]) -> str:
        """Keys that were never heard become a character that no transcript holds."""
        return "".join(self.get(key, _UNHEARD) for key in keys)


class Heard:
    """The units of one recording."""

    def __init__(self, recording: Recording, alphabet: _Alphabet) -> None:
        self.recording = recording
        self.units: list[Unit] = units(word.text for word in recording.words)
        self.keys = [unit.key for unit in self.units]
        self.text = "".join([alphabet[key] for key in self.keys])

    @cached_property
    def positions(self) -> dict[str, list[int]]:
        """Where each key is heard."""
        found: dict[str, list[int]] = {}
        for at, key in enumerate(self.keys):
            found.setdefault(key, []).append(at)
        return found

    def turn_of(self, word: int) -> int:
        """The turn a word belongs to."""
        return bisect_right(self.recording.turns, word, key=lambda turn: turn.first) - 1

    def chunk_of(self, turn: int) -> int:
        return bisect_right(self.recording.chunks, turn, key=lambda chunk: chunk.first_turn) - 1

    def units_of_turn(self, turn: int) -> range:
        """The units of a turn."""
        spoken = self.recording.turns[turn]
        first = bisect_right(self.units, spoken.first - 1, key=lambda unit: unit.first)
        return range(first, bisect_right(self.units, spoken.last, key=lambda unit: unit.first))

    def ends_sentence(self, at: int) -> bool:
        """Whether a sentence, or what one person says, ends with this unit."""
        words, last = self.recording.words, self.units[at].last
        if words[last].text.endswith(_SENTENCE_ENDS) or last + 1 == len(words):
            return True
        return words[last].speaker != words[last + 1].speaker

    def nearest(self, text: str, near: range) -> int | None:
        """Where an encoded quote is heard: in the turn `near`, else closest to it."""
        after = self.text.find(text, near.start)
        if 0 <= after < near.stop:
            return after
        before = self.text.rfind(text, 0, max(0, near.start + len(text) - 1))
        if before < 0 or after < 0:
            return max(before, after) if max(before, after) >= 0 else None
        return before if near.start - before - len(text) < after - near.stop else after


@dataclass(frozen=True, slots=True)
class Place:
    """Where the model says it saw a quote: a recording, and the units of the turn in it (empty = no such turn)."""

    recording: int
    near: range


@dataclass(frozen=True, slots=True)
class Stretch:
    """Units [start, end) of a recording that resemble a quote; `alike` is how many of its words are in order there."""

    recording: int
    start: int
    end: int
    alike: float
    distance: int
    """Units between it and the cited turn; other recordings come after."""


_ELSEWHERE: Final = 10_000_000
_OPENINGS: Final = 5
"""Diagonals looked at per recording."""
_STRETCHES: Final = 6
"""Stretches aligned per quote."""
_CELLS: Final = 150_000
"""Most cells of alignment per quote: a long quote gets fewer stretches."""
_TELLING: Final = 12
"""Rare words of a quote that say where to look."""
_VOTES: Final = 100
"""Most places looked at for each, nearest to the cited turn."""
_LEAST_ALIKE: Final = 0.5
"""Share of a quote's words that must be heard in order for the stretch to be aligned at all."""


class TranscriptIndex:
    """All the words of a timeline. Not for sharing between threads: it remembers what it has compared."""

    def __init__(self, timeline: Timeline, tolerance: Tolerance | None = None) -> None:
        self.tolerance = tolerance or Tolerance()
        self._alphabet = _Alphabet()
        self.heard = tuple(Heard(recording, self._alphabet) for recording in timeline.recordings)
        self.likeness = Likeness(self._alphabet.keys(), self.tolerance)

    def place(self, enregistrement: int, tour: int) -> Place | None:
        """The place that two numbers of the prompt name (both from 1), or `None` if there is no such recording."""
        if not 1 <= enregistrement <= len(self.heard):
            return None
        heard = self.heard[enregistrement - 1]
        known = 1 <= tour <= len(heard.recording.turns)
        return Place(enregistrement - 1, heard.units_of_turn(tour - 1) if known else range(0))

    def exact(self, keys: Sequence[str], place: Place | None) -> tuple[int, int] | None:
        """Recording and first unit where the quote is heard as it is, as close as possible to the place."""
        text = self._alphabet.spell(keys)
        if not text or _UNHEARD in text or _TOO_MANY in text:
            return None
        for number in self._order(place):
            at = self.heard[number].nearest(text, self._near(number, place))
            if at is not None:
                return number, at
        return None

    def _order(self, place: Place | None) -> list[int]:
        """The cited recording first, then those closest to it."""
        cited = place.recording if place else 0
        return sorted(range(len(self.heard)), key=lambda number: (abs(number - cited), number))

    def _near(self, number: int, place: Place | None) -> range:
        return place.near if place and place.recording == number else range(0)

    def stretches(self, keys: Sequence[str], place: Place | None) -> list[Stretch]:
        """The stretches that most resemble a quote, best first; bounded in number and in size."""
        found = sorted(self._resembling(keys, place), key=lambda stretch: (-stretch.alike, stretch.distance))
        most = _CELLS // max(1, len(keys) * (_slack(keys) * 2 + 20))
        return found[: max(1, min(_STRETCHES, most))]

    def _resembling(self, keys: Sequence[str], place: Place | None) -> Iterator[Stretch]:
        said = [key for key in keys if key != ELLIPSIS and kind(key) is not Kind.FILLER]
        text, least = self._alphabet.spell(said), _LEAST_ALIKE * len(said)
        for order, number in enumerate(self._order(place)):
            heard, near = self.heard[number], self._near(number, place)
            for start, end in self._openings(heard, keys, near):
                alike = LCSseq.similarity(text, heard.text[start:end], score_cutoff=int(least))
                if alike >= max(1, least):
                    yield Stretch(number, start, end, alike, order * _ELSEWHERE + _apart(start, end, near))

    def _openings(self, heard: Heard, keys: Sequence[str], near: range) -> Iterator[tuple[int, int]]:
        """Stretches where several words of the quote are heard about as far apart as in it, rare words first."""
        slack, gaps = _slack(keys), self.tolerance.longest_gap * sum(key == ELLIPSIS for key in keys)
        size = slack + gaps
        offsets: dict[int, list[int]] = {}
        weights: dict[int, float] = {}
        for offset, weight in _votes(heard, keys, near):
            bucket = offset // size
            offsets.setdefault(bucket, []).append(offset)
            weights[bucket] = weights.get(bucket, 0.0) + weight
        # Two neighbours together, so that no quote is cut by the edge of a bucket.
        paired = {bucket: weights[bucket] + weights.get(bucket + 1, 0.0) for bucket in weights}
        for bucket in sorted(paired, key=lambda each: (-paired[each], each))[:_OPENINGS]:
            ordered = sorted(offsets[bucket] + offsets.get(bucket + 1, []))
            middle = ordered[len(ordered) // 2]
            first, last = (ordered[0], ordered[-1]) if gaps else (middle, middle)
            yield max(0, first - slack), min(len(heard.keys), max(0, last + len(keys) + slack))


def _slack(keys: Sequence[str]) -> int:
    """How far, in units, fillers and noise may shift a quote."""
    return min(32, 6 + len(keys) // 5)


def _apart(start: int, end: int, near: range) -> int:
    """Units between a stretch and a turn; 0 when they overlap."""
    return max(0, near.start - end, start - near.stop)


def _votes(heard: Heard, keys: Sequence[str], near: range) -> Iterator[tuple[int, float]]:
    """For the rarest words of a quote: where it would begin if they were its own, and how telling each is."""
    placed = [(heard.positions[key], at) for at, key in enumerate(keys) if key in heard.positions]
    for positions, at in sorted(placed, key=lambda pair: len(pair[0]))[:_TELLING]:
        middle = bisect_right(positions, near.start)
        shown = positions[max(0, middle - _VOTES // 2) : middle + _VOTES // 2]
        weight = 1 / len(positions)
        for position in shown:
            yield position - at, weight
