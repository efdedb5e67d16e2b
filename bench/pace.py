"""How fast the machine is right now: CPU time is no constant when others work on the same cores."""

import json
import os
import time

LOOPS = 4000
ROUNDS = 5
_WORK = {"list": list(range(50)), "text": "x" * 200, "numbers": {"each": [1.5] * 20}}


def pace() -> float:
    """Milliseconds of CPU that a fixed piece of work takes, the best of a few rounds."""
    return min(_round() for _ in range(ROUNDS)) * 1000


def _round() -> float:
    begun = time.process_time()
    for _ in range(LOOPS):
        json.loads(json.dumps(_WORK))
    return time.process_time() - begun


def told() -> str:
    """The pace and the load, to be printed beside figures that depend on them."""
    return f"fixed work takes {pace():.0f} ms of CPU, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
