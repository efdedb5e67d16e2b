"""A configuration that cannot be taken, every reason with the path of its field."""

from collections.abc import Sequence

from pydantic import ValidationError

from conforme.foundation.errors import Invalid

SHOWN = 20
"""Problems a message lists; `problems` holds them all."""


class InvalidConfiguration(Invalid):
    """An audit configuration that cannot be taken."""

    def __init__(self, problems: Sequence[str], about: str = "Invalid audit configuration") -> None:
        self.problems = tuple(problems)
        """Each as `steps.3.control_points.0.text: what is wrong`; list entries count from 0."""
        shown = "; ".join(self.problems[:SHOWN])
        more = f"; and {len(self.problems) - SHOWN} more" if len(self.problems) > SHOWN else ""
        super().__init__(f"{about}: {shown}{more}", field=self.problems[0].partition(":")[0])

    @classmethod
    def of(cls, error: ValidationError, about: str = "Invalid audit configuration") -> "InvalidConfiguration":
        """The same, from what Pydantic found. Says where and why, never repeats the value."""
        return cls(describe(error), about)


def describe(error: ValidationError) -> list[str]:
    """Each issue as `path: reason`."""
    issues = error.errors(include_url=False, include_input=False, include_context=False)
    return [f"{_path(issue['loc'])}: {issue['msg'].removeprefix('Value error, ')}" for issue in issues]


def _path(location: tuple[int | str, ...]) -> str:
    # An unknown key comes from outside: shown, but short and on one line.
    parts = (
        str(part) if isinstance(part, int) or part.isidentifier() else repr(part)[:60] for part in location
    )
    return ".".join(parts)[:300] or "file"
