"""Seeded material for judging evidence: French sales calls, true quotes heard badly, and quotes nobody said.

Everything draws from a `random.Random`, so that a seed names a case. Noise touches at most the share of words it
is given and never a negation or a number; tampering changes exactly what a quote may not change.
"""

import random
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from conforme.audits import numerals
from conforme.audits.lexicon import NEGATIONS, Kind, kind, misheard, same_sound
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

    def forgery(fiche: Fiche, tamper: Tamper, dice: random.Random) -> CitationClaim | None:
    """A claim that nobody said, or `None` when this draw offered nothing to tamper with."""
    quoted = true_quote(fiche, dice)
    text = tamper(fiche, quoted, dice)
    return quoted.claim(text) if text is not None and not fiche.was_said(text) else None
