"""The refresh cookie (spec/http-auth §2.4), and which pages may make a browser send it."""

from http.cookies import SimpleCookie
from typing import Any

import httpx2
import pytest
from accounts_room import (
    account,
    browsing,
    login,
    refresh_token,
    settings_of,
    told,
    value,
)
from fastapi import FastAPI
from pydantic import ValidationError

from conforme.foundation.database import Database
from conforme.settings import Settings

LISTED = "http://localhost:5173"
OWN = "https://conforme.test"
FOREIGN = "https://evil.example.test"


def cookie_of(answer: httpx2.Response) -> dict[str, Any]:
    (header,) = answer.headers.get_list("set-cookie")
    ((name, morsel),) = SimpleCookie(header).items()
    return {"name": name, "value": morsel.value} | {key: said for key, said in morsel.items() if said}


async def test_the_cookie_has_the_attributes_of_the_contract(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database)
    answer = await login(browser)
    kept = cookie_of(answer)
    assert kept == {
        "name": "refresh_token",
        "value": refresh_token(answer),
        "path": "/api/auth",
        "max-age": "2592000",
        "httponly": True,
        "samesite": "lax",
    }
    cleared = cookie_of(await browser.post("/api/auth/logout"))
    same = {key: kept[key] for key in ("name", "path", "httponly", "samesite")}
    assert cleared == same | {"value": "", "expires": "Thu, 01 Jan 1970 00:00:00 GMT"}


@pytest.mark.parametrize(
    ("changes", "secure", "samesite"),
    [
        ({"node_env": "production"}, True, "lax"),
        ({"node_env": "development"}, False, "lax"),
        ({"node_env": "production", "auth_cookie_secure": "false"}, False, "lax"),
        ({"auth_cookie_secure": "1", "auth_cookie_samesite": "strict"}, True, "strict"),
        ({"auth_cookie_secure": "true", "auth_cookie_samesite": "none"}, True, "none"),
    ],
)
async def test_the_cookie_follows_its_settings(
    api_app: FastAPI, database: Database, changes: dict[str, Any], secure: bool, samesite: str
) -> None:
    await account(database)
    chosen = settings_of(**changes, auth_refresh_cookie_name="again", auth_refresh_ttl_seconds=120)
    async with browsing(api_app, settings=chosen) as client:
        opened, refreshed, out = (
            cookie_of(await login(client)),
            cookie_of(await client.post("/api/auth/refresh")),
            cookie_of(await client.post("/api/auth/logout")),
        )
    for cookie in (opened, refreshed, out):
        assert cookie["name"] == "again"
        assert (bool(cookie.get("secure")), cookie["samesite"]) == (secure, samesite)
    assert opened["max-age"] == refreshed["max-age"] == "120"


def test_a_cookie_that_browsers_would_drop_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="AUTH_COOKIE_SECURE"):
        Settings.model_validate({"auth_cookie_samesite": "none", "auth_cookie_secure": False})


@pytest.mark.attack("cross-site request")
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": FOREIGN},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "https://conforme.test.evil.example.test"},
        {"Origin": "https://conforme.test:8443"},
        {"Origin": "http://conforme.test"},
        {"Origin": "ftp://conforme.test"},
        {"Origin": "https://[conforme.test"},
        {"Origin": "http://localhost:5175"},
        {"Origin": FOREIGN, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "Cross-Site"},
    ],
)
async def test_a_foreign_page_changes_nothing_with_the_cookie(
    browser: httpx2.AsyncClient, database: Database, headers: dict[str, str]
) -> None:
    await account(database)
    await login(browser)
    for path in ("refresh", "logout", "login", "invite/accept", "password", "logout-everywhere"):
        answer = await browser.post(f"/api/auth/{path}", headers=headers)
        assert told(answer) == (403, "Forbidden"), path
        assert answer.json()["code"] == "AUTHORIZATION_ERROR"
        assert "set-cookie" not in answer.headers
    changed = "select count(*) from refresh_tokens where revoked_at is not null"
    assert await value(database, changed) == 0
    assert await value(database, "select count(*) from sessions where ended_at is not null") == 0
    assert (await browser.post("/api/auth/refresh")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": OWN},
        {"Origin": OWN, "Sec-Fetch-Site": "same-origin"},
        {"Origin": LISTED},
        {"Origin": LISTED, "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_pages_of_ours_and_of_allowed_origins_use_the_cookie(
    browser: httpx2.AsyncClient, database: Database, headers: dict[str, str]
) -> None:
    await account(database)
    await login(browser)
    assert (await browser.post("/api/auth/refresh", headers=headers)).status_code == 200
    assert (await browser.post("/api/auth/logout", headers=headers)).status_code == 200


async def test_behind_a_proxy_that_ends_tls_the_own_origin_is_still_ours(
    api_app: FastAPI, database: Database
) -> None:
    await account(database)
    async with browsing(api_app, base="http://conforme.test") as client:
        await login(client)
        for origin in ("https://conforme.test", "http://conforme.test"):
            answer = await client.post("/api/auth/refresh", headers={"Origin": origin})
            assert answer.status_code == 200


async def test_a_token_in_the_body_is_no_matter_of_pages(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database)
    token = refresh_token(await login(browser))
    browser.cookies.clear()
    body = {"refresh_token": token}
    answer = await browser.post("/api/auth/refresh", json=body, headers={"Origin": FOREIGN})
    assert answer.status_code == 200


@pytest.mark.attack("cross-site request")
async def test_a_form_of_another_page_signs_nobody_in(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database)
    body = '{"email": "camille.orvane@example.test", "password": "a long enough one"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        headers = {"Content-Type": kind, "Origin": FOREIGN}
        answer = await browser.post("/api/auth/login", content=body, headers=headers)
        assert answer.status_code == 400, kind
    assert await value(database, "select count(*) from sessions") == 0
