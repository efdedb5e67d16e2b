"""A call as its file tells it: words, who spoke them, and how the file counts its turns. Pure.

What a file does not say stays unknown. Where it times whole turns, each of their words carries the turn's span: it
was spoken somewhere inside.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from conforme.foundation.errors import Invalid
from conforme.transcriptions.words import Word, turns_of, word

MAX_WORDS: Final = 500_000
"""Two days of uninterrupted speech; a file with more is no call."""
LONGEST_LABEL: Final = 80

ROLES: Final = {
    "conseiller": (
        "advisor",
        "adviser",
        "agent",
        "assistant",
        "broker",
        "commercial",
        "commerciale",
        "conseiller",
        "conseillère",
        "courtier",
        "courtière",
        "représentant",
        "representative",
        "seller",
        "téléconseiller",
        "téléconseillère",
        "vendeur",
        "vendeuse",
    ),
    "client": (
        "caller",
        "client",
        "cliente",
        "consumer",
        "customer",
        "human",
        "prospect",
        "user",
    ),
}
"""The role that a label names, as the prompts call it, and the labels that name it."""
_ROLE_NAMES: Final = {alias: name for name, aliases in ROLES.items() for alias in aliases}
_SPOKEN: Final = re.compile(r"\S+")


class UnreadableCall(Invalid):
    """The call cannot be read"""


@dataclass(frozen=True, slots=True)
class HeardTurn:
    """One turn as the report shows it."""

    number: int
    """Counted from 1, as the file counts."""
    speaker: str | None
    text: str
    start: float | None


@dataclass(frozen=True, slots=True)
class HeardCall:
    """One call as its file tells it."""

    words: tuple[Word, ...]
    duration_seconds: int | None = None
    language: str | None = None
    openings: tuple[int, ...] | None = None
    """For a file that lists turns, the word each of them opens with; a turn without words opens where the next does.

    `None` for a file of words, lines or captions: a turn is then all that one person says until another speaks.
    """

    def turns(self) -> tuple[HeardTurn, ...]:
        """The turns that hold words, each under the number it has in the file."""
        starts = self._starts()
        ends = (*starts[1:], len(self.words))
        spans = zip(starts, ends, strict=True)
        return tuple(
            HeardTurn(number, turn.speaker, turn.text, turn.start)
            for number, (first, after) in enumerate(spans, 1)
            for turn in turns_of(self.words[first:after])
        )

    def turn_of(self, word: int) -> int:
        """The number of the turn in which the word of this index is spoken."""
        return bisect_right(self._starts(), word)

    def _starts(self) -> tuple[int, ...]:
        return tuple(turn.first for turn in turns_of(self.words)) if self.openings is None else self.openings


def gathered(words: Iterable[Word]) -> tuple[Word, ...]:
    """The words, once it is sure that they are not too many.

    Raises:
        UnreadableCall: more than `MAX_WORDS`.
    """
    kept = tuple(islice(words, MAX_WORDS + 1))
    if len(kept) > MAX_WORDS:
        raise UnreadableCall(f"more than {MAX_WORDS} words")
    return kept


def listed(turns: Iterable[Iterable[Word]]) -> tuple[tuple[Word, ...], tuple[int, ...]]:
    """The words of a list of turns, and where each turn opens.

    Raises:
        UnreadableCall: more than `MAX_WORDS` words.
    """
    openings: list[int] = []

    def in_order() -> Iterator[Word]:
        count = 0
        for turn in turns:
            openings.append(count)
            for each in turn:
                count += 1
                yield each

    return gathered(in_order()), tuple(openings)


def by_time(voices: Iterable[Iterable[Word]]) -> list[Word]:
    """The words of several channels in order of time; one without a time follows the word before it."""
    timed: list[tuple[float, Word]] = []
    for voice in voices:
        latest = 0.0
        for each in voice:
            latest = latest if each.start is None else each.start
            timed.append((latest, each))
    return [each for _, each in sorted(timed, key=lambda pair: pair[0])]


def spoken(text: str, speaker: str | None, start: object = None, end: object = None) -> Iterator[Word]:
    """The words of a text, all with the span of the whole."""
    made = (word(piece.group(), start, end, speaker) for piece in _SPOKEN.finditer(text))
    return (each for each in made if each is not None)


def speaker_of(speaker: object, role: object = None) -> str | None:
    """Who speaks: a role that is known, in French, else the name or number given, else nobody known."""
    given = [each.strip() for each in (role, speaker) if isinstance(each, str) and each.strip()]
    known = next((name for each in given if (name := role_of(each))), None)
    if known or given:
        return known or given[-1][:LONGEST_LABEL]
    numbered = isinstance(speaker, int) and not isinstance(speaker, bool)
    return f"speaker_{speaker}"[:LONGEST_LABEL] if numbered else None


def role_of(label: str) -> str | None:
    """`conseiller` or `client`, when the label names a role in French or English."""
    return _ROLE_NAMES.get(label.strip().lower())
