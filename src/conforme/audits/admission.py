"""What a passage must be besides spoken to count as evidence: the conditions of one answer (pure)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from conforme.audit_configs.rules import ControlPoint
from conforme.audits.doubts import Doubts
from conforme.audits.verdicts import Citation, DroppedCitation, DropReason


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

    given: Given | None = None
    """What the model was shown; None: everything."""

    def fault(self, found: Citation, point: ControlPoint) -> DropReason | None:  # noqa: ARG002
        """Why a passage that was spoken is no evidence for this point."""
        if self.given is not None and not self.given.gave(found):
            return DropReason.NOT_FETCHED
        return None

    def elsewhere(self, found: Citation) -> Iterator[tuple[int, int]]:
        """Places where the same words may stand and would count: what is said twice is looked for in what was shown."""
        if self.given is not None and not self.given.gave(found):
            yield from self.given.given_turns()

    def doubts(
        self,
        point: ControlPoint,  # noqa: ARG002
        kept: Sequence[Citation],  # noqa: ARG002
        dropped: Sequence[DroppedCitation],  # noqa: ARG002
    ) -> Doubts:
        """What speaks against the verdict although it stands."""
        return ()


OPEN = Admission()
"""Everything spoken counts."""
