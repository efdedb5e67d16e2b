"""Passwords: how they are stored, and how one is checked (spec/http-auth §2.3).

New ones are stored by Argon2id (RFC 9106) with the parameters that OWASP recommends. Those of before, stored by scrypt
(RFC 7914), are still good, and are stored anew when their owner signs in. Every check does one of each, on a stand-in
where nothing of the kind is stored, so that neither an unknown account nor an old hash shows in the time it takes.
"""

import asyncio
import hashlib
import hmac
import re
from base64 import urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHash

HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16)
ARGON2 = "$argon2id$"
ARGON2_STAND_IN = (
    "$argon2id$v=19$m=19456,t=2,p=1$CBYazUFfujFs4ja0KQy4+Q$DljeDfI/6fzqN24scKV4BIRSacAVjq/Ig//ETmHZTxA"
)
SCRYPT_STAND_IN = (
    "scrypt$1$16384$8$1$5gA27yNc9L2tOJYWDDezaA"
    "$06Wd2lzqsv0Y5pe_AjHL-r94tWM_RD2WOFbcGv6jtDKss7D1THXFa9jZj6esHC6e7d08KbWQBmEniJP9vwpzmA"
)
"""Hashes of nothing: no password is known to match."""

MAX_SCRYPT_WORK = 2**20
"""N·r·p, eight times what the contract's hashes ask for: a stored text cannot make a check take seconds or gigabytes."""
MAX_ARGON2_MEMORY_KIB = 128 * 1024
MAX_ARGON2_PASSES = 16
_SCRYPT = re.compile(
    r"scrypt\$1\$(?P<n>[0-9]{1,7})\$(?P<r>[0-9]{1,3})\$(?P<p>[0-9]{1,3})"
    r"\$(?P<salt>[A-Za-z0-9_-]{1,172})\$(?P<hash>[A-Za-z0-9_-]{1,172})",
    re.ASCII,
)

POOL = ThreadPoolExecutor(max_workers=2, thread_name_prefix="password")
"""Hashing is slow on purpose: so many at once, and never on the event loop."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found. `outdated` tells that the password is right, and to be stored anew."""

    right: bool
    outdated: bool = False


async def hashed(password: str) -> str:
    """What is stored of a password."""
    return await asyncio.get_running_loop().run_in_executor(POOL, HASHER.hash, password)


async def checked(password: str, stored: str | None) -> Verdict:
    """Whether it is the password of which `stored` was made; None, and what no known way made, match nothing."""
    return await asyncio.get_running_loop().run_in_executor(POOL, check, password, stored)


def check(password: str, stored: str | None) -> Verdict:
    """As `checked`, in the thread that calls."""
    stored = stored or ""
    of_argon2 = stored.startswith(ARGON2) and _affordable(stored)
    by_argon2 = argon2_matches(password, stored if of_argon2 else ARGON2_STAND_IN)
    scrypt = scrypt_of(stored)
    by_scrypt = scrypt_matches(password, scrypt or SCRYPT_OF_NOTHING)
    if of_argon2:
        return Verdict(by_argon2, by_argon2 and HASHER.check_needs_rehash(stored))
    right = scrypt is not None and by_scrypt
    return Verdict(right, right)


def argon2_matches(password: str, stored: str) -> bool:
    """The comparison is libargon2's, in constant time."""
    try:
        return HASHER.verify(stored, password)
    except (Argon2Error, InvalidHash):
        return False


def _affordable(stored: str) -> bool:
    try:
        asked = extract_parameters(stored)
    except InvalidHash:
        return False
    return asked.memory_cost <= MAX_ARGON2_MEMORY_KIB and asked.time_cost <= MAX_ARGON2_PASSES


@dataclass(frozen=True, slots=True)
class Scrypt:
    """A hash of the contract's format, taken apart."""

    n: int
    r: int
    p: int
    salt: bytes
    hash: bytes

    @property
    def memory(self) -> int:
        """Bytes that OpenSSL needs for it, with room to spare."""
        return 128 * self.r * (self.n + self.p + 2) + 1024 * 1024

    @property
    def sound(self) -> bool:
        power_of_two = self.n > 1 and self.n & (self.n - 1) == 0
        within = 0 < self.n * self.r * self.p <= MAX_SCRYPT_WORK
        return power_of_two and within and len(self.salt) >= 8 and len(self.hash) >= 32


def scrypt_of(stored: str) -> Scrypt | None:
    """The parts of `scrypt$1$N$r$p$salt$hash`; None for any other text, and for one that would cost too much."""
    found = _SCRYPT.fullmatch(stored)
    if found is None:
        return None
    try:
        salt, expected = (urlsafe_b64decode(f"{found[part]}==") for part in ("salt", "hash"))
    except ValueError:
        return None
    scrypt = Scrypt(int(found["n"]), int(found["r"]), int(found["p"]), salt, expected)
    return scrypt if scrypt.sound else None


def scrypt_matches(password: str, scrypt: Scrypt) -> bool:
    """Compared in constant time."""
    made = hashlib.scrypt(
        password.encode(),
        salt=scrypt.salt,
        n=scrypt.n,
        r=scrypt.r,
        p=scrypt.p,
        maxmem=scrypt.memory,
        dklen=len(scrypt.hash),
    )
    return hmac.compare_digest(made, scrypt.hash)


def _of_nothing() -> Scrypt:
    scrypt = scrypt_of(SCRYPT_STAND_IN)
    assert scrypt is not None  # noqa: S101 -- a text of our own
    return scrypt


SCRYPT_OF_NOTHING = _of_nothing()
