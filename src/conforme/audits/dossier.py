"""One audit as a file that can be handed over: every verdict, its quotes with their times, and what it rests on.

The content is put together once, from the same detail that the API shows; the page and the PDF only lay it out. Its
digest stands on both: two copies with one digest say the same.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from conforme.accounts.actor import Actor
from conforme.audit_configs.revisions import Revision, revision
from conforme.audits.details import detail_of
from conforme.audits.queries import Session
from conforme.audits.schemas import AuditDetail, StepResult
from conforme.audits.verdicts import UNKNOWN
from conforme.foundation.web import decimal_text, iso

STATUSES: Final = {
    "pending": "en attente",
    "running": "en cours",
    "completed": "terminé",
    "failed": "échoué",
}


@dataclass(frozen=True, slots=True)
class Dossier:
    content: Mapping[str, Any]
    """`audit`, `verdict`, `basis`, `calls`, `steps`: text, numbers and lists, in the order of the page."""
    sha256: str
    """Of the content's canonical JSON."""


async def dossier_of(session: Session, actor: Actor, audit_id: int) -> Dossier:
    """The dossier of one audit.

    Raises:
        NotFound: no such audit in the actor's scope.
    """
    detail = await detail_of(session, actor, audit_id)
    return dossier(detail, await revision(session, detail.config_revision.id))


def dossier(detail: AuditDetail, pinned: Revision) -> Dossier:
    """Pure: the same audit gives the same dossier, whenever it is asked for."""
    content = {
        "audit": _audit(detail),
        "verdict": _verdict(detail),
        "basis": _basis(detail, pinned),
        "calls": _calls(detail),
        "steps": [_step(step, detail.result_data) for step in detail.step_results],
    }
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Dossier(content, hashlib.sha256(canonical.encode()).hexdigest())


def _audit(detail: AuditDetail) -> dict[str, Any]:
    fiche = detail.fiche_cache
    names = [fiche.prospect_prenom, fiche.prospect_nom] if fiche else []
    return {
        "id": str(detail.id),
        "tracking_id": detail.tracking_id,
        "version": detail.version,
        "is_latest": detail.is_latest,
        "status": STATUSES.get(detail.status, detail.status),
        "deleted_at": iso(detail.deleted_at),
        "error": detail.error_message,
        "fiche_id": detail.fiche_id,
        "groupe": fiche.groupe if fiche else None,
        "agence": getattr(fiche, "agence_nom", None),
        "prospect": " ".join(name for name in names if name) or None,
        "notes": detail.notes,
    }


def _verdict(detail: AuditDetail) -> dict[str, Any]:
    done = detail.status == "completed"
    return {
        "niveau": detail.niveau,
        "score": decimal_text(detail.score_percentage) if done else None,
        "is_compliant": detail.is_compliant if done else None,
        "critical": f"{detail.critical_passed}/{detail.critical_total}",
        "missing": detail.missing_steps,
    }


def _basis(detail: AuditDetail, pinned: Revision) -> dict[str, Any]:
    return {
        "configuration": pinned.rules.name,
        "revision": pinned.number,
        "revision_sha256": pinned.rules.sha256(),
        "transcript_sha256": detail.transcript_sha256,
        "model": detail.model,
        "prompt_version": detail.prompt_version,
        "software": f"Conforme {version('conforme')}",
        "requested_at": iso(detail.created_at),
        "started_at": iso(detail.started_at),
        "completed_at": iso(detail.completed_at),
    }


def _calls(detail: AuditDetail) -> dict[str, Any]:
    coverage: Mapping[str, Any] = detail.result_data.get("coverage") or {}
    return {"recordings": detail.recordings_count, "unheard": list(coverage.get("not_transcribed", []))}


def _step(step: StepResult, stored: Mapping[str, Any]) -> dict[str, Any]:
    shown = _shown(step.step_position, stored)
    return {
        "position": step.step_position,
        "name": step.step_name,
        "is_critical": step.is_critical,
        "weight": step.weight,
        "analysed": step.traite,
        "error": step.error,
        "conforme": step.conforme,
        "niveau": step.niveau_conformite,
        "score": decimal_text(step.score),
        "comment": step.commentaire_global,
        "points": [_point(number, each) for number, each in enumerate(shown.get("points_controle", []), 1)],
        "reviews": [_review(each) for each in shown.get("human_review", [])],
        "reruns": [_rerun(each) for each in shown.get("rerun_history", [])],
    }


def _shown(position: int, stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """The step as the latest view shows it (spec/audits §10.3)."""
    steps: Sequence[Mapping[str, Any]] = stored.get("audit", {}).get("results", {}).get("steps", [])
    mine = (step for step in steps if step.get("step_metadata", {}).get("position") == position)
    return next(mine, {})


def _point(number: int, point: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": number,
        "point": point.get("point", ""),
        "statut": point.get("statut", ""),
        "comment": point.get("commentaire") or "",
        "quotes": [_quote(each) for each in point.get("citations", [])],
        "dropped": [
            {"text": each.get("texte", ""), "reason": each.get("reason", "")}
            for each in point.get("citations_dropped", [])
        ],
    }


def _quote(quote: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "text": quote.get("texte", ""),
        "call": quote.get("recording_index", 0) + 1,
        "date": _known(quote.get("recording_date")),
        "time": _known(quote.get("recording_time")),
        "from": _clock(quote.get("start_ms")) or _known(quote.get("minutage")),
        "to": _clock(quote.get("end_ms")),
        "speaker": _known(quote.get("speaker")),
        "match": quote.get("match"),
    }


def _known(text: Any) -> str | None:
    return None if text in {None, "", UNKNOWN, "unknown"} else str(text)


def _clock(milliseconds: int | None) -> str | None:
    """`MM:SS.t`; minutes may exceed 59."""
    if milliseconds is None:
        return None
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes:02d}:{rest // 1000:02d}.{rest % 1000 // 100}"


def _review(review: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "at": review.get("at"),
        "by": review.get("by"),
        "reason": review.get("reason"),
        "point": review.get("control_point_index"),
        "before": _said(review.get("previous")),
        "after": _said(review.get("override")),
    }


def _rerun(rerun: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "at": rerun.get("at"),
        "id": rerun.get("rerun_id"),
        "point": rerun.get("control_point_index"),
        "before": _said(rerun.get("previous")),
        "after": _said(rerun.get("next")),
    }


def _said(verdict: Any) -> str | None:
    """A verdict of a trail in a few words."""
    if not isinstance(verdict, Mapping):
        return None
    words = [verdict.get("statut") or verdict.get("conforme"), verdict.get("score")]
    return " · ".join(str(word) for word in words if word is not None) or None
