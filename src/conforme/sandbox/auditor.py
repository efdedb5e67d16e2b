"""An honest stand-in for a language model: it audits one step by rules, and says so.

It knows nothing but the prompt: control points are matched with the concepts of the lexicon, concepts with the
turns of the transcript. A control point that the lexicon does not know is compared with the turns word by word,
in any language. What the words of the call say to an auditor is not heard.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from conforme.sandbox.call import ADVISOR, CLIENT, Call, Passage, heard_call
from conforme.sandbox.lexicon import Concept, Fault, Lexicon, lexicon
from conforme.sandbox.overlap import likeness, resembling
from conforme.sandbox.reading import Point, StepQuestion, fenced, folded, plain, read_step

SIGNATURE = "Lecture par règles"
MOST_QUOTES = 3
PRESENT_FROM, PARTIAL_FROM = 0.5, 0.3
"""Share of a control point's significant words that one turn must hold, when no concept is known."""
REPLY_WITHIN = 2
"""Turns after a question in which its answer is looked for."""
SALE_GOES_ON = 5
"""Turns of the advisor after a protest that make it one passed over."""
VALUES = {"PRESENT": 1.0, "PARTIEL": 0.5, "ABSENT": 0.0}


@dataclass(frozen=True, slots=True)
class Finding:
    statut: str
    commentaire: str
    passages: tuple[Passage, ...] = ()


def audit_step(prompt: str) -> dict[str, Any]:
    """The verdict on the step of this prompt, in the JSON shape that the product asks for."""
    call = heard_call(fenced(prompt, "transcript"))
    step = read_step(fenced(prompt, "step"))
    return _verdict(step, [judge(point, call, lexicon()) for point in step.points], call)


def name_speakers(prompt: str) -> dict[str, Any]:
    """Who each label asked about is: what most of its turns sound like, and how clearly."""
    call = heard_call(fenced(prompt, "transcript"))
    labels = [line.strip() for line in fenced(prompt, "locuteurs").splitlines() if line.strip()]
    return {"locuteurs": [_speaker(label, call) for label in labels]}


def _speaker(label: str, call: Call) -> dict[str, Any]:
    roles = [
        role for role, turn in zip(call.roles, call.turns, strict=True) if turn.speaker == label and role
    ]
    for role in (ADVISOR, CLIENT):
        share = roles.count(role) / max(1, len(roles))
        if share > _HALF:
            return {"locuteur": label, "role": role, "certitude": round(90 * share)}
    return {"locuteur": label, "role": "inconnu", "certitude": 0}


_HALF = 0.5


def judge(point: Point, call: Call, known: Lexicon) -> Finding:
    """The status of one control point, with the words that decided it."""
    if point.proofs and "appel" not in point.proofs:
        return Finding("NON_APPLICABLE", f"la preuve n'est pas dans l'appel ({', '.join(point.proofs)}).")
    text = plain(point.text)
    if point.fault or known.prohibition.search(text):
        return _judge_fault(point, known.faults_in(text), call)
    demand = plain(_without_examples(point.text))
    concepts = known.concepts_in(demand)
    if not concepts:
        return _judge_unknown(point, call, conditional=bool(known.condition.search(text)))
    found = [(concept, _shown(concept, point, call, known)) for concept in concepts]
    if known.early.search(text):
        return _judge_early(found, call)
    return _judge_duty(found, demand, conditional=bool(known.condition.search(text)))


# What has to be said


def _judge_duty(
    found: Sequence[tuple[Concept, tuple[Passage, ...]]], demand: str, *, conditional: bool
) -> Finding:
    shown = [concept.label for concept, passages in found if passages]
    missing = [concept.label for concept, passages in found if not passages]
    quotes = tuple(passages[0] for _, passages in found if passages)
    if not shown:
        if conditional:
            return Finding("NON_APPLICABLE", "la situation visée ne se présente pas dans les paroles.")
        return Finding("ABSENT", f"rien dans les paroles sur : {', '.join(missing)}.")
    enough = not missing or (" ou " in demand and " et " not in demand)
    if enough:
        return Finding("PRESENT", f"relevé : {', '.join(shown)}.", quotes)
    return Finding("PARTIEL", f"relevé : {', '.join(shown)} ; pas relevé : {', '.join(missing)}.", quotes)


def _judge_early(found: Sequence[tuple[Concept, tuple[Passage, ...]]], call: Call) -> Finding:
    said = [passage for _, passages in found for passage in passages]
    early = tuple(passage for passage in said if call.early(passage))
    labels = ", ".join(concept.label for concept, _ in found)
    if early:
        return Finding("PRESENT", f"relevé au début de l'appel : {labels}.", early[:1])
    if said:
        return Finding("ABSENT", f"dit trop tard, au tour {call.turns[said[0].turn].number} : {labels}.")
    return Finding("ABSENT", f"rien dans les paroles sur : {labels}.")


def _shown(concept: Concept, point: Point, call: Call, known: Lexicon) -> tuple[Passage, ...]:
    """Where the concept is said by whom it must be said, best first."""
    if concept.replied and point.who == CLIENT:
        return tuple(_replies(concept, call, known))
    who = point.who or concept.who
    return tuple(passage for passage in call.find(concept.said) if call.spoken_by(passage, who))


def _replies(concept: Concept, call: Call, known: Lexicon) -> Iterator[Passage]:
    """The client's agreeing answers to the advisor's question."""
    answers = {passage.turn: passage for passage in reversed(call.find(concept.reply))}
    for question in call.find(concept.said):
        for turn in call.soon_after(question.turn, REPLY_WITHIN):
            answer = answers.get(turn)
            if answer and call.spoken_by(answer, CLIENT) and not known.refusal.search(call.lines[turn]):
                yield answer
                break


def _judge_unknown(point: Point, call: Call, *, conditional: bool) -> Finding:
    """No concept: the turn that shares most of the point's rare words decides."""
    best, share = likeness([point.text, *point.good], call, point.who)
    if best is None or share < PARTIAL_FROM:
        statut = "NON_APPLICABLE" if conditional else "ABSENT"
        return Finding(statut, "aucun tour de parole n'en reprend les mots.")
    statut = "PRESENT" if share >= PRESENT_FROM else "PARTIEL"
    return Finding(statut, f"mots communs : {share:.0%}.", (best,))


# What must not happen


def _judge_fault(point: Point, faults: Sequence[Fault], call: Call) -> Finding:
    done = [passage for fault in faults for passage in _committed(fault, call)]
    done += resembling(point.bad, call)
    if done:
        labels = ", ".join(fault.label for fault in faults) or point.text
        return Finding("ABSENT", f"faute relevée dans les paroles : {labels}.", tuple(done))
    kept = [
        passage for fault in faults for passage in call.find(fault.kept) if call.spoken_by(passage, ADVISOR)
    ]
    if kept:
        return Finding("PRESENT", "les paroles montrent que la règle est respectée.", tuple(kept[:1]))
    return Finding("NON_APPLICABLE", "rien de tel dans les paroles, et le sujet n'est pas abordé.")


def _committed(fault: Fault, call: Call) -> Iterator[Passage]:
    for passage in call.find(fault.said):
        if call.spoken_by(passage, fault.who) and not (fault.persists and _sale_ends_after(passage, call)):
            yield passage


def _sale_ends_after(passage: Passage, call: Call) -> bool:
    return sum(role == ADVISOR for role in call.roles[passage.turn + 1 :]) < SALE_GOES_ON


def _without_examples(text: str) -> str:
    """The demand itself: what follows `par exemple`, and what stands in brackets, only illustrates it."""
    for opening in ("par exemple", "(", "for example", "such as", "dont "):
        text = text[: folded(text).find(opening)] if opening in folded(text) else text
    return text


# The verdict


def _verdict(step: StepQuestion, findings: Sequence[Finding], call: Call) -> dict[str, Any]:
    applied = [VALUES[finding.statut] for finding in findings if finding.statut in VALUES]
    ratio = sum(applied) / len(applied) if applied else 1.0
    conforme = "CONFORME" if ratio >= 0.85 else "PARTIEL" if ratio >= 0.4 else "NON_CONFORME"
    niveaux = {"CONFORME": "EXCELLENT" if ratio >= 0.95 else "BON", "PARTIEL": "ACCEPTABLE"}
    met = sum(value == 1 for value in applied)
    misheard = {pair for finding in findings for passage in finding.passages for pair in passage.misheard}
    return {
        "traite": any(applied),
        "conforme": conforme,
        "score": int(ratio * step.weight + 0.5),
        "niveau_conformite": niveaux.get(conforme, "INSUFFISANT"),
        "commentaire_global": f"{SIGNATURE} : {met} point(s) relevé(s) sur {len(applied)} qui s'appliquent.",
        "mots_cles_trouves": [word for word in step.keywords if plain(word) and plain(word) in call.text],
        "erreurs_transcription_tolerees": len(misheard),
        "points_controle": [
            _point(point, finding, call) for point, finding in zip(step.points, findings, strict=True)
        ],
    }


def _point(point: Point, finding: Finding, call: Call) -> dict[str, Any]:
    misheard = sorted({pair for passage in finding.passages for pair in passage.misheard})
    return {
        "numero": point.numero,
        "statut": finding.statut,
        "commentaire": f"{SIGNATURE} : {finding.commentaire}",
        "erreur_transcription_notee": bool(misheard),
        "variation_phonetique_utilisee": ", ".join(f"« {heard} » lu « {read} »" for heard, read in misheard),
        "citations": list(_citations(finding.passages, call)),
    }


def _citations(passages: Sequence[Passage], call: Call) -> Iterator[dict[str, Any]]:
    quoted: dict[tuple[int, str], None] = dict.fromkeys(
        (passage.turn, call.quote(passage)) for passage in passages
    )
    for turn, text in list(quoted)[:MOST_QUOTES]:
        yield {"texte": text, "enregistrement": call.turns[turn].recording, "tour": call.turns[turn].number}
