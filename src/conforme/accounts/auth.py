"""Reads credentials (spec/http-auth §2.6). API tokens of the environment give an actor with scope ALL."""

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends, Request
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


def current_actor(request: Request) -> Actor:
    """The caller.

    Raises:
        Unauthenticated: no credential, or one that is not valid.
    """
    actor = identify(request)
    if actor is None:
        raise Unauthenticated("Missing or invalid credentials" if presented(request) else None)
    return actor


CurrentActor = Annotated[Actor, Depends(current_actor)]
