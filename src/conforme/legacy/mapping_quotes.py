"""Quotes of the original, looked for in the words of the calls (`audits.evidence`). Pure.

The original believed a quote that stood in the chunk the model named, and believed the model on who said it and when.
Here a quote is shown as located only where its words are: place, speaker and time are then those of the words. One that
is not found stays as it was, and says so.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from conforme.audits import doubts
from conforme.audits.doubts import Doubt, DoubtReason
from conforme.audits.evidence import locate
from conforme.audits.passages import TranscriptIndex
from conforme.audits.store import CITATION_COLUMNS
from conforme.audits.unsure import NEAR_MISSES
from conforme.audits.verdicts import UNKNOWN, Citation, CitationClaim, DropReason, Statut
from conforme.legacy.mapping_audits import OldCitation, OldPoint
from conforme.transcriptions.words import TURNS_PER_CHUNK

Json = dict[str, Any]
RESTS_ON_WORDS: Final = frozenset({Statut.PRESENT, Statut.PARTIEL})


class Match(StrEnum):
    """What `match` says of a quote that was not located."""

    UNVERIFIED = "unverified"
    """It was looked for in the transcript, and is not there."""
    IMPORTED = "imported"
    """There is no transcript to look for it in."""


@dataclass(frozen=True, slots=True)
class Quote:
    columns: Json
    """Of the citation, without its place in the audit."""
    refused: DropReason | None
    """Why it was not located, where there is a transcript."""


def quote(old: OldCitation, index: TranscriptIndex | None) -> Quote:
    """A quote with the place of its words, or as it was."""
    if index is None:
        return Quote(_as_it_was(old, Match.IMPORTED), None)
    turn = old.chunk_index * TURNS_PER_CHUNK + 1
    found = locate(CitationClaim(texte=old.texte, enregistrement=old.recording_index + 1, tour=turn), index)
    if isinstance(found, Citation):
        return Quote(_located(old, found), None)
    return Quote(_as_it_was(old, Match.UNVERIFIED), found.reason)


def _located(old: OldCitation, found: Citation) -> Json:
    columns = {name: getattr(found, name) for name in CITATION_COLUMNS}
    moved = (found.recording_index, found.chunk_index) != (old.recording_index, old.chunk_index)
    if found.minutage == UNKNOWN:  # chunks tell no time of a word
        columns |= {"minutage": old.minutage, "minutage_secondes": old.minutage_secondes}
    return columns | {"claimed": old.texte, "relocated": moved}


def _as_it_was(old: OldCitation, match: Match) -> Json:
    """No words of the transcript belong to it: its last turn and word are before the first."""
    return {
        "texte": old.texte,
        "claimed": old.texte,
        "minutage": old.minutage,
        "minutage_secondes": old.minutage_secondes,
        "speaker": old.speaker,
        "recording_index": old.recording_index,
        "chunk_index": old.chunk_index,
        "recording_date": old.recording_date,
        "recording_time": old.recording_time,
        "recording_url": old.recording_url,
        "start_ms": None,
        "end_ms": None,
        "match": match.value,
        "relocated": False,
        "beside_negation": False,
        "first_turn": 0,
        "last_turn": -1,
        "first_word": 0,
        "last_word": -1,
    }


def finding(point: OldPoint, index: TranscriptIndex | None) -> tuple[Json, list[Quote]]:
    """A control point as `audits.history` reads it, with its quotes looked for."""
    quotes = [quote(each, index) for each in point.citations]
    content = {
        "numero": point.number,
        "point": point.point,
        "statut": point.statut.value,
        "model_statut": point.statut.value,
        "commentaire": point.commentaire,
        "minutages": list(point.minutages),
        "erreur_transcription_notee": point.erreur_transcription_notee,
        "variation_phonetique_utilisee": point.variation_phonetique_utilisee,
        "doubts": doubts.to_json(_near_misses(point, quotes)),
        "citations": [each.columns for each in quotes],
        "dropped": [],
    }
    return content, quotes


def _near_misses(point: OldPoint, quotes: list[Quote]) -> doubts.Doubts:
    """A status that rests on nothing but quotes that say something else than what was said is worth a look."""
    if point.statut not in RESTS_ON_WORDS or any(each.refused is None for each in quotes):
        return ()
    missed = (NEAR_MISSES.get(each.refused) for each in quotes if each.refused is not None)
    return doubts.merged(Doubt(DoubtReason.NEAR_MISS, near) for near in missed if near is not None)
