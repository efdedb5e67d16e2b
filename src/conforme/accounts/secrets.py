"""Opaque tokens (refresh, invite, API) and how they are stored (spec/http-auth §2.2)."""

import hashlib
import secrets
from base64 import urlsafe_b64encode

OPAQUE_BYTES = 48


def opaque_token() -> str:
    """48 random bytes, base64url without padding: 64 characters."""
    return secrets.token_urlsafe(OPAQUE_BYTES)


def token_hash(token: str) -> str:
    """What is stored of a token: base64url of its SHA-256, without padding, 43 characters."""
    return urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()


def fingerprint(secret: str) -> str:
    """Names a secret in logs and ledgers without telling it."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12]
