"""A call as the rule-based auditor hears it: words repaired, speakers told apart, phrases found in place."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from conforme.sandbox.lexicon import Lexicon, lexicon, repaired
from conforme.sandbox.reading import SpokenTurn, Word, spoken_turns

ADVISOR, CLIENT = "conseiller", "client"
_SENTENCE_END = re.compile(r"[.?!…;](?=\s|$)")
_SHORTEST_QUOTE_WORDS = 5
_LONGEST_QUOTE_WORDS = 45
_STRONG_CUES = 2
"""Cues in one turn that outweigh the label the recogniser gave it."""
_AROUND = 6
"""Turns on each side that tell who a label is for the moment."""
_EARLY_SHARE = 0.2
_EARLY_TURNS = 10


@dataclass(frozen=True, slots=True)
class Passage:
    """Words that were said: the turn, and where in its raw text they begin and end."""

    turn: int
    """Index among the turns of the call, from 0."""
    start: int
    end: int
    misheard: tuple[tuple[str, str], ...] = ()
    """Words read otherwise than written: as written, as read."""


class Call:
    """The turns of one audit's transcript, searchable."""

    def __init__(self, turns: tuple[SpokenTurn, ...], known: Lexicon) -> None:
        self.turns = turns
        self._known = known
        self._place: list[tuple[int, Word]] = []
        self._starts: list[int] = []
        lines: list[str] = []
        length = 0
        for index, turn in enumerate(turns):
            read = [repaired(word.folded) for word in turn.words]
            for word, text in zip(turn.words, read, strict=True):
                self._place.append((index, word))
                self._starts.append(length)
                length += len(text) + 1
            lines.append(" ".join(read))
            length += not read
        self.lines = tuple(lines)
        self.text = "\n".join(lines)
        self.roles = tuple(self._roles())
        self._deaf = {index for index, line in enumerate(lines) if known.injection.search(line)}
        self._found: dict[re.Pattern[str], tuple[Passage, ...]] = {}

    # Who speaks

    def _roles(self) -> Iterator[str]:
        """Role of each turn: what its words say when they say it strongly, else what its label says thereabouts.

        A recogniser may take the speakers for each other during a part of a call: a label is judged by the turns
        around, and by the whole recording only where those leave it open.
        """
        own = [_cues(self._known.advisor, line) - _cues(self._known.client, line) for line in self.lines]
        overall = self._lean(own, range(len(own)))
        for index, turn in enumerate(self.turns):
            around = range(max(0, index - _AROUND), min(len(own), index + _AROUND + 1))
            local = self._lean(own, around)
            if turn.role:
                yield turn.role
            elif abs(own[index]) >= _STRONG_CUES:
                yield ADVISOR if own[index] > 0 else CLIENT
            else:
                yield _role(turn, local) or _role(turn, overall)

    def _lean(self, own: Sequence[int], indices: Iterable[int]) -> Counter[tuple[int, str]]:
        """Cues of each label among these turns, those of an advisor counting up, those of a client down."""
        lean: Counter[tuple[int, str]] = Counter()
        for index in indices:
            lean[self.turns[index].recording, self.turns[index].speaker] += own[index]
        return lean

    def spoken_by(self, passage: Passage, who: str) -> bool:
        """Whether the role may have said it; an unknown role may be anyone."""
        return not who or self.roles[passage.turn] in {who, ""}

    # What is said

    def find(self, wanted: re.Pattern[str]) -> tuple[Passage, ...]:
        """Where the pattern occurs, in order; words spoken to an auditor are not heard."""
        if wanted not in self._found:
            self._found[wanted] = tuple(self._search(wanted))
        return self._found[wanted]

    def _search(self, wanted: re.Pattern[str]) -> Iterator[Passage]:
        for match in wanted.finditer(self.text):
            first = bisect_right(self._starts, match.start()) - 1
            last = bisect_right(self._starts, match.end() - 1) - 1
            passage = self._passage(first, last)
            if passage.turn not in self._deaf:
                yield passage

    def _passage(self, first: int, last: int) -> Passage:
        turn, begin = self._place[first]
        words = [word for _, word in self._place[first : last + 1]]
        misheard = tuple(
            (word.folded, repaired(word.folded)) for word in words if repaired(word.folded) != word.folded
        )
        return Passage(turn, begin.start, words[-1].end, misheard)

    def whole(self, turn: int) -> Passage:
        return Passage(turn, 0, len(self.turns[turn].text))

    def hearable(self) -> Iterable[int]:
        """Indices of the turns that can be evidence."""
        return (index for index in range(len(self.turns)) if index not in self._deaf)

    def early(self, passage: Passage) -> bool:
        """Said at the start of its recording."""
        turn = self.turns[passage.turn]
        last = max(other.number for other in self.turns if other.recording == turn.recording)
        return turn.number - 1 < max(_EARLY_TURNS, int(_EARLY_SHARE * last))

    def soon_after(self, turn: int, within: int) -> Iterator[int]:
        """Indices of the turns heard within so many turns after that one."""
        asked = self.turns[turn]
        for index in range(turn + 1, min(len(self.turns), turn + 1 + within)):
            other = self.turns[index]
            if other.recording == asked.recording and other.number - asked.number <= within:
                yield index

    def quote(self, passage: Passage) -> str:
        """The sentence around the passage, or the turn when that is too short to be recognised."""
        text = self.turns[passage.turn].text
        ends = [match.end() for match in _SENTENCE_END.finditer(text)]
        start = max((end for end in ends if end <= passage.start), default=0)
        stop = min((end for end in ends if end >= passage.end), default=len(text))
        if len(text[start:stop].split()) < _SHORTEST_QUOTE_WORDS:
            start, stop = 0, len(text)
        return _shortened(text, start, stop, passage)


def _shortened(text: str, start: int, stop: int, passage: Passage) -> str:
    """At most `_LONGEST_QUOTE_WORDS` whole words of text[start:stop], the passage among them."""
    spans = [match.span() for match in re.finditer(r"\S+", text[start:stop])]
    if len(spans) <= _LONGEST_QUOTE_WORDS:
        return text[start:stop].strip()
    at = next((index for index, (_, end) in enumerate(spans) if start + end > passage.start), 0)
    first = max(0, min(at - _LONGEST_QUOTE_WORDS // 3, len(spans) - _LONGEST_QUOTE_WORDS))
    last = first + _LONGEST_QUOTE_WORDS - 1
    return text[start + spans[first][0] : start + spans[last][1]]


def _role(turn: SpokenTurn, lean: Counter[tuple[int, str]]) -> str:
    """The role of the turn's label; empty when there is nobody to compare it with, or no difference."""
    mates = [
        cues
        for (recording, label), cues in lean.items()
        if recording == turn.recording and label != turn.speaker
    ]
    own = lean[turn.recording, turn.speaker]
    if not mates or own == max(mates):
        return ""
    return ADVISOR if own > max(mates) else CLIENT


def _cues(wanted: re.Pattern[str], line: str) -> int:
    return sum(1 for _ in wanted.finditer(line))


@lru_cache(maxsize=32)
def heard_call(transcript: str) -> Call:
    """The call of a transcript; all steps of an audit share it."""
    return Call(spoken_turns(transcript), lexicon())
