"""Word alignment of a quote with a stretch of transcript (pure).

The quote is laid over the stretch at least cost, its ends free. Everything a second hearing may change has a small
price; everything it may not (a negation, a number, a word that decides) has a price no total may reach, so such a
change shows as a fault with its reason. Banded dynamic programming: time and memory are quote length x band.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from conforme.audits.lexicon import DETERMINERS, FIXED, Kind, kind, misheard, same_sound, sound
from conforme.audits.normalise import ELIDED_WORDS

ELLIPSIS: Final = "…"
"""The unit of a quote that stands for words left out."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much a quote may differ from what was heard and still be a quote of it.

    Prices are in words: an edit of 1 is a whole word wrong.
    """

    same_sound: float = 0.25
    misheard: float = 0.5
    determiner: float = 0.6
    light: float = 0.6
    """A light word, or one that says who, left out or put in."""
    left_out: float = 0.9
    """A content word of the transcript that the quote leaves out; none may be put in."""
    spacing: float = 0.1
    filler: float = 0.05
    share: float = 0.15
    """The edits may cost this share of the quote's words ..."""
    at_least: float = 1.0
    """... or this, if the quote has `enough_words`; half of it otherwise."""
    enough_words: int = 4
    words_per_left_out: int = 10
    """One content word may be left out per so many words of the quote."""
    beside: int = 2
    """A word put in so few words from one left out has taken its place."""
    longest_skip: int = 2
    """Light words left out in a row; a content word only by itself: more is a splice."""
    longest_pause: int = 8
    """Words left out in a row, fillers and repetitions included."""
    heard_share: float = 0.7
    """Share of the quote's words that must be heard as they are, or with the same sound."""
    heard_content: int = 2
    """How many of them must mean something by themselves (content, numbers, decisive words)."""
    longest_gap: int = 40
    """Words an ellipsis may stand for."""
    short_fragment: int = 3
    """A piece of fewer words than this beside an ellipsis proves little ..."""
    short_gap: int = 8
    """... and must stand this close, in words, to the next piece."""


DEFAULT: Final = Tolerance()
REFUSED: Final = 1_000.0
"""Price of a change that no quote survives."""
_REPLACED: Final = 1.25 * REFUSED
_REFUSED_PUT_IN: Final = 1.5 * REFUSED
"""More, so that a fault shows as the one word that was left out rather than as others changed around it."""
_GAP_WORD: Final = 0.001
_NEVER: Final = float("inf")

Change = Literal[
    "same", "sound", "misheard", "determiner", "spacing", "put_in", "left_out", "gap", "replaced"
]


@dataclass(frozen=True, slots=True)
class Edit:
    """One move of an alignment: quote units [quote, quote_end) beside heard units [heard, heard_end)."""

    change: Change
    quote: int
    quote_end: int
    heard: int
    heard_end: int
    cost: float


@dataclass(frozen=True, slots=True)
class Alignment:
    """Edits in order; `heard` to `heard_end` is the passage found. No edits: the stretch is too short for the quote."""

    edits: tuple[Edit, ...]
    heard: int
    heard_end: int
    cost: float


class Likeness:
    """Prices of putting one word for another within one call; remembers what it has compared."""

    def __init__(self, vocabulary: Collection[str], tolerance: Tolerance = DEFAULT) -> None:
        self._vocabulary = vocabulary
        self._tolerance = tolerance
        self._known: dict[tuple[str, str], tuple[float, Change]] = {}

    def __call__(self, said: str, heard: str) -> tuple[float, Change]:
        pair = (said, heard)
        found = self._known.get(pair)
        if found is None:
            found = self._known[pair] = self._compare(said, heard)
        return found

    def _compare(self, said: str, heard: str) -> tuple[float, Change]:
        if {said, heard} in _ONE:
            return 0.0, "same"
        if same_sound(said, heard):
            return self._tolerance.same_sound, "sound"
        if said in DETERMINERS and heard in DETERMINERS:
            return self._tolerance.determiner, "determiner"
        if misheard(said, heard, self._vocabulary):
            return self._tolerance.misheard, "misheard"
        return _REPLACED, "replaced"


_ONE: Final = ({"1", "un"}, {"1", "une"}, {"1", "one"})


def align(
    quote: Sequence[str], heard: Sequence[str], likeness: Likeness, tolerance: Tolerance = DEFAULT
) -> Alignment:
    """The cheapest way to lay the whole quote over part of a stretch.

    Args:
        quote: unit keys, with `ELLIPSIS` between pieces; not empty.
        heard: unit keys of a stretch that is not much longer than the quote: the band is their difference.
        likeness: prices of one word for another.
        tolerance: prices of the other edits.
    """
    return _Grid(quote, heard, likeness, tolerance).alignment()


_MARGIN: Final = 8
"""How many words the quote may be ahead of the diagonal on either side of the band."""
_START, _PAIR, _PUT_IN, _LEFT_OUT, _HEARD_TWO, _SAID_TWO = range(6)


class _Grid:
    """Cell (i, j) holds the least cost of quote[:i] ending at heard[:j].

    Of each row only a band is kept: column c of row i is j = i + low + c. So (i-1, j-1) has the same column, (i-1, j)
    the next one and (i, j-1) the previous one.
    """

    def __init__(
        self, quote: Sequence[str], heard: Sequence[str], likeness: Likeness, tolerance: Tolerance
    ) -> None:
        self._quote, self._heard, self._likeness, self._tolerance = quote, heard, likeness, tolerance
        self._low = -min(len(quote), _MARGIN)
        self._width = max(0, len(heard) - len(quote)) + _MARGIN - self._low + 1
        self._put_in = _prices_put_in(quote, tolerance)
        self._left_out = [_price_left_out(heard, at, tolerance) for at in range(len(heard))]
        self._heard_at = _places((word, at) for at, word in enumerate(heard))
        self._fused_at = _places((word, at) for at in range(len(heard) - 1) for word in _fused(heard, at))
        self._sounding = _by_sound(self._heard_at), _by_sound(self._fused_at)
        self._moves: list[bytearray] = []

    def alignment(self) -> Alignment:
        last = self._fill()
        end = min(range(self._width), key=last.__getitem__)
        if last[end] == _NEVER:
            return Alignment((), 0, 0, _NEVER)
        edits = tuple(reversed(list(self._back(end))))
        return Alignment(
            edits=edits,
            heard=next((edit.heard for edit in edits if edit.heard_end > edit.heard), 0),
            heard_end=max((edit.heard_end for edit in edits), default=0),
            cost=last[end],
        )

    def _columns(self, i: int) -> range:
        """The columns of a row that lie within the stretch."""
        return range(max(0, -self._low - i), max(0, min(self._width, len(self._heard) - i - self._low + 1)))

    def _fill(self) -> list[float]:
        above, two_above = [_NEVER] * (self._width + 1), [_NEVER] * (self._width + 1)
        for column in self._columns(0):
            above[column] = 0.0
        self._moves.append(bytearray(self._width))
        for i in range(1, len(self._quote) + 1):
            row, moves = self._paired(i, above)
            self._joined(i, (row, moves), above, two_above)
            # What follows the last word of the quote is not part of it.
            if i < len(self._quote):
                self._skipped(i, row, moves)
            self._moves.append(moves)
            above, two_above = row, above
        return above

    def _paired(self, i: int, above: list[float]) -> tuple[list[float], bytearray]:
        """The row with each word of the quote beside one heard, or put in."""
        columns, put_in = self._columns(i), self._put_in[i - 1]
        row, moves = [_NEVER] * (self._width + 1), bytearray(self._width)
        for column, price in zip(columns, self._prices(i, columns), strict=True):
            pair = above[column] + price
            alone = above[column + 1] + put_in
            row[column], moves[column] = (pair, _PAIR) if pair <= alone else (alone, _PUT_IN)
        return row, moves

    def _prices(self, i: int, columns: range) -> list[float]:
        """The price of word i of the quote for the word heard in each column; there is none before the first."""
        said, first = self._quote[i - 1], i + self._low + columns.start
        if said == ELLIPSIS or not columns:
            return [_NEVER] * len(columns)
        words = self._heard[max(0, first - 1) : first - 1 + len(columns)]
        prices = [0.0 if word == said else self._likeness(said, word)[0] for word in words]
        return prices if first else [_NEVER, *prices]

    def _joined(
        self, i: int, target: tuple[list[float], bytearray], above: list[float], two_above: list[float]
    ) -> None:
        """Words written apart on one side and together on the other."""
        columns = self._columns(i)
        for at in self._heard_as(self._quote[i - 1], self._fused_at, self._sounding[1]):
            column = at + 2 - i - self._low
            if column in columns and column > 0:
                self._offer(target, column, above[column - 1], _HEARD_TWO)
        for word in _fused(self._quote, i - 2) if i > 1 else ():
            for at in self._heard_as(word, self._heard_at, self._sounding[0]):
                column = at + 1 - i - self._low
                if column in columns:
                    self._offer(target, column, two_above[column + 1], _SAID_TWO)

    def _heard_as(
        self, word: str, places: Mapping[str, list[int]], sounding: Mapping[str, list[str]]
    ) -> Iterator[int]:
        """Where a word is heard, or another one of the same sound that is as long and decides nothing."""
        for heard in sounding.get(sound(word), ()):
            as_long = abs(len(heard) - len(word)) <= 1 and not FIXED & {kind(heard), kind(word)}
            if heard == word or (as_long and same_sound(heard, word)):
                yield from places[heard]

    def _offer(self, target: tuple[list[float], bytearray], column: int, before: float, move: int) -> None:
        row, moves = target
        cost = before + self._tolerance.spacing
        if cost < row[column]:
            row[column], moves[column] = cost, move

    def _skipped(self, i: int, row: list[float], moves: bytearray) -> None:
        """Words heard that the quote leaves out, after its word i."""
        gap, offset = self._quote[i - 1] == ELLIPSIS, i + self._low - 1
        for column in self._columns(i)[1:]:
            cost = row[column - 1] + (_GAP_WORD if gap else self._left_out[offset + column])
            if cost < row[column]:
                row[column], moves[column] = cost, _LEFT_OUT

    def _back(self, column: int) -> Iterator[Edit]:
        """The edits from the last to the first."""
        i = len(self._quote)
        while i > 0:
            j, move = i + self._low + column, self._moves[i][column]
            said, heard, shift = _STRIDES[move]
            yield self._edit(move, (i - said, i), (j - heard, j))
            i, column = i - said, column + shift

    def _edit(self, move: int, quote: tuple[int, int], heard: tuple[int, int]) -> Edit:
        cost, change = self._price(move, quote, heard)
        return Edit(change, *quote, *heard, cost)

    def _price(self, move: int, quote: tuple[int, int], heard: tuple[int, int]) -> tuple[float, Change]:
        if move == _PAIR:
            said, word = self._quote[quote[0]], self._heard[heard[0]]
            return (0.0, "same") if said == word else self._likeness(said, word)
        if move == _PUT_IN:
            gap = self._quote[quote[0]] == ELLIPSIS
            return (0.0, "gap") if gap else (self._put_in[quote[0]], "put_in")
        if move == _LEFT_OUT:
            gap = self._quote[quote[0] - 1] == ELLIPSIS
            return (0.0, "gap") if gap else (self._left_out[heard[0]], "left_out")
        return self._tolerance.spacing, "spacing"


_STRIDES: Final = {
    _PAIR: (1, 1, 0),
    _PUT_IN: (1, 0, 1),
    _LEFT_OUT: (0, 1, -1),
    _HEARD_TWO: (1, 2, -1),
    _SAID_TWO: (2, 1, 1),
}
"""Words of the quote and of the transcript that a move consumes, and how it shifts the column going back."""


def _places(pairs: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for word, at in pairs:
        places.setdefault(word, []).append(at)
    return places


def _by_sound(words: Iterable[str]) -> dict[str, list[str]]:
    sounding: dict[str, list[str]] = {}
    for word in words:
        sounding.setdefault(sound(word), []).append(word)
    return sounding


def _fused(words: Sequence[str], at: int) -> tuple[str, ...]:
    """How words `at` and `at + 1` read when written together: `parce`, `lorias`; no number, no negation."""
    first, second = words[at], words[at + 1]
    if ELLIPSIS in {first, second} or {kind(first), kind(second)} & {Kind.NUMBER, Kind.NEGATION}:
        return ()
    return (first + second, first[:-1] + second) if first in ELIDED_WORDS else (first + second,)


def _prices_put_in(quote: Sequence[str], tolerance: Tolerance) -> list[float]:
    """The price of each word of a quote when it is not heard.

    The first and the last word must be heard: there, a word put in could stand for one that may not be left out.
    """
    prices = [_price_put_in(word, tolerance) for word in quote]
    inner = [at for at, word in enumerate(quote) if kind(word) is not Kind.FILLER]
    for edge in inner[:1] + inner[-1:]:
        prices[edge] = _REFUSED_PUT_IN
    return prices


def _price_put_in(word: str, tolerance: Tolerance) -> float:
    if word == ELLIPSIS:
        return 0.0
    weight = kind(word)
    if weight is Kind.FILLER:
        return tolerance.filler
    return tolerance.light if weight in {Kind.LIGHT, Kind.PERSON} else _REFUSED_PUT_IN


def _price_left_out(heard: Sequence[str], at: int, tolerance: Tolerance) -> float:
    """The price of a word that is heard, but not in the quote."""
    weight = kind(heard[at])
    if weight in {Kind.FILLER, Kind.ASSENT} or (weight is not Kind.NUMBER and _said_again(heard, at)):
        return tolerance.filler
    if weight in FIXED:
        return REFUSED
    return tolerance.left_out if weight is Kind.CONTENT else tolerance.light


def _said_again(words: Sequence[str], at: int) -> bool:
    """Whether the word is said again at once, alone or in a pair (`je vous je vous propose`): a false start."""
    after = words[at + 1 : at + 4]
    if after[:1] == [words[at]]:
        return True
    pair_opens = len(after) == 3 and [words[at], after[0]] == list(after[1:])
    before = words[at - 1] if at else None
    pair_closes = len(after) >= 2 and before is not None and [before, words[at]] == list(after[:2])
    return pair_opens or pair_closes
