"""Which diarised speaker is the advisor and which the client, and how sure that is (pure).

Rules first: what people say gives their part away (who proposes, who asks for what, who talks of "my husband"). A
recogniser may take two speakers for each other during a part of a call, so the labels are read as a hidden Markov
chain with two states, labels right and labels exchanged: each turn's words speak for one of them, and exchanges are
rare. The forward-backward algorithm (Rabiner, "A Tutorial on Hidden Markov Models", 1989) gives the probability of
each state at each turn. Where it is low nothing is decided: that is told.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, Literal

from conforme.audits.normalise import normalise
from conforme.transcriptions.words import Turn

Role = Literal["advisor", "client", "other", "unknown"]
Source = Literal["rules", "model", "person"]
OPPOSITE: Final[Mapping[Role, Role]] = {"advisor": "client", "client": "advisor"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Turns (counted from 0, both inclusive) in which a label stands for somebody else, or for nobody surely."""

    first_turn: int
    last_turn: int
    role: Role
    confidence: float


@dataclass(frozen=True, slots=True)
class SpeakerRole:
    """Who one label of a recording is. `confidence` is from 0 to 1, outside the stretches."""

    speaker: str
    role: Role
    confidence: float
    stretches: tuple[Stretch, ...] = ()

    def at(self, turn: int) -> tuple[Role, float]:
        """Who speaks in a turn of this label, and how sure that is."""
        for stretch in self.stretches:
            if stretch.first_turn <= turn <= stretch.last_turn:
                return stretch.role, stretch.confidence
        return self.role, self.confidence


Roles = Mapping[str, SpeakerRole]
"""By label."""


def role_at(roles: Roles, speaker: str | None, turn: int) -> tuple[Role, float]:
    """Who speaks in a turn; a label that nobody resolved is unknown."""
    known = roles.get(speaker or "")
    return known.at(turn) if known else ("unknown", 0.0)


# What words give away

_STRONG, _CLEAR, _SLIGHT = 2.0, 1.0, 0.4
_LONG_TURN, _SHORT_TURN = 25, 4
_MOST_PER_TURN: Final = 4.0
"""However much one turn says, it may be misheard, quoted or said in jest."""

_ADVISOR: Final[tuple[tuple[str, float], ...]] = (
    (r"orias|courtier\w*|courtage|notre cabinet|du cabinet|le cabinet", _STRONG),
    (
        r"je vous (?:appelle|propose|envoie|informe|confirme|conseille|recommande|explique|rappelle|precise|laisse)",
        _STRONG,
    ),
    (r"(?:appel|conversation|entretien|echange)s? (?:est|sera|sont|peut etre) enregistre\w*", _STRONG),
    (
        r"vous (?:recevez|recevrez|disposez|serez|signez|signerez|beneficiez|avez droit|avez \w+ jours)",
        _CLEAR,
    ),
    (
        r"est ce que vous|pouvez vous|avez vous|etes vous|souhaitez vous|vous (?:portez|vivez|prevoyez)",
        _CLEAR,
    ),
    (r"je (?:reformule|recapitule|verifie|relis|regarde|retiens)", _CLEAR),
    (r"renonciation|ipid|carence|plafond\w*|exclusion\w*|prelevement\w*|frais de dossier|mediateur", _CLEAR),
    (r"la formule|la garantie|les garanties|la cotisation|taxes comprises|prise d effet|l assureur", _CLEAR),
    (r"votre|vos", _SLIGHT),
    (r"vous etes|vous avez|vous payez|vous pouvez", _SLIGHT),
)
_CLIENT: Final[tuple[tuple[str, float], ...]] = (
    (
        r"(?:mon|ma|mes) (?:mari|femme|fils|fille|enfants|dentiste|medecin|budget|retraite|mutuelle|voisine|collegue)",
        _STRONG,
    ),
    (
        r"je (?:paye|paie|suis chez|porte|prefere|reflechis|lis|signe|vais (?:reflechir|voir|en parler|lire))",
        _STRONG,
    ),
    (
        r"je (?:ne )?(?:suis pas interesse\w*|comprends pas|veux pas|signe (?:jamais|rien|pas)|sais pas)",
        _STRONG,
    ),
    (r"vous (?:m aviez|m avez|m appelez|dites|voulez dire|m envoyez|me)", _CLEAR),
    (r"c est (?:combien|pour quoi|note|a quel sujet)|combien ca|ca (?:me|fait combien)", _CLEAR),
    (r"allo|oui bonjour|qui est ce|c est de la part de qui", _CLEAR),
    (r"(?:mon|ma|mes)", _SLIGHT),
    (r"je|j|moi|me", _SLIGHT),
)
_ANSWERS: Final = re.compile(
    r"^(?:oui|non|d accord|ah|ben|bah|bon|euh|oh|hm|entendu|parfait|tres bien|exact)\b"
)


@lru_cache(maxsize=1)
def _cues() -> tuple[tuple[re.Pattern[str], float], ...]:
    signed = [(phrase, weight) for phrase, weight in _ADVISOR]
    signed += [(phrase, -weight) for phrase, weight in _CLIENT]
    return tuple((re.compile(rf"\b(?:{phrase})\b"), weight) for phrase, weight in signed)


def leaning(text: str) -> float:
    """How much the words of one turn speak for an advisor (above 0) or a client (below), as a log of odds."""
    said = normalise(text)
    total = sum(weight * min(2, len(cue.findall(said))) for cue, weight in _cues())
    # What is done to somebody (`je vous envoie`) is the advisor's `je`.
    total += _SLIGHT * min(2, len(re.findall(r"\bje vous\b", said)))
    length = said.count(" ") + 1
    if length > _LONG_TURN:
        total += _SLIGHT
    if length <= _SHORT_TURN:
        total -= _SLIGHT
    if _ANSWERS.match(said):
        total -= _SLIGHT
    return max(-_MOST_PER_TURN, min(_MOST_PER_TURN, total))


_NAMED: Final[Mapping[Role, frozenset[str]]] = {
    "advisor": frozenset(
        [
            "advisor",
            "agent",
            "conseiller",
            "conseillere",
            "courtier",
            "courtiere",
            "commercial",
            "commerciale",
            "vendeur",
            "vendeuse",
            "seller",
        ]
    ),
    "client": frozenset(
        [
            "client",
            "cliente",
            "customer",
            "prospect",
            "prospecte",
            "assure",
            "assuree",
            "adherent",
            "adherente",
        ]
    ),
    "other": frozenset(["tiers", "third", "ivr", "automate", "messagerie", "repondeur"]),
}
"""Labels of transcripts that say themselves who speaks."""
_NAMED_SURE: Final = 0.99


def named(label: str) -> Role:
    """The role that a label says in words; `speaker_0` says none."""
    words = normalise(label).split()
    for role, names in _NAMED.items():
        if names.intersection(words):
            return role
    return "unknown"


# What follows for the labels

_SWITCH: Final = 0.02
"""How likely two labels are exchanged, or put right again, from one turn to the next."""
_TRUST: Final = 1.5
"""How far the cues are believed; chosen with `_SWITCH` on the sandbox's calls (`bench.evidence`)."""
_SURE: Final = 0.98
"""Turns that are surer than this are not told apart."""
LEAST_WORDS: Final = 4
"""A label that said less decides nothing."""


def by_rules(turns: Sequence[Turn]) -> tuple[SpeakerRole, ...]:
    """The role of every label, in order of first appearance.

    The two who speak most are advisor and client; anybody else is unknown, and so is everybody where only one speaks.
    """
    labels = list(dict.fromkeys(turn.speaker or "" for turn in turns))
    said: dict[str, Role] = {label: named(label) for label in labels}
    if {"advisor", "client"} <= set(said.values()):
        return tuple(_named(label, role) for label, role in said.items() if label)
    spoken = Counter[str]()
    for turn in turns:
        spoken[turn.speaker or ""] += turn.last - turn.first + 1
    pair = [label for label, words in spoken.most_common(2) if label and words >= LEAST_WORDS]
    if len(pair) < 2:
        return tuple(SpeakerRole(label, "unknown", 0.0) for label in labels if label)
    right = _posteriors(turns, pair[0], pair[1])
    found = {label: _resolved(label, turns, right, first=label == pair[0]) for label in pair}
    return tuple(found.get(label, SpeakerRole(label, "unknown", 0.0)) for label in labels if label)


def _named(label: str, role: Role) -> SpeakerRole:
    return SpeakerRole(label, role, 0.0 if role == "unknown" else _NAMED_SURE)


def unsure(found: Iterable[SpeakerRole], turns: Sequence[Turn], sure_from: float) -> list[str]:
    """Labels that said something and whose role is not known well enough."""
    words = Counter[str]()
    for turn in turns:
        words[turn.speaker or ""] += turn.last - turn.first + 1
    return [
        each.speaker
        for each in found
        if words[each.speaker] >= LEAST_WORDS and (each.role == "unknown" or each.confidence < sure_from)
    ]


def _posteriors(turns: Sequence[Turn], one: str, other: str) -> list[float]:
    """For each turn, the probability that `one` stands for the advisor there."""
    signs = {one: 1.0, other: -1.0}
    odds = [_TRUST * signs.get(turn.speaker or "", 0.0) * leaning(turn.text) for turn in turns]
    return forward_backward(odds, _SWITCH)


def forward_backward(odds: Sequence[float], switch: float) -> list[float]:
    """The probability of the first of two states at each place.

    Args:
        odds: log of the odds that each place by itself gives the first state.
        switch: probability of a change from one place to the next; both states are as likely at the beginning.
    """
    evidence = [1 / (1 + math.exp(-value)) for value in odds]
    ahead = list(_passed(evidence, switch))
    behind = list(_passed(evidence[::-1], switch))[::-1]
    return [_joined(here, before, after) for here, before, after in zip(evidence, ahead, behind, strict=True)]


def _passed(evidence: Sequence[float], switch: float) -> Iterator[float]:
    """What all places before one say of the state there."""
    state = 0.5
    for here in evidence:
        yield state
        state = _joined(here, state, 0.5)
        state = state * (1 - switch) + (1 - state) * switch


def _joined(*chances: float) -> float:
    yes = math.prod(chances)
    no = math.prod(1 - chance for chance in chances)
    return yes / (yes + no) if yes + no else 0.5


def _resolved(label: str, turns: Sequence[Turn], right: Sequence[float], *, first: bool) -> SpeakerRole:
    """One label: its usual role, and the stretches where it is another or is not sure."""
    own = [
        (at, right[at] if first else 1 - right[at]) for at, turn in enumerate(turns) if turn.speaker == label
    ]
    weights = [turns[at].last - turns[at].first + 1 for at, _ in own]
    mean = sum(chance * weight for (_, chance), weight in zip(own, weights, strict=True)) / sum(weights)
    usual: Role = "advisor" if mean >= 0.5 else "client"
    plain = [_role(chance) for _, chance in own if _role(chance)[0] == usual and _role(chance)[1] >= _SURE]
    confidence = min((sure for _, sure in plain), default=max(mean, 1 - mean))
    return SpeakerRole(label, usual, round(confidence, 4), tuple(_stretches(own, usual)))


def _role(chance: float) -> tuple[Role, float]:
    return ("advisor", chance) if chance >= 0.5 else ("client", 1 - chance)


def _stretches(own: Iterable[tuple[int, float]], usual: Role) -> Iterator[Stretch]:
    def kind(each: tuple[int, float]) -> tuple[Role, int]:
        role, sure = _role(each[1])
        return role, int(sure * 20) if sure < _SURE else 20

    for (role, level), run in groupby(own, key=kind):
        places = list(run)
        if role == usual and level == 20:
            continue
        sure = min(_role(chance)[1] for _, chance in places)
        yield Stretch(places[0][0], places[-1][0], role, round(sure, 4))


# As stored


def to_json(stretches: Iterable[Stretch]) -> list[list[Any]]:
    return [[each.first_turn, each.last_turn, each.role, each.confidence] for each in stretches]


def from_json(stored: Iterable[Sequence[Any]]) -> tuple[Stretch, ...]:
    return tuple(Stretch(*each) for each in stored)
