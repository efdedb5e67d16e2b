"""Seeded material for judging evidence: French sales calls, true quotes, and true quotes badly heard.

Everything draws from a `random.Random`, so that a seed names a case. Noise touches at most the share of words it
is given, and never a negation, a number or a date.
"""

import random
import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from conforme.audits import numerals
from conforme.audits.lexicon import Kind, kind
from conforme.audits.normalise import Unit, tokens, units
from conforme.audits.timeline import Call, Timeline, build
from conforme.audits.verdicts import CitationClaim
from conforme.transcriptions.words import Word

SENTENCES = (
    "Bonjour, je suis {prenom} {nom} du cabinet {cabinet}, courtier en assurances à {ville}.",
    "Notre cabinet est immatriculé à l'ORIAS sous le numéro {orias}.",
    "Je vous appelle au sujet de votre demande de devis pour une complémentaire santé.",
    "Cet appel est commercial et il est enregistré pour le contrôle de la qualité.",
    "Vous n'êtes pas obligé d'accepter l'enregistrement, vous pouvez refuser maintenant.",
    "Est-ce que vous acceptez que l'on continue ensemble ?",
    "Oui, d'accord, je vous écoute.",
    "Non, je ne souhaite pas changer de mutuelle avant la fin de l'année.",
    "Quelle est votre date de naissance et celle de votre conjoint ?",
    "Je suis né le {jour} {mois} {annee} à {ville}.",
    "Actuellement je paie {somme} euros par mois chez {assureur}, c'est beaucoup trop cher.",
    "Le tarif mensuel serait de {somme} euros {centimes}, frais de dossier compris.",
    "La formule {formule} rembourse les couronnes dentaires à {taux} pour cent de la base.",
    "Pour l'optique, vous disposez d'un forfait de {somme} euros tous les deux ans.",
    "La chambre particulière est prise en charge jusqu'à {petit} euros par jour.",
    "Il n'y a aucun délai de carence sur l'hospitalisation, mais trois mois sur le dentaire.",
    "Vous ne serez jamais remboursé au-delà des frais réellement engagés.",
    "Le contrat est sans engagement au bout d'une année pleine.",
    "Vous avez {delai} jours pour renoncer après la réception des documents contractuels.",
    "Je vous envoie le document d'information et les conditions générales par courrier électronique.",
    "Vous recevrez un code par message, ne me le communiquez surtout pas.",
    "Nous nous occupons de la résiliation auprès de votre ancien assureur.",
    "Si vous n'êtes pas satisfait, vous pouvez saisir le médiateur de l'assurance.",
    "Ma femme porte des lunettes et mon fils suit un traitement d'orthodontie.",
    "Je préfère réfléchir tranquillement et en parler avec ma famille.",
    "Rien ne vous oblige à signer aujourd'hui, prenez le temps de relire.",
    "Le prélèvement aura lieu le {jour} de chaque mois sur votre compte bancaire.",
    "Mon médecin traitant pratique des dépassements d'honoraires assez importants.",
    "Les médecines douces ne sont plus prises en charge dans cette formule.",
    "Vous pouvez me rappeler au {telephone} pendant les heures de bureau.",
    "L'appareil auditif est couvert à hauteur de {somme} euros par oreille.",
    "Je comprends parfaitement votre inquiétude concernant le remboursement des prothèses.",
    "Pouvez-vous me confirmer votre adresse postale et votre adresse électronique ?",
    "J'habite au {petit} rue des Tilleuls, à {ville}, depuis une dizaine d'années.",
    "Votre cotisation peut évoluer chaque année en fonction de l'âge et des dépenses de santé.",
    "Je récapitule : formule {formule}, {somme} euros par mois, effet au premier {mois}.",
    "D'accord, c'est très clair, merci pour toutes ces explications.",
    "Je ne veux plus être dérangé par téléphone pour ce genre de proposition.",
)
_SLOTS: dict[str, tuple[str, ...]] = {
    "prenom": ("Camille", "Nadia", "Thomas", "Julien", "Sabrina"),
    "nom": ("Ferrand", "Lacaze", "Benali", "Morvan", "Delcourt"),
    "cabinet": ("Horizon Courtage", "Santé Conseil", "Atlantique Prévoyance"),
    "ville": ("Nantes", "Limoges", "Perpignan", "Dunkerque"),
    "assureur": ("Mutuelle des Alizés", "Prévoyance du Rhône"),
    "formule": ("Essentielle", "Confort", "Sérénité"),
    "orias": ("07 000 123", "zéro sept zéro zéro zéro un deux trois", "12 345 678"),
    "telephone": ("01 99 00 12 34", "zéro six trente-neuf quatre-vingt-dix-huit zéro zéro douze"),
    "jour": ("cinq", "12", "vingt et un", "premier"),
    "mois": ("janvier", "mars", "août", "décembre"),
    "annee": ("1958", "mille neuf cent soixante-douze", "1984"),
    "somme": ("quarante et un", "78", "quatre-vingt-dix-sept", "120", "cent cinquante", "41"),
    "centimes": ("dix", "50", "quatre-vingt-dix"),
    "taux": ("cent", "200", "trois cents"),
    "petit": ("50", "soixante-dix", "quatorze"),
    "delai": ("quatorze", "14", "trente"),
}
FILLERS = ("euh", "ben", "voilà", "alors", "donc", "hein", "bon", "enfin")
FILLING = 0.06
"""Share of words of a call before which somebody hesitates."""


def sentence(dice: random.Random) -> str:
    """One sentence of a call, its figures and names drawn, hesitations put in."""
    filled = dice.choice(SENTENCES).format_map({name: dice.choice(values) for name, values in _SLOTS.items()})
    said: list[str] = []
    for word in filled.split():
        if dice.random() < FILLING:
            said.append(dice.choice(FILLERS))
        said.append(word)
    return " ".join(said)


def call(dice: random.Random, words: int, name: str = "call") -> Call:
    """A dialogue of about so many words: turns of one to three sentences, speakers taking turns."""
    spoken: list[Word] = []
    clock, speaker = 0.5, 0
    while len(spoken) < words:
        for text in " ".join(sentence(dice) for _ in range(dice.randint(1, 3))).split():
            spoken.append(Word(text, round(clock, 2), round(clock + 0.25, 2), f"speaker_{speaker}"))
            clock += 0.33
        speaker = 1 - speaker
    return Call(call_id=name, words=tuple(spoken), duration_seconds=int(clock))


class Fiche:
    """The calls of one fiche, with what the making of quotes keeps asking about them."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        spoken = [units(word.text for word in recording.words) for recording in timeline.recordings]
        self.cuts = [_cuts(each) for each in spoken]
        self._gists = [_gist(each) for each in spoken]

    def texts(self, recording: int) -> list[str]:
        return [word.text for word in self.timeline.recordings[recording].words]

    def was_said(self, text: str) -> bool:
        """Whether the text is heard somewhere, light words, fillers and false starts aside: then it is no fabrication."""
        wanted = _gist(units(text.split()))
        return any(wanted in gist for gist in self._gists)

    def was_told(self, text: str) -> bool:
        """The same, whoever it is said of and one word aside: without a `vous`, a true quote is no splice."""
        persons = {key for gist in self._gists for key in gist.split() if kind(key) is Kind.PERSON}
        told = _without(_gist(units(text.split())), persons).split()
        missing_one = "|".join(
            rf" {' '.join(told[:cut])} (?:\S+ )?{' '.join(told[cut:])} " for cut in range(1, len(told))
        )
        return any(re.search(missing_one, _without(gist, persons)) for gist in self._gists)


def fiche(dice: random.Random, calls: int = 2, words: int = 600) -> Fiche:
    return Fiche(build(call(dice, words, f"call-{number}") for number in range(calls)))


def _cuts(spoken: Sequence[Unit]) -> list[int]:
    """Word boundaries that no number, amount or identifier spans."""
    inside = {index for unit in spoken for index in range(unit.first + 1, unit.last + 1)}
    measured = {
        after.first
        for before, after in pairwise(spoken)
        if Kind.NUMBER in {kind(before.key), kind(after.key)} or after.key in {"euro", "pourcent"}
    }
    return sorted({unit.first for unit in spoken} - inside - measured)


def _without(gist: str, keys: Collection[str]) -> str:
    return f" {' '.join(key for key in gist.split() if key not in keys)} "


def _gist(spoken: Sequence[Unit]) -> str:
    """The units that say something, without immediate repetitions."""
    keys = [unit.key for unit in spoken if kind(unit.key) not in {Kind.FILLER, Kind.LIGHT}]
    return f" {' '.join(key for key, _ in groupby(keys))} "


@dataclass(frozen=True, slots=True)
class Quoted:
    """Words [first, after) of a recording, as a careful reader would quote them."""

    recording: int
    turn: int
    words: tuple[str, ...]
    first: int
    after: int

    def claim(self, text: str | None = None) -> CitationClaim:
        shown = " ".join(self.words) if text is None else text
        return CitationClaim(texte=shown, enregistrement=self.recording + 1, tour=self.turn + 1)


def true_quote(fiche: Fiche, dice: random.Random, least: int = 6, most: int = 40) -> Quoted:
    """A passage of about `least` to `most` words, of one turn or across several; it cuts no number in two."""
    recording = dice.choice(fiche.timeline.recordings)
    cuts = fiche.cuts[recording.recording_index]
    first = dice.choice([cut for cut in cuts if cut <= cuts[-1] - least])
    length = dice.randint(least, most)
    after = next((cut for cut in cuts if cut >= first + length), cuts[-1])
    texts = tuple(word.text for word in recording.words[first:after])
    turn = sum(turn.first <= first for turn in recording.turns) - 1
    return Quoted(recording.recording_index, turn, texts, first, after)


# Noise


def noised(words: Sequence[str], share: float, dice: random.Random) -> list[str]:
    """The words with at most `share` of them misspelled, split, joined, hesitated before or rid of fillers."""
    heard = list(words)
    for _ in range(int(share * len(words))):
        at = dice.randrange(len(heard))
        if dice.random() < _JOINING:
            _join(heard, at)
        elif not untouchable(heard[at]):
            heard[at : at + 1] = dice.choice(_NOISES)(heard[at], dice)
    return heard


def untouchable(word: str) -> bool:
    """Whether a word carries a negation, a number, an amount or a date, or may be part of one."""
    fixed = {Kind.NUMBER, Kind.NEGATION, Kind.DATE}
    return any(
        kind(token) in fixed or token in numerals.WORDS or token in {"et", "virgule"}
        for token in tokens(word)
    )


def _misspelled(word: str, dice: random.Random) -> list[str]:
    if sum(letter.isalpha() for letter in word) < 5 or "'" in word or "-" in word:
        return [word]
    at = dice.randrange(1, len(word) - 2)
    head, one, two, tail = word[:at], word[at], word[at + 1], word[at + 2 :]
    return [head + dice.choice((two + tail, one + one + two + tail, two + one + tail))]


def _unaccented(word: str, _: random.Random) -> list[str]:
    return ["".join(c for c in unicodedata.normalize("NFD", word.upper()) if not unicodedata.combining(c))]


def _inflected(word: str, _: random.Random) -> list[str]:
    core = word.rstrip(".,?!:;")
    for ending, heard in (("er", "é"), ("é", "er"), ("s", ""), ("e", "es"), ("t", "ts")):
        if core.endswith(ending) and len(core) > 4:
            return [core.removesuffix(ending) + heard]
    return [word]


def _hesitated(word: str, dice: random.Random) -> list[str]:
    return [dice.choice(FILLERS), word]


def _smoothed(word: str, _: random.Random) -> list[str]:
    return [] if word in FILLERS else [word]


def _split(word: str, dice: random.Random) -> list[str]:
    if len(word) < 8 or not word.isalpha():
        return [word]
    at = dice.randrange(3, len(word) - 3)
    return [word[:at], word[at:]]


_NOISES: tuple[Callable[[str, random.Random], list[str]], ...] = (
    _misspelled,
    _unaccented,
    _inflected,
    _hesitated,
    _smoothed,
    _split,
)
_JOINING = 0.1


def _join(words: list[str], at: int) -> None:
    pair = words[at : at + 2]
    if len(pair) == 2 and not any(
        untouchable(word) or word in FILLERS or not word.isalpha() for word in pair
    ):
        words[at : at + 2] = ["".join(pair)]
