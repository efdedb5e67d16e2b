"""Secrets that must be used again, kept so that whoever reads the database alone cannot.

AES-128-CBC with HMAC-SHA256 (Fernet) under a key derived by HKDF-SHA256 from `SECRETS_KEY`; where that is not set, from
`JWT_ACCESS_SECRET`, under a label of its own. What the key before sealed can still be opened.
"""

import base64
from collections.abc import Iterator

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from conforme.foundation.errors import Misconfigured
from conforme.settings import Settings

_LABEL = b"conforme sealed secrets v1"
SHOWN = 4
MASK = "********"


def can_seal(settings: Settings) -> bool:
    return next(_secrets(settings), None) is not None


def seal(secret: str, settings: Settings) -> str:
    """The secret as it may be stored.

    Raises:
        Misconfigured: there is no key to seal with.
    """
    return _locks(settings).encrypt(secret.encode()).decode()


def unseal(sealed: str, settings: Settings) -> SecretStr:
    """The secret again.

    Raises:
        Misconfigured: it was sealed with a key that is no longer known.
    """
    try:
        return SecretStr(_locks(settings).decrypt(sealed.encode()).decode())
    except InvalidToken:
        raise Misconfigured(
            "A stored secret was sealed with another key: set SECRETS_KEY_PREVIOUS to it, or enter the secret anew"
        ) from None


def masked(sealed: str, settings: Settings) -> str:
    """How a stored secret is shown: nothing of it, but its end where it is long enough that this tells little."""
    try:
        secret = unseal(sealed, settings).get_secret_value()
    except Misconfigured:
        return MASK
    return MASK + secret[-SHOWN:] if len(secret) >= 4 * SHOWN else MASK


def _secrets(settings: Settings) -> Iterator[SecretStr]:
    given = (
        settings.secrets_key,
        settings.secrets_key_previous,
        settings.jwt_access_secret,
        settings.jwt_access_secret_previous,
    )
    return (secret for secret in given if secret is not None)


def _locks(settings: Settings) -> MultiFernet:
    keys = [_derived(secret) for secret in _secrets(settings)]
    if not keys:
        raise Misconfigured("There is no key to keep secrets with: set SECRETS_KEY")
    return MultiFernet([Fernet(key) for key in keys])


def _derived(secret: SecretStr) -> bytes:
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=_LABEL)
    return base64.urlsafe_b64encode(derivation.derive(secret.get_secret_value().encode()))
