"""Reads credentials (spec/http-auth §2.6). API tokens of the environment give an actor with scope ALL."""

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import SecretStr

from conforme.accounts.actor import Actor, Scope
from conforme.foundation.errors import Unauthenticated


def presented(request: Request) -> str | None:
    """The credential of a request: `Authorization: Bearer` before `X-API-Key`; None when there is none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return request.headers.get("x-api-key")


def actor_of_token(token: str, accepted: tuple[SecretStr, ...]) -> Actor | None:
    """The machine that holds `token`, compared in constant time with every accepted one."""
    given = token.encode()
    matched = False
    for secret in accepted:
        matched |= hmac.compare_digest(given, secret.get_secret_value().encode())
    if not matched:
        return None
    return Actor(name=f"token:{hashlib.sha256(given).hexdigest()[:12]}", scope=Scope.ALL)


def identify(request: Request) -> Actor | None:
    token = presented(request)
    return actor_of_token(token, request.app.state.resources.settings.api_tokens) if token else None


BEARER = HTTPBearer(auto_error=False, description="An API token of API_AUTH_TOKENS.")
API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same, in a header of its own.")


def current_actor(
    request: Request,
    _bearer: Annotated[object, Security(BEARER)] = None,
    _key: Annotated[object, Security(API_KEY)] = None,
) -> Actor:
    """The caller; the two schemes are declared so that the reference can show and use them.

    Raises:
        Unauthenticated: no credential, or one that is not valid.
    """
    actor = identify(request)
    if actor is None:
        raise Unauthenticated("Missing or invalid credentials" if presented(request) else None)
    return actor


CurrentActor = Annotated[Actor, Depends(current_actor)]
