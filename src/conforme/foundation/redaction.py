"""Takes secrets and personal data out of what is logged: pure, bounded in time and size.

Two nets. By key: whatever stands under a name such as `authorization` or `telephone` goes. By pattern, in every text:
French social-security numbers (NIR), IBANs, card and phone numbers, e-mail addresses, bearer values, JWTs, API keys,
and the credentials and query values of URLs. Database ids, fiche ids, UUIDs and times are left alone.

Every pattern is made of bounded repetitions, so that its cost is linear in the text whatever the text is.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import islice
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

REDACTED = "[redacted]"

MAX_DEPTH = 6
MAX_STRING = 2000
MAX_ARRAY = 50
MAX_OBJECT = 200
MAX_VALUES = 2000
"""Values kept in all: depth and width alone would still let billions through."""

_MAX_KEY = 120
_OVERLAP = 400
"""Characters read beyond a cut, so that no secret is cut into a shape that no pattern knows."""
_MAX_INT = 10**20

_SECRET_WORDS = frozenset(
    [
        "authorization",
        "cookie",
        "password",
        "passwd",
        "pwd",
        "passphrase",
        "secret",
        "token",
        "jwt",
        "bearer",
        "credential",
        "credentials",
    ]
)
_SECRET_PLURALS = frozenset({"cookies", "passwords", "secrets", "tokens", "keys"})
_KEY_OWNERS = frozenset(["api", "signing", "private", "secret", "access", "encryption", "master", "webhook"])
_SECRET_ENDINGS = (
    "apikey",
    "authtoken",
    "accesstoken",
    "refreshtoken",
    "signingkey",
    "privatekey",
    "clientsecret",
)
_PERSONAL = frozenset(
    [
        "email",
        "mail",
        "e_mail",
        "phone",
        "telephone",
        "tel",
        "mobile",
        "portable",
        "phone_number",
        "from_number",
        "to_number",
        "iban",
        "nir",
        "ssn",
        "numero_secu",
        "numero_securite_sociale",
        "nom",
        "prenom",
        "nom_naissance",
        "last_name",
        "first_name",
        "full_name",
        "birth_date",
        "date_naissance",
        "adresse",
        "street",
        "transcript",
        "transcription",
        "full_text",
        "prompt",
        "citation",
        "quote",
    ]
)

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def is_sensitive(key: str, value: object = "") -> bool:
    """Whether what stands under `key` is a secret or personal data. Counts (`prompt_tokens: 12`) are not."""
    words = _words(key[:_MAX_KEY])
    if not words:
        return False
    if words[-1] in _SECRET_WORDS or "".join(words).endswith(_SECRET_ENDINGS) or "_".join(words) in _PERSONAL:
        return True
    if words[-1] == "key" and not _KEY_OWNERS.isdisjoint(words):
        return True
    if isinstance(value, (bool, int, float, Decimal)) or value is None:
        return False
    plural_keys = words[-1] == "keys" and not _KEY_OWNERS.isdisjoint(words)
    return plural_keys or not (_SECRET_WORDS | _SECRET_PLURALS - {"keys"}).isdisjoint(words)


@lru_cache(maxsize=1024)
def _words(key: str) -> tuple[str, ...]:
    """The words of a name in any of its spellings: `apiKey`, `API_KEY`, `x-api-key`."""
    plain = unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode()
    return tuple(word.lower() for word in _WORD.findall(plain))


_EDGE = r"(?<![0-9A-Za-z])"
_END = r"(?![0-9A-Za-z])"
_GAP = r"[ .\u00a0\u202f-]"

_URL_CREDENTIALS = re.compile(r"(://)[^\s/?#@\"'<>]{1,512}@")
# A flag tells nothing of anybody.
_URL_QUERY = re.compile(r"([?&][\w.%\[\]-]{1,80}=)(?!(?:true|false)(?:[\s&#\"'<>]|\Z))[^\s&#\"'<>]{1,4000}")
_NAMED_LINE = re.compile(
    r"(?i)((?:proxy-)?authorization|(?:set-)?cookie)([\"']?[ ]{0,3}[:=][ ]{0,3})[^\r\n]{1,4000}"
)
_NAMED_VALUE = re.compile(
    r"(?i)(?<![a-z0-9])"
    r"((?:(?:access|refresh|auth|id|session|client|bearer)[_-]?)?(?:token|secret)"
    r"|password|passwd|pwd|passphrase|mot[ _]de[ _]passe"
    r"|(?:xi-|x-)?api[_-]?key|(?:signing|private|secret|access)[_-]?key"
    r"|nir|iban|ssn)"
    r"([\"']?[ ]{0,3}[:=][ ]{0,3}[\"']?)(?:\[redacted\]|[^\s,;&\"'<>}\])]{1,4000})"
)
_BEARER = re.compile(r"(?i)\b(bearer[ ]{1,3})[\w.~+/=-]{6,4000}")
_JWT = re.compile(r"\beyJ[\w-]{8,4000}(?:\.[\w-]{0,4000}){0,4}")
_API_KEY = re.compile(
    _EDGE
    + r"(?:(?:sk|pk|rk|xi|cfm)[-_][\w-]{12,400}|AIza[\w-]{30,60}|whsec_[\w+/=-]{8,400}|gh[a-z]_\w{20,400}|AKIA\w{12,40})"
)
_EMAIL = re.compile(r"[\w.%+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_FRENCH_IBAN = re.compile(_EDGE + r"(?i:FR)[0-9]{2}(?:" + _GAP + r"?[0-9A-Za-z]){23}" + _END)
_IBAN = re.compile(_EDGE + r"[A-Z]{2}[0-9]{2}(?:[ -]?[0-9A-Z]){11,30}")
_CARD = re.compile(_EDGE + r"[3-6][0-9]{3}([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{4}" + _END)

_DEPARTMENT = r"(?:[0-9]{2}|2[ABab])"
_MONTH = r"(?:0[1-9]|1[0-2]|20|3[0-9]|4[0-2]|[5-9][0-9])"
_NIR_WITH_KEY = re.compile(
    _EDGE + rf"[1-478]{_GAP}?[0-9]{{2}}{_GAP}?{_MONTH}{_GAP}?{_DEPARTMENT}{_GAP}?[0-9]{{3}}{_GAP}?[0-9]{{3}}"
    rf"[ /.\u00a0\u202f-]{{0,3}}[0-9]{{2}}" + _END
)
_NIR_SPACED = re.compile(
    _EDGE
    + rf"(?=[0-9ABab]{{1,12}}{_GAP})[1-478]{_GAP}?[0-9]{{2}}{_GAP}?{_MONTH}{_GAP}?{_DEPARTMENT}{_GAP}?[0-9]{{3}}"
    rf"{_GAP}?[0-9]{{3}}" + _END
)
# Thirteen digits in a row are also a time in milliseconds: as part of an identifier (`run-1760612345678`) they stay,
# and so do those whose month could not be one.
_NIR_BARE = re.compile(
    rf"(?<![0-9A-Za-z_:=/-])[1-478][0-9]{{2}}(?:0[1-9]|1[0-2]){_DEPARTMENT}[0-9]{{6}}(?![0-9A-Za-z_:/-])"
)
_FRENCH_PHONE = re.compile(
    r"(?<![0-9A-Za-z+])(?:0|(?:\+|00)33[ .-]?(?:\(0\)[ .-]?)?|33)[1-9](?:[ ./\u00a0\u202f-]?[0-9]){8}" + _END
)
_PHONE = re.compile(r"(?<![0-9A-Za-z+])(?:\+|00)[1-9](?:[ ./()\u00a0\u202f-]{0,2}[0-9]){7,13}" + _END)

_DATE = re.compile(r"[0-9]{2}[./-][0-9]{2}[./-](?:19|20)[0-9]{2}")
_YEAR_BEFORE = re.compile(r"(?:19|20)[0-9]{2}[./-]")

_IBAN_LENGTHS = {
    "AD": 24, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20, "ES": 24,
    "FI": 18, "FR": 27, "GB": 22, "GI": 23, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IS": 26, "IT": 27, "LI": 21,
    "LT": 20, "LU": 20, "LV": 21, "MA": 28, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24,
    "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26, "VA": 22,
}  # fmt: skip


def _iban(match: re.Match[str]) -> str:
    """Redacts the IBAN a candidate starts with: its country says how long it is, its check digits that it is one."""
    text = match[0]
    length = _IBAN_LENGTHS.get(text[:2])
    positions = [index for index, character in enumerate(text) if character.isalnum()]
    if length is None or len(positions) < length:
        return text
    plain = "".join(text[index] for index in positions[:length])
    digits = "".join(str(int(character, 36)) for character in plain[4:] + plain[:4])
    return REDACTED + text[positions[length - 1] + 1 :] if int(digits) % 97 == 1 else text


def _french_phone(match: re.Match[str]) -> str:
    """Redacts a phone number, unless its digits are those of a date (05-01-2026 09, 2026-01-05-09-14-00)."""
    is_date = _DATE.match(match[0]) or _YEAR_BEFORE.fullmatch(match.string[: match.start()][-5:])
    return match[0] if is_date else REDACTED


def _card(match: re.Match[str]) -> str:
    digits = [int(character) for character in match[0] if character.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return REDACTED if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else match[0]


_Replacement = str | Callable[[re.Match[str]], str]

_SIGNED: tuple[tuple[str, re.Pattern[str], _Replacement], ...] = (
    ("@", _URL_CREDENTIALS, rf"\1{REDACTED}@"),
    (":=", _NAMED_LINE, rf"\1\2{REDACTED}"),
    (" ", _BEARER, rf"\1{REDACTED}"),
    (":=", _NAMED_VALUE, rf"\1\2{REDACTED}"),
    ("J", _JWT, REDACTED),
    ("-_IA", _API_KEY, REDACTED),
    ("@", _EMAIL, REDACTED),
    ("=", _URL_QUERY, rf"\1{REDACTED}"),
)
"""Each with characters of which one at least must be in a text for the pattern to have a chance: most texts are short
and plain, and looking for a character is a hundred times cheaper than trying a pattern."""

_NUMBERED: tuple[tuple[re.Pattern[str], _Replacement], ...] = (
    (_FRENCH_IBAN, REDACTED),
    (_IBAN, _iban),
    (_NIR_WITH_KEY, REDACTED),
    (_NIR_SPACED, REDACTED),
    (_NIR_BARE, REDACTED),
    (_CARD, _card),
    (_FRENCH_PHONE, _french_phone),
    (_PHONE, REDACTED),
)
_ENOUGH_DIGITS = re.compile(r"(?:[0-9][^0-9]{0,4}){8}")


def redact_text(text: str, limit: int = MAX_STRING) -> str:
    """`text` without secrets and personal data, at most about `limit` characters; says how many it left out."""
    kept = text[: limit + _OVERLAP]
    for signs, pattern, replacement in _SIGNED:
        if any(sign in kept for sign in signs):
            kept = pattern.sub(replacement, kept)
    if _ENOUGH_DIGITS.search(kept):
        for pattern, replacement in _NUMBERED:
            kept = pattern.sub(replacement, kept)
    if len(text) <= limit:
        return kept
    return f"{kept[:limit]}… ({len(text) - limit} more)"


def redact(value: object) -> Any:
    """`value` as JSON-able data without secrets and personal data, bounded in depth, width and number of values.

    Objects of unknown types are named by their type: their text could hold anything.
    """
    return _Redaction().of(value, MAX_DEPTH)


class _Redaction:
    """One walk over a value, counting what it keeps."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def of(self, value: object, depth: int) -> Any:
        self._left -= 1
        if value is None or isinstance(value, (bool, int, float, str)):
            return _scalar(value)
        if depth == 0 or self._left <= 0:
            return "…"
        if isinstance(value, Mapping):
            return self._mapping(cast("Mapping[Any, Any]", value), depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._items(cast("Sequence[Any]", value), depth)
        return _other(value)

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in islice(mapping.items(), MAX_OBJECT):
            name = redact_text(key, _MAX_KEY) if isinstance(key, str) else str(_scalar_or_type(key))
            hidden = isinstance(key, str) and is_sensitive(key, value) and value is not None
            kept[name] = REDACTED if hidden else self.of(value, depth - 1)
        if len(mapping) > MAX_OBJECT:
            kept["…"] = f"({len(mapping) - MAX_OBJECT} more)"
        return kept

    def _items(self, items: Sequence[Any], depth: int) -> list[Any]:
        kept = [self.of(item, depth - 1) for item in islice(items, min(MAX_ARRAY, max(self._left, 0)))]
        return [*kept, f"… ({len(items) - len(kept)} more)"] if len(items) > len(kept) else kept


def _scalar(value: str | float | bool | None) -> Any:
    if isinstance(value, Enum):
        return _scalar(value.value)
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return _integer(value)


def _integer(value: int) -> Any:
    if abs(value) >= _MAX_INT:
        return "(a very large integer)"
    # A NIR with its key may come as a number; ids and times in milliseconds have fewer digits.
    return REDACTED if _NIR_WITH_KEY.fullmatch(str(value)) else int(value)


def _scalar_or_type(value: object) -> Any:
    return _scalar(value) if isinstance(value, (bool, int, float)) else _other(value)


def _other(value: object) -> str:
    if isinstance(value, (datetime, date, time, timedelta, Decimal, UUID)):
        return str(value)
    if isinstance(value, PurePath):
        return redact_text(str(value))
    if isinstance(value, Enum):
        return redact_text(str(value.value))
    if isinstance(value, BaseException):
        return redact_text(f"{type(value).__name__}: {_text_of(value)}")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"({len(cast('bytes', value))} bytes)"
    return f"<{type(value).__name__}>"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 -- an error whose text cannot be made must not break the log
        return ""
