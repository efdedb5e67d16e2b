"""Passwords: Argon2id (RFC 9106), hashed in a thread so that others are answered meanwhile."""

import asyncio

from argon2 import PasswordHasher

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""19 MiB, two passes, one lane: OWASP's least for Argon2id."""


async def hash_password(password: str) -> str:
    """What is stored of a password."""
    return await asyncio.to_thread(_HASHER.hash, password)
