"""Who overruled what and when, and what was looked at again: the trails of a step (spec/audits §9.3)."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, select

from conforme.accounts.models import User
from conforme.audits.models import VerdictRow
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.web import iso

Trails = Mapping[int, Mapping[str, list[dict[str, Any]]]]
"""Step position → `human_review` and `rerun_history`, each oldest first; what is empty is not there."""

REVIEW_OF_STEP = ("traite", "conforme", "score", "niveau_conformite")
REVIEW_OF_POINT = ("statut", "commentaire")
RERUN_OF_STEP = ("score", "conforme", "total_citations")
RERUN_OF_POINT = ("statut", "commentaire", "citations", "step_score", "step_conforme")

_SAID = (
    select(
        VerdictRow.audit_id,
        VerdictRow.step_position,
        VerdictRow.control_point_index,
        VerdictRow.kind,
        VerdictRow.created_at,
        VerdictRow.author,
        User.email,
        VerdictRow.reason,
        VerdictRow.reference,
        VerdictRow.event_id,
        VerdictRow.custom_prompt,
        VerdictRow.content["point"].astext.label("point"),
        VerdictRow.before,
        VerdictRow.after,
    )
    .outerjoin(User, User.id == VerdictRow.user_id)
    .where(VerdictRow.kind.in_(("review", "rerun")))
    .order_by(VerdictRow.id)
)
Said = RowMapping


async def of_audits(session: ReadSession | WriteSession, audit_ids: Sequence[int]) -> dict[int, Trails]:
    """The trails of all steps of these audits, in one statement; the caller has checked the scope."""
    found: dict[int, dict[int, dict[str, list[dict[str, Any]]]]] = {each: {} for each in audit_ids}
    rows = await session.execute(_SAID.where(VerdictRow.audit_id.in_(audit_ids)))
    for said in rows.mappings():
        name, line = (
            ("human_review", _review(said)) if said["kind"] == "review" else ("rerun_history", _rerun(said))
        )
        steps = found[said["audit_id"]]
        steps.setdefault(said["step_position"], {}).setdefault(name, []).append(line)
    return dict(found)


def _review(said: Said) -> dict[str, Any]:
    whole = said["control_point_index"] is None
    names = REVIEW_OF_STEP if whole else REVIEW_OF_POINT
    about: dict[str, Any] = {} if whole else {"kind": "control_point", **_place(said)}
    return {
        "at": iso(said["created_at"]),
        "by": said["email"] or said["author"],
        "reason": said["reason"],
        **about,
        "previous": _only(said["before"], names),
        "override": _only(said["after"], names),
    }


def _rerun(said: Said) -> dict[str, Any]:
    whole = said["control_point_index"] is None
    names = RERUN_OF_STEP if whole else RERUN_OF_POINT
    return {
        "at": iso(said["created_at"]),
        "kind": "step_rerun" if whole else "control_point_rerun",
        "rerun_id": said["reference"],
        "event_id": said["event_id"],
        "step_position": said["step_position"],
        **({"custom_prompt": said["custom_prompt"]} if whole else _place(said)),
        "previous": _only(said["before"], names),
        "next": _only(said["after"], names),
    }


def _place(said: Said) -> dict[str, Any]:
    return {"control_point_index": said["control_point_index"], "point": said["point"]}


def _only(shape: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: (shape or {}).get(name) for name in names}
