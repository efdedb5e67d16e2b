"""Audits of the original as ours: steps, control points, quotes (spec/audits §10.2, §12). Pure.

Scores, statuses and texts stay as they were. Two things are read differently. A step that the original could not
analyse has a zero and nothing but ABSENT points there (§3.4); here it has no verdict. And an audit that has been
running for a day is one that failed (§14.1).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

from conforme.audits.verdicts import UNKNOWN, Conforme, Niveau, Statut
from conforme.legacy.errors import BadRow
from conforme.legacy.layout import CITATIONS, POINTS, RERUNS, REVIEWS, STEPS
from conforme.legacy.mapping_configs import SEVERITIES, Judged
from conforme.legacy.mapping_people import stamps
from conforme.legacy.mapping_trails import Said, trail
from conforme.legacy.source import Bundle
from conforme.legacy.values import (
    Row,
    amount,
    choice,
    flag,
    known,
    mapping,
    moment,
    objects,
    real,
    text,
    texts,
    whole,
)

STATUSES: Final = ("pending", "running", "completed", "failed")
NIVEAUX: Final = tuple(Niveau)
NIVEAUX_OF_STEPS: Final = tuple(each for each in Niveau if each is not Niveau.PENDING)
STILL_RUNNING: Final = timedelta(days=1)
"""What was begun longer ago, and has not ended, never will."""
UNFINISHED: Final = {"error_code": "AUDIT_TIMEOUT", "failed_phase": "deadline"}
"""How such an audit is told of: its job was lost without a word."""
FALLBACK: Final = "Step failed:"
"""How the original's comment on a point begins when its step could not be analysed."""
PERCENT: Final = Decimal(1000)
SCORES: Final = Decimal(100_000)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OldCitation:
    """Words that the original says were spoken, and where; it never checked who said them, nor when."""

    citation_index: int
    texte: str
    minutage: str
    minutage_secondes: float | None
    speaker: str
    recording_index: int
    chunk_index: int
    recording_date: str
    recording_time: str
    recording_url: str


@dataclass(frozen=True, slots=True)
class OldPoint:
    number: int
    point: str
    statut: Statut
    commentaire: str
    minutages: tuple[str, ...]
    erreur_transcription_notee: bool
    variation_phonetique_utilisee: str | None
    citations: tuple[OldCitation, ...]


@dataclass(frozen=True, slots=True)
class OldStep:
    judged: Judged
    traite: bool
    analysed: bool
    """The model answered; a person may have concluded (`traite`) on a step where it did not."""
    conforme: str
    score: Decimal
    niveau: str
    commentaire_global: str
    mots_cles: tuple[str, ...]
    minutages: tuple[str, ...]
    erreurs: int
    total_citations: int
    total_tokens: int
    usage: dict[str, Any]
    points: tuple[OldPoint, ...]
    trail: tuple[Said, ...]
    at: datetime

    @property
    def error(self) -> str | None:
        """Why it could not be analysed."""
        if self.analysed:
            return None
        told = (point.commentaire.removeprefix(FALLBACK).strip() for point in self.points)
        return (
            next((each for each in told if each), self.commentaire_global) or "Not analysed by the original"
        )


@dataclass(frozen=True, slots=True)
class OldAudit:
    fiche_cache_id: int
    audit_config_id: int
    """Both of the original."""
    tracking_id: str | None
    columns: dict[str, Any]
    """Of `audits`, those that need nothing but the row."""
    steps: tuple[OldStep, ...]
    unfinished: bool

    @property
    def completed(self) -> bool:
        return self.columns["status"] == "completed"


def audit(bundle: Bundle, now: datetime) -> OldAudit:
    """An audit with all that hangs on it. Raises `BadRow` for one that is still running at `now`."""
    row = bundle.row
    status = choice(row, "status", STATUSES)
    began = moment(row, "started_at") or moment(row, "created_at")
    unfinished = status in {"pending", "running"}
    if unfinished and began is not None and now - began < STILL_RUNNING:
        raise BadRow("status: it is still running; import again when it has ended")
    result = mapping(row, "result_data")
    columns = _columns(row, result) | ({} if not unfinished else _failed(row))
    tracking = result.get("audit_tracking_id") or result.get("audit_id")
    steps = tuple(_steps(bundle, columns["completed_at"] or columns["created_at"]))
    return OldAudit(
        known(row, "fiche_cache_id"),
        known(row, "audit_config_id"),
        str(tracking) if tracking else None,
        columns | _weights(result, steps),
        steps,
        unfinished,
    )


def _failed(row: Row) -> dict[str, Any]:
    return {
        "status": "failed",
        "error_message": text(row, "error_message") or "The original never ended it",
        **UNFINISHED,
    }


def _of_automation(row: Row) -> dict[str, Any]:
    """Which run asked for it there, by the numbers of the original."""
    told = {name: whole(row, name) for name in ("automation_schedule_id", "automation_run_id")}
    return {name: str(number) for name, number in told.items() if number is not None}


def _columns(row: Row, result: dict[str, Any]) -> dict[str, Any]:
    approach = mapping(mapping(result, "audit"), "approach") or mapping(result, "approach")
    score = amount(row, "score_percentage", PERCENT, Decimal(0))
    return {
        "trigger_source": text(row, "trigger_source"),
        "trigger_user_id": text(row, "trigger_user_id"),
        "use_rlm": approach.get("use_rlm") is True,
        "notes": text(row, "notes"),
        "deleted_at": moment(row, "deleted_at"),
        "status": choice(row, "status", STATUSES),
        "overall_score": amount(row, "overall_score", PERCENT, score),
        "score_percentage": score,
        "niveau": choice(row, "niveau", NIVEAUX, default="PENDING"),
        "is_compliant": flag(row, "is_compliant", default=False),
        "critical_passed": whole(row, "critical_passed") or 0,
        "critical_total": whole(row, "critical_total") or 0,
        "started_at": moment(row, "started_at"),
        "completed_at": moment(row, "completed_at"),
        "duration_ms": whole(row, "duration_ms"),
        "error_message": text(row, "error_message"),
        "error_code": None,
        "failed_phase": None,
        "total_tokens": whole(row, "total_tokens"),
        "successful_steps": whole(row, "successful_steps"),
        "failed_steps": whole(row, "failed_steps"),
        "recordings_count": whole(row, "recordings_count"),
        "timeline_chunks": whole(row, "timeline_chunks"),
        "result_data": result | {"imported": _of_automation(row)},
        **stamps(row),
    }


def _weights(result: dict[str, Any], steps: Sequence[OldStep]) -> dict[str, Any]:
    """Earned and total weight, as the original wrote them, or as its steps make them."""
    told = mapping(mapping(result, "audit"), "compliance") or mapping(result, "compliance")
    earned = sum((min(step.score, Decimal(step.judged.weight)) for step in steps), Decimal(0))
    total = Decimal(sum(step.judged.weight for step in steps))
    return {
        "earned_weight": amount(told, "poids_obtenu", SCORES, earned),
        "total_weight": amount(told, "poids_total", SCORES, total),
    }


# Steps


def _steps(bundle: Bundle, ended: datetime) -> list[OldStep]:
    points = _by_position(bundle.of(POINTS))
    citations = _by_position(bundle.of(CITATIONS))
    reviews, reruns = _by_position(bundle.of(REVIEWS)), _by_position(bundle.of(RERUNS))
    steps = []
    for row in sorted(bundle.of(STEPS), key=lambda each: known(each, "step_position")):
        position = known(row, "step_position")
        raw = mapping(row, "raw_result")
        found = [_point(each, citations[position]) for each in points[position]] or _verbatim(raw)
        said = _at(
            f"{STEPS} {position}",
            lambda raw=raw, position=position: trail(reviews[position], reruns[position], raw),
        )
        steps.append(
            _at(
                f"{STEPS} {position}",
                lambda row=row, raw=raw, found=found, said=said: _step(row, raw, found, said, ended),
            )
        )
    return steps


def _by_position(rows: Sequence[Row]) -> Mapping[int, list[Row]]:
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[known(row, "step_position")].append(row)
    return found


def _at(place: str, read: Callable[[], T]) -> T:
    """Names the place of what cannot be read."""
    try:
        return read()
    except BadRow as bad:
        raise BadRow(f"{place}: {bad.reason}") from None


def _step(
    row: Row, raw: dict[str, Any], points: list[OldPoint], said: tuple[Said, ...], ended: datetime
) -> OldStep:
    told = mapping(raw, "step_metadata")
    traite = flag(row, "traite", default=True)
    fallback = bool(points) and all(point.commentaire.startswith(FALLBACK) for point in points)
    judged = Judged(
        position=known(row, "step_position"),
        name=text(row, "step_name") or str(told.get("name") or ""),
        severity=choice(row, "severity_level", SEVERITIES, default=_severity(told)),
        is_critical=flag(row, "is_critical", default=told.get("is_critical") is True),
        weight=whole(row, "weight") or 0,
        points={point.number: point.point for point in points},
    )
    return OldStep(
        judged=judged,
        traite=traite,
        analysed=not fallback and (traite or (bool(points) and _reviewed(said))),
        conforme=choice(row, "conforme", tuple(Conforme), default="NON_CONFORME"),
        score=amount(row, "score", SCORES, Decimal(0)),
        niveau=choice(row, "niveau_conformite", NIVEAUX_OF_STEPS, default="INSUFFISANT"),
        commentaire_global=text(row, "commentaire_global") or "",
        mots_cles=tuple(texts(row, "mots_cles_trouves")),
        minutages=tuple(texts(row, "minutages")),
        erreurs=whole(row, "erreurs_transcription_tolerees") or 0,
        total_citations=whole(row, "total_citations") or 0,
        total_tokens=whole(row, "total_tokens") or 0,
        usage=mapping(raw, "usage"),
        points=tuple(sorted(points, key=lambda point: point.number)),
        trail=said,
        at=moment(row, "created_at") or ended,
    )


def _severity(told: dict[str, Any]) -> str:
    severity = str(told.get("severity") or told.get("severity_level") or "")
    return severity if severity in SEVERITIES else "MEDIUM"


def _reviewed(said: Sequence[Said]) -> bool:
    """A person may have taken a step out that the model had judged."""
    return any(each.kind == "review" and each.point is None for each in said)


# Points


def _point(row: Row, citations: Sequence[Row]) -> OldPoint:
    number = known(row, "control_point_index")
    quotes = [each for each in citations if known(each, "control_point_index") == number]
    return _at(f"{POINTS} {row.get('step_position')}.{number}", lambda: _read_point(number, row, quotes))


def _verbatim(raw: dict[str, Any]) -> list[OldPoint]:
    """Points of a step from before there were tables of them: as the model answered, in order (spec/audits §10.3)."""
    return [
        _at(
            f"raw_result.points_controle.{number}",
            lambda each=each, number=number: _read_point(number, each, objects(each.get("citations"))),
        )
        for number, each in enumerate(objects(raw.get("points_controle")), 1)
    ]


def _read_point(number: int, row: Row, quotes: Sequence[Row]) -> OldPoint:
    if number < 1:
        raise BadRow("control_point_index: does not count from 1")
    read = [_citation(index, each) for index, each in enumerate(quotes, 1)]
    return OldPoint(
        number=number,
        point=text(row, "point") or "",
        statut=Statut(choice(row, "statut", tuple(Statut))),
        commentaire=text(row, "commentaire") or "",
        minutages=tuple(texts(row, "minutages")),
        erreur_transcription_notee=flag(row, "erreur_transcription_notee", default=False),
        variation_phonetique_utilisee=text(row, "variation_phonetique_utilisee"),
        citations=tuple(read),
    )


def _citation(index: int, row: Row) -> OldCitation:
    return OldCitation(
        citation_index=whole(row, "citation_index") or index,
        texte=text(row, "texte") or "",
        minutage=text(row, "minutage") or UNKNOWN,
        minutage_secondes=real(row, "minutage_secondes"),
        speaker=text(row, "speaker") or "unknown",
        recording_index=whole(row, "recording_index") or 0,
        chunk_index=whole(row, "chunk_index") or 0,
        recording_date=text(row, "recording_date") or UNKNOWN,
        recording_time=text(row, "recording_time") or UNKNOWN,
        recording_url=text(row, "recording_url") or UNKNOWN,
    )
