"""What is told of a rerun: its events, and what it changed (spec/audits §3.6, §3.7, §9.1)."""

from dataclasses import dataclass
from typing import Any, Self

from conforme.audit_configs.rules import StepRule
from conforme.audits import history
from conforme.audits.history import Held
from conforme.audits.models import AuditRow, RerunRow
from conforme.foundation.database import now
from conforme.foundation.events import Draft, audit_channel, fiche_channel
from conforme.foundation.web import iso


def rerun_id(row: RerunRow) -> str:
    place = f"{row.audit_id}-{row.step_position}"
    if row.control_point_index is not None:
        place = f"{place}-cp-{row.control_point_index}"
    return f"rerun-{place}-{row.event_id}"


@dataclass(frozen=True, slots=True)
class Turn:
    """What held of a step, or of one point, before and after a rerun."""

    point: int | None
    before: dict[str, Any]
    after: dict[str, Any]

    @classmethod
    def of(cls, step: StepRule, before: Held, after: Held, point: int | None) -> Self:
        if point is None:
            return cls(None, history.step_shape(step, before), history.step_shape(step, after))
        return cls(point, history.point_shape(step, before, point), history.point_shape(step, after, point))

    @property
    def comparison(self) -> dict[str, Any]:
        return self._of_step() if self.point is None else self._of_point()

    def _of_step(self) -> dict[str, Any]:
        return {
            "scoreChanged": self._changed("score"),
            "conformeChanged": self._changed("conforme"),
            "citationsChanged": self._changed("total_citations"),
            "originalScore": self.before["score"],
            "newScore": self.after["score"],
            "originalConforme": self.before["conforme"],
            "newConforme": self.after["conforme"],
        }

    def _of_point(self) -> dict[str, Any]:
        return {
            "statutChanged": self._changed("statut"),
            "citationsChanged": self._changed("citations"),
            "originalStatut": self.before["statut"],
            "newStatut": self.after["statut"],
            "originalCitations": self.before["citations"],
            "newCitations": self.after["citations"],
        }

    def _changed(self, name: str) -> bool:
        return self.before[name] != self.after[name]

    def told(self, shape: dict[str, Any]) -> dict[str, Any]:
        """A side of it for an event: counts and statuses; comments may quote a person, and stay null."""
        if self.point is None:
            return {
                "score": shape["score"],
                "conforme": shape["conforme"],
                "commentaire": None,
                "citations": shape["total_citations"],
            }
        return {
            "statut": shape["statut"],
            "commentaire": None,
            "citations": shape["citations"],
            "minutages": shape["minutages"],
        }

    def summary(self, row: RerunRow) -> dict[str, Any]:
        """Payload of the event that ends it (spec/audits §3.6)."""
        place = {"audit_id": str(row.audit_id), "step_position": row.step_position}
        comparison = self.comparison
        if self.point is None:
            return {
                **place,
                "original_score": comparison["originalScore"],
                "new_score": comparison["newScore"],
                "score_changed": comparison["scoreChanged"],
                "conforme_changed": comparison["conformeChanged"],
            }
        return {
            **place,
            "control_point_index": self.point,
            "statut_changed": comparison["statutChanged"],
            "citations_changed": comparison["citationsChanged"],
        }


def _told(audit: AuditRow, row: RerunRow, name: str, status: str, **fields: Any) -> Draft:
    """One event of a rerun; here `audit_id` is the database id (spec/audits §3.7)."""
    scope: dict[str, Any] = {}
    if row.control_point_index is not None:
        scope = {"rerun_scope": "control_point", "control_point_index": row.control_point_index}
    payload = {
        "rerun_id": rerun_id(row),
        "event_id": row.event_id,
        "audit_id": str(audit.id),
        "step_position": row.step_position,
        **scope,
        **fields,
        "status": status,
    }
    return Draft(f"audit.{name}", payload, _channels(audit))


def _channels(audit: AuditRow) -> list[str]:
    return [audit_channel(audit.tracking_id), audit_channel(audit.id), fiche_channel(audit.fiche_id)]


def started(audit: AuditRow, row: RerunRow) -> Draft:
    return _told(audit, row, "step_started", "rerunning", started_at=iso(now()))


def completed(audit: AuditRow, row: RerunRow, turn: Turn) -> list[Draft]:
    ended = _told(
        audit,
        row,
        "step_completed",
        "rerun_completed",
        original=turn.told(turn.before),
        rerun=turn.told(turn.after),
        comparison=turn.comparison,
        completed_at=iso(now()),
    )
    summary, channels = turn.summary(row), _channels(audit)
    if row.control_point_index is None:
        return [ended, Draft("audit/step-rerun-completed", summary, channels)]
    return [ended, Draft("audit/step-control-point-rerun-completed", summary, channels)]


def failed(audit: AuditRow, row: RerunRow) -> Draft:
    return _told(
        audit,
        row,
        "step_failed",
        "rerun_failed",
        error=row.error,
        code=row.error_code,
        failed_at=iso(now()),
    )
