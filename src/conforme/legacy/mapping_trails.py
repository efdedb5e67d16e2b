"""Who overruled and what was judged again, out of the original's trails, as verdicts that are appended (spec/audits §9.3).

The original kept what holds at the end, and of each change what was before and after. Our table holds what was said
each time. So what was said is found backwards, by undoing the changes from the newest to the oldest: what the original
kept is taken from there, and what it forgot (quotes of a finding that was replaced) is left empty, never made up. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from conforme.audits.verdicts import Conforme, Niveau, Statut
from conforme.legacy.errors import BadRow
from conforme.legacy.values import Row, moment, objects, text, whole

Json = dict[str, Any]
OF_STEP: Final = ("traite", "conforme", "score", "niveau_conformite")
OF_POINT: Final = ("statut", "commentaire")
STEP_RERUN: Final = ("score", "conforme", "total_citations")
POINT_RERUN: Final = ("statut", "commentaire", "citations", "step_score", "step_conforme")
IMPORTED: Final = {"imported": True}
"""In the content of a verdict: it was put together out of what the original kept."""


@dataclass(frozen=True, slots=True)
class Said:
    """One entry of a trail."""

    at: datetime
    kind: Literal["review", "rerun"]
    point: int | None
    """Number of the control point; None: the step as a whole."""
    text: str
    """Of the control point."""
    author: str | None
    reason: str | None
    reference: str | None
    """The original's name of a rerun."""
    event_id: str | None
    custom_prompt: str | None
    before: Json
    after: Json


def trail(reviews: Sequence[Row], reruns: Sequence[Row], raw: Mapping[str, Any]) -> tuple[Said, ...]:
    """The trails of a step, oldest first; from its tables, or from its JSON where they were not moved yet."""
    said = [_review_row(row) for row in reviews] or [
        _review_json(each) for each in objects(raw.get("human_review"))
    ]
    again = [_rerun_row(row) for row in reruns] or [
        _rerun_json(each) for each in objects(raw.get("rerun_history"))
    ]
    return tuple(sorted((*said, *again), key=lambda each: each.at))


def _review_row(row: Row) -> Said:
    whole_step = text(row, "kind") == "step"
    names = OF_STEP if whole_step else OF_POINT
    return Said(
        at=_at(row, "reviewed_at"),
        kind="review",
        point=_number(row, whole_step=whole_step),
        text=text(row, "point") or "",
        author=text(row, "reviewer"),
        reason=text(row, "reason"),
        reference=None,
        event_id=None,
        custom_prompt=None,
        before=_prefixed(row, "previous_", names),
        after=_prefixed(row, "override_", names),
    )


def _rerun_row(row: Row) -> Said:
    whole_step = text(row, "kind") == "step_rerun"
    names = STEP_RERUN if whole_step else POINT_RERUN
    return Said(
        at=_at(row, "occurred_at"),
        kind="rerun",
        point=_number(row, whole_step=whole_step),
        text=text(row, "point") or "",
        author=None,
        reason=None,
        reference=text(row, "rerun_id"),
        event_id=text(row, "event_id"),
        custom_prompt=text(row, "custom_prompt"),
        before=_prefixed(row, "previous_", names),
        after=_prefixed(row, "next_", names),
    )


def _review_json(entry: Json) -> Said:
    return Said(
        at=_at(entry, "at"),
        kind="review",
        point=_number(entry, whole_step=entry.get("kind") != "control_point"),
        text=text(entry, "point") or "",
        author=text(entry, "by"),
        reason=text(entry, "reason"),
        reference=None,
        event_id=None,
        custom_prompt=None,
        before=_object(entry, "previous"),
        after=_object(entry, "override"),
    )


def _rerun_json(entry: Json) -> Said:
    return Said(
        at=_at(entry, "at"),
        kind="rerun",
        point=_number(entry, whole_step=entry.get("kind") != "control_point_rerun"),
        text=text(entry, "point") or "",
        author=None,
        reason=None,
        reference=text(entry, "rerun_id"),
        event_id=text(entry, "event_id"),
        custom_prompt=text(entry, "custom_prompt"),
        before=_object(entry, "previous"),
        after=_object(entry, "next"),
    )


def _at(row: Row, name: str) -> datetime:
    at = moment(row, name)
    if at is None:
        raise BadRow(f"{name}: is null")
    return at


def _number(row: Row, *, whole_step: bool) -> int | None:
    return None if whole_step else whole(row, "control_point_index")


def _object(entry: Json, name: str) -> Json:
    value = entry.get(name)
    return dict(value) if isinstance(value, dict) else {}


def _prefixed(row: Row, prefix: str, names: Sequence[str]) -> Json:
    return {name: _plain(row.get(f"{prefix}{name}")) for name in names}


def _plain(value: Any) -> Any:
    """Numbers of the database as JSON has them."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return int(value) if value == int(value) else float(value)


# Backwards


@dataclass(frozen=True, slots=True)
class Told:
    """What is appended: kind, the point it is about, and what was said, as `audits.history` reads it."""

    kind: Literal["run", "rerun", "review"]
    point: int | None
    content: Json
    said: Said | None
    """The trail's entry; None for the run."""


def unfolded(step: Json | None, points: Mapping[int, Json], said: Sequence[Said]) -> list[Told]:
    """What was said of a step, oldest first, so that `history.held` gives what holds.

    Args:
        step: what the model said of the step as a whole, without points; None when it never answered.
        points: the findings as they hold, by number.
        said: the trail, oldest first.
    """
    now = dict(points)
    told: list[Told] = []
    for entry in reversed(said):
        undone = _undo(entry, step, now)
        if undone is not None:
            told.append(undone)
    if step is not None:
        told.append(Told("run", None, {**step, **IMPORTED, "points": _ordered(now)}, None))
    return told[::-1]


def _undo(entry: Said, step: Json | None, now: dict[int, Json]) -> Told | None:
    """What an entry said; `now` becomes what held before it."""
    if entry.kind == "review" and entry.point is None:
        return _step_review(entry)
    if step is None or (entry.point is not None and entry.point not in now):
        return None
    if entry.point is None:
        content = {**step, **IMPORTED, "points": _ordered(now)}
        now.clear()  # the original forgot them
        return Told("rerun", None, content, entry)
    finding = now[entry.point]
    if entry.kind == "review":
        now[entry.point] = _before(finding, entry)
        return Told("review", entry.point, _point_review(finding, entry), entry)
    now[entry.point] = {
        **_before(finding, entry),
        "minutages": [],
        "citations": [],
        "dropped": [],
        "doubts": [],
    }
    return Told("rerun", entry.point, {**IMPORTED, "point": finding["point"], "finding": finding}, entry)


def _ordered(points: Mapping[int, Json]) -> list[Json]:
    return [points[number] for number in sorted(points)]


def _before(finding: Json, entry: Said) -> Json:
    """The finding as it was, as far as the trail tells."""
    statut, comment = entry.before.get("statut"), entry.before.get("commentaire")
    known = statut if statut in set(Statut) else finding["statut"]
    said = comment if isinstance(comment, str) else finding["commentaire"]
    return {**finding, "statut": known, "model_statut": known, "commentaire": said}


def _point_review(finding: Json, entry: Said) -> Json:
    """What a person said of a point: what they changed of it, or that it stays."""
    before = _before(finding, entry)
    changed = {name: finding[name] for name in OF_POINT if finding[name] != before[name]}
    return {**IMPORTED, "point": finding["point"], **(changed or {"commentaire": finding["commentaire"]})}


def _step_review(entry: Said) -> Told | None:
    after = entry.after
    conforme, niveau, score = after.get("conforme"), after.get("niveau_conformite"), after.get("score")
    if conforme not in set(Conforme) or not isinstance(score, int | float) or isinstance(score, bool):
        return None
    content = {
        **IMPORTED,
        "traite": after.get("traite") is not False,
        "conforme": conforme,
        "score": int(score),
        "niveau_conformite": niveau if niveau in set(Niveau) else _NIVEAU_OF[Conforme(conforme)],
    }
    return Told("review", None, content, entry)


_NIVEAU_OF: Final = {
    Conforme.CONFORME: Niveau.BON.value,
    Conforme.PARTIEL: Niveau.ACCEPTABLE.value,
    Conforme.NON_CONFORME: Niveau.INSUFFISANT.value,
}
"""What the original derives where nothing else is said (spec/audits §8)."""
