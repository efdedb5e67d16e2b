"""The report on audited files: as JSON, and as one self-contained page (no script, nothing fetched). Pure.

Times and speakers that a file does not tell are absent. Turns carry the numbers they have in the file.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from conforme.audits.analysis import StepAnalysis
from conforme.audits.files import FileAudit
from conforme.audits.prompting import prompt_version
from conforme.audits.scoring import score_text
from conforme.audits.timeline import clock
from conforme.audits.verdicts import UNKNOWN, Citation, DropReason, PointFinding
from conforme.transcriptions.heard import HeardCall
from conforme.transcriptions.words import UNKNOWN_SPEAKER

LABELS: Final = {
    "PRESENT": "Présent",
    "ABSENT": "Absent",
    "PARTIEL": "Partiel",
    "NON_APPLICABLE": "Sans objet",
    "CONFORME": "Conforme",
    "NON_CONFORME": "Non conforme",
    "EXCELLENT": "Excellent",
    "BON": "Bon",
    "ACCEPTABLE": "Acceptable",
    "INSUFFISANT": "Insuffisant",
    "REJET": "Rejet",
    "PENDING": "En attente",
    DropReason.TOO_SHORT: "trop courte pour prouver quoi que ce soit",
    DropReason.NOT_FOUND: "introuvable dans l’appel",
    DropReason.WORDS: "un mot change le sens",
    DropReason.NEGATION: "une négation diffère",
    DropReason.NUMBER: "un nombre ou une date diffère",
    DropReason.GAP: "des passages éloignés sont réunis",
}
"""What the page says for the values of the report."""


def as_json(audit: FileAudit, model: str) -> dict[str, Any]:
    """The report on one call. What the file does not tell is null; amounts and percentages are text."""
    score, spending = audit.score, audit.spending
    return {
        "file": audit.name,
        "configuration": audit.rules.name,
        "model": model,
        "prompt_version": prompt_version(),
        "language": audit.call.language,
        "score": score_text(score.percentage) if score.complete and score.total else None,
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
        "steps": [_step(step, audit.call) for step in audit.steps],
        "seconds": round(audit.seconds, 3),
        "prompt_tokens": spending.usage.prompt_tokens,
        "cached_tokens": spending.usage.cached_tokens,
        "output_tokens": spending.usage.output_tokens,
        "cost": format(spending.cost, "f"),
        "currency": spending.currency or None,
    }


def _step(analysis: StepAnalysis, call: HeardCall) -> dict[str, Any]:
    return {
        "position": analysis.step.position,
        "name": analysis.step.name,
        "is_critical": analysis.step.is_critical,
        "weight": analysis.step.weight,
        "score": analysis.score.score,
        "conforme": analysis.score.conforme.value,
        "niveau": analysis.score.niveau.value,
        "commentaire": analysis.finding.commentaire_global,
        "points": [_point(analysis, point, call) for point in analysis.points],
    }


def _point(analysis: StepAnalysis, point: PointFinding, call: HeardCall) -> dict[str, Any]:
    rule = analysis.step.control_points[point.numero - 1]
    return {
        "numero": point.numero,
        "point": rule.text,
        "ref": rule.ref,
        "critical": rule.critical,
        "source": rule.source,
        "statut": point.statut.value,
        "commentaire": point.commentaire,
        "citations": [_citation(citation, call) for citation in point.citations],
        "dropped": [{"texte": quote.texte, "reason": quote.reason.value} for quote in point.dropped],
    }


def _citation(citation: Citation, call: HeardCall) -> dict[str, Any]:
    return {
        "texte": citation.texte,
        "minutage": None if citation.minutage == UNKNOWN else citation.minutage,
        "start_ms": citation.start_ms,
        "end_ms": citation.end_ms,
        "speaker": None if citation.speaker == UNKNOWN_SPEAKER else citation.speaker,
        "turn": call.turn_of(citation.first_word),
        "last_turn": call.turn_of(citation.last_word),
        "match": citation.match,
    }


# The page


def as_html(audits: Sequence[FileAudit], model: str) -> str:
    """One page on one or several calls, in French, readable without a network."""
    reports = [as_json(audit, model) | {"turns": _turns(audit.call)} for audit in audits]
    style = template_text("report.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = environment().get_template("report")
    return page.render(reports=reports, style=Markup(style), style_digest=Markup(digest))  # noqa: S704 -- our own file


def _turns(call: HeardCall) -> list[dict[str, Any]]:
    return [
        {
            "number": turn.number,
            "time": clock(turn.start, ""),
            "speaker": turn.speaker or "",
            "text": turn.text,
        }
        for turn in call.turns()
    ]


def template_text(name: str) -> str:
    """One of our own templates, or their style."""
    return (files("conforme.audits") / "templates" / name).read_text(encoding="utf-8")


@cache
def environment() -> Environment:
    """What pages are made with: everything escaped, what is unknown refused, `label` and `decimal` in French."""
    environment = Environment(
        loader=DictLoader({"report": template_text("report.html.j2")}),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    environment.filters["label"] = _label
    environment.filters["decimal"] = _decimal
    return environment


def visible(text: Any) -> Any:
    """Text without the characters that steer a terminal or reorder what is read; other values as they are."""
    return text.translate(_STEERING) if isinstance(text, str) and not isinstance(text, Markup) else text


_STEERING: Final = dict.fromkeys(
    [
        *range(0x09),
        *range(0x0E, 0x20),
        *range(0x7F, 0xA0),
        *(0x061C, 0x200E, 0x200F),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    ]
)
"""Controls but for blank ones, and the marks that change the direction of writing."""


def _label(value: str) -> str:
    return LABELS.get(value, value)


def _decimal(value: str) -> str:
    return value.replace(".", ",")
