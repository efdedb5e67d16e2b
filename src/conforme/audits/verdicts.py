"""What the model answers, and what is left of it once every quote has been looked for.

The answer (`StepVerdict`) is one flat schema for all steps (spec/audits §5): enums, no unions, everything required,
so that strict structured-output providers accept it. It is read tolerantly: a bound is applied by cutting, a
missing detail gets its neutral value, and only what decides (numbers, statuses, quotes) is demanded.
The findings (`StepFinding`) hold nothing of place, time or speaker that the model wrote: all comes from the words.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from conforme.audits.doubts import Doubt

UNKNOWN: Final = "N/A"
"""How a date, time or link nobody knows is written on the wire."""

LOCATED: Final = frozenset({"exact", "aligned"})
"""What `match` says of a quote whose words were found; imported ones may say something else."""


class Statut(StrEnum):
    """Status of one control point."""

    PRESENT = "PRESENT"
    ABSENT = "ABSENT"
    PARTIEL = "PARTIEL"
    NON_APPLICABLE = "NON_APPLICABLE"


class Conforme(StrEnum):
    """Conclusion on one step."""

    CONFORME = "CONFORME"
    PARTIEL = "PARTIEL"
    NON_CONFORME = "NON_CONFORME"


class Niveau(StrEnum):
    """Grade of a step or of an audit, best first; `PENDING` is only for audits that are not judged yet."""

    EXCELLENT = "EXCELLENT"
    BON = "BON"
    ACCEPTABLE = "ACCEPTABLE"
    INSUFFISANT = "INSUFFISANT"
    REJET = "REJET"
    PENDING = "PENDING"


# What the model answers

LONGEST_QUOTE: Final = 12_000
LONGEST_COMMENT: Final = 8_000
LONGEST_LABEL: Final = 300
MOST_POINTS: Final = 200
MOST_CITATIONS: Final = 40
MOST_KEYWORDS: Final = 100
LARGEST_NUMBER: Final = 1_000_000


def _text(limit: int) -> Callable[[Any], Any]:
    """Null and numbers become text; NUL and lone surrogates, which no database stores, go; the rest is cut."""

    def read(value: Any) -> Any:
        if isinstance(value, list | dict):
            return value
        text = "" if value is None else str(value)
        return text[: 2 * limit].replace("\0", "").encode("utf-8", "ignore").decode("utf-8")[:limit]

    return read


def _list(limit: int) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        return [] if value is None else value[:limit] if isinstance(value, list) else value

    return read


def _number(value: Any) -> Any:
    """A whole number out of `3`, `3.0`, `"3"` or nothing (0), kept within what a column holds."""
    if value is None:
        return 0
    try:
        return int(max(-LARGEST_NUMBER, min(LARGEST_NUMBER, float(value))))
    except (TypeError, ValueError):
        return value


def _flag(value: Any) -> Any:
    return False if value is None else value


def _name(value: Any) -> Any:
    """The name of an enum member, however it was cased, accented or spaced: `Non applicable`."""
    if not isinstance(value, str):
        return value
    plain = "".join(c for c in unicodedata.normalize("NFD", value[:50]) if not unicodedata.combining(c))
    return "_".join(plain.upper().replace("-", " ").replace("_", " ").split())


def _everything_required(schema: dict[str, Any]) -> None:
    """Strict providers want every property required, none beside them, and no default."""
    schema["additionalProperties"] = False
    schema["required"] = list(schema["properties"])
    for each in schema["properties"].values():
        each.pop("default", None)


Quote = Annotated[str, BeforeValidator(_text(LONGEST_QUOTE))]
Comment = Annotated[str, BeforeValidator(_text(LONGEST_COMMENT))]
Label = Annotated[str, BeforeValidator(_text(LONGEST_LABEL))]
Number = Annotated[int, BeforeValidator(_number)]
Flag = Annotated[bool, BeforeValidator(_flag)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_extra=_everything_required)


class CitationClaim(_Answer):
    """Words the model says were spoken, and where it saw them (`[enregistrement.tour]` of the prompt, from 1)."""

    texte: Quote
    enregistrement: Number = 0
    tour: Number = 0


class PointVerdict(_Answer):
    """The model's opinion on one control point; `numero` counts from 1, as in the prompt."""

    numero: Number
    statut: Annotated[
        Literal[Statut.PRESENT, Statut.ABSENT, Statut.PARTIEL, Statut.NON_APPLICABLE], BeforeValidator(_name)
    ]
    commentaire: Comment = ""
    erreur_transcription_notee: Flag = False
    variation_phonetique_utilisee: Label = ""
    citations: Annotated[list[CitationClaim], BeforeValidator(_list(MOST_CITATIONS))] = []


class StepVerdict(_Answer):
    """The model's answer for one step; its score, conclusion and grade are kept as information only."""

    traite: Flag = True
    conforme: Annotated[
        Literal[Conforme.CONFORME, Conforme.PARTIEL, Conforme.NON_CONFORME], BeforeValidator(_name)
    ]
    score: Number = 0
    niveau_conformite: Annotated[
        Literal[Niveau.EXCELLENT, Niveau.BON, Niveau.ACCEPTABLE, Niveau.INSUFFISANT, Niveau.REJET],
        BeforeValidator(_name),
    ]
    commentaire_global: Comment = ""
    mots_cles_trouves: Annotated[list[Label], BeforeValidator(_list(MOST_KEYWORDS))] = []
    erreurs_transcription_tolerees: Number = 0
    points_controle: Annotated[list[PointVerdict], BeforeValidator(_list(MOST_POINTS))]


# What is left of it


class DropReason(StrEnum):
    """Why a quote is no evidence."""

    TOO_SHORT = "too_short"
    """Fewer characters than a quote must have to prove anything."""
    NOT_FOUND = "not_found"
    """No passage resembles it, or too many of its words differ."""
    WORDS = "words"
    """A passage resembles it, but a word that matters was put in, left out or replaced."""
    NEGATION = "negation"
    """A passage resembles it, but a negation was put in, left out or replaced."""
    NUMBER = "number"
    """A passage resembles it, but a number, amount or date differs."""
    GAP = "gap"
    """Its pieces stand too far apart, or words are missing between them without an ellipsis."""
    NOT_FETCHED = "not_fetched"
    """The words were spoken, but the model was never shown them (tools mode)."""
    TO_AUDITOR = "to_auditor"
    """The words were spoken to whoever judges the call: a request to be judged well proves nothing."""
    WRONG_SPEAKER = "wrong_speaker"
    """The words were spoken, but not by whom the rule wants to hear them."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage really spoken. Everything but `claimed` is read off the transcript's words.

    Indices count from 0: `recording_index` in the timeline, the others in that recording; `first_*` and `last_*`
    are inclusive. Times are `None`, and `minutage` is "N/A", when the transcript has none.
    """

    texte: str
    """The words from the first to the last one found, an ellipsis filled with what was said there."""
    claimed: str
    minutage: str
    """MM:SS of the first word; minutes may exceed 59."""
    minutage_secondes: float | None
    speaker: str
    """Who spoke most of it; "unknown" if the transcript does not say."""
    recording_index: int
    chunk_index: int
    recording_date: str
    recording_time: str
    recording_url: str
    start_ms: int | None
    end_ms: int | None
    match: Literal["exact", "aligned"]
    relocated: bool
    """The place the model cited was not where the words are."""
    beside_negation: bool
    """A negation stands right before or after the passage, in the same breath: the quote may be cut short."""
    first_turn: int
    last_turn: int
    first_word: int
    last_word: int


@dataclass(frozen=True, slots=True)
class DroppedCitation:
    """A quote that is no evidence, with the place claimed for it (numbers from 1 as the model gave them)."""

    texte: str
    reason: DropReason
    enregistrement: int
    tour: int


@dataclass(frozen=True, slots=True)
class EvidenceStatistics:
    """Counts of quotes: every one looked for is either located or dropped."""

    located: int = 0
    relocated: int = 0
    aligned: int = 0
    dropped: int = 0

    def __add__(self, other: "EvidenceStatistics") -> "EvidenceStatistics":
        return EvidenceStatistics(
            self.located + other.located,
            self.relocated + other.relocated,
            self.aligned + other.aligned,
            self.dropped + other.dropped,
        )


@dataclass(frozen=True, slots=True)
class PointFinding:
    """What is held about one control point once its quotes were looked for."""

    numero: int
    statut: Statut
    model_statut: Statut
    commentaire: str
    citations: tuple[Citation, ...]
    dropped: tuple[DroppedCitation, ...]
    minutages: tuple[str, ...]
    """Distinct times of the citations, in the order of the citations."""
    erreur_transcription_notee: bool
    variation_phonetique_utilisee: str | None
    doubts: tuple[Doubt, ...] = ()
    """What speaks against the status; it changes nothing, it asks a person to look."""


@dataclass(frozen=True, slots=True)
class StepFinding:
    """What is held about one step. Its score is not here: it is always computed from the statuses (`scoring`)."""

    points: tuple[PointFinding, ...]
    """In the order asked."""
    missing: tuple[int, ...]
    """Numbers asked that the model did not answer: neither met nor failed, the step is incomplete."""
    unasked: int
    """Verdicts on numbers nobody asked about; ignored."""
    commentaire_global: str
    minutages: tuple[str, ...]
    mots_cles_trouves: tuple[str, ...]
    erreurs_transcription_tolerees: int
    statistics: EvidenceStatistics
    model_score: int
    model_conforme: Conforme
    model_niveau: Niveau

    @property
    def complete(self) -> bool:
        return not self.missing

    @property
    def statuts(self) -> tuple[Statut, ...]:
        return tuple(point.statut for point in self.points)
