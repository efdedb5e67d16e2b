"""The report on one audited file: as JSON, and as one self-contained page (no script, nothing fetched)."""

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

from conforme.audits.analysis import StepAnalysis
from conforme.audits.files import FileAudit
from conforme.audits.prompting import prompt_version
from conforme.audits.scoring import score_text
from conforme.audits.timeline import clock
from conforme.audits.verdicts import UNKNOWN, Citation, PointFinding

LABELS = {
    "PRESENT": "Présent",
    "ABSENT": "Absent",
    "PARTIEL": "Partiel",
    "NON_APPLICABLE": "Non applicable",
    "CONFORME": "Conforme",
    "NON_CONFORME": "Non conforme",
}


def as_json(audit: FileAudit, model: str) -> dict[str, Any]:
    """The whole report. Times and speakers that the file does not tell are null."""
    score = audit.score
    return {
        "file": audit.name,
        "configuration": audit.case.rules.name,
        "model": model,
        "prompt_version": prompt_version(),
        "score": score_text(score.percentage) if score.complete else None,
        "earned": score.earned,
        "total": score.total,
        "niveau": score.niveau.value,
        "is_compliant": score.is_compliant,
        "critical_passed": score.critical_passed,
        "critical_total": score.critical_total,
        "citations_located": audit.evidence.located,
        "citations_dropped": audit.evidence.dropped,
        "not_analysed": [
            {"position": each.position, "name": each.name, "reason": each.reason}
            for each in audit.not_analysed
        ],
        "steps": [_step(step) for step in audit.steps],
        "seconds": round(audit.seconds, 3),
        "prompt_tokens": audit.spending.usage.prompt_tokens,
        "cached_tokens": audit.spending.usage.cached_tokens,
        "output_tokens": audit.spending.usage.output_tokens,
        "cost": format(audit.spending.cost, "f"),
        "currency": audit.spending.currency or None,
    }


def _step(analysis: StepAnalysis) -> dict[str, Any]:
    return {
        "position": analysis.step.position,
        "name": analysis.step.name,
        "is_critical": analysis.step.is_critical,
        "weight": analysis.step.weight,
        "score": analysis.score.score,
        "conforme": analysis.score.conforme.value,
        "niveau": analysis.score.niveau.value,
        "commentaire": analysis.finding.commentaire_global,
        "points": [_point(analysis, point) for point in analysis.points],
    }


def _point(analysis: StepAnalysis, point: PointFinding) -> dict[str, Any]:
    rule = analysis.step.control_points[point.numero - 1]
    return {
        "numero": point.numero,
        "point": rule.text,
        "ref": rule.ref,
        "critical": rule.critical,
        "source": rule.source,
        "statut": point.statut.value,
        "commentaire": point.commentaire,
        "citations": [_citation(citation) for citation in point.citations],
        "dropped": [{"texte": quote.texte, "reason": quote.reason.value} for quote in point.dropped],
    }


def _citation(citation: Citation) -> dict[str, Any]:
    return {
        "texte": citation.texte,
        "minutage": None if citation.minutage == UNKNOWN else citation.minutage,
        "start_ms": citation.start_ms,
        "end_ms": citation.end_ms,
        "speaker": None if citation.speaker == "unknown" else citation.speaker,
        "turn": citation.first_turn + 1,
        "match": citation.match,
    }


@cache
def _environment() -> Environment:
    source = (files("conforme.audits") / "templates" / "report.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        loader=DictLoader({"report": source}),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["label"] = lambda value: LABELS.get(value, value)
    return environment


def as_html(audits: list[FileAudit], model: str) -> str:
    """One page on one or several calls, in French, readable without a network."""
    reports = [as_json(audit, model) | {"turns": _turns(audit)} for audit in audits]
    return _environment().get_template("report").render(reports=reports)


def _turns(audit: FileAudit) -> list[dict[str, str]]:
    return [
        {"time": clock(turn.start, ""), "speaker": turn.speaker or "", "text": turn.text}
        for recording in audit.case.timeline.recordings
        for turn in recording.turns
    ]
