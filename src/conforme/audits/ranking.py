"""Which passages of a call speak of what is searched for, best first: BM25 over French word stems (pure).

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with the idf of Lucene, which
is never negative. Words are brought together as evidence is (`normalise`), then cut to a light stem, so that
`résilier`, `résiliez` and `résiliation` meet.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

SATURATION: Final = 1.2
"""k1: how soon another occurrence of the same word stops counting."""
LENGTH: Final = 0.75
"""b: how far a long passage is held against it."""

_SHORTEST_STEM: Final = 4
_SUFFIXES: Final = tuple(
    sorted(
        (
            *(
                "issement",
                "issements",
                "ation",
                "ations",
                "ateur",
                "ateurs",
                "atrice",
                "atrices",
                "ition",
                "itions",
            ),
            *(
                "ement",
                "ements",
                "ance",
                "ances",
                "ence",
                "ences",
                "able",
                "ables",
                "ible",
                "ibles",
                "euse",
                "euses",
            ),
            *(
                "eraient",
                "erait",
                "erai",
                "eront",
                "erons",
                "erez",
                "era",
                "aient",
                "issez",
                "issons",
                "issent",
            ),
            *("ions", "ons", "ez", "er", "ir", "ent", "ant", "ants", "ante", "antes", "ait", "ais"),
            *("ee", "ees", "es", "s", "x", "e", "ing", "ed", "ly"),
        ),
        key=len,
        reverse=True,
    )
)


@lru_cache(maxsize=32_768)
def stem(word: str) -> str:
    """A folded word without its endings, at least four letters long; cutting it again changes nothing.

    Numbers and short words stay whole.
    """
    if len(word) <= _SHORTEST_STEM or not word.isalpha():
        return word
    cut = next((word[: -len(end)] for end in _SUFFIXES if _leaves_a_stem(word, end)), word)
    return cut if cut == word else stem(cut)


def _leaves_a_stem(word: str, ending: str) -> bool:
    return word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM


class Ranking:
    """Passages, each a sequence of terms, ready to be searched."""

    def __init__(self, passages: Iterable[Sequence[str]]) -> None:
        self._counts = [Counter(passage) for passage in passages]
        lengths = [counts.total() for counts in self._counts]
        mean = sum(lengths) / max(1, len(lengths)) or 1.0
        self._norms = [SATURATION * (1 - LENGTH + LENGTH * length / mean) for length in lengths]
        self._places: dict[str, list[int]] = {}
        for number, counts in enumerate(self._counts):
            for term in counts:
                self._places.setdefault(term, []).append(number)

    def __len__(self) -> int:
        return len(self._counts)

    def idf(self, term: str) -> float:
        """How telling a term is; 0 for one that no passage holds."""
        held = len(self._places.get(term, ()))
        return math.log(1 + (len(self) - held + 0.5) / (held + 0.5)) if held else 0.0

    def best(self, terms: Iterable[str], most: int) -> list[tuple[int, float]]:
        """Up to `most` passages that hold any of the terms, with their scores; equals in the order of the passages."""
        scores: dict[int, float] = {}
        for term in dict.fromkeys(terms):
            weight = self.idf(term)
            for number in self._places.get(term, ()):
                count = self._counts[number][term]
                gain = weight * count * (SATURATION + 1) / (count + self._norms[number])
                scores[number] = scores.get(number, 0.0) + gain
        return sorted(scores.items(), key=lambda each: (-each[1], each[0]))[: max(0, most)]
