"""A written call drawn out to any length by small talk that has nothing to do with the sale.

The sale stays as written, in runs of a few turns; between them the two talk of the garden, the weather and the
neighbours. What is true of the written call is true of the long one, and its marked words are where they were, later.
"""

import random
from collections.abc import Iterator
from itertools import cycle

from conforme.sandbox.corpus import Role, WrittenCall, WrittenTurn
from conforme.sandbox.speaking import spoken_tokens
from conforme.transcriptions.words import Word

WORDS_A_SECOND = 3.0
RUN = range(4, 11)
"""Turns of the sale between two digressions."""

_TALK = (
    "Il a fait {temps} toute la semaine, je n'ai pas pu {tache}.",
    "Chez moi c'est pareil, {meteo} est tombée sur {lieu} dans la nuit.",
    "Ma voisine a planté {plante} le long de {lieu}, c'est joli comme tout.",
    "Mon frère est passé {moment} avec {bete}, il m'a raconté son voyage.",
    "On a mangé {plat} avec les cousins, il en restait pour trois jours.",
    "Le facteur passe de plus en plus tard, {moment} il n'était toujours pas là.",
    "J'ai retrouvé de vieilles photos de {lieu}, on reconnaît à peine l'endroit.",
    "Il faut que je répare {objet} avant que {meteo} ne revienne.",
    "Les travaux de {lieu} avancent lentement, on n'entend que ça {moment}.",
    "Mon chat a encore renversé {objet}, il ne sait pas rester tranquille.",
    "Vous aimez {plat}, vous ? Moi je le prépare avec du thym et un peu d'ail.",
    "L'an dernier {plante} avait gelé, cette fois j'ai mis un voile dessus.",
    "À la radio ils parlaient de {lieu}, il paraît qu'il y aura une fête.",
    "Je marche tous les matins jusqu'à {lieu}, ça fait du bien de prendre l'air.",
    "Le train avait du retard {moment}, j'ai lu tout mon livre sur le quai.",
    "Ils ont repeint {objet} en bleu, je ne m'y habitue pas.",
)
_SLOTS = {
    "temps": ("gris", "un vent terrible", "beau", "une chaleur lourde", "un brouillard épais"),
    "meteo": ("la pluie", "la neige", "la grêle", "la brume"),
    "lieu": ("la place du village", "la colline", "la rivière", "l'ancienne gare", "la plage", "le lavoir"),
    "plante": ("des tulipes", "un figuier", "des tomates", "de la lavande", "un rosier"),
    "moment": ("hier", "dimanche", "avant-hier", "ce matin", "samedi soir"),
    "bete": ("son chien", "deux poules", "son âne", "le perroquet"),
    "plat": ("un gratin", "une blanquette", "des crêpes", "un pot-au-feu", "une tarte aux poires"),
    "objet": ("la barrière", "le vieux vélo", "l'arrosoir", "le banc", "la boîte aux lettres"),
    "tache": ("tondre", "sortir", "tailler la haie", "finir les semis", "repeindre le portail"),
}


def drawn_out(call: WrittenCall, words: int, seed: str = "long") -> tuple[Word, ...]:
    """The words of the call with small talk in between, about `words` in all; labels in order of first appearance."""
    dice = random.Random(f"{seed}:{call.reference}")
    short = sum(len(turn.text.split()) for turn in call.turns)
    runs = list(_runs(call, dice))
    between = max(0, words - short) // max(1, len(runs))
    labels: dict[Role, str] = {}
    heard: list[Word] = []
    for run in runs:
        for turn in (*run, *_small_talk(between, dice)):
            label = labels.setdefault(turn.role, f"speaker_{len(labels)}")
            for token in spoken_tokens(turn.text):
                at = len(heard) / WORDS_A_SECOND
                heard.append(Word(token, at, at + 1 / WORDS_A_SECOND, label))
    return tuple(heard)


def _runs(call: WrittenCall, dice: random.Random) -> Iterator[tuple[WrittenTurn, ...]]:
    at = 0
    while at < len(call.turns):
        size = dice.choice(RUN)
        yield call.turns[at : at + size]
        at += size


def _small_talk(words: int, dice: random.Random) -> Iterator[WrittenTurn]:
    said = 0
    roles: cycle[Role] = cycle(("client", "conseiller"))
    while said < words:
        slots = {name: dice.choice(values) for name, values in _SLOTS.items()}
        text = " ".join(template.format_map(slots) for template in dice.sample(_TALK, dice.randint(1, 3)))
        said += len(text.split())
        yield WrittenTurn(next(roles), text)
