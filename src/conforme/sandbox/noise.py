"""What a speech recogniser mishears, drops, splits and joins in French telephone speech.

Noise never touches a negation, a number or an amount: those are not spelling but meaning, and a transcript that
changed them would make the truth of the written call false.
"""

import random
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from conforme.sandbox.speaking import SpokenWord

_PUNCTUATION = '.,;:?!…»«()"'
FILLERS = frozenset({"euh", "ben", "bon", "hein", "ah", "oh", "voilà", "alors", "donc", "enfin"})
_NEGATIONS = (
    "ne",
    "n",
    "pas",
    "plus",
    "jamais",
    "rien",
    "aucun",
    "aucune",
    "sans",
    "ni",
    "non",
    "personne",
    "sauf",
)
_NUMBERS = (
    *(
        "zéro",
        "un",
        "une",
        "deux",
        "trois",
        "quatre",
        "cinq",
        "six",
        "sept",
        "huit",
        "neuf",
        "dix",
        "onze",
        "douze",
    ),
    *(
        "quatorze",
        "quinze",
        "vingt",
        "trente",
        "quarante",
        "cinquante",
        "soixante",
        "cent",
        "mille",
        "euro",
        "euros",
    ),
)
PROTECTED = frozenset((*_NEGATIONS, *_NUMBERS))
NEIGHBOURS = {
    "et": "est",
    "est": "et",
    "à": "a",
    "a": "à",
    "ces": "ses",
    "ses": "ces",
    "c'est": "ces",
    "ou": "où",
    "la": "là",
    "on": "ont",
    "son": "sont",
    "leur": "leurs",
    "ce": "se",
    "peu": "peut",
    "mes": "mais",
    "quand": "quant",
    "si": "ci",
    "dans": "d'en",
    "vers": "verre",
    "verres": "vers",
    "près": "prêt",
    "tout": "tous",
    "tous": "tout",
    "quel": "quelle",
    "orias": "aurias",
    "courtier": "courtiers",
    "mutuelle": "mutuel",
    "carence": "carrance",
    "cotisation": "cotisations",
    "résilier": "résiliez",
    "formule": "formules",
    "ipid": "hippie",
    "frais": "frai",
    "prélèvement": "prélèvements",
    "contrat": "contrats",
    "garanties": "garantie",
    "prothèses": "protéses",
    "mail": "mel",
}
_ENDINGS = {"er": "é", "ez": "er", "és": "é", "ée": "é", "ées": "és", "ait": "é", "ais": "ait"}


@dataclass(frozen=True, slots=True)
class Heard:
    """A recognised sequence, and how many of the words spoken it alters."""

    words: tuple[SpokenWord, ...]
    altered: int


def mishear(words: Sequence[SpokenWord], share: float, seed: str) -> Heard:
    """Alters at most `share` (0 to 1) of the words; the same seed hears the same.

    A dropped, split or replaced word counts for one, two words joined into one for two.
    """
    dice = random.Random(f"noise:{seed}")
    budget = int(share * len(words))
    heard: dict[int, tuple[SpokenWord, ...]] = {}
    altered = 0
    for index in dice.sample(range(len(words)), len(words)):
        if altered >= budget:
            break
        if index in heard:
            continue
        joined = _joined(words, index, heard) if budget - altered >= 2 and dice.random() < 0.08 else None
        if joined:
            heard[index], heard[index + 1] = (joined,), ()
            altered += 2
        elif (misheard := _misheard(words[index], dice)) is not None:
            heard[index] = misheard
            altered += 1
    kept = (one for index, word in enumerate(words) for one in heard.get(index, (word,)))
    return Heard(tuple(kept), altered)


def is_protected(word: str) -> bool:
    """Whether a word carries a negation, a number or an amount (its elided parts included)."""
    parts = _core(word).replace("’", "'").replace("-", "'").split("'")
    return any(part in PROTECTED or any(map(str.isdigit, part)) for part in parts)


def _misheard(word: SpokenWord, dice: random.Random) -> tuple[SpokenWord, ...] | None:
    """What is heard instead; None when this word has no likely confusion."""
    if is_protected(word.text):
        return None
    ways: list[Callable[[SpokenWord], tuple[SpokenWord, ...] | None]] = [
        _replaced,
        _ended,
        _unaccented,
        _split,
    ]
    dice.shuffle(ways)
    for way in (_dropped, *ways):
        misheard = way(word)
        # "né" without its accent is a negation: what is misheard must not gain a meaning either.
        if misheard is not None and not any(is_protected(one.text) for one in misheard):
            return misheard
    return None


def _dropped(word: SpokenWord) -> tuple[SpokenWord, ...] | None:
    return () if _core(word.text) in FILLERS else None


def _replaced(word: SpokenWord) -> tuple[SpokenWord, ...] | None:
    neighbour = NEIGHBOURS.get(_core(word.text))
    return _with_core(word, neighbour) if neighbour else None


def _ended(word: SpokenWord) -> tuple[SpokenWord, ...] | None:
    core = _core(word.text)
    for ending, heard in _ENDINGS.items():
        if core.endswith(ending) and len(core) > len(ending) + 2:
            return _with_core(word, core.removesuffix(ending) + heard)
    return None


def _unaccented(word: SpokenWord) -> tuple[SpokenWord, ...] | None:
    core = _core(word.text)
    plain = "".join(one for one in unicodedata.normalize("NFD", core) if not unicodedata.combining(one))
    return _with_core(word, plain) if plain != core else None


def _split(word: SpokenWord) -> tuple[SpokenWord, ...] | None:
    """`aujourd'hui` heard as two words, and so any long word with an elision or a hyphen inside."""
    for mark in "'’-":
        head, found, tail = word.text.partition(mark)
        if found and len(head) > 2 and len(tail) > 2:
            middle = round((word.start + word.end) / 2, 2)
            return (replace(word, text=head, end=middle), replace(word, text=tail, start=middle))
    return None


def _joined(
    words: Sequence[SpokenWord], index: int, heard: dict[int, tuple[SpokenWord, ...]]
) -> SpokenWord | None:
    """Two short neighbours of one turn heard as one word."""
    if index + 1 >= len(words) or index + 1 in heard:
        return None
    first, second = words[index], words[index + 1]
    short = len(first.text) <= 5 and len(second.text) <= 6 and first.text.isalpha()
    if first.turn != second.turn or not short or is_protected(first.text) or is_protected(second.text):
        return None
    joined = replace(first, text=first.text + second.text.lower(), end=second.end)
    return None if is_protected(joined.text) else joined


def _core(text: str) -> str:
    """The word in lower case without the punctuation around it."""
    return text.strip(_PUNCTUATION).lower()


def _with_core(word: SpokenWord, core: str) -> tuple[SpokenWord, ...]:
    """The word with another core, its punctuation and initial capital kept."""
    bare = word.text.strip(_PUNCTUATION)
    head, _, tail = word.text.partition(bare)
    heard = core.capitalize() if bare[:1].isupper() else core
    return (replace(word, text=f"{head}{heard}{tail}"),)
