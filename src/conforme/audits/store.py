"""What an analysis found, as it is stored."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, update

from conforme.audit_configs.rules import StepRule
from conforme.audits import doubts
from conforme.audits.analysis import StepAnalysis
from conforme.audits.lookup import Looked
from conforme.audits.models import CitationRow, ControlPointRow, DroppedCitationRow, StepResultRow
from conforme.audits.verdicts import PointFinding
from conforme.foundation.database import Writer, WriteSession
from conforme.foundation.rows import Rows


def rows_of(audit_id: int, analysis: StepAnalysis) -> list[Rows]:
    """A step that was analysed, with its points and quotes."""
    place = {"audit_id": audit_id, "step_position": analysis.step.position}
    points = analysis.points
    return [
        Rows(StepResultRow, [_step_columns(audit_id, analysis.step) | analysed_columns(analysis)]),
        Rows(ControlPointRow, [place | point_columns(analysis.step, point) for point in points]),
        Rows(CitationRow, [place | each for point in points for each in citations(point)]),
        Rows(DroppedCitationRow, [place | each for point in points for each in dropped(point)]),
    ]


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a step could not be analysed, and by which job."""

    reason: str
    job_id: str


async def keep_outage(session: WriteSession, audit_id: int, step: StepRule, outage: Outage) -> None:
    """Stores that a step could not be analysed, and why: no verdict, no score."""
    await clear(session, audit_id, step.position)
    await session.execute(
        insert(StepResultRow).values(
            **_step_columns(audit_id, step),
            traite=False,
            error=outage.reason[:2000],
            given_up_by=outage.job_id,
            raw_result={"step_metadata": _metadata(step)},
        )
    )


async def mark_given_up(session: WriteSession, audit_id: int, position: int, job_id: str) -> None:
    """The step stays as a person left it."""
    here = (StepResultRow.audit_id == audit_id, StepResultRow.step_position == position)
    await session.execute(update(StepResultRow).where(*here).values(given_up_by=job_id))


async def clear(session: Writer, audit_id: int, position: int) -> None:
    """Forgets what is stored of a step; points and quotes go with it."""
    for table in (StepResultRow, DroppedCitationRow):
        await session.execute(
            delete(table).where(table.audit_id == audit_id, table.step_position == position)
        )


def _step_columns(audit_id: int, step: StepRule) -> dict[str, Any]:
    return {
        "audit_id": audit_id,
        "step_position": step.position,
        "step_name": step.name,
        "severity_level": step.severity,
        "is_critical": step.is_critical,
        "weight": step.weight,
    }


def analysed_columns(analysis: StepAnalysis) -> dict[str, Any]:
    finding, score = analysis.finding, analysis.score
    return {
        "traite": True,
        "conforme": score.conforme.value,
        "score": score.score,
        "niveau_conformite": score.niveau.value,
        "commentaire_global": finding.commentaire_global,
        "mots_cles_trouves": list(finding.mots_cles_trouves),
        "minutages": list(finding.minutages),
        "erreurs_transcription_tolerees": max(finding.erreurs_transcription_tolerees, 0),
        "total_citations": analysis.total_citations,
        "dropped_citations": finding.statistics.dropped,
        "total_tokens": analysis.usage.prompt_tokens + analysis.usage.output_tokens,
        "raw_result": _raw(analysis),
    }


def _metadata(step: StepRule) -> dict[str, Any]:
    return {
        "position": step.position,
        "name": step.name,
        "severity": step.severity,
        "is_critical": step.is_critical,
        "weight": step.weight,
    }


def _raw(analysis: StepAnalysis) -> dict[str, Any]:
    finding, spent, statistics = analysis.finding, analysis.usage, analysis.finding.statistics
    return {
        "step_metadata": _metadata(analysis.step),
        "model": analysis.spent.model,
        "prompt_version": analysis.prompt_version,
        "usage": {
            "prompt_tokens": spent.prompt_tokens,
            "cached_tokens": spent.cached_tokens,
            "completion_tokens": spent.output_tokens,
            "total_tokens": spent.prompt_tokens + spent.output_tokens,
        },
        "evidence": {
            "located": statistics.located,
            "relocated": statistics.relocated,
            "aligned": statistics.aligned,
            "dropped": statistics.dropped,
        },
        **({"lookup": _lookup(analysis.looked)} if analysis.looked else {}),
        "model_opinion": {
            "score": finding.model_score,
            "conforme": finding.model_conforme.value,
            "niveau_conformite": finding.model_niveau.value,
        },
    }


def _lookup(looked: Looked) -> dict[str, Any]:
    """What tools mode looked up: counts, and the chunks whose words were given out."""
    return {
        "messages": looked.messages + 1,
        "searches": looked.desk.searches,
        "chunks": [
            {"recording_index": place.recording, "chunk_index": place.chunk}
            for place in sorted(looked.desk.fetched)
        ],
    }


def point_columns(step: StepRule, point: PointFinding) -> dict[str, Any]:
    return {
        "control_point_index": point.numero,
        "point": step.control_points[point.numero - 1].text,
        "statut": point.statut.value,
        "model_statut": point.model_statut.value,
        "commentaire": point.commentaire,
        "minutages": list(point.minutages),
        "erreur_transcription_notee": point.erreur_transcription_notee,
        "variation_phonetique_utilisee": point.variation_phonetique_utilisee,
        "doubts": doubts.to_json(point.doubts),
        "certainty": doubts.certainty(point.doubts),
    }


CITATION_COLUMNS = (
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
    "relocated",
    "beside_negation",
    "first_turn",
    "last_turn",
    "first_word",
    "last_word",
)


def citations(point: PointFinding) -> list[dict[str, Any]]:
    return [
        {"control_point_index": point.numero, "citation_index": index}
        | {name: getattr(citation, name) for name in CITATION_COLUMNS}
        for index, citation in enumerate(point.citations, 1)
    ]


def dropped(point: PointFinding) -> list[dict[str, Any]]:
    return [
        {
            "control_point_index": point.numero,
            "texte": quote.texte,
            "reason": quote.reason.value,
            "enregistrement": quote.enregistrement,
            "tour": quote.tour,
        }
        for quote in point.dropped
    ]
