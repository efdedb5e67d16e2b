"""What a passage must be besides spoken to count as evidence: the conditions of one answer (pure)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from conforme.audit_configs.rules import ControlPoint
from conforme.audits.doubts import Doubt, DoubtReason, Doubts
from conforme.audits.injections import spans
from conforme.audits.roles import OPPOSITE, Role
from conforme.audits.timeline import Recording, Timeline
from conforme.audits.verdicts import Citation, DroppedCitation, DropReason

SURE_OF_ROLE: Final = 0.9


class Given(Protocol):
    """What the model was shown of the calls."""

    def gave(self, citation: Citation) -> bool:
        """Whether every word of a passage was shown."""
        ...

    def given_turns(self) -> Iterator[tuple[int, int]]:
        """Recording and turn (both from 1) where each part that was shown begins."""
        ...


@dataclass(frozen=True, slots=True)
class Admission:
    """The conditions of one answer."""

    timeline: Timeline | None = None
    """The words, with who spoke them; None: nobody asks who spoke."""
    sure_of_role: float = SURE_OF_ROLE
    given: Given | None = None
    """What the model was shown; None: everything."""

    def fault(self, found: Citation, point: ControlPoint) -> DropReason | None:
        """Why a passage that was spoken is no evidence for this point."""
        if self._not_given(found):
            return DropReason.NOT_FETCHED
        if self.timeline is not None and _to_auditor(self.timeline.recordings[found.recording_index], found):
            return DropReason.TO_AUDITOR
        if self._likeness(found, point) <= 1 - self.sure_of_role:
            return DropReason.WRONG_SPEAKER
        return None

    def elsewhere(self, found: Citation) -> Iterator[tuple[int, int]]:
        """Places where the same words may stand and would count: what is said twice is looked for in what was shown."""
        if self.given is not None and self._not_given(found):
            yield from self.given.given_turns()

    def doubts(
        self, point: ControlPoint, kept: Sequence[Citation], dropped: Sequence[DroppedCitation]
    ) -> Doubts:
        """What speaks against the verdict although it stands: it is not known, or only just, who spoke."""
        if kept:
            surest = max(self._likeness(each, point) for each in kept)
            return () if surest >= self.sure_of_role else (Doubt(DoubtReason.ROLE_UNSURE, surest),)
        wrong = any(each.reason is DropReason.WRONG_SPEAKER for each in dropped)
        return (Doubt(DoubtReason.WRONG_SPEAKER, self.sure_of_role),) if wrong else ()

    def _not_given(self, found: Citation) -> bool:
        return self.given is not None and not self.given.gave(found)

    def _likeness(self, found: Citation, point: ControlPoint) -> float:
        """How likely the passage was spoken by whom the point wants to hear."""
        if point.speaker is None or self.timeline is None:
            return 1.0
        role, sure = _spoken_by(self.timeline.recordings[found.recording_index], found)
        if role == point.speaker:
            return sure
        # Of two who speak, one of whom is not the one, the other is; a third may be anybody.
        return 1 - sure if role in OPPOSITE or role == "other" else _NOBODY_KNOWS


_NOBODY_KNOWS: Final = 0.5


def _to_auditor(recording: Recording, found: Citation) -> bool:
    """Whether any word of a passage belongs to a sentence spoken to whoever judges the call."""
    return any(
        found.first_word <= word <= found.last_word
        for turn in range(found.first_turn, found.last_turn + 1)
        for word in _words_to_auditor(recording, turn)
    )


def _words_to_auditor(recording: Recording, turn: int) -> Iterator[int]:
    spoken = recording.turns[turn]
    if not (marked := spans(spoken.text)):
        return
    at = 0
    for number in range(spoken.first, spoken.last + 1):
        end = at + len(recording.words[number].text)
        if any(start < end and at < stop for start, stop in marked):
            yield number
        at = end + 1


def _spoken_by(recording: Recording, found: Citation) -> tuple[Role, float]:
    """Who spoke most of a passage, and how sure that is."""
    turns = range(found.first_turn, found.last_turn + 1)

    def words_in(turn: int) -> int:
        spoken = recording.turns[turn]
        return min(spoken.last, found.last_word) - max(spoken.first, found.first_word)

    return recording.role_at(max(turns, key=words_in))


OPEN: Final = Admission()
"""Everything spoken counts, whoever says it."""
