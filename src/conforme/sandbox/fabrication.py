"""Quotes that were never said, made the way a careless model makes them.

Each is checked against the whole call before it is used, so that a quote counted as fabricated really is: no
sequence of the call's words equals it.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz

from conforme.sandbox.reading import NUMBER_WORDS, SpokenTurn, folded, plain

_NUMBER = re.compile(rf"\b(?:\d+|{NUMBER_WORDS})\b")
_NEGATION = re.compile(r"\b(?:ne|pas|jamais|aucune?|rien|plus|sans|not|never|no)\b|\bn['’]")
_SENTENCE = re.compile(r"[^.?!…]+[.?!…]?")
_SHORTEST, _LONGEST = 7, 30
"""Words of a sentence worth distorting."""
_MARGIN = 2
"""Words kept on both sides of what is changed, so that the rest of the quote is no quote of its own."""
_STRANGER = 70
"""Below this likeness to every turn, an invented sentence is a stranger to the call (0 to 100)."""

INVENTED = (
    "Je vous confirme que votre adhésion est déjà enregistrée auprès de notre service juridique de Toulouse",
    "Notre certification européenne numéro 48 217 garantit le remboursement intégral des implants",
    "Conformément à l'article neuf du règlement, je vous lis maintenant la clause de subrogation",
    "Votre échantillon de contrat vous parviendra par coursier avant dimanche prochain",
    "Le directeur régional a validé personnellement cette dérogation tarifaire ce matin",
    "Je note que vous avez signé la charte de parrainage devant votre notaire",
)


@dataclass(frozen=True, slots=True)
class Fabrication:
    text: str
    kind: str
    """`number`, `negation` or `invented`."""
    recording: int
    turn: int


def fabricate(turns: Sequence[SpokenTurn], dice: random.Random) -> Fabrication | None:
    """A plausible quote that nobody said, pinned to a turn; None when the call offers nothing to distort."""
    makers = [_changed_number, _dropped_negation, _invented]
    dice.shuffle(makers)
    return next((made for maker in makers if (made := maker(turns, dice)) is not None), None)


def _changed_number(turns: Sequence[SpokenTurn], dice: random.Random) -> Fabrication | None:
    def change(sentence: str) -> str | None:
        found = dice.choice(
            [match for match in _NUMBER.finditer(folded(sentence)) if _inside(sentence, match)] or [None]
        )
        if found is None:
            return None
        said = found.group()
        other = (
            str(int(said) * 3 + 4) if said.isdigit() else ("soixante" if said != "soixante" else "quarante")
        )
        return sentence[: found.start()] + other + sentence[found.end() :]

    return _distorted(turns, dice, "number", change)


def _dropped_negation(turns: Sequence[SpokenTurn], dice: random.Random) -> Fabrication | None:
    def drop(sentence: str) -> str | None:
        found = list(_NEGATION.finditer(folded(sentence)))
        if not found or not all(_inside(sentence, match) for match in found):
            return None
        for match in reversed(found):
            sentence = sentence[: match.start()] + sentence[match.end() :]
        return " ".join(sentence.split())

    return _distorted(turns, dice, "negation", drop)


def _invented(turns: Sequence[SpokenTurn], dice: random.Random) -> Fabrication | None:
    text = dice.choice(INVENTED)
    lowered = plain(text)
    if not turns or any(fuzz.partial_ratio(lowered, plain(turn.text)) > _STRANGER for turn in turns):
        return None
    turn = dice.choice(turns)
    return Fabrication(text, "invented", turn.recording, turn.number)


def _distorted(
    turns: Sequence[SpokenTurn], dice: random.Random, kind: str, change: Callable[[str], str | None]
) -> Fabrication | None:
    """The first sentence, in random order, that the change turns into something never said."""
    said = f" {' '.join(plain(turn.text) for turn in turns)} "
    for turn in dice.sample(turns, len(turns)):
        for sentence in _SENTENCE.findall(turn.text):
            if not _SHORTEST <= len(sentence.split()) <= _LONGEST:
                continue
            text = change(sentence.strip())
            if text is not None and f" {plain(text)} " not in said:
                return Fabrication(text, kind, turn.recording, turn.number)
    return None


def _inside(sentence: str, match: re.Match[str]) -> bool:
    before, after = sentence[: match.start()], sentence[match.end() :]
    return min(len(plain(before).split()), len(plain(after).split())) >= _MARGIN
