"""When a failed delivery is tried again. Pure."""

from collections.abc import Sequence


def wait_seconds(waits: Sequence[float], attempts_left: int, retry_after: float | None) -> float:
    """Seconds until the next attempt, of which `attempts_left` (1 or more) are left after the one that failed.

    `waits` lie between the attempts of one round (spec/automation §7 has the first two: 2 s and 4 s). Where the
    receiver asks for a longer wait (`Retry-After`), it gets it.
    """
    planned = waits[max(0, len(waits) - attempts_left)] if waits else 0.0
    return max(planned, retry_after or 0.0)


def attempts_of_a_round(waits: Sequence[float]) -> int:
    """How often a delivery is tried before it is a dead letter."""
    return len(waits) + 1
