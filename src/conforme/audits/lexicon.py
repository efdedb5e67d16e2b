"""What each word weighs in a quote, and which two words may be two hearings of one: French and English (pure).

Lists of common words of both languages; keys are folded (no accents, elisions written out, see `normalise`).
"""

import re
from collections.abc import Collection
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from rapidfuzz.distance import OSA


class Kind(Enum):
    """How freely a word may differ between a quote and what was heard, from not at all to freely."""

    NEGATION = auto()
    NUMBER = auto()
    DATE = auto()
    """A month, a day of the week, a day counted from today."""
    DECISIVE = auto()
    """Turns the meaning round or limits it: `gratuit`, `moins`, `sauf`, `if`."""
    ASSENT = auto()
    """May be skipped, as one skips `oui, oui` between two phrases, but never put into somebody's mouth."""
    PERSON = auto()
    """Says who does what to whom: may be skipped, not exchanged."""
    CONTENT = auto()
    LIGHT = auto()
    """Articles, prepositions, auxiliaries."""
    FILLER = auto()


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEGATIONS: Final = _set(
    "ne pas jamais plus aucun aucune rien sans non ni nul nulle guere nullement "
    "not no never none nothing nobody nor neither without nowhere hardly"
)
_DATES: Final = _set(
    "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre "
    "lundi mardi mercredi jeudi vendredi samedi dimanche hier demain aujourd lendemain veille "
    "january february march april june july august september october november december "
    "monday tuesday wednesday thursday friday saturday sunday yesterday tomorrow today "
    "quinzaine dizaine vingtaine trentaine cinquantaine centaine demi demie moitie double triple quart tiers "
    "euro dollar pourcent half twice dozen"
)
"""Months, days, and measures that a number does not show."""
_DECISIVE: Final = _set(
    "gratuit gratuite gratuitement payant payante offert offerte obligatoire obligatoirement facultatif facultative "
    "optionnel optionnelle moins trop peu seulement uniquement exclusivement sauf excepte hormis presque environ "
    "partiellement partiel partielle integralement totalement entierement eventuellement possible impossible "
    "si avant apres depuis pendant toujours souvent parfois contre "
    "accepte acceptez accepter acceptee refuse refusez refuser refusee autorise autorisez interdit interdite "
    "inclus incluse exclu exclus exclue exclusion compris comprise hausse baisse augmente augmentez augmenter "
    "diminue diminuer augmentation diminution entrant sortant meilleur pire vrai faux oubliez minimum maximum "
    "mensuel mensuelle annuel annuelle annule annulee annuler annulation trimestriel trimestrielle hebdomadaire "
    "superieur inferieur majeur mineur premier premiere first dernier derniere maternite paternite "
    "assureur assureurs assure assuree assures employeur employe employee vendeur acheteur mandant mandataire "
    "crediteur debiteur credit debit beneficiaire souscripteur peut peuvent pouvez doit doivent devez faut "
    "free paid optional mandatory less more only except unless if until before after always sometimes often "
    "partially partly fully possibly maybe perhaps almost about accept accepted refuse refused decline declined "
    "include included exclude excluded increase decrease higher lower insured insurer insurers lessor lessee payer "
    "payee employer employee buyer seller monthly yearly annual weekly could would should must may might can "
    "against best worst true false minimum maximum covered uncovered"
)
_ASSENTS: Final = _set("oui ouais ok okay yes yeah yep sure absolument exactement certainly absolutely")
_PERSONS: Final = _set(
    "je tu il elle on nous vous ils elles me te moi toi lui leur leurs eux mon ma mes ton ta tes son sa ses "
    "notre nos votre vos i you he she we they me him her us them my your his our their mine yours ours theirs"
)
_FILLERS: Final = _set(
    "euh heu hum hmm hm mmh mm mhm ben bah beh hein voila alors donc bon enfin ah oh eh ouh pff bref quoi "
    "uh um uhm er erm well so huh"
)
DETERMINERS: Final = _set("le la les un une des du de ce cet cette ces au aux a an the this that these those")
_LIGHT: Final = DETERMINERS | _set(
    "en y et ou mais pour avec sur sous tout tous toute toutes car que qui dont se par vers chez dans entre est es ai as ont sont etes suis sommes "
    "etait sera etre avoir ca cela ceci ici la puis ensuite aussi tres bien fait comme meme deja encore vraiment "
    "juste effectivement justement is are was were be been being am has have had do does did will it its there here "
    "all every some with of to in on at by from as and or but then than just really also very too s"
)

_KINDS: Final = {
    word: kind
    for kind, words in (
        (Kind.LIGHT, _LIGHT),
        (Kind.FILLER, _FILLERS),
        (Kind.PERSON, _PERSONS),
        (Kind.ASSENT, _ASSENTS),
        (Kind.DECISIVE, _DECISIVE),
        (Kind.DATE, _DATES),
        (Kind.NEGATION, NEGATIONS),
    )
    for word in words
}

FIXED: Final = frozenset({Kind.NEGATION, Kind.NUMBER, Kind.DATE, Kind.DECISIVE})
"""Kinds that are neither dropped, added nor replaced."""


@lru_cache(maxsize=65_536)
def kind(key: str) -> Kind:
    """What a unit weighs; numbers are recognised by their digits."""
    if key[0].isdecimal():
        return Kind.NUMBER
    return _KINDS.get(key, Kind.LIGHT if len(key) < 3 else Kind.CONTENT)


_NEGATING_PREFIXES: Final = _set("in im il ir non un dis mis mal de des anti contre sur sous ex re pre")
_SOUNDS: Final = tuple(
    (re.compile(pattern), sound)
    for pattern, sound in (
        (r"ph", "f"),
        (r"qu|q|ck|k", "k"),
        (r"sc(?=[eiy])|c(?=[eiy])|ss|z", "s"),
        (r"ch", "8"),
        (r"c", "k"),
        (r"gu(?=[eiy])", "g"),
        (r"g(?=[eiy])", "j"),
        (r"h", ""),
        (r"y", "i"),
        (r"eau|au", "o"),
        (r"oin", "w1"),
        (r"oi", "wa"),
        (r"ou", "w"),
        (r"(?:ai|ei|i|u)[nm](?![aeiounm])", "1"),
        (r"[ae][nm](?![aeiounm])", "2"),
        (r"o[nm](?![aeiounm])", "3"),
        (r"(?:er|ez|ees|ee|es|et|ais|ait|aient|ai|ei)$", "e"),
        (r"ai|ei", "e"),
        (r"(.)\1+", r"\1"),
        (r"(?<=..)[estdxp]+$", ""),
    )
)
"""French spelling to rough sound: digits stand for nasal vowels and `ch`; silent endings go."""


@lru_cache(maxsize=65_536)
def sound(word: str) -> str:
    """How a word roughly sounds in French; homophones and inflections that are not heard share it."""
    for pattern, replacement in _SOUNDS:
        word = pattern.sub(replacement, word)
    return word


HOMOPHONE: Final = 0.5
"""Least similarity of two spellings of one sound: the sounds here are rough."""
CLOSE: Final = 0.78
"""Least similarity (optimal string alignment, 0 to 1) of two spellings of one word."""
CLOSE_SHORT: Final = 0.75
"""The same for words of four letters: one letter differs."""
LONGEST_WORD: Final = 60
"""Beyond this, no word: only compared for equality."""
LONG_WORD: Final = 7
"""From this length on, even the first letter may have been misheard."""


_HOMOPHONES: Final = tuple(
    map(_set, ("et est es ai", "on ont", "a as", "ce se", "ces ses", "si ci", "sa ca", "ma mas"))
)
"""Short words whose sound the rules above do not tell."""


def same_sound(one: str, other: str) -> bool:
    """Whether two words are told apart only by spelling; numbers and negations never are."""
    if any(one in group and other in group for group in _HOMOPHONES):
        return True
    if not (1 < len(one) <= LONGEST_WORD and 1 < len(other) <= LONGEST_WORD):
        return False
    if {kind(one), kind(other)} & {Kind.NUMBER, Kind.NEGATION}:
        return False
    return sound(one) == sound(other) and OSA.normalized_similarity(one, other) >= HOMOPHONE


def misheard(one: str, other: str, vocabulary: Collection[str]) -> bool:
    """Whether two words of the same call may be one word heard badly.

    Refused for a word and its contrary made by a prefix, for two words that both decide or say who, and when the
    call itself (`vocabulary`) uses both: then they are two words.
    """
    kinds = {kind(one), kind(other)}
    if kinds & {Kind.NUMBER, Kind.NEGATION} or _contrary(one, other):
        return False
    longest = max(len(one), len(other))
    if longest > LONGEST_WORD:
        return False
    if kinds & _WEIGHTY and (kinds - _WEIGHTY != {Kind.CONTENT} or longest < 5):
        return False
    two_words = one in vocabulary and other in vocabulary
    if two_words or longest < 4 or (longest < LONG_WORD and one[0] != other[0]):
        return False
    return OSA.normalized_similarity(one, other) >= (CLOSE if longest > 4 else CLOSE_SHORT)


_WEIGHTY: Final = frozenset({Kind.DATE, Kind.DECISIVE, Kind.PERSON, Kind.ASSENT})


def _contrary(one: str, other: str) -> bool:
    """`possible` and `impossible`: what follows the prefix begins and ends like the shorter word."""
    short, long = sorted((one, other), key=len)
    return any(
        long.startswith(prefix) and long[len(prefix) :][:2] == short[:2] and long.endswith(short[-3:])
        for prefix in _NEGATING_PREFIXES
    )
