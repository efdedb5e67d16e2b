"""Numbers said and numbers written, brought to one value: French and English (pure).

`quatre-vingt-dix-sept` is 97, `97` is 97, `deux mille vingt-six` is 2026, `twenty-one` is 21. Reading is greedy
and never looks beyond the number itself, so that a cut number (`quarante` out of `quarante-deux`) is another one.
"""

from collections.abc import Sequence
from typing import Final

_SMALL_FRENCH: Final = {
    name: value
    for value, name in enumerate(
        [
            "zero",
            "un",
            "deux",
            "trois",
            "quatre",
            "cinq",
            "six",
            "sept",
            "huit",
            "neuf",
            "dix",
            "onze",
            "douze",
            "treize",
            "quatorze",
            "quinze",
            "seize",
        ]
    )
}
_SMALL_ENGLISH: Final = {
    name: value
    for value, name in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
_TENS_FRENCH: Final = {
    "vingt": 20,
    "trente": 30,
    "quarante": 40,
    "cinquante": 50,
    "soixante": 60,
    "septante": 70,
    "huitante": 80,
    "octante": 80,
    "nonante": 90,
}
_TENS_ENGLISH: Final = {
    name: value
    for value, name in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2
    )
}
SMALL: Final = _SMALL_ENGLISH | _SMALL_FRENCH | {"une": 1}
TENS: Final = _TENS_FRENCH | {name: 10 * value for name, value in _TENS_ENGLISH.items()}
_HUNDREDS: Final = frozenset({"cent", "cents", "hundred"})
_SCALES: Final = {
    "milliard": 1_000_000_000,
    "milliards": 1_000_000_000,
    "billion": 1_000_000_000,
    "million": 1_000_000,
    "millions": 1_000_000,
    "mille": 1_000,
    "thousand": 1_000,
}
ARTICLES: Final = frozenset({"un", "une", "one"})
"""Words that are mostly not numbers; they count as 1 only beside another number."""

_ORDINALS: Final = {
    "deuxieme": 2, "troisieme": 3, "third": 3, "quatrieme": 4, "fourth": 4,
    "cinquieme": 5, "fifth": 5, "sixieme": 6, "sixth": 6, "septieme": 7, "seventh": 7, "huitieme": 8, "eighth": 8,
    "neuvieme": 9, "ninth": 9, "dixieme": 10, "tenth": 10,
}  # fmt: skip

WORDS: Final = frozenset(SMALL) | frozenset(TENS) | _HUNDREDS | frozenset(_SCALES) | frozenset(_ORDINALS)
"""Every word that can begin or continue a number."""


def is_part(said: str) -> bool:
    """Whether a token can begin or continue a number."""
    return said[0].isdecimal() or said in WORDS


def read(tokens: Sequence[str], at: int) -> tuple[str, int] | None:
    """The number that begins at a token, and the index of the token after it; `None` if none begins there.

    Tokens are folded words, or digits with `.` for the decimal mark. The number comes back as plain digits
    (`41.1`, `2026`), or as written when it opens with a zero (`06`), because then it is part of an identifier.
    """
    if tokens[at][0].isdecimal():
        return _read_digits(tokens, at)
    if tokens[at] in _ORDINALS:
        return str(_ORDINALS[tokens[at]]), at + 1
    spelled = _spelled(tokens, at)
    return None if spelled is None else _with_decimals(str(spelled[0]), tokens, spelled[1])


def _read_digits(tokens: Sequence[str], at: int) -> tuple[str, int]:
    digits, after = tokens[at], at + 1
    if "." in digits or (digits[0] == "0" and digits != "0"):
        return plain(digits), after
    while len(tokens[at]) <= 3 and len(_at(tokens, after)) == 3 and _at(tokens, after).isdecimal():
        digits, after = digits + tokens[after], after + 1
    if scale := _SCALES.get(_at(tokens, after)):
        return str(int(digits) * scale), after + 1
    return _with_decimals(digits, tokens, after)


def plain(digits: str) -> str:
    """Digits without the zeros that end a decimal part: `41.10` is `41.1`."""
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _at(tokens: Sequence[str], index: int) -> str:
    return tokens[index] if index < len(tokens) else ""


def _with_decimals(whole: str, tokens: Sequence[str], at: int) -> tuple[str, int]:
    """`trois virgule cinq`, `three point zero five`: what follows the mark, digit by digit or as one number."""
    if _at(tokens, at) not in {"virgule", "point"}:
        return whole, at
    after, zeros = at + 1, ""
    while _at(tokens, after) in {"zero", "0"}:
        zeros, after = zeros + "0", after + 1
    if _at(tokens, after).isdecimal():
        return plain(f"{whole}.{zeros}{tokens[after]}"), after + 1
    rest = _below_hundred(tokens, after)
    if rest is not None:
        return plain(f"{whole}.{zeros}{rest[0]}"), rest[1]
    return (whole, after) if zeros else (whole, at)


def _spelled(tokens: Sequence[str], at: int) -> tuple[int, int] | None:
    """Groups of hundreds, each with a smaller scale than the one before: millions, thousands, units."""
    total, ceiling, after = 0, max(_SCALES.values()) + 1, at
    while True:
        group = _below_thousand(tokens, after)
        scale_at = after if group is None else group[1]
        scale = _SCALES.get(_at(tokens, scale_at), 0)
        if (
            not 0 < scale < ceiling
            or (group is None and scale != 1_000)
            or (group is not None and group[0] == 0)
        ):
            break
        total, ceiling, after = total + (group[0] if group else 1) * scale, scale, scale_at + 1
        if _at(tokens, after) == "and" and _below_hundred(tokens, after + 1) is not None:
            after += 1
    if group is None:
        return (total, after) if after > at else None
    return (
        (group[0], group[1]) if after == at else (total + group[0], group[1]) if group[0] else (total, after)
    )


def _below_thousand(tokens: Sequence[str], at: int) -> tuple[int, int] | None:
    if _at(tokens, at) in {"cent", "hundred"}:
        return _hundreds(1, tokens, at + 1)
    lead = _below_hundred(tokens, at)
    if lead is None:
        return None
    most = {"cent": 9, "cents": 9, "hundred": 19}.get(_at(tokens, lead[1]), 0)
    return _hundreds(lead[0], tokens, lead[1] + 1) if 0 < lead[0] <= most else lead


def _hundreds(count: int, tokens: Sequence[str], at: int) -> tuple[int, int]:
    rest_at = at + (_at(tokens, at) == "and")
    rest = _below_hundred(tokens, rest_at)
    return (100 * count + rest[0], rest[1]) if rest and rest[0] else (100 * count, at)


def _below_hundred(tokens: Sequence[str], at: int) -> tuple[int, int] | None:
    said = _at(tokens, at)
    if said == "quatre" and _at(tokens, at + 1) in {"vingt", "vingts"}:
        return _with_units(80, 19, tokens, at + 2)
    if said in TENS:
        return _with_units(TENS[said], 19 if said == "soixante" else 9, tokens, at + 1)
    return _below_twenty(tokens, at)


def _with_units(tens: int, most: int, tokens: Sequence[str], at: int) -> tuple[int, int]:
    """`vingt et un`, `soixante et onze`, `quatre-vingt-dix-sept`, `twenty-one`."""
    linked = _at(tokens, at) == "et" and _at(tokens, at + 1) in {"un", "une", "onze"}
    units = _below_twenty(tokens, at + linked)
    return (tens + units[0], units[1]) if units and 0 < units[0] <= most else (tens, at)


def _below_twenty(tokens: Sequence[str], at: int) -> tuple[int, int] | None:
    said = _at(tokens, at)
    if said == "dix" and _at(tokens, at + 1) in {"sept", "huit", "neuf"}:
        return 10 + SMALL[tokens[at + 1]], at + 2
    return (SMALL[said], at + 1) if said in SMALL else None
