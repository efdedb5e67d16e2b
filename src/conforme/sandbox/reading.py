"""What the rule-based auditor reads: the prompt of one step, taken apart into turns and control points."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

NUMBER_WORDS = (
    "un|une|deux|trois|quatre|cinq|six|sept|huit|neuf|dix|onze|douze|treize|quatorze|quinze|seize|vingt|vingts|"
    "trente|quarante|cinquante|soixante|cent|cents|mille"
)

_SPOKEN = re.compile(r"^\[(\d+)\.(\d+)\] (.*?) (\d[\d:]*|--:--) \| (.*)$")
_POINT = re.compile(r"^(\d+)\. (.*)$")
_DETAIL = re.compile(r"^\s+(Preuve|Exemple conforme|Exemple non conforme) : (.*)$")
_WORD = re.compile(r"[a-z0-9]+")
_LETTERS = {
    code: unicodedata.normalize("NFD", chr(code))[0].lower()
    for code in range(0x00C0, 0x0250)
    if unicodedata.normalize("NFD", chr(code))[0].isalpha()
} | {ord("Œ"): "o", ord("œ"): "o", ord("Æ"): "a", ord("æ"): "a"}


@dataclass(frozen=True, slots=True)
class Word:
    """One spoken word: as compared, and where it stands in the raw text of its turn."""

    folded: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SpokenTurn:
    recording: int
    number: int
    speaker: str
    text: str
    words: tuple[Word, ...]
    role: str = ""
    """`conseiller`, `client` or `tiers` where the prompt says who speaks."""


@dataclass(frozen=True, slots=True)
class Point:
    """One control point as the prompt words it."""

    numero: int
    text: str
    proofs: tuple[str, ...]
    """`appel`, `CRM`, `document`; empty when the prompt does not say."""
    who: str
    """`conseiller`, `client`, or empty."""
    fault: bool
    """The point names something that must not happen."""
    good: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepQuestion:
    name: str
    weight: int
    keywords: tuple[str, ...]
    points: tuple[Point, ...]


def folded(text: str) -> str:
    """Lower case without accents, one character for one, so that offsets stay those of `text`."""
    lowered = text.translate(_LETTERS).lower()
    return lowered if len(lowered) == len(text) else "".join(letter.lower()[:1] or " " for letter in text)


def words_of(text: str) -> tuple[Word, ...]:
    return tuple(Word(match.group(), match.start(), match.end()) for match in _WORD.finditer(folded(text)))


def plain(text: str) -> str:
    """The folded words of a text, one space apart."""
    return " ".join(_WORD.findall(folded(text)))


def fenced(prompt: str, name: str) -> str:
    """What stands between `<name>` and `</name>`; empty when the prompt has no such part."""
    start = prompt.find(f"<{name}>")
    end = prompt.find(f"</{name}>", start)
    return prompt[start + len(name) + 2 : end] if 0 <= start < end else ""


@lru_cache(maxsize=64)
def spoken_turns(transcript: str) -> tuple[SpokenTurn, ...]:
    return tuple(_turns(unicodedata.normalize("NFC", transcript)))


def _turns(transcript: str) -> Iterator[SpokenTurn]:
    for line in transcript.splitlines():
        match = _SPOKEN.match(line)
        if match:
            recording, number, speaker, _, text = match.groups()
            label, _, role = speaker.partition("=")
            yield SpokenTurn(int(recording), int(number), label, text, words_of(text), role)


def read_step(text: str) -> StepQuestion:
    """Takes the `<step>` part apart. Lines it does not know are left alone."""
    name = re.search(r"^Étape \d+/\d+ : (.*)$", text, re.MULTILINE)
    weight = re.search(r"Poids : (\d+)", text)
    keywords = re.search(r"^Mots-clés : (.*)$", text, re.MULTILINE)
    listed = keywords.group(1).split(";") if keywords else []
    return StepQuestion(
        name=name.group(1).strip() if name else "",
        weight=int(weight.group(1)) if weight else 1,
        keywords=tuple(word.strip() for word in listed if word.strip()),
        points=tuple(_points(text.partition("Points de contrôle :")[2].splitlines())),
    )


def _points(lines: list[str]) -> Iterator[Point]:
    """Control points are numbered lines; what is indented under one belongs to it."""
    numbered: tuple[str, str] | None = None
    details: list[tuple[str, str]] = []
    for line in [*lines, "0. "]:
        head = _POINT.match(line)
        detail = _DETAIL.match(line)
        if detail:
            details.append((detail.group(1), detail.group(2).strip()))
        if head:
            if numbered is not None:
                yield _point(int(numbered[0]), numbered[1], details)
            numbered, details = (head.group(1), head.group(2).strip()), []


def _point(numero: int, text: str, details: list[tuple[str, str]]) -> Point:
    marks = [mark.strip() for kind, value in details if kind == "Preuve" for mark in value.split("·")]
    proofs = marks[0] if marks else ""
    who = next((mark.partition(":")[2].strip() for mark in marks if mark.startswith("Qui")), "")
    return Point(
        numero=numero,
        text=text,
        proofs=tuple(proof.strip() for proof in proofs.split(",") if proof.strip()),
        who=who,
        fault="Faute à relever" in marks,
        good=tuple(value for kind, value in details if kind == "Exemple conforme"),
        bad=tuple(value for kind, value in details if kind == "Exemple non conforme"),
    )
