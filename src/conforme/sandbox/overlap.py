"""Comparing a control point with the turns of a call word by word, for want of a known concept."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from rapidfuzz import fuzz

from conforme.sandbox.call import Call, Passage
from conforme.sandbox.lexicon import lexicon
from conforme.sandbox.reading import plain

STEM_LETTERS = 6
RESEMBLES = 85
"""Likeness of a turn to an example (0 to 100) that makes it the same thing said."""
_FEWEST_WORDS = 2


def likeness(texts: Sequence[str], call: Call, who: str) -> tuple[Passage | None, float]:
    """The turn that shares most of one of the texts' words, and the share (0 to 1), rare words counting more."""
    stems = _stems_of(call.lines)
    spread = Counter(stem for turn in stems for stem in turn)
    best: tuple[Passage | None, float] = (None, 0.0)
    for wanted in map(significant, map(plain, texts)):
        if len(wanted) < _FEWEST_WORDS:
            continue
        weights = {stem: math.log(1 + len(stems) / (1 + spread[stem])) for stem in wanted}
        whole = sum(weights.values())
        for turn in call.hearable():
            share = sum(weights[stem] for stem in wanted & stems[turn]) / whole
            if share > best[1] and call.spoken_by(call.whole(turn), who):
                best = (call.whole(turn), share)
    return best


def resembling(examples: Sequence[str], call: Call) -> list[Passage]:
    """The turns that say nearly what one of the examples says."""
    wanted = [plain(example) for example in examples]
    return [
        call.whole(turn)
        for turn in call.hearable()
        if any(fuzz.token_sort_ratio(example, call.lines[turn], score_cutoff=RESEMBLES) for example in wanted)
    ]


def significant(text: str) -> frozenset[str]:
    """Stems of the words that carry meaning, French or English."""
    empty = lexicon().empty_words
    return frozenset(word[:STEM_LETTERS] for word in text.split() if word not in empty and len(word) > 2)


@lru_cache(maxsize=32)
def _stems_of(lines: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    return tuple(significant(line) for line in lines)
