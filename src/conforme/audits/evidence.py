"""A quote counts only where it was found (spec/audits §7, and its weaknesses §14.11).

Each quote of the model is looked for in the words of the calls: as it is, then by word alignment (`alignment`),
nearest to the cited turn first, then in the cited recording, then in the whole fiche. What is found takes its place,
times and speaker from the words. What is not found is dropped with its reason, and the statuses that rested on it
go down. Pure.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from conforme.audit_configs.rules import ControlPoint
from conforme.audits.admission import OPEN, SURE_OF_ROLE, Admission
from conforme.audits.alignment import ELLIPSIS, Alignment, align
from conforme.audits.faults import fault, gaps_of
from conforme.audits.injections import longest_shown
from conforme.audits.lexicon import Kind, kind
from conforme.audits.normalise import normalise, units
from conforme.audits.passages import Heard, Place, Stretch, TranscriptIndex
from conforme.audits.timeline import Recording, clock
from conforme.audits.verdicts import (
    Citation,
    CitationClaim,
    DroppedCitation,
    DropReason,
    EvidenceStatistics,
    PointFinding,
    PointVerdict,
    Statut,
    StepFinding,
    StepVerdict,
)
from conforme.transcriptions.words import UNKNOWN_SPEAKER

MIN_QUOTE_CHARS: Final = 12
"""Fewer normalised characters prove nothing (spec/audits §7)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How strictly evidence is asked for; the settings `AUDIT_EVIDENCE_*`."""

    gating: bool = True
    """Off: quotes are still looked for, but statuses stay as the model gave them."""
    min_quote_chars: int = MIN_QUOTE_CHARS
    """0 stands for the default (spec/audits §7)."""
    sure_of_role: float = SURE_OF_ROLE
    """How sure it must be who spoke for a quote to be refused, or taken without a doubt, on that ground."""


# One quote

_LINE_OPENING: Final = re.compile(r"\[\d{1,4}\.\d{1,6}\](?:\s*\S{1,80}\s+(?:\d{1,4}:\d{2}|--:--)\s*\|)?")
_LABEL: Final = re.compile(
    r"\bspeaker_\w{1,20}\s*:|^[^\S\n]*(?:conseill[eè]re?|client[e]?|agent|advisor|customer|unknown)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
_ELLIPSIS: Final = re.compile(r"[\[(]\s*(?:…|\.{3,})\s*[\])]|…|\.{3,}")


def locate(
    claim: CitationClaim, index: TranscriptIndex, min_chars: int = MIN_QUOTE_CHARS
) -> Citation | DroppedCitation:
    """The passage that a quote repeats, or the reason why there is none.

    Args:
        claim: what the model wrote; the place it cites is where the search begins, nothing more.
        index: the words of the fiche.
        min_chars: least length of the normalised quote.
    """
    pieces = _pieces(claim.texte)
    if len(normalise(" ".join(pieces))) < max(1, min_chars):
        return _dropped(claim, DropReason.TOO_SHORT)
    place = index.place(claim.enregistrement, claim.tour)
    found = _exactly(pieces, index, place) or _aligned(pieces, index, place)
    return _dropped(claim, found) if isinstance(found, DropReason) else _citation(claim, index, found)


def _pieces(texte: str) -> list[str]:
    """What is said in a quote, cut at its ellipses; speaker labels, line openings and marks of the prompt are not said."""
    spoken = longest_shown(_LABEL.sub(" ", _LINE_OPENING.sub("\n", texte)))
    return [piece for piece in _ELLIPSIS.split(spoken) if normalise(piece)]


def _dropped(claim: CitationClaim, reason: DropReason) -> DroppedCitation:
    return DroppedCitation(claim.texte, reason, claim.enregistrement, claim.tour)


@dataclass(frozen=True, slots=True)
class _Found:
    """Units [first, after) of a recording."""

    recording: int
    first: int
    after: int
    match: Literal["exact", "aligned"]


def _exactly(pieces: Sequence[str], index: TranscriptIndex, place: Place | None) -> _Found | None:
    keys = _keys(" ".join(pieces))
    at = index.exact(keys, place)
    return at and _Found(at[0], at[1], at[1] + len(keys), "exact")


def _keys(text: str) -> list[str]:
    return [unit.key for unit in units(text.split())]


def _aligned(pieces: Sequence[str], index: TranscriptIndex, place: Place | None) -> _Found | DropReason:
    """The first passage without a fault, most alike first; else the fault of the one that most resembles the quote."""
    quote = [key for piece in pieces for key in (ELLIPSIS, *_keys(piece))][1:]
    reasons: list[DropReason] = []
    for stretch in index.stretches(quote, place):
        heard = index.heard[stretch.recording]
        keys = heard.keys[stretch.start : stretch.end]
        alignment = align(quote, keys, index.likeness, index.tolerance)
        wrong = fault(alignment, quote, keys, index.tolerance) or _hidden_negation(
            alignment, heard, stretch.start
        )
        if wrong is None:
            return _found(alignment, stretch)
        reasons.append(wrong)
    return reasons[0] if reasons else DropReason.NOT_FOUND


def _found(alignment: Alignment, stretch: Stretch) -> _Found:
    same = all(edit.change in {"same", "gap"} for edit in alignment.edits)
    first, after = stretch.start + alignment.heard, stretch.start + alignment.heard_end
    return _Found(stretch.recording, first, after, "exact" if same else "aligned")


def _hidden_negation(alignment: Alignment, heard: Heard, start: int) -> DropReason | None:
    """An ellipsis may pass over whole sentences, whatever they say, but not over a negation of a quoted sentence."""
    for first, after in gaps_of(alignment):
        gap = range(start + first, start + after)
        if any(kind(heard.keys[at]) is Kind.NEGATION for at in _same_sentences(heard, gap)):
            return DropReason.NEGATION
    return None


def _same_sentences(heard: Heard, gap: range) -> Iterator[int]:
    """The units of a gap that belong to the sentence before it or to the one after it."""
    for at in gap:
        if heard.ends_sentence(at - 1):
            break
        yield at
    for at in reversed(gap):
        if heard.ends_sentence(at):
            break
        yield at


# What the words say of it


def _citation(claim: CitationClaim, index: TranscriptIndex, found: _Found) -> Citation:
    heard = index.heard[found.recording]
    recording, spoken = heard.recording, heard.units[found.first : found.after]
    first, last = min(unit.first for unit in spoken), max(unit.last for unit in spoken)
    first_turn, last_turn = heard.turn_of(first), heard.turn_of(last)
    start, end = _start(recording, first, first_turn), _end(recording, last, last_turn)
    cited_here = claim.enregistrement == found.recording + 1 and first_turn <= claim.tour - 1 <= last_turn
    return Citation(
        texte=" ".join(word.text for word in recording.words[first : last + 1]),
        claimed=claim.texte,
        minutage=clock(start),
        minutage_secondes=start,
        speaker=_speaker(recording, first, last),
        recording_index=found.recording,
        chunk_index=heard.chunk_of(first_turn),
        recording_date=recording.recording_date,
        recording_time=recording.recording_time,
        recording_url=recording.recording_url,
        start_ms=None if start is None else round(start * 1000),
        end_ms=None if end is None else round(end * 1000),
        match=found.match,
        relocated=not cited_here,
        beside_negation=_beside_negation(heard, found),
        first_turn=first_turn,
        last_turn=last_turn,
        first_word=first,
        last_word=last,
    )


def _start(recording: Recording, word: int, turn: int) -> float | None:
    """The last time known in the turn up to the word: some transcripts only time the turns."""
    earlier = reversed(recording.words[recording.turns[turn].first : word + 1])
    return next((each.start for each in earlier if each.start is not None), None)


def _end(recording: Recording, word: int, turn: int) -> float | None:
    later = recording.words[word : recording.turns[turn].last + 1]
    return next((each.end for each in later if each.end is not None), None)


def _speaker(recording: Recording, first: int, last: int) -> str:
    speakers = Counter(word.speaker for word in recording.words[first : last + 1])
    return speakers.most_common(1)[0][0] or UNKNOWN_SPEAKER


def _beside_negation(heard: Heard, found: _Found) -> bool:
    before, after = found.first - 1, found.after
    cut_before = before >= 0 and _negation(heard, before) and not heard.ends_sentence(before)
    return cut_before or (
        after < len(heard.keys) and _negation(heard, after) and not heard.ends_sentence(after - 1)
    )


def _negation(heard: Heard, at: int) -> bool:
    return kind(heard.keys[at]) is Kind.NEGATION


# One step

_CAREFUL: Final = (Statut.ABSENT, Statut.PARTIEL, Statut.PRESENT, Statut.NON_APPLICABLE)
"""Which of two verdicts on one point is believed: the first of this list."""

_REASONS: Final = {
    DropReason.TOO_SHORT: "trop courte",
    DropReason.NOT_FOUND: "introuvable dans les appels",
    DropReason.WORDS: "un mot change le sens",
    DropReason.NEGATION: "une négation diffère",
    DropReason.NUMBER: "un nombre ou une date diffère",
    DropReason.GAP: "des passages éloignés sont réunis",
    DropReason.NOT_FETCHED: "extrait jamais demandé",
    DropReason.TO_AUDITOR: "paroles adressées à l'auditeur",
    DropReason.WRONG_SPEAKER: "dit par une autre personne que celle qui devait le dire",
}


def gate(
    verdict: StepVerdict,
    points: Sequence[tuple[int, ControlPoint]],
    index: TranscriptIndex,
    policy: Policy | None = None,
    admission: Admission = OPEN,
) -> StepFinding:
    """What is left of a verdict when only the words that were found count.

    PRESENT and PARTIEL without any become ABSENT. A point that fails only on words spoken (a fault to note, or one
    whose proof lies outside the call) becomes NON_APPLICABLE instead, ABSENT included. No status goes the other way.

    Args:
        verdict: the model's answer.
        points: the numbered points it was asked about.
        index: the words of the fiche.
        policy: how strictly; the default asks for evidence.
        admission: what a quote has to be besides spoken.

    Returns:
        Findings on the points that were answered; those that were not are in `missing`, never guessed.
    """
    chosen = policy or Policy()
    answers = _answers(verdict.points_controle)
    asked = [number for number, _ in points]
    found = tuple(
        _point(answers[number], point, _Court(index, chosen, admission))
        for number, point in points
        if number in answers
    )
    return StepFinding(
        points=found,
        missing=tuple(number for number in asked if number not in answers),
        unasked=len(answers.keys() - set(asked)),
        commentaire_global=_with_note(verdict.commentaire_global, _step_note(found)),
        minutages=_distinct(minutage for point in found for minutage in point.minutages),
        mots_cles_trouves=tuple(verdict.mots_cles_trouves),
        erreurs_transcription_tolerees=max(0, verdict.erreurs_transcription_tolerees),
        statistics=sum(map(_statistics, found), EvidenceStatistics()),
        model_score=verdict.score,
        model_conforme=verdict.conforme,
        model_niveau=verdict.niveau_conformite,
    )


def _answers(verdicts: Iterable[PointVerdict]) -> dict[int, PointVerdict]:
    """One verdict per number; of two on one point the more careful stands, with the quotes of both."""
    answers: dict[int, PointVerdict] = {}
    for verdict in verdicts:
        known = answers.get(verdict.numero)
        answers[verdict.numero] = _merged(known, verdict) if known else verdict
    return answers


def _merged(one: PointVerdict, other: PointVerdict) -> PointVerdict:
    careful = min(one, other, key=lambda verdict: _CAREFUL.index(verdict.statut))
    return careful.model_copy(update={"citations": [*one.citations, *other.citations]})


@dataclass(frozen=True, slots=True)
class _Court:
    """What quotes are held against."""

    index: TranscriptIndex
    policy: Policy
    admission: Admission

    def hear(self, claim: CitationClaim, point: ControlPoint) -> Citation | DroppedCitation:
        """The passage a quote repeats, when it may count for this point."""
        found = self._find(claim)
        if isinstance(found, DroppedCitation) or (wrong := self.admission.fault(found, point)) is None:
            return found
        for place in self.admission.elsewhere(found):
            moved = self._find(claim.model_copy(update={"enregistrement": place[0], "tour": place[1]}))
            if isinstance(moved, Citation) and self.admission.fault(moved, point) is None:
                return replace(moved, relocated=True)
        return _dropped(claim, wrong)

    def _find(self, claim: CitationClaim) -> Citation | DroppedCitation:
        return locate(claim, self.index, self.policy.min_quote_chars or MIN_QUOTE_CHARS)


def _point(verdict: PointVerdict, point: ControlPoint, court: _Court) -> PointFinding:
    policy = court.policy
    claims = dict.fromkeys(verdict.citations) if _may_cite(verdict.statut, point, policy) else ()
    results = [court.hear(claim, point) for claim in claims]
    citations = tuple(result for result in results if isinstance(result, Citation))
    dropped = tuple(result for result in results if isinstance(result, DroppedCitation))
    statut = _held(verdict.statut, point, found=bool(citations)) if policy.gating else verdict.statut
    return PointFinding(
        numero=verdict.numero,
        statut=statut,
        model_statut=verdict.statut,
        commentaire=_with_note(verdict.commentaire, _point_note(verdict.statut, statut, dropped)),
        citations=citations,
        dropped=dropped,
        minutages=_distinct(citation.minutage for citation in citations),
        erreur_transcription_notee=verdict.erreur_transcription_notee,
        variation_phonetique_utilisee=verdict.variation_phonetique_utilisee or None,
        doubts=court.admission.doubts(point, citations, dropped),
    )


def _fails_only_on_words(point: ControlPoint) -> bool:
    """A fault to note, or a point whose proof lies outside the call: silence says nothing against it."""
    return point.forbidden or not point.audible


def _may_cite(statut: Statut, point: ControlPoint, policy: Policy) -> bool:
    if not policy.gating or statut in {Statut.PRESENT, Statut.PARTIEL}:
        return True
    return statut is Statut.ABSENT and _fails_only_on_words(point)


def _held(statut: Statut, point: ControlPoint, *, found: bool) -> Statut:
    """The status that the words found can bear."""
    if found or statut is Statut.NON_APPLICABLE:
        return statut
    return Statut.NON_APPLICABLE if _fails_only_on_words(point) else Statut.ABSENT


def _point_note(before: Statut, after: Statut, dropped: Sequence[DroppedCitation]) -> str:
    if before is after:
        return ""
    reasons = ", ".join(dict.fromkeys(_REASONS[each.reason] for each in dropped)) or "aucune citation donnée"
    return f"[Auto-check] Statut {before} remplacé par {after} : pas de citation retrouvée ({reasons})."


def _step_note(points: Sequence[PointFinding]) -> str:
    changed = [str(point.numero) for point in points if point.statut is not point.model_statut]
    return (
        f"[Auto-check] Statut revu faute de citation retrouvée, points : {', '.join(changed)}."
        if changed
        else ""
    )


def _with_note(text: str, note: str) -> str:
    return f"{text} {note}".strip() if note else text


def _distinct(minutages: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(minutages))


def _statistics(point: PointFinding) -> EvidenceStatistics:
    return EvidenceStatistics(
        located=len(point.citations),
        relocated=sum(citation.relocated for citation in point.citations),
        aligned=sum(citation.match == "aligned" for citation in point.citations),
        dropped=len(point.dropped),
    )
