"""Runs the named sections of the bench, or all of them: `python -m bench evidence`."""

import sys
from importlib import import_module

from bench.goals import missed

SECTIONS = (
    "evidence",
    "modes",
    "statements",
    "authorisation",
    "lists",
    "range",
    "streams",
    "pipeline",
    "throughput",
    "batch",
    "idle",
)
"""Each is a module of this package with a `main()` that prints its figures."""


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(SECTIONS))
    if unknown:
        print(f"unknown section: {', '.join(unknown)}; there are: {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    for name in names or SECTIONS:
        print(f"\n{name}\n{'-' * len(name)}")
        import_module(f"bench.{name}").main()
    return 1 if missed() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
