"""Text brought to what two hearings of the same words have in common (pure).

Case, accents, ligatures, punctuation, invisible characters, elisions (`j'ai` = `je ai`, `don't` = `do not`) and the
way a number, an amount, an hour or a date is written make no difference; everything else does.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from conforme.audits import numerals
from conforme.audits.harmless import harmless
from conforme.audits.lexicon import Kind, kind


class Unit(NamedTuple):
    """The smallest thing compared: a folded word, or a whole number; `first` and `last` are word indices."""

    key: str
    first: int
    last: int


def normalise(text: str) -> str:
    """Folded words separated by a space (spec/audits §7): the measure of how long a quote is."""
    return " ".join(_WORD.findall(fold(text)))


def fold(text: str) -> str:
    """Lower case, no accents, no ligatures, no invisible characters, one kind of apostrophe."""
    plain = unicodedata.normalize("NFKD", harmless(text)).casefold().translate(_ALIKE)
    return "".join(character for character in plain if not unicodedata.combining(character))


_ALIKE: Final = str.maketrans(
    {"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'", "′": "'"}
)
_WORD: Final = re.compile(r"[^\W_]+")
_TOKEN: Final = re.compile(
    r"(?P<date>\b\d{1,2}[/.-]\d{1,2}[/.-]\d{4}\b)"
    r"|(?P<hour>\b\d{1,2}:\d{2}\b)"
    r"|(?P<ordinal>\d{1,6})(?:er|ere|re|eme|ieme|e|nd|st|rd|th)\b"
    r"|(?P<number>\d{1,18}(?:[.,]\d{1,18})*)"
    r"|(?P<word>[^\W\d_]+'?)"
    r"|(?P<sign>[€$£%])"
)
_MONTHS: Final = [
    "janvier",
    "fevrier",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "aout",
    "septembre",
    "octobre",
    "novembre",
    "decembre",
]
_SIGNS: Final = {"€": "euro", "$": "dollar", "£": "pound", "%": "pourcent"}
_FIRST: Final = {"er": "premier", "re": "premiere", "st": "first"}
_ONE_SPELLING: Final = {
    "euros": "euro", "eur": "euro", "dollars": "dollar", "percent": "pourcent", "pourcents": "pourcent",
    "cannot": "can not", "aujourdhui": "aujourd hui",
}  # fmt: skip
_ELIDED: Final = {
    "c": "ce", "d": "de", "j": "je", "l": "le", "m": "me", "n": "ne", "s": "se", "t": "te", "qu": "que",
    "jusqu": "jusque", "lorsqu": "lorsque", "puisqu": "puisque", "quoiqu": "quoique",
}  # fmt: skip
ELIDED_WORDS: Final = frozenset(_ELIDED.values())
"""Words that lose their last vowel before another one."""
_ENGLISH_ENDINGS: Final = {"re": "are", "ll": "will", "ve": "have", "m": "am", "d": "would", "s": "s"}
_IRREGULAR: Final = {"won": "will", "can": "can", "shan": "shall", "ain": "is"}


@lru_cache(maxsize=32_768)
def tokens(word: str) -> tuple[str, ...]:
    """The tokens of one written word: folded words and digits with `.` as decimal mark."""
    if _BORN.fullmatch(word):
        return ("nee",)
    parts = [part for match in _TOKEN.finditer(fold(word)) for part in _parts(match)]
    return tuple(_without_elisions(parts))


# Without its accent, `né` would be the negation.
_BORN: Final = re.compile(r"\W*né(?:e|s|es)?\W*", re.IGNORECASE)


def _parts(match: re.Match[str]) -> list[str]:
    text = match.group(match.lastgroup or 0)
    match match.lastgroup:
        case "date":
            return _date(text)
        case "hour":
            hours, minutes = text.split(":")
            return [str(int(hours)), "heures", *([minutes] if int(minutes) else [])]
        case "number":
            return _number(text)
        case "ordinal":
            return [_FIRST.get(match.group(0)[-2:], text) if text == "1" else text]
        case "sign":
            return [_SIGNS[text]]
        case _:
            return _ONE_SPELLING.get(text, text).split()


def _date(text: str) -> list[str]:
    day, month, year = re.split(r"[/.-]", text)
    if not 1 <= int(month) <= 12:
        return [day, month, year]
    return [str(int(day)), _MONTHS[int(month) - 1], year]


def _number(text: str) -> list[str]:
    """`41,10` is a decimal, `1.000` and `12,000,000` have groups of three, `06.39.98` are three numbers."""
    head, *groups = re.split(r"[.,]", text)
    if not groups:
        return [text]
    if head[0] != "0" and len(head) <= 3 and all(len(group) == 3 for group in groups):
        return [head + "".join(groups)]
    if len(groups) == 1:
        return [f"{head}.{groups[0]}"]
    grouped = all(len(group) == 3 for group in groups[:-1])
    return ["".join([head, *groups[:-1]]) + "." + groups[-1]] if grouped else [head, *groups]


def _without_elisions(parts: Sequence[str]) -> Iterator[str]:
    """Whole words for elided ones; an apostrophe that elides nothing in French belongs to English."""
    suffix = False
    for part, following in zip(parts, [*parts, ""][1:], strict=True):
        stem = part.rstrip("'")
        if suffix and part in {"t", *_ENGLISH_ENDINGS}:
            yield "not" if part == "t" else _ENGLISH_ENDINGS[part]
        elif part.endswith("n'") and following == "t" and len(stem) > 1:
            yield _IRREGULAR.get(stem, stem[:-1])
        else:
            yield _ELIDED.get(stem, stem)
        suffix = part.endswith("'") and stem not in _ELIDED


def units(words: Iterable[str]) -> list[Unit]:
    """The units of a sequence of written words; a number may span several words."""
    spelled = [(token, index) for index, word in enumerate(words) for token in tokens(word)]
    spelled = [pair for at, pair in enumerate(spelled) if not _inside_number(spelled, at)]
    return list(_Reader([token for token, _ in spelled], [index for _, index in spelled]).read())


def _inside_number(spelled: Sequence[tuple[str, int]], at: int) -> bool:
    """A hesitation in a number (`cent euh vingt`), or between it and its measure, does not cut it in two."""
    if kind(spelled[at][0]) is not Kind.FILLER or not 0 < at < len(spelled) - 1:
        return False
    before, after = spelled[at - 1][0], spelled[at + 1][0]
    return numerals.is_part(before) and (numerals.is_part(after) or after in _MEASURES or after == "pour")


_COUNTED: Final = frozenset(
    [
        "mois",
        "an",
        "ans",
        "annee",
        "annees",
        "jour",
        "jours",
        "semaine",
        "semaines",
        "heure",
        "minute",
        "minutes",
        "fois",
        "personne",
        "personnes",
        "euro",
        "pourcent",
        "pour",
        "month",
        "months",
        "year",
        "years",
        "day",
        "days",
        "week",
        "weeks",
        "hour",
        "hours",
        "times",
        "people",
    ]
)
"""What follows a number that is not the cents of the amount before it: `40 euros 12 mois`."""


_MEASURES: Final = frozenset({"euro", "centime", "centimes", "heure", "heures", "pourcent"})


class _Reader:
    """One pass over tokens, joining those that make one number, amount or percentage."""

    def __init__(self, tokens: list[str], places: list[int]) -> None:
        self._tokens = tokens
        self._places = places

    def read(self) -> Iterator[Unit]:
        at = 0
        while at < len(self._tokens):
            run = self._run(at)
            if not run:
                yield self._unit(self._tokens[at], at, at + 1)
                at += 1
            elif _is_identifier(run):
                yield from (self._unit(digit, *piece[1:]) for piece in run for digit in piece.digits)
                at = run[-1].after
            else:
                yield from (self._unit(piece.value, *piece[1:]) for piece in run[:-1])
                measured, at = self._measured(run[-1])
                yield from measured

    def _unit(self, key: str, at: int, after: int) -> Unit:
        return Unit(key, self._places[at], self._places[after - 1])

    def _token(self, at: int) -> str:
        return self._tokens[at] if at < len(self._tokens) else ""

    def _run(self, at: int) -> list["_Piece"]:
        """The numbers that follow each other without a word between; `un` alone is no number."""
        run: list[_Piece] = []
        while piece := self._piece(at, beside_number=bool(run)):
            run.append(piece)
            at = piece.after
        return run

    def _piece(self, at: int, *, beside_number: bool) -> "_Piece | None":
        token = self._token(at)
        if not token or not numerals.is_part(token):
            return None
        number = numerals.read(self._tokens, at)
        if number is None:
            return None
        lone_article = number[1] == at + 1 and token in numerals.ARTICLES
        if lone_article and not (beside_number or self._makes_a_number(at + 1)):
            return None
        return _Piece(number[0], at, number[1])

    def _makes_a_number(self, at: int) -> bool:
        """Whether `un` before this token is a 1: another number or a measure follows."""
        following = self._token(at)
        return (
            following in _MEASURES
            or following[:1].isdecimal()
            or following in numerals.SMALL.keys() - numerals.ARTICLES
        )

    def _measured(self, piece: "_Piece") -> tuple[list[Unit], int]:
        """A number with the measure that follows it, and the token after both."""
        measure = self._token(piece.after)
        if measure == "euro" and (cents := self._cents(piece)):
            return self._amount(numerals.plain(f"{piece.value}.{cents.digits}"), piece.at, cents.after)
        if measure in {"centime", "centimes"} and piece.value.isdecimal():
            return self._amount(numerals.plain(f"{int(piece.value) / 100:.2f}"), piece.at, piece.after + 1)
        number = self._unit(piece.value, piece.at, piece.after)
        if measure in {"pour", "per"} and self._token(piece.after + 1) == "cent":
            return [number, self._unit("pourcent", piece.after, piece.after + 2)], piece.after + 2
        if measure == "h":
            return [number, self._unit("heures", piece.after, piece.after + 1)], piece.after + 1
        return [number], piece.after

    def _amount(self, value: str, at: int, after: int) -> tuple[list[Unit], int]:
        return [self._unit(value, at, after), self._unit("euro", at, after)], after

    def _cents(self, euros: "_Piece") -> "_Piece | None":
        """The cents of `41 euros 10`, `41 euros et 10 centimes`, as two digits."""
        linked = self._token(euros.after + 1) == "et"
        piece = self._piece(euros.after + 1 + linked, beside_number=True)
        if (
            piece is None
            or not piece.digits.isdecimal()
            or int(piece.digits) > 99
            or not euros.value.isdecimal()
        ):
            return None
        following = self._token(piece.after)
        named = following in {"centime", "centimes"}
        sure = (
            not linked
            and len(piece.digits) == 2
            and following not in _COUNTED
            and not following[:1].isdecimal()
        )
        if not (named or sure):
            return None
        return _Piece(f"{int(piece.digits):02d}", piece.at, piece.after + named)


class _Piece(NamedTuple):
    """A number as written or spelled, with its tokens from `at` to before `after`."""

    digits: str
    at: int
    after: int

    @property
    def value(self) -> str:
        return str(int(self.digits)) if self.digits.isdecimal() else self.digits


_LONG: Final = 8


def _is_identifier(run: Sequence[_Piece]) -> bool:
    """A telephone, contract or register number: compared digit by digit, however it was grouped when said."""
    if not all(piece.digits.isdecimal() for piece in run):
        return False
    opens_with_zero = len(run) > 1 and any(piece.digits[0] == "0" for piece in run)
    return opens_with_zero or sum(len(piece.digits) for piece in run) >= _LONG or _padded(run)


def _padded(run: Sequence[_Piece]) -> bool:
    return any(len(piece.digits) > 2 and piece.digits[0] == "0" for piece in run)
