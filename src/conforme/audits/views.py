"""Rows into the wire's shapes (spec/audits §10.2, §10.3)."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, TypeVar

from conforme.audits.links import Links
from conforme.audits.models import CitationRow, ControlPointRow, DroppedCitationRow, StepResultRow
from conforme.audits.queries import Found, Verdicts
from conforme.audits.schemas import (
    AuditDetail,
    AuditItem,
    ConfigBrief,
    Cost,
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
    links: Links,
    *,
    revision_number: int,
    transcript_sha256: str | None,
) -> AuditDetail:
    """One audit with its steps, rebuilt from the rows that hold the verdicts now."""
    beside = {
        **links.of(found.audit),
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
    """The stored snapshot with its steps put back; an audit that is not through keeps its small object beside them."""
    if not verdicts.steps:
        return stored
    audit = stored.get("audit", {})
    results = audit.get("results", {}) | {"steps": steps_of(verdicts)}
    return stored | {"audit": audit | {"results": results}}


def steps_of(verdicts: Verdicts) -> list[dict[str, Any]]:
    """Every step with its points, and each point with the quotes that were found and those that were not."""
    citations = _by_point(verdicts.citations)
    dropped = _by_point(verdicts.dropped)
    points: dict[int, list[dict[str, Any]]] = {}
    for point in verdicts.points:
        place = (point.step_position, point.control_point_index)
        shown = _point(point, citations.get(place, []), dropped.get(place, []))
        points.setdefault(point.step_position, []).append(shown)
    return [
        {**_step(step, points.get(step.step_position, [])), **verdicts.trails.get(step.step_position, {})}
        for step in verdicts.steps
    ]


Q = TypeVar("Q", CitationRow, DroppedCitationRow)


def _by_point(quotes: Iterable[Q]) -> dict[tuple[int, int], list[Q]]:
    found: dict[tuple[int, int], list[Q]] = {}
    for quote in quotes:
        found.setdefault((quote.step_position, quote.control_point_index), []).append(quote)
    return found


def _step(step: StepResultRow, points: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "traite": step.traite,
        "conforme": step.conforme,
        "minutages": step.minutages,
        "score": None if step.score is None else float(step.score),
        "points_controle": points,
        "mots_cles_trouves": step.mots_cles_trouves,
        "commentaire_global": step.commentaire_global,
        "niveau_conformite": step.niveau_conformite,
        "erreurs_transcription_tolerees": step.erreurs_transcription_tolerees,
        **({"error": step.error} if step.error else {}),
        **step.raw_result,
    }


def _point(
    point: ControlPointRow, citations: list[CitationRow], dropped: list[DroppedCitationRow]
) -> dict[str, Any]:
    return {
        "point": point.point,
        "statut": point.statut,
        "commentaire": point.commentaire,
        "citations": [_citation(citation) for citation in citations],
        "citations_dropped": [{"texte": quote.texte, "reason": quote.reason} for quote in dropped],
        "minutages": point.minutages,
        "erreur_transcription_notee": point.erreur_transcription_notee,
        "variation_phonetique_utilisee": point.variation_phonetique_utilisee,
        **({"doubts": point.doubts} if point.doubts else {}),
    }


CITATION_FIELDS = (
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
    return {name: getattr(citation, name) for name in CITATION_FIELDS}
