"""What changed between two states of a configuration, said by field. Pure."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from conforme.audit_configs.rules import ControlPoint, Rules, StepRule

Kind = Literal["added", "removed", "changed"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """`path` counts as people do: `steps[2].control_points[3].text` is the third point of the step at position 2.

    A step or a point is named by where it stands in the later state, a removed one by where it stood in the earlier.
    """

    kind: Kind
    path: str
    before: Any
    after: Any


def changes(before: Rules, after: Rules) -> list[Change]:
    """Everything that differs, and nothing that does not; values as JSON.

    A step is the same one when it keeps its name, or else its position; a control point when it keeps its `ref`, its
    text, or else its place.
    """
    return [*_fields("", before, after, except_for={"steps"}), *_steps(before.steps, after.steps)]


def _steps(before: Sequence[StepRule], after: Sequence[StepRule]) -> Iterator[Change]:
    for old, new in _paired(before, after, (lambda step: step.name, lambda step: step.position)):
        if old is None or new is None:
            step = new or old
            assert step is not None  # noqa: S101 -- a pair has one side at least
            yield _whole(f"steps[{step.position}]", old, new)
            continue
        path = f"steps[{new.position}]"
        yield from _fields(f"{path}.", old, new, except_for={"control_points"})
        yield from _points(path, old.control_points, new.control_points)


def _points(step: str, before: Sequence[ControlPoint], after: Sequence[ControlPoint]) -> Iterator[Change]:
    olds, news = list(enumerate(before, 1)), list(enumerate(after, 1))
    ways = (lambda placed: placed[1].ref, lambda placed: placed[1].text, lambda placed: placed[0])
    for old, new in _paired(olds, news, ways):
        place = (new or old or (0,))[0]
        path = f"{step}.control_points[{place}]"
        if old is None or new is None:
            yield _whole(path, old and old[1], new and new[1])
            continue
        if old[0] != new[0]:
            yield Change("changed", f"{path}.position", old[0], new[0])
        yield from _fields(f"{path}.", old[1], new[1])


def _fields(
    prefix: str, before: BaseModel, after: BaseModel, *, except_for: set[str] | None = None
) -> Iterator[Change]:
    left_out = except_for or set()
    old, new = (model.model_dump(mode="json", exclude=left_out) for model in (before, after))
    for name, value in new.items():
        if old[name] != value:
            yield Change("changed", f"{prefix}{name}", old[name], value)


def _whole(path: str, old: BaseModel | None, new: BaseModel | None) -> Change:
    shown = [model.model_dump(mode="json") if model else None for model in (old, new)]
    return Change("removed" if new is None else "added", path, *shown)


def _paired(
    before: Sequence[T], after: Sequence[T], ways: Sequence[Callable[[T], Hashable | None]]
) -> list[tuple[T | None, T | None]]:
    """Each of both sides once, with what it corresponds to: looked for one way after the other, None never matches.

    In the order of `after`, then what is left of `before`.
    """
    found: dict[int, int] = {}
    left = dict(enumerate(before))
    for way in ways:
        for place, new in enumerate(after):
            same = (old for old, value in left.items() if way(value) == way(new) and way(new) is not None)
            if place not in found and (old := next(same, None)) is not None:
                found[place] = old
                del left[old]
    pairs = [(before[found[place]] if place in found else None, new) for place, new in enumerate(after)]
    return [*pairs, *((old, None) for old in left.values())]
