"""Rows into the wire's shapes (spec/audits §10.2, §10.3)."""

from decimal import Decimal
from typing import Any

from conforme.audits.models import CitationRow, ControlPointRow, StepResultRow
from conforme.audits.queries import Found, Verdicts
from conforme.audits.schemas import (
    AuditDetail,
    AuditItem,
    ConfigBrief,
    Cost,
    FicheBrief,
    FicheContact,
    Revision,
    StepResult,
)
from conforme.foundation.ledger import LedgerSummary
from conforme.foundation.web import decimal_text

_NESTED = {"audit_config", "automation_schedule", "automation_run", "fiche_cache"}
_COLUMNS = [name for name in AuditItem.model_fields if name not in _NESTED]


def _audit_fields(found: Found) -> dict[str, Any]:
    fields = {name: getattr(found.audit, name) for name in _COLUMNS}
    return fields | {"audit_config": ConfigBrief.model_validate(found.config)}


def item(found: Found) -> AuditItem:
    """One audit of a list."""
    fiche = FicheBrief.model_validate(found.fiche) if found.fiche else None
    return AuditItem.model_validate(_audit_fields(found) | {"fiche_cache": fiche})


def cost(summary: LedgerSummary) -> Cost:
    return Cost(
        currency=summary.currency,
        amount=format(summary.cost.quantize(Decimal("0.000001")), "f"),
        calls=summary.calls,
        prompt_tokens=summary.prompt_tokens,
        cached_tokens=summary.cached_tokens,
        output_tokens=summary.output_tokens,
        audio_seconds=decimal_text(summary.audio_seconds) or "0",
        milliseconds=summary.milliseconds,
    )


def detail(
    found: Found,
    verdicts: Verdicts,
    spent: LedgerSummary,
    *,
    revision_number: int,
    transcript_sha256: str | None,
) -> AuditDetail:
    """One audit with its steps, rebuilt from the rows that hold the verdicts now."""
    beside = {
        "result_data": latest_view(found.audit.result_data, verdicts),
        "fiche_cache": FicheContact.model_validate(found.fiche) if found.fiche else None,
        "step_results": [StepResult.model_validate(step) for step in verdicts.steps],
        "missing_steps": [step.step_position for step in verdicts.steps if not step.traite],
        "cost": cost(spent),
        "config_revision": Revision(id=found.audit.config_revision_id, number=revision_number),
        "model": found.audit.model,
        "prompt_version": found.audit.prompt_version,
        "transcript_sha256": transcript_sha256,
    }
    return AuditDetail.model_validate(_audit_fields(found) | beside)


def latest_view(stored: dict[str, Any], verdicts: Verdicts) -> dict[str, Any]:
    """The stored snapshot with its steps put back; a running audit keeps its small object."""
    if "results" not in stored.get("audit", {}):
        return stored
    results = stored["audit"]["results"] | {"steps": steps_of(verdicts)}
    return stored | {"audit": stored["audit"] | {"results": results}}


def steps_of(verdicts: Verdicts) -> list[dict[str, Any]]:
    points: dict[int, list[ControlPointRow]] = {}
    for point in verdicts.points:
        points.setdefault(point.step_position, []).append(point)
    citations: dict[tuple[int, int], list[CitationRow]] = {}
    for citation in verdicts.citations:
        citations.setdefault((citation.step_position, citation.control_point_index), []).append(citation)
    return [_step(step, points.get(step.step_position, []), citations) for step in verdicts.steps]


def _step(
    step: StepResultRow, points: list[ControlPointRow], citations: dict[tuple[int, int], list[CitationRow]]
) -> dict[str, Any]:
    return {
        "traite": step.traite,
        "conforme": step.conforme,
        "minutages": step.minutages,
        "score": None if step.score is None else float(step.score),
        "points_controle": [
            _point(point, citations.get((step.step_position, point.control_point_index), []))
            for point in points
        ],
        "mots_cles_trouves": step.mots_cles_trouves,
        "commentaire_global": step.commentaire_global,
        "niveau_conformite": step.niveau_conformite,
        "erreurs_transcription_tolerees": step.erreurs_transcription_tolerees,
        **({"error": step.error} if step.error else {}),
        **step.raw_result,
    }


def _point(point: ControlPointRow, citations: list[CitationRow]) -> dict[str, Any]:
    return {
        "point": point.point,
        "statut": point.statut,
        "commentaire": point.commentaire,
        "citations": [_citation(citation) for citation in citations],
        "minutages": point.minutages,
        "erreur_transcription_notee": point.erreur_transcription_notee,
        "variation_phonetique_utilisee": point.variation_phonetique_utilisee,
    }


_CITATION_FIELDS = (
    "texte",
    "claimed",
    "minutage",
    "minutage_secondes",
    "speaker",
    "recording_index",
    "chunk_index",
    "recording_date",
    "recording_time",
    "recording_url",
    "start_ms",
    "end_ms",
    "match",
)


def _citation(citation: CitationRow) -> dict[str, Any]:
    return {name: getattr(citation, name) for name in _CITATION_FIELDS}
