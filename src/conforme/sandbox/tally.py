"""What a simulated provider was asked: counts per route, and one journal line per request."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

JOURNAL_LENGTH = 50_000
EARLY_TOLERANCE_SECONDS = 0.02
"""Clocks of client and service are the same here; this much covers their rounding."""


@dataclass(slots=True)
class Exchange:
    """One request under way, shared between the chassis and the route that answers it."""

    route: str
    subject: str
    """Digest of what was asked: equal for equal requests, whatever the multipart boundary."""
    arrived: float
    units: float = 0.0
    malformed: bool = False
    """The answer has to break the protocol. A route with its own way of breaking it takes the flag down."""
    on_answered: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    """Called once the answer has left whole, malformed or not, and only then."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request in the journal; times in seconds since the epoch."""

    route: str
    subject: str
    arrived: float
    ended: float
    outcome: str
    """`answered`, `abandoned` (the client left first), `down`, `broken` (a defect of the simulator), or a `Fault`."""
    repeat: bool
    """The same was asked and answered before."""


@dataclass(slots=True)
class RouteCounts:
    requests: int = 0
    answered: int = 0
    abandoned: int = 0
    repeated: int = 0
    """Requests for what had already been answered: paid twice."""
    early: int = 0
    """Requests that came back before the `Retry-After` they were given had passed."""
    statuses: dict[str, int] = field(default_factory=dict[str, int])
    faults: dict[str, int] = field(default_factory=dict[str, int])


class Tally:
    """What a service was asked: per route, in flight, and one journal line per request."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.routes: dict[str, RouteCounts] = {}
        self.journal: deque[Entry] = deque(maxlen=JOURNAL_LENGTH)
        self.in_flight = 0
        self.peak_in_flight = 0
        self._answered: set[str] = set()
        self._not_before: dict[str, float] = {}

    def arrive(self, exchange: Exchange) -> None:
        counts = self.routes.setdefault(exchange.route, RouteCounts())
        counts.requests += 1
        counts.repeated += exchange.subject in self._answered
        not_before = self._not_before.pop(exchange.subject, -math.inf)
        counts.early += exchange.arrived < not_before - EARLY_TOLERANCE_SECONDS
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def leave(self, exchange: Exchange, outcome: str, status: int | None) -> None:
        counts = self.routes.setdefault(exchange.route, RouteCounts())
        repeat = exchange.subject in self._answered
        if outcome == "answered":
            counts.answered += 1
            self._answered.add(exchange.subject)
        elif outcome == "abandoned":
            counts.abandoned += 1
        else:
            counts.faults[outcome] = counts.faults.get(outcome, 0) + 1
        if status is not None:
            counts.statuses[str(status)] = counts.statuses.get(str(status), 0) + 1
        self.in_flight = max(0, self.in_flight - 1)
        self.journal.append(
            Entry(exchange.route, exchange.subject, exchange.arrived, time.time(), outcome, repeat)
        )

    def told_to_wait(self, exchange: Exchange, seconds: float) -> None:
        self._not_before[exchange.subject] = time.time() + seconds

    def as_json(self) -> dict[str, Any]:
        return {
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "routes": {route: asdict(counts) for route, counts in sorted(self.routes.items())},
        }
