"""What stops an import, and what sets one row aside."""

from conforme.foundation.errors import Conflict, Invalid, Unavailable


class SourceUnreachable(Unavailable):
    """The original's database cannot be reached"""


class NotTheOriginal(Invalid):
    """This is not a database of the original"""


class AnotherOriginal(Conflict):
    """Another database was imported here before: its numbers would be taken for those of this one"""


class ImportOverlaps(Conflict):
    """Another import is at work"""


class BadRow(Exception):
    """A row of the original that cannot be taken over; the reason names columns and ids, never a value."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
