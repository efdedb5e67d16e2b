"""A step of an imported audit as rows: what holds, its quotes, and what was appended to make it so. Pure."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from conforme.audits import doubts, history
from conforme.audits.facts import MODEL, POINT_COLUMNS
from conforme.audits.history import Fact, Held
from conforme.audits.passages import TranscriptIndex
from conforme.legacy.mapping_audits import OldStep
from conforme.legacy.mapping_quotes import Match, Quote, finding
from conforme.legacy.mapping_trails import Said, Told, unfolded

Json = dict[str, Any]
SPEAK_FOR_THE_HOUSE: Final = ("system:", "user:", "token:", "legacy:")
"""How names of actors begin: what somebody typed as their name must not pass for one."""
LONGEST_NAME: Final = 200
NOBODY: Final = "legacy:unknown"
FOUND: Final = "Quotes found in the transcripts"
NOT_FOUND: Final = "Quotes that are not in the transcripts: kept, and marked as unverified"
NO_TRANSCRIPT: Final = "Quotes without a transcript to look for them in: kept, and marked as imported"


@dataclass(frozen=True, slots=True)
class Basis:
    """By which rules and words an audit was judged."""

    audit_id: int
    config_revision_id: int
    transcript_snapshot_id: int | None
    index: TranscriptIndex | None


@dataclass(frozen=True, slots=True)
class StepRows:
    """Rows by table."""

    steps: list[Json]
    points: list[Json]
    citations: list[Json]
    verdicts: list[Json]

    def extend(self, other: "StepRows") -> None:
        self.steps.extend(other.steps)
        self.points.extend(other.points)
        self.citations.extend(other.citations)
        self.verdicts.extend(other.verdicts)


def step_rows(step: OldStep, basis: Basis, tally: Counter[str]) -> StepRows:
    """The rows of a step; `tally` counts its quotes by what became of them."""
    found = [finding(point, basis.index) for point in step.points] if step.analysed else []
    quotes = [quote for _, each in found for quote in each]
    tally.update(_fate(quote) for quote in quotes)
    said_of_step = _said_of_step(step, quotes) if step.analysed else None
    told = unfolded(said_of_step, {content["numero"]: content for content, _ in found}, step.trail)
    now = history.held(Fact(each.kind, each.content, each.point, _replaces(each)) for each in told)
    place = {"audit_id": basis.audit_id, "step_position": step.judged.position}
    return StepRows(
        [place | _step_columns(step, now, quotes)],
        [place | _point_columns(number, now.point(number)) for number in now.numbers],
        _citations(place, step, now),
        [place | _verdict(step, basis, number, each) for number, each in enumerate(told)],
    )


def _replaces(told: Told) -> bool:
    """In the original a rerun took the place of what people had said."""
    return told.kind == "rerun"


def _fate(quote: Quote) -> str:
    fates = {Match.UNVERIFIED.value: NOT_FOUND, Match.IMPORTED.value: NO_TRANSCRIPT}
    return fates.get(quote.columns["match"], FOUND)


def _said_of_step(step: OldStep, quotes: list[Quote]) -> Json:
    return {
        "commentaire_global": step.commentaire_global,
        "mots_cles_trouves": list(step.mots_cles),
        "erreurs_transcription_tolerees": step.erreurs,
        "total_tokens": step.total_tokens,
        "raw_result": _raw(step, quotes),
    }


def _raw(step: OldStep, quotes: list[Quote]) -> Json:
    judged = step.judged
    located = [quote.columns for quote in quotes if _fate(quote) == FOUND]
    return {
        "step_metadata": {
            "position": judged.position,
            "name": judged.name,
            "severity": judged.severity,
            "is_critical": judged.is_critical,
            "weight": judged.weight,
        },
        "usage": step.usage,
        "evidence": {
            "located": len(located),
            "relocated": sum(each["relocated"] for each in located),
            "aligned": sum(each["match"] == "aligned" for each in located),
            "dropped": 0,
            "unverified": len(quotes) - len(located),
        },
        "model_opinion": {
            "score": float(step.score),
            "conforme": step.conforme,
            "niveau_conformite": step.niveau,
        },
        "imported": True,
    }


# What holds


def _step_columns(step: OldStep, now: Held, quotes: list[Quote]) -> Json:
    """As the original had it; a step that nobody judged has no score."""
    counts = step.analysed or now.decided is not None
    return {
        "step_name": step.judged.name,
        "severity_level": step.judged.severity,
        "is_critical": step.judged.is_critical,
        "weight": step.judged.weight,
        "traite": step.traite if counts else False,
        "conforme": step.conforme if counts else None,
        "score": step.score if counts else None,
        "niveau_conformite": step.niveau if counts else None,
        "commentaire_global": step.commentaire_global,
        "mots_cles_trouves": list(step.mots_cles),
        "minutages": list(step.minutages),
        "erreurs_transcription_tolerees": step.erreurs,
        "total_citations": sum(len(now.points[number]["citations"]) for number in now.numbers),
        "dropped_citations": 0,
        "total_tokens": step.total_tokens,
        "error": step.error,
        "raw_result": _raw(step, quotes),
        "decided": None if now.decided is None else dict(now.decided),
        "created_at": step.at,
        "updated_at": step.at,
    }


def _point_columns(number: int, point: Json) -> Json:
    known = doubts.from_json(point["doubts"])
    return {
        "control_point_index": number,
        **{name: point[name] for name in POINT_COLUMNS},
        "certainty": doubts.certainty(known),
    }


def _citations(place: Json, step: OldStep, now: Held) -> list[Json]:
    """Quotes under the numbers they had."""
    numbers = {point.number: [each.citation_index for each in point.citations] for point in step.points}
    return [
        {**place, "control_point_index": number, "citation_index": index, **quote}
        for number in now.numbers
        for index, quote in zip(numbers.get(number, ()), now.points[number]["citations"], strict=False)
    ]


# What was appended


def _verdict(step: OldStep, basis: Basis, number: int, told: Told) -> Json:
    said = told.said
    return {
        "control_point_index": told.point,
        "kind": told.kind,
        "author": _author(said, told.kind),
        "config_revision_id": basis.config_revision_id,
        "transcript_snapshot_id": basis.transcript_snapshot_id,
        "reference": _reference(step, basis, number, said),
        "event_id": said and said.event_id,
        "custom_prompt": said and said.custom_prompt,
        "reason": said and said.reason,
        "replaces_reviews": _replaces(told),
        "content": told.content,
        "before": said and said.before,
        "after": said and said.after,
        "created_at": step.at if said is None else said.at,
    }


def _reference(step: OldStep, basis: Basis, number: int, said: Said | None) -> str:
    """The original's own name where it has one, so that the trail shows it."""
    if said is not None and said.reference:
        return said.reference
    return f"legacy-{basis.audit_id}-{step.judged.position}-{number}"


def _author(said: Said | None, kind: str) -> str:
    """Who said it. A reviewer's name is what was typed there: the original asked nobody who they were."""
    if kind != "review" or said is None:
        return MODEL
    name = (said.author or "").strip()[:LONGEST_NAME]
    if not name:
        return NOBODY
    return f"legacy:{name}" if name.lower().startswith(SPEAK_FOR_THE_HOUSE) else name
