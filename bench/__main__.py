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
BY_NAME_ALONE = ("month",)
"""Sections that take so long that they are run only when they are asked for."""


def main(names: list[str]) -> int:
    known = (*SECTIONS, *BY_NAME_ALONE)
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"unknown section: {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    for name in names or SECTIONS:
        print(f"\n{name}\n{'-' * len(name)}")
        import_module(f"bench.{name}").main()
    return 1 if missed() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
