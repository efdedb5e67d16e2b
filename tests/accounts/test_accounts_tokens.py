"""Access tokens from the forger's side (spec/http-auth §2.1; RFC 8725): each is tried at a route of the API."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import httpx2
import jwt
import pytest
from accounts_room import account, browsing, login, settings_of, told, value
from fastapi import FastAPI

from conforme.foundation.database import Database, now
from product_fixtures import SETTINGS

assert SETTINGS.jwt_access_secret is not None
KEY = SETTINGS.jwt_access_secret.get_secret_value()
OTHER_KEY = "another key, as long as the right one is"


Claims = dict[str, Any]


def part(content: Any) -> str:
    return urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def said(token: str, place: int) -> Claims:
    return json.loads(urlsafe_b64decode(token.split(".")[place] + "=="))


def without(claims: Claims, name: str) -> Claims:
    return {key: value for key, value in claims.items() if key != name}


def seconds(amount: int) -> int:
    return int((now() + timedelta(seconds=amount)).timestamp())


def signed(claims: Claims, key: str = KEY, algorithm: str = "HS256", **head: Any) -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers=head)


def unsigned(claims: Claims, algorithm: str) -> str:
    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims)}."


def nested(claims: Claims) -> str:
    return "{}.{}.x".format(urlsafe_b64encode(b"[" * 2900 + b"]" * 2900).rstrip(b"=").decode(), part(claims))


def tampered(claims: Claims) -> str:
    head, _, signature = signed(claims).split(".")
    return f"{head}.{part(claims | {'sub': '1'})}.{signature}"


FORGED: Mapping[str, Callable[[Claims], str]] = {
    "no algorithm": lambda claims: unsigned(claims, "none"),
    "no algorithm, in another spelling": lambda claims: unsigned(claims, "NoNe"),
    "no signature": lambda claims: signed(claims).rpartition(".")[0] + ".",
    "another key": lambda claims: signed(claims, OTHER_KEY),
    "an empty key": lambda claims: f"{part({'alg': 'HS256'})}.{part(claims)}.{part('')}",
    "another hash": lambda claims: signed(claims, KEY * 2, "HS512"),
    "the right key under another hash": lambda claims: signed(claims, KEY * 2, "HS384"),
    "a public key for a secret": lambda claims: (
        f"{part({'alg': 'RS256', 'typ': 'JWT'})}.{part(claims)}.{signed(claims).rpartition('.')[2]}"
    ),
    "a key of its own": lambda claims: signed(claims, OTHER_KEY, jwk={"kty": "oct", "k": part(OTHER_KEY)}),
    "a key from elsewhere": lambda claims: signed(claims, OTHER_KEY, jku="https://evil.example.test/keys"),
    "a key by path": lambda claims: signed(claims, OTHER_KEY, kid="../../dev/null"),
    "claims changed afterwards": tampered,
    "expired": lambda claims: signed(claims | {"exp": seconds(-1)}),
    "not yet valid": lambda claims: signed(claims | {"nbf": seconds(60)}),
    "issued in the future": lambda claims: signed(claims | {"iat": seconds(60)}),
    "another audience": lambda claims: signed(claims | {"aud": "somebody-else"}),
    "several audiences": lambda claims: signed(claims | {"aud": ["ai-audit", "somebody-else"]}),
    "another issuer": lambda claims: signed(claims | {"iss": "somebody-else"}),
    "another type": lambda claims: signed(claims | {"token_type": "refresh"}),
    "no type": lambda claims: signed(without(claims, "token_type")),
    "no expiry": lambda claims: signed(without(claims, "exp")),
    "no audience": lambda claims: signed(without(claims, "aud")),
    "no session": lambda claims: signed(without(claims, "sid")),
    "no session that could be": lambda claims: signed(claims | {"sid": "1"}),
    "a subject beyond 64 bits": lambda claims: signed(claims | {"sub": "9" * 19}),
    "a subject that is no number": lambda claims: signed(claims | {"sub": "1 or 1=1"}),
    "a subject in other digits": lambda claims: signed(claims | {"sub": "١"}),
    "a header nested deeply": nested,
    "not a token": lambda _: "a.b.c",
    "bytes": lambda _: "\xff\xfe.\x80.x",
    "too long": lambda claims: signed(claims | {"roles": ["x" * 8192]}),
}


async def claims_of_a_login(client: httpx2.AsyncClient, email: str = "camille.orvane@example.test") -> Claims:
    answer = await login(client, email=email)
    return said(answer.json()["data"]["access_token"], 1)


async def tried(client: httpx2.AsyncClient, token: str) -> int:
    headers = {b"Authorization": b"Bearer " + token.encode("latin-1", "replace")}
    return (await client.get("/api/audits", headers=headers)).status_code


async def test_a_token_says_what_the_contract_says(browser: httpx2.AsyncClient, database: Database) -> None:
    user_id = await account(database, keys=["audits"])
    token = (await login(browser)).json()["data"]["access_token"]
    head, claims = said(token, 0), said(token, 1)
    assert (head["alg"], head["typ"]) == ("HS256", "JWT")
    assert claims["sub"] == str(user_id)
    assert claims["email"] == "camille.orvane@example.test"
    assert claims["roles"] == ["auditor"]
    assert claims["crm_user_id"] == "211"
    assert claims["groupes"] == []
    assert claims["permission_grants"] == [
        {"key": "audits", "read": True, "write": True, "read_scope": "GROUP", "write_scope": "GROUP"}
    ]
    assert claims["iss"] == claims["aud"] == "ai-audit"
    assert claims["exp"] - claims["iat"] == 900
    assert claims["sid"] == str(await value(database, "select id from sessions"))


@pytest.mark.attack("token forgery")
@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_opens_nothing(
    browser: httpx2.AsyncClient, database: Database, name: str
) -> None:
    await account(database, keys=["audits"])
    claims = await claims_of_a_login(browser)
    assert await tried(browser, signed(claims)) == 200
    assert await tried(browser, FORGED[name](claims)) == 401


@pytest.mark.attack("token forgery")
async def test_the_session_of_another_is_not_ones_own(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database, keys=["audits"])
    await account(database, email="mallory@example.test")
    own = await claims_of_a_login(browser)
    others = await claims_of_a_login(browser, "mallory@example.test")
    assert await tried(browser, signed(own | {"sid": others["sid"]})) == 401
    assert await tried(browser, signed(others | {"sid": own["sid"]})) == 401


@pytest.mark.attack("token forgery")
async def test_grants_written_into_a_token_grant_nothing(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database)
    claims = await claims_of_a_login(browser)
    everything = {"key": "audits", "read": True, "write": True, "read_scope": "ALL", "write_scope": "ALL"}
    forged = signed(claims | {"permission_grants": [everything], "roles": ["admin"]})
    assert await tried(browser, forged) == 403


async def test_a_token_of_ours_with_a_subject_that_is_no_number_says_so(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database)
    claims = await claims_of_a_login(browser)
    token = signed(claims | {"sub": "x"})
    answer = await browser.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert told(answer) == (401, "Invalid access token")


async def test_the_key_before_is_good_until_it_is_taken_away(api_app: FastAPI, database: Database) -> None:
    await account(database, keys=["audits"])
    async with browsing(api_app) as client:
        claims = await claims_of_a_login(client)
    old = signed(claims)
    rotated = settings_of(jwt_access_secret=OTHER_KEY, jwt_access_secret_previous=KEY)
    async with browsing(api_app, settings=rotated) as client:
        new = (await login(client)).json()["data"]["access_token"]
        assert await tried(client, old) == 200
        assert await tried(client, new) == 200
    async with browsing(api_app, settings=settings_of(jwt_access_secret=OTHER_KEY)) as client:
        assert await tried(client, old) == 401
        assert await tried(client, new) == 200
