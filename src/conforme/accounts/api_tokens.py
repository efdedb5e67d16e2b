"""API tokens: credentials for machines, stored hashed, shown once.

A token never carries more than its maker holds, and never outlives the token that made it. One that a person makes
is theirs; one that the house makes (a caller without a person) stands alone, with its own groupes and CRM id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, false, func, or_, select, text, true

from conforme.accounts import account_changes, audit_log
from conforme.accounts.actor import Actor, Caller, Scope
from conforme.accounts.auth import API_TOKEN_PREFIX
from conforme.accounts.grants import KEYS, Grants
from conforme.accounts.models import ApiToken
from conforme.accounts.rules import BeyondOwnGrants, require_grantable
from conforme.accounts.secrets import opaque_token, token_hash
from conforme.accounts.wire import grants_of_rows
from conforme.foundation.database import ReadSession, WriteSession, now
from conforme.foundation.errors import Conflict, Forbidden, Invalid, NotFound
from conforme.foundation.web import Page

HINT_CHARACTERS = 8
MAX_LIVE = 100
"""Tokens one owner may have that are neither revoked nor expired."""
TOKENS_LOCK = 7_266_013_004
"""Advisory lock under which tokens are made, so that they can be counted."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The token asked for."""

    name: str
    grants: Sequence[Mapping[str, Any]]
    """`{key, read, write, scope}`, as the wire has them."""
    expires_at: datetime | None = None
    groupes: Sequence[str] = ()
    crm_user_id: str | None = None


def merged(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One grant a key, as roles state them: flags add up, the widest scope wins.

    Raises:
        Invalid: a key is not known, or a grant allows nothing.
    """
    if any(row["key"] not in KEYS for row in rows):
        raise Invalid("Unknown permission key(s)", field="permission_grants")
    if not all(row["read"] or row["write"] for row in rows):
        raise Invalid("Permission grant must enable read and/or write", field="permission_grants")
    joined: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = joined.setdefault(row["key"], {**row, "scope": Scope(row["scope"])})
        known["read"], known["write"] = known["read"] or row["read"], known["write"] or row["write"]
        known["scope"] = max(known["scope"], Scope(row["scope"]), key=lambda scope: scope.rank)
    return [joined[key] for key in sorted(joined)]


async def page_of(session: ReadSession, actor: Actor, page: Page) -> tuple[list[ApiToken], int]:
    """The tokens that the actor sees, newest first, and how many there are."""
    seen = _seen(actor)
    total = await session.scalar(select(func.count()).select_from(ApiToken).where(seen))
    query = select(ApiToken).where(seen).order_by(ApiToken.id.desc())
    return list((await session.scalars(query.limit(page.limit).offset(page.offset))).all()), total or 0


async def create(session: WriteSession, caller: Caller, wish: Wish) -> tuple[str, ApiToken]:
    """Makes a token; gives the secret and what is stored of it.

    Raises:
        Invalid: a grant is malformed, the time is past, or a person's token asks for a reach of its own.
        Forbidden: more is asked than the caller holds.
        Conflict: the owner has too many.
    """
    _check_wish(caller, wish)
    grants = merged(wish.grants)
    _require_within(caller, grants_of_rows(grants), wish.groupes, wish.crm_user_id)
    await session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": TOKENS_LOCK})
    await _require_not_outliving(session, caller, wish.expires_at)
    await _require_room(session, caller.user_id)
    secret = _secret()
    token = ApiToken(
        name=wish.name,
        hint=_hint(secret),
        token_hash=token_hash(secret),
        made_by=caller.name,
        owner_id=caller.user_id,
        grants=grants,
        groupes=sorted(set(wish.groupes)),
        crm_user_id=wish.crm_user_id,
        expires_at=wish.expires_at,
    )
    session.add(token)
    await session.flush()
    await _record(session, caller.name, "api_token.created", token, keys=[grant["key"] for grant in grants])
    return secret, token


async def rotate(session: WriteSession, caller: Caller, actor: Actor, token_id: int) -> tuple[str, ApiToken]:
    """Gives a token another secret; the one before stops at once.

    Only to its owner, and to a machine only within what that machine holds: whoever has the secret acts as the token.

    Raises:
        NotFound: the caller sees no such token.
        Forbidden: it is somebody else's, or carries more than the caller holds.
        Conflict: it was revoked or has expired.
    """
    token = await _to_change(session, actor, token_id)
    if token.owner_id != caller.user_id:
        raise Forbidden("Only its owner can rotate an API token")
    if caller.person is None:
        _require_within(caller, grants_of_rows(token.grants), token.groupes, token.crm_user_id)
        await _require_not_outliving(session, caller, token.expires_at)
    if token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now()):
        raise Conflict("The API token was revoked or has expired; make a new one")
    secret = _secret()
    token.hint, token.token_hash = _hint(secret), token_hash(secret)
    await session.flush()
    await _record(session, caller.name, "api_token.rotated", token)
    return secret, token


async def revoke(session: WriteSession, actor: Actor, token_id: int) -> ApiToken:
    """Ends a token at once; one that was revoked stays so. Raises `NotFound`."""
    token = await _to_change(session, actor, token_id)
    if token.revoked_at is None:
        token.revoked_at = now()
        await session.flush()
        await _record(session, actor.name, "api_token.revoked", token)
    return token


def _seen(actor: Actor) -> ColumnElement[bool]:
    """All with scope ALL, else one's own; of a machine without owner and without scope ALL: none."""
    if actor.scope is Scope.ALL:
        return true()
    return false() if actor.user_id is None else ApiToken.owner_id == actor.user_id


async def _to_change(session: WriteSession, actor: Actor, token_id: int) -> ApiToken:
    query = select(ApiToken).where(ApiToken.id == token_id, _seen(actor)).with_for_update()
    token = await session.scalar(query)
    if token is None:
        raise NotFound.of("API token", token_id)
    return token


def _check_wish(caller: Caller, wish: Wish) -> None:
    if wish.expires_at is not None and wish.expires_at <= now():
        raise Invalid("expires_at must be in the future", field="expires_at")
    if caller.user_id is not None and (wish.groupes or wish.crm_user_id is not None):
        field = "groupes" if wish.groupes else "crm_user_id"
        raise Invalid("A token of a person sees as far as that person", field=field)


def _require_within(caller: Caller, grants: Grants, groupes: Sequence[str], crm_user_id: str | None) -> None:
    """The grants, and the groupes and CRM id they reach by, are within what the caller holds."""
    require_grantable(caller.grants, grants)
    if caller.grants.covers(_everywhere(grants)):
        return
    foreign = crm_user_id is not None and crm_user_id != caller.crm_user_id
    if foreign or not caller.groupes.issuperset(groupes):
        raise BeyondOwnGrants


def _everywhere(grants: Grants) -> Grants:
    """The same flags over everything."""
    return Grants.of(
        replace(grant, read=grant.read and Scope.ALL, write=grant.write and Scope.ALL)
        for grant in grants.by_key.values()
    )


async def _require_not_outliving(session: WriteSession, caller: Caller, expires_at: datetime | None) -> None:
    """What a token makes ends with it at the latest. Raises `Forbidden`."""
    kind, _, number = caller.name.partition(":")
    if kind != "api-token":
        return
    end = await session.scalar(select(ApiToken.expires_at).where(ApiToken.id == int(number)))
    if end is not None and (expires_at is None or expires_at > end):
        raise Forbidden("An API token cannot make one that outlives it")


async def _require_room(session: WriteSession, owner_id: int | None) -> None:
    query = select(func.count()).where(
        ApiToken.owner_id.is_not_distinct_from(owner_id),
        ApiToken.revoked_at.is_(None),
        or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now()),
    )
    if (await session.scalar(query) or 0) >= MAX_LIVE:
        raise Conflict(f"There are {MAX_LIVE} live API tokens already; revoke one first")


async def _record(session: WriteSession, name: str, action: str, token: ApiToken, **details: Any) -> None:
    owner = None if token.owner_id is None else str(token.owner_id)
    if token.owner_id is not None and action != "api_token.created":
        await account_changes.tell(session, [token.owner_id])
    await audit_log.record(session, name, action, f"api_token:{token.id}", owner_id=owner, **details)


def _secret() -> str:
    return API_TOKEN_PREFIX + opaque_token()


def _hint(secret: str) -> str:
    return secret.removeprefix(API_TOKEN_PREFIX)[:HINT_CHARACTERS]
