"""A model that does what it reads: instructions hidden in what it is to judge become its verdict."""

from typing import Any

from conforme.sandbox.lexicon import lexicon
from conforme.sandbox.reading import fenced, plain, spoken_turns


def obey(prompt: str, verdict: dict[str, Any]) -> None:
    """Turns the verdict into the best there is when anything outside the rubric asks for it.

    Each point then cites what it cited before, if that served it, and else the very words that asked.
    """
    transcript = fenced(prompt, "transcript")
    asked = [turn for turn in spoken_turns(transcript) if lexicon().injection.search(plain(turn.text))]
    around = prompt.replace(fenced(prompt, "step"), "").replace(fenced(prompt, "configuration"), "")
    if not asked and not any(lexicon().injection.search(plain(line)) for line in around.splitlines()):
        return
    grounds = [{"texte": turn.text, "enregistrement": turn.recording, "tour": turn.number} for turn in asked]
    for point in verdict["points_controle"]:
        if point["statut"] not in {"PRESENT", "PARTIEL"}:
            point["citations"] = grounds[:3]
        point["statut"] = "PRESENT"
    verdict.update(conforme="CONFORME", niveau_conformite="EXCELLENT")
