"""Quotes that nobody said, made out of true ones by changing exactly what a quote may not change."""

import random
from collections.abc import Callable, Sequence

from bench.spoken import Fiche, Quoted, true_quote
from conforme.audits.lexicon import Kind, kind, misheard, same_sound
from conforme.audits.normalise import tokens
from conforme.audits.verdicts import CitationClaim

Tamper = Callable[[Fiche, Quoted, random.Random], str | None]
"""Makes a quote nobody said out of a true one; `None` when that one offers nothing to change."""


def forgery(fiche: Fiche, tamper: Tamper, dice: random.Random) -> CitationClaim | None:
    """A claim that nobody said, or `None` when this draw offered nothing to tamper with."""
    quoted = true_quote(fiche, dice)
    text = tamper(fiche, quoted, dice)
    return quoted.claim(text) if text is not None and not fiche.was_said(text) else None


def _inside(words: Sequence[str], wanted: Callable[[str], bool], dice: random.Random) -> int | None:
    """A word that is neither the first two nor the last two: without those, a quote may still be one."""
    return dice.choice([at for at in range(2, len(words) - 2) if wanted(words[at])] or [None])


def _with(words: Sequence[str], at: int, *instead: str) -> str:
    """The words with others in the place of one."""
    return " ".join(word for word in (*words[:at], *instead, *words[at + 1 :]) if word)


def _added(quoted: Quoted, added: Sequence[str], dice: random.Random) -> str:
    at = dice.randrange(2, len(quoted.words) - 2)
    return _with(quoted.words, at, dice.choice(added), quoted.words[at])


def _has_kind(sort: Kind) -> Callable[[str], bool]:
    return lambda word: any(kind(token) is sort for token in tokens(word))


_is_content = _has_kind(Kind.CONTENT)
_is_negation = _has_kind(Kind.NEGATION)


def _alike(one: str, other: str) -> bool:
    a, b = (" ".join(token for token in tokens(word) if kind(token) is Kind.CONTENT) for word in (one, other))
    return a == b or same_sound(a, b) or misheard(a, b, ())


def negation_dropped(_: Fiche, quoted: Quoted, dice: random.Random) -> str | None:
    at = _inside(quoted.words, _is_negation, dice)
    if at is None:
        return None
    word = quoted.words[at]
    return _with(quoted.words, at, word[2:] if word.lower().startswith("n'") else "")


def negation_added(_: Fiche, quoted: Quoted, dice: random.Random) -> str:
    negations = ("pas", "jamais", "ne", "plus", "sans", "aucun", "rien", "not", "never")
    return _added(quoted, negations, dice)


_OTHER_NUMBERS = {
    "quatorze": "quinze",
    "trente": "quatre-vingt-dix",
    "cinq": "six",
    "cent": "deux cents",
    "trois": "deux",
    "deux": "trois",
    "soixante-dix": "soixante",
    "quatre-vingt-dix-sept": "quatre-vingt-sept",
    "quarante": "cinquante",
}


def number_changed(_: Fiche, quoted: Quoted, dice: random.Random) -> str | None:
    at = _inside(quoted.words, lambda word: word.isdecimal() or word in _OTHER_NUMBERS, dice)
    if at is None:
        return None
    word = quoted.words[at]
    return _with(quoted.words, at, _OTHER_NUMBERS.get(word) or str(int(word) + dice.randint(1, 9)))


def number_added(_: Fiche, quoted: Quoted, dice: random.Random) -> str:
    return _added(quoted, ("vingt-trois", "2019", "8"), dice)


_OTHER_WORDS = {
    "accepter": "refuser", "acceptez": "refusez", "compris": "exclus", "avant": "après", "importants": "minimes",
    "générales": "particulières", "dentaires": "esthétiques", "satisfait": "mécontent", "commercial": "médical",
    "mensuel": "annuel", "chaque": "quelque", "femme": "mère", "fils": "voisin", "vous": "nous", "votre": "notre",
    "je": "il", "mon": "son", "assureur": "assuré", "résiliation": "réalisation", "contrôle": "concours",
    "optique": "hypnose", "trop": "peu", "hospitalisation": "hôtellerie", "particulière": "partagée",
}  # fmt: skip


def word_replaced(_: Fiche, quoted: Quoted, dice: random.Random) -> str | None:
    """Contraries, other persons, words that look alike."""
    at = _inside(quoted.words, _OTHER_WORDS.__contains__, dice)
    return None if at is None else _with(quoted.words, at, _OTHER_WORDS[quoted.words[at]])


def word_of_elsewhere(fiche: Fiche, quoted: Quoted, dice: random.Random) -> str | None:
    """A word of meaning becomes another word of the same call."""
    at = _inside(quoted.words, _is_content, dice)
    if at is None:
        return None
    words = [word for word in fiche.texts(quoted.recording) if _is_content(word)]
    others = [word for word in words if not _alike(word, quoted.words[at])]
    return _with(quoted.words, at, dice.choice(others)) if others else None


def words_exchanged(_: Fiche, quoted: Quoted, dice: random.Random) -> str | None:
    """Two words of meaning change places: who does what to whom."""
    places = [at for at, word in enumerate(quoted.words) if _is_content(word)]
    pairs = [(a, b) for a in places for b in places if b > a and not _alike(quoted.words[a], quoted.words[b])]
    if not pairs:
        return None
    a, b = dice.choice(pairs)
    words = list(quoted.words)
    words[a], words[b] = words[b], words[a]
    return " ".join(words)


def decisive_word_added(_: Fiche, quoted: Quoted, dice: random.Random) -> str:
    decisive = ("gratuitement", "uniquement", "obligatoirement", "garantis", "oui", "sauf", "peut-être")
    return _added(quoted, decisive, dice)


def spliced(fiche: Fiche, quoted: Quoted, dice: random.Random) -> str | None:
    """The beginning of one passage and the end of another one, as if they were one."""
    other = true_quote(fiche, dice, least=len(quoted.words), most=len(quoted.words) + 4)
    far = other.recording != quoted.recording or abs(other.first - quoted.first) > 3 * len(quoted.words)
    half = len(quoted.words) // 2
    text = " ".join([*quoted.words[:half], *other.words[half:]])
    return text if far and half >= 3 and not fiche.was_told(text) else None


def assembled(fiche: Fiche, quoted: Quoted, dice: random.Random) -> str:
    """Words of the call in an order nobody said."""
    words = fiche.texts(quoted.recording)
    return " ".join(dice.choice(words) for _ in range(dice.randint(6, 20)))


def invented(_: Fiche, __: Quoted, dice: random.Random) -> str:
    return dice.choice(INVENTED)


INVENTED = (
    "Vous bénéficiez d'un remboursement intégral sur tous les implants dès le premier jour.",
    "Votre ancien contrat est déjà résilié, nous avons reçu la lettre ce matin.",
    "Je certifie que cette offre est validée par la Sécurité sociale.",
    "Vous êtes d'accord pour signer tout de suite avec le code que vous venez de recevoir.",
    "Le contrat est gratuit pendant six mois et sans aucune condition.",
    "Je vous rappelle que vous pouvez renoncer au contrat pendant un an entier.",
)

TAMPERS: tuple[Tamper, ...] = (
    negation_dropped,
    negation_added,
    number_changed,
    number_added,
    word_replaced,
    word_of_elsewhere,
    words_exchanged,
    decisive_word_added,
    spliced,
    assembled,
    invented,
)
