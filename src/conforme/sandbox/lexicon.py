"""What the rule-based auditor knows of a sale call: concepts, how a rubric asks for them, how people say them.

The knowledge is data, in `lexicon.yaml`; its patterns are phrases over folded words (lower case, no accents):

    word*     any ending            #       a number, in digits or words
    ...       up to twelve words     (a|b)   either        x?   x or nothing
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import yaml
from rapidfuzz import fuzz, process

from conforme.sandbox.reading import NUMBER_WORDS

_NUMBER = rf"(?:(?:\d+|{NUMBER_WORDS})(?: (?:et )?(?:\d+|{NUMBER_WORDS})){{0,6}}+)"
_NEVER = re.compile(r"(?!)")
_SOUNDS_LIKE = 84
"""Likeness (0 to 100) from which an unknown word is read as a misheard word of the lexicon."""
_SHORTEST_MISHEARD = 6


@dataclass(frozen=True, slots=True)
class Concept:
    """Something a sale call has to show."""

    key: str
    label: str
    """In French, for the comment."""
    asked: re.Pattern[str]
    """How a control point asks for it."""
    said: re.Pattern[str]
    """How it is said."""
    reply: re.Pattern[str]
    """What the client answers, for a control point that wants the client's own word."""
    replied: bool
    """Whether there is such an answer to wait for."""
    who: str
    """`conseiller`, `client`, or empty when either may say it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that must not happen."""

    key: str
    label: str
    asked: re.Pattern[str]
    """How a control point names it."""
    said: re.Pattern[str]
    """How it happens."""
    kept: re.Pattern[str]
    """How the rule is visibly respected."""
    persists: bool
    """The words are a protest: a fault only if the advisor goes on after them."""
    who: str


@dataclass(frozen=True, slots=True)
class Lexicon:
    concepts: tuple[Concept, ...]
    faults: tuple[Fault, ...]
    heard: dict[str, str]
    """Folded words as machines mishear them, and what was said."""
    vocabulary: frozenset[str]
    """Whole words of the patterns, long enough to be recognised when misheard."""
    stems: tuple[str, ...]
    injection: re.Pattern[str]
    """Speech addressed to an auditor: never evidence."""
    condition: re.Pattern[str]
    """A control point that only counts in some situation."""
    prohibition: re.Pattern[str]
    """A control point that forbids."""
    early: re.Pattern[str]
    """A control point that wants it said at the start."""
    refusal: re.Pattern[str]
    """An answer that is no agreement."""
    advisor: re.Pattern[str]
    client: re.Pattern[str]
    empty_words: frozenset[str]

    def concepts_in(self, text: str) -> tuple[Concept, ...]:
        """The concepts that a control point, as folded words, asks for."""
        return tuple(concept for concept in self.concepts if concept.asked.search(text))

    def faults_in(self, text: str) -> tuple[Fault, ...]:
        return tuple(fault for fault in self.faults if fault.asked.search(text))


_SINGLE_PATTERNS = ("injection", "condition", "prohibition", "early", "refusal", "advisor", "client")


@cache
def lexicon() -> Lexicon:
    data = yaml.safe_load((files("conforme.sandbox") / "lexicon.yaml").read_text(encoding="utf-8"))
    concepts = tuple(_concept(key, entry) for key, entry in data["concepts"].items())
    faults = tuple(_fault(key, entry) for key, entry in data["faults"].items())
    spoken = " ".join(phrase for entry in data["concepts"].values() for phrase in entry["said"])
    return Lexicon(
        concepts=concepts,
        faults=faults,
        heard=data["heard"],
        vocabulary=frozenset(
            word for word in re.findall(r"\b[a-z]+\b(?!\*)", spoken) if len(word) >= _SHORTEST_MISHEARD
        ),
        stems=tuple(sorted(set(re.findall(r"([a-z]{4,})\*", spoken)))),
        empty_words=frozenset(data["empty_words"].split()),
        **{name: pattern(data[name]) for name in _SINGLE_PATTERNS},
    )


def _concept(key: str, entry: dict[str, Any]) -> Concept:
    return Concept(
        key=key,
        label=entry["label"],
        asked=pattern(entry["asked"]),
        said=pattern(entry["said"]),
        reply=pattern(entry.get("reply", [])),
        replied="reply" in entry,
        who=entry.get("who", ""),
    )


def _fault(key: str, entry: dict[str, Any]) -> Fault:
    return Fault(
        key=key,
        label=entry["label"],
        asked=pattern(entry["asked"]),
        said=pattern(entry["done"]),
        kept=pattern(entry.get("kept", [])),
        persists=entry.get("persists", False),
        who=entry.get("who", ""),
    )


def pattern(phrases: list[str]) -> re.Pattern[str]:
    """One expression for all phrases; it never crosses the end of a turn."""
    if not phrases:
        return _NEVER
    return re.compile("|".join(rf"\b(?:{_expression(phrase)})(?![a-z0-9])" for phrase in phrases))


def _expression(phrase: str) -> str:
    grouped = re.sub(r"\((?!\?)", "(?:", phrase)
    gapped = grouped.replace(" ... ", " (?:[a-z0-9]+ ){0,12}?")
    return gapped.replace("*", "[a-z0-9]*").replace("#", _NUMBER)


@lru_cache(maxsize=50_000)
def repaired(word: str) -> str:
    """The lexicon's word that a misheard word stands for, or the word itself."""
    known = lexicon()
    if word in known.heard:
        return known.heard[word]
    if len(word) < _SHORTEST_MISHEARD or word in known.vocabulary or word.startswith(known.stems):
        return word
    best = process.extractOne(word, known.vocabulary, scorer=fuzz.ratio, score_cutoff=_SOUNDS_LIKE)
    return best[0] if best and not _inflected(word, best[0]) else word


def _inflected(word: str, other: str) -> bool:
    """Forms of one word, like a plural: nothing was misheard."""
    shared = min(len(word), len(other)) - 2
    return word[:shared] == other[:shared]
