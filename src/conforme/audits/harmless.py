"""Text of strangers, made fit to stand in a prompt (pure)."""

import unicodedata
from typing import Final


class _Harmless(dict[int, str | None]):
    """What each character of a transcript becomes in a prompt; filled as characters are met.

    Invisible ones go (controls, zero-width, direction and tag characters, variation selectors), all blank ones are
    a space, angle brackets become quotation marks so that no fence can be closed.
    """

    _SEEN_AS_NOTHING: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")

    def __missing__(self, code: int) -> str | None:
        self[code] = made = self._made(chr(code))
        return made

    def _made(self, character: str) -> str | None:
        if character.isspace():
            return " "
        if character in self._SEEN_AS_NOTHING or 0xFE00 <= ord(character) <= 0xFE0F:
            return None
        if 0xE0000 <= ord(character) <= 0xE0FFF or unicodedata.category(character) in {
            "Cc",
            "Cf",
            "Cs",
            "Co",
            "Cn",
        }:
            return None
        return {"<": "‹", ">": "›"}.get(unicodedata.normalize("NFKC", character), character)


_HARMLESS: Final = _Harmless()


def harmless(text: str) -> str:
    """The text as one line of visible characters that cannot open or close a fence."""
    return " ".join(text.translate(_HARMLESS).split())
