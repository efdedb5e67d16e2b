"""Access tokens: JSON Web Tokens, HS256 and nothing else (spec/http-auth §2.1; RFC 8725).

A token says who calls and in which session. What they may do is read from the database at each request; the grants
within the token are for the front end to show what it may offer.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
from pydantic import SecretStr

from conforme.accounts.actor import Person
from conforme.accounts.grants import Grants
from conforme.accounts.secrets import fingerprint
from conforme.accounts.wire import grants_out
from conforme.foundation.errors import Misconfigured
from conforme.foundation.web import INT64_MAX
from conforme.settings import Settings

ALGORITHM = "HS256"
TYPE = "access"
"""Claim `token_type`: no other token of ours passes for an access token."""
REQUIRED = ("exp", "nbf", "iat", "iss", "aud", "sub", "sid", "token_type")


@dataclass(frozen=True, slots=True)
class Claims:
    user_id: int
    session_id: UUID


def signing_key(settings: Settings) -> SecretStr:
    """The key that signs: without one nobody signs in.

    Raises:
        Misconfigured: there is none.
    """
    if settings.jwt_access_secret is None:
        raise Misconfigured("Configuration error: JWT_ACCESS_SECRET is required")
    return settings.jwt_access_secret


def issue(person: Person, grants: Grants, settings: Settings, at: datetime) -> str:
    """A token for one session of a person, valid from `at` for `AUTH_ACCESS_TTL_SECONDS`.

    Raises:
        Misconfigured: there is no key to sign with.
    """
    key = signing_key(settings)
    claims: dict[str, Any] = {
        "sub": str(person.id),
        "email": person.email,
        "roles": list(person.roles),
        "crm_user_id": person.crm_user_id,
        "groupes": list(person.teams),
        "permission_grants": grants_out(grants),
        "sid": str(person.session_id),
        "token_type": TYPE,
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "iat": at,
        "nbf": at,
        "exp": at + timedelta(seconds=settings.auth_access_ttl_seconds),
    }
    secret = key.get_secret_value()
    return jwt.encode(claims, secret, algorithm=ALGORITHM, headers={"kid": fingerprint(secret)})


def verify(token: str, settings: Settings) -> Claims | None:
    """Who a token names; None for any that is not ours, not valid now, or not an access token."""
    claims = decoded(token, settings)
    return None if claims is None else claims_of(claims)


def decoded(token: str, settings: Settings) -> dict[str, Any] | None:
    """What a token of ours says; None for any that we did not sign, or that is not valid now."""
    try:
        named = jwt.get_unverified_header(token).get("kid")
    except jwt.InvalidTokenError:
        return None
    for key in _keys(settings, named):
        try:
            return jwt.decode(
                token,
                key.get_secret_value(),
                algorithms=[ALGORITHM],
                issuer=settings.jwt_issuer,
                audience=settings.jwt_audience,
                options={"require": list(REQUIRED), "strict_aud": True},
            )
        except jwt.InvalidTokenError:
            continue
    return None


def _keys(settings: Settings, named: Any) -> list[SecretStr]:
    """The signing keys that are valid, the one a token names first."""
    keys = [key for key in (settings.jwt_access_secret, settings.jwt_access_secret_previous) if key]
    return sorted(keys, key=lambda key: fingerprint(key.get_secret_value()) != named)


def claims_of(claims: dict[str, Any]) -> Claims | None:
    """The person and session that the claims name; None when they could be nobody's, or are no access token's."""
    subject = str(claims["sub"])
    if claims["token_type"] != TYPE or not subject.isascii() or not subject.isdigit():
        return None
    try:
        session_id = UUID(str(claims["sid"]))
    except ValueError:
        return None
    return Claims(int(subject), session_id) if len(subject) < 20 and int(subject) <= INT64_MAX else None
