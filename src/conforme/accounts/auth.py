"""Reads credentials and guards routes (spec/http-auth §2.6, §3.2).

A route states the permissions it needs in the type of its actor, and the API's document repeats them:

    actor: Annotated[Actor, may("audits.run")]
"""

import hmac
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer, SecurityScopes
from pydantic import SecretStr

from conforme.accounts import access_tokens, identity
from conforme.accounts.actor import Actor, Caller, Person
from conforme.accounts.rules import Administrator
from conforme.accounts.secrets import fingerprint
from conforme.foundation.errors import Unauthenticated
from conforme.foundation.resources import Resources

API_TOKEN_PREFIX = "cfm_"  # noqa: S105 -- how our tokens begin, not one of them
MAX_CREDENTIAL = 8192
USER_REQUIRED = "User authentication required"


def presented(request: Request) -> str | None:
    """The credential of a request: `Authorization: Bearer` before `X-API-Key`; None when there is none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return request.headers.get("x-api-key")


def caller_of_environment(token: str, accepted: tuple[SecretStr, ...]) -> Caller | None:
    """The machine that holds `token`, compared in constant time with every accepted one."""
    given = token.encode()
    matched = False
    for secret in accepted:
        matched |= hmac.compare_digest(given, secret.get_secret_value().encode())
    return Caller.machine(fingerprint(token)) if matched else None


async def caller_of(credential: str, resources: Resources) -> Caller | None:
    """Whose credential it is: a token of the environment, an API token, or a session's access token."""
    if len(credential) > MAX_CREDENTIAL:
        return None
    if caller := caller_of_environment(credential, resources.settings.api_tokens):
        return caller
    if credential.startswith(API_TOKEN_PREFIX):
        return await identity.of_token(resources.database.engine, credential)
    claims = access_tokens.verify(credential, resources.settings)
    return None if claims is None else await identity.of_session(resources.database.engine, claims)


async def identify(request: Request) -> Caller | None:
    """The caller of a request, asked for once; None without a valid credential."""
    known = request.scope.setdefault("state", {})
    if "caller" not in known:
        credential = presented(request)
        known["caller"] = await caller_of(credential, request.app.state.resources) if credential else None
    return known["caller"]


BEARER = HTTPBearer(
    auto_error=False, description="An access token from `POST /api/auth/login`, or an API token."
)
API_KEY = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="An API token, in a header of its own."
)


async def current_caller(
    request: Request,
    _bearer: Annotated[object, Security(BEARER)] = None,
    _key: Annotated[object, Security(API_KEY)] = None,
) -> Caller:
    """The caller; the two schemes are declared so that the reference can show and use them.

    Raises:
        Unauthenticated: no credential, or one that is not valid.
    """
    caller = await identify(request)
    if caller is None:
        raise Unauthenticated("Missing or invalid credentials" if presented(request) else None)
    return caller


async def acting(
    request: Request, caller: Annotated[Caller, Depends(current_caller)], needed: SecurityScopes
) -> Actor:
    """The caller under the permissions of the route. Raises `Forbidden` when one is not granted."""
    request.scope.setdefault("state", {})["needed"] = needed.scopes  # for the log of refusals
    return caller.acting(needed.scopes)


async def current_person(caller: Annotated[Caller, Depends(current_caller)]) -> Person:
    """The user whose session calls.

    Raises:
        Unauthenticated: a token calls: tokens are no people.
    """
    if caller.person is None:
        raise Unauthenticated(USER_REQUIRED)
    return caller.person


def may(*permissions: str) -> Any:
    """Guards a route: every permission is needed, for example `may("chat.use", "audits.read")`."""
    return Security(acting, scopes=list(permissions))


async def administrator(
    caller: Annotated[Caller, Depends(current_caller)], actor: Annotated[Actor, Depends(acting)]
) -> Administrator:
    """The caller under the permission of the route, with all else they may do."""
    return Administrator(actor, caller.grants)


def administering(permission: str) -> Any:
    """Guards a route that changes accounts."""
    return Security(administrator, scopes=[permission])


CurrentCaller = Annotated[Caller, Depends(current_caller)]
CurrentPerson = Annotated[Person, Depends(current_person)]
