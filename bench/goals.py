"""Goals of a section, each printed as met or not; the command fails when one was missed."""

_missed: list[str] = []


def goal(what: str, met: bool) -> None:
    """Prints `PASS` or `FAIL` with what was to be shown."""
    print(f"{'PASS' if met else 'FAIL'}  {what}")
    if not met:
        _missed.append(what)


def missed() -> list[str]:
    """What was missed in this run."""
    return list(_missed)
