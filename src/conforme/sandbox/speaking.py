"""When each word of a written call is spoken: the clock that the audio and the transcript share."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from conforme.sandbox.corpus import Role, WrittenCall

SECONDS_PER_LETTER = 0.05
SECONDS_PER_WORD = 0.09
_PAUSES = {",": 0.12, ";": 0.2, ":": 0.15, ".": 0.35, "?": 0.35, "!": 0.3, "…": 0.6}


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """One word with its punctuation; times in seconds from the start of the recording."""

    text: str
    start: float
    end: float
    role: Role
    turn: int
    """1-based number of the written turn."""


@dataclass(frozen=True, slots=True)
class Speech:
    words: tuple[SpokenWord, ...]
    seconds: float
    """Length of the recording, silence included."""


def speak(call: WrittenCall) -> Speech:
    """Gives each word of a call its time; the same call always takes the same time."""
    dice = random.Random(f"pace:{call.reference}")
    words: list[SpokenWord] = []
    clock = 0.8 + dice.random()
    for number, turn in enumerate(call.turns, start=1):
        pace = dice.uniform(0.9, 1.15)
        for text in spoken_tokens(turn.text):
            length = (SECONDS_PER_WORD + SECONDS_PER_LETTER * sum(map(str.isalnum, text))) * pace
            words.append(SpokenWord(text, round(clock, 2), round(clock + length, 2), turn.role, number))
            clock += length + 0.03 + _PAUSES.get(text[-1], 0.0)
        clock += dice.uniform(0.2, 0.7)
    return Speech(tuple(words), round(max(clock, call.silence_seconds), 2))


def spoken_tokens(text: str) -> Iterator[str]:
    """The words of a text, each with the punctuation that French sets apart by a space."""
    return (found[0].replace(" ", "") for found in re.finditer(r"(?:[«(]\s)?\S*\w\S*(?:\s[?!:;»%…]+)*", text))
