"""Signing in, staying signed in and signing out (spec/http-auth §2.5)."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from accounts_room import (
    EMAIL,
    PASSWORD,
    WRONG,
    account,
    bearer,
    browsing,
    logged,
    login,
    refresh_token,
    run,
    settings_of,
    signed_in_at,
    told,
    value,
)
from fastapi import FastAPI

from conforme.accounts import passwords
from conforme.accounts.sessions import end_sessions
from conforme.foundation.database import Database

ENDED = "select coalesce(string_agg(ended_because, ',' order by created_at), '') from sessions"
REVOKED = (401, "Refresh token revoked")


async def refreshed(client: httpx2.AsyncClient, token: str) -> httpx2.Response:
    """Refreshes with this token in the body, and no cookie."""
    client.cookies.clear()
    answer = await client.post("/api/auth/refresh", json={"refresh_token": token})
    client.cookies.clear()
    return answer


async def me(client: httpx2.AsyncClient, headers: dict[str, str]) -> httpx2.Response:
    return await client.get("/api/auth/me", headers=headers)


async def test_a_login_gives_tokens_and_says_who_signed_in(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    user_id = await account(database, keys=["fiches", "audits"])
    answer = await login(browser, email="  Camille.Orvane@Example.TEST ")
    data = answer.json()["data"]
    grants = [
        {"key": key, "read": True, "write": True, "read_scope": "GROUP", "write_scope": "GROUP"}
        for key in ("audits", "fiches")
    ]
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "data": {
            "access_token": data["access_token"],
            "token_type": "Bearer",
            "expires_in": 900,
            "user": {
                "id": str(user_id),
                "email": EMAIL,
                "roles": ["auditor"],
                "crm_user_id": "211",
                "groupes": [],
                "permissions": grants,
            },
        },
    }
    assert len(refresh_token(answer)) == 64
    shown = await me(browser, bearer(answer))
    assert (shown.status_code, shown.json()) == (200, {"success": True, "data": {"user": data["user"]}})


async def test_a_session_knows_where_it_came_from_and_no_token_is_stored(
    api_app: FastAPI, database: Database
) -> None:
    await account(database)
    async with browsing(api_app, address="203.0.113.7") as client:
        client.headers["User-Agent"] = "Browser/" + "x" * 500
        answer = await login(client)
    for table in ("sessions", "refresh_tokens"):
        row = await value(database, f"select created_by_ip || ' ' || user_agent from {table}")  # noqa: S608
        assert row == "203.0.113.7 Browser/" + "x" * 292
    stored = await value(database, "select token_hash from refresh_tokens")
    assert len(stored) == 43
    assert stored not in answer.text
    assert await value(database, "select last_login_at > now() - interval '1 minute' from users")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "email"),
        ({"email": EMAIL}, "password"),
        ({"email": "no address", "password": PASSWORD}, "email"),
        ({"email": "two@@example.test", "password": PASSWORD}, "email"),
        ({"email": "x" * 250 + "@example.test", "password": PASSWORD}, "email"),
        ({"email": "camille.orvane@example.test\0", "password": PASSWORD}, "email"),
        ({"email": "\u212aim@example.test", "password": PASSWORD}, "email"),
        ({"email": 3, "password": PASSWORD}, "email"),
        ({"email": EMAIL, "password": "1234567"}, "password"),
        ({"email": EMAIL, "password": "x" * 201}, "password"),
        ({"email": EMAIL, "password": "a long \0 enough one"}, "password"),
        ({"email": EMAIL, "password": "a long \ud800 enough one"}, "password"),
        ({"email": EMAIL, "password": ["a long enough one"]}, "password"),
        ([], "body"),
    ],
)
async def test_a_login_that_cannot_be_names_what_is_wrong(
    browser: httpx2.AsyncClient, body: Any, field: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await browser.post("/api/auth/login", content=json.dumps(body), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert answer.json()["details"][0]["field"] == field
    assert "long" not in answer.text.replace("too long", "")


async def test_a_login_changed_under_way_is_refused(
    browser: httpx2.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await account(database)
    real = passwords.checked
    for change in ("status = 'DISABLED'", "status = 'ACTIVE', password_hash = 'x'"):

        async def then_changed(password: str, stored: str | None, change: str = change) -> passwords.Verdict:
            verdict = await real(password, stored)
            await run(database, f"update users set {change}")  # noqa: S608
            return verdict

        monkeypatch.setattr(passwords, "checked", then_changed)
        assert told(await login(browser)) == (401, "Invalid email or password")
        await run(database, "update users set status = 'ACTIVE'")
    assert await value(database, "select count(*) from sessions") == 0


@pytest.mark.attack("session fixation")
async def test_a_login_is_a_new_session_whatever_cookie_it_came_with(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database)
    await account(database, email="mallory@example.test")
    planted = refresh_token(await login(browser, email="mallory@example.test"))
    browser.cookies.set("refresh_token", planted, domain="conforme.test", path="/api/auth")
    victim = await login(browser)
    assert refresh_token(victim) != planted
    assert await value(database, "select count(distinct id) from sessions") == 2
    assert victim.json()["data"]["user"]["email"] == EMAIL
    again = await refreshed(browser, planted)
    assert again.json()["data"]["user"]["email"] == "mallory@example.test"


async def test_a_refresh_token_is_good_for_one_use_and_the_cookie_wins_over_the_body(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database)
    first = await login(browser)
    second = await browser.post("/api/auth/refresh", json={"refresh_token": "x" * 64})
    assert second.status_code == 200
    assert second.json()["data"].keys() == first.json()["data"].keys()
    assert refresh_token(second) != refresh_token(first)
    third = await refreshed(browser, refresh_token(second))
    assert third.status_code == 200
    chain = "select count(*) from refresh_tokens where revoked_at is not null and replaced_by_id is not null"
    assert await value(database, chain) == 2
    assert await value(database, "select count(*) from sessions") == 1


async def test_claims_follow_the_database_at_each_refresh(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database, keys=["audits"])
    await login(browser)
    await run(database, "update role_permissions set scope = 'SELF', can_write = false")
    answer = await browser.post("/api/auth/refresh")
    assert answer.json()["data"]["user"]["permissions"] == [
        {"key": "audits", "read": True, "write": False, "read_scope": "SELF", "write_scope": "SELF"}
    ]


async def test_each_refusal_of_a_refresh_has_its_own_sentence(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database)
    token = refresh_token(await login(browser))
    browser.cookies.clear()
    assert told(await browser.post("/api/auth/refresh")) == (401, "Missing refresh token")
    assert told(await refreshed(browser, "x" * 64)) == (401, "Invalid refresh token")
    empty = await browser.post("/api/auth/refresh", json={"refresh_token": ""})
    assert (empty.status_code, empty.json()["details"][0]["field"]) == (400, "refresh_token")
    await run(database, "update users set status = 'DISABLED'")
    assert told(await refreshed(browser, token)) == (401, "User is disabled")
    await run(database, "update users set status = 'INVITED'")
    assert told(await refreshed(browser, token)) == (401, "User is disabled")
    await run(database, "update users set status = 'ACTIVE'")
    await run(database, "update refresh_tokens set expires_at = now()")
    assert told(await refreshed(browser, token)) == (401, "Refresh token expired")
    await run(database, "update refresh_tokens set revoked_at = now() - interval '1 hour'")
    assert told(await refreshed(browser, token)) == REVOKED
    assert (await refreshed(browser, token)).json()["code"] == "AUTHENTICATION_ERROR"


@pytest.mark.attack("refresh race")
async def test_of_six_refreshes_at_once_one_gets_through_and_the_session_lives(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database)
    token = refresh_token(await login(browser))
    browser.cookies.clear()
    body = {"refresh_token": token}
    answers = await asyncio.gather(*(browser.post("/api/auth/refresh", json=body) for _ in range(6)))
    through = [answer for answer in answers if answer.status_code == 200]
    assert len(through) == 1
    assert [told(answer) for answer in answers if answer.status_code != 200] == [REVOKED] * 5
    assert await value(database, ENDED) == ""
    assert (await me(browser, bearer(through[0]))).status_code == 200
    assert (await refreshed(browser, refresh_token(through[0]))).status_code == 200


@pytest.mark.attack("refresh replay")
async def test_a_used_token_ends_the_session_once_its_successor_was_used(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    user_id = await account(database)
    other = await login(browser)
    first = await login(browser)
    second = await refreshed(browser, refresh_token(first))
    third = await refreshed(browser, refresh_token(second))
    assert told(await refreshed(browser, refresh_token(first))) == REVOKED
    assert told(await refreshed(browser, refresh_token(third))) == REVOKED
    assert (await me(browser, bearer(third))).status_code == 401
    assert await value(database, ENDED) == "replay"
    assert told(await refreshed(browser, refresh_token(first))) == REVOKED
    assert await logged(database) == [(f"user:{user_id}", "session.replayed", f"user:{user_id}")]
    assert (await refreshed(browser, refresh_token(other))).status_code == 200


@pytest.mark.attack("refresh replay")
async def test_a_used_token_ends_the_session_after_the_grace(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database)
    first = await login(browser)
    second = await refreshed(browser, refresh_token(first))
    assert told(await refreshed(browser, refresh_token(first))) == REVOKED
    assert await value(database, ENDED) == ""
    await run(database, "update refresh_tokens set revoked_at = revoked_at - interval '11 seconds'")
    assert told(await refreshed(browser, refresh_token(first))) == REVOKED
    assert await value(database, ENDED) == "replay"
    assert told(await refreshed(browser, refresh_token(second))) == REVOKED


@pytest.mark.attack("refresh replay")
async def test_without_grace_a_second_use_ends_the_session_at_once(
    api_app: FastAPI, database: Database
) -> None:
    await account(database)
    async with browsing(api_app, settings=settings_of(auth_refresh_grace_seconds=0)) as client:
        first = await login(client)
        assert (await refreshed(client, refresh_token(first))).status_code == 200
        assert told(await refreshed(client, refresh_token(first))) == REVOKED
    assert await value(database, ENDED) == "replay"


async def test_a_session_ends_idle_and_at_its_absolute_end(api_app: FastAPI, database: Database) -> None:
    await account(database)
    chosen = settings_of(auth_refresh_ttl_seconds=600, auth_session_max_seconds=900)
    async with browsing(api_app, settings=chosen) as client:
        first = await login(client)
        lasts = "select extract(epoch from max(expires_at) - now())::int from refresh_tokens"
        assert 590 <= await value(database, lasts) <= 600
        await run(database, "update sessions set expires_at = expires_at - interval '600 seconds'")
        second = await refreshed(client, refresh_token(first))
        outlives = "select count(*) from refresh_tokens t join sessions s on s.id = session_id"
        assert (
            await value(database, f"{outlives} where t.revoked_at is null and t.expires_at > s.expires_at")
            == 0
        )
        await run(database, "update sessions set expires_at = now()")
        assert told(await refreshed(client, refresh_token(second))) == (401, "Refresh token expired")
        assert (await me(client, bearer(second))).status_code == 401


@pytest.mark.parametrize("way", ["cookie", "body", "access token"])
async def test_logging_out_ends_the_session_at_once(
    browser: httpx2.AsyncClient, database: Database, way: str
) -> None:
    await account(database)
    answer = await login(browser)
    token = refresh_token(answer)
    if way != "cookie":
        browser.cookies.clear()
    out = await browser.post(
        "/api/auth/logout",
        json={"refresh_token": token} if way == "body" else {},
        headers=bearer(answer) if way == "access token" else {},
    )
    assert (out.status_code, out.json()) == (200, {"success": True, "data": {"logged_out": True}})
    assert (await me(browser, bearer(answer))).status_code == 401
    assert told(await refreshed(browser, token)) == REVOKED
    assert await value(database, ENDED) == "logout"


async def test_logging_out_succeeds_for_whoever_is_out(browser: httpx2.AsyncClient) -> None:
    for body in ({}, {"refresh_token": "x" * 64}):
        answer = await browser.post("/api/auth/logout", json=body)
        assert (answer.status_code, answer.json()["data"]) == (200, {"logged_out": True})


async def test_logging_out_everywhere_ends_every_session_of_the_caller_alone(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database)
    await account(database, email="other@example.test")
    answers = [await login(browser) for _ in range(3)]
    other = await login(browser, email="other@example.test")
    browser.cookies.clear()
    assert (await browser.post("/api/auth/logout-everywhere")).status_code == 401
    out = await browser.post("/api/auth/logout-everywhere", headers=bearer(answers[0]))
    assert (out.status_code, out.json()["data"]) == (200, {"logged_out": True})
    for answer in answers:
        assert (await me(browser, bearer(answer))).status_code == 401
        assert told(await refreshed(browser, refresh_token(answer))) == REVOKED
    assert (await me(browser, bearer(other))).status_code == 200


async def test_a_new_password_ends_all_sessions_and_gives_the_caller_new_tokens(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    user_id = await account(database)
    elsewhere, here = await login(browser), await login(browser)
    new = "quite another one"
    body = {"current_password": PASSWORD, "new_password": new}
    answer = await browser.post("/api/auth/password", json=body, headers=bearer(here))
    assert answer.status_code == 200, answer.text
    assert (await me(browser, bearer(answer))).status_code == 200
    for before in (elsewhere, here):
        assert (await me(browser, bearer(before))).status_code == 401
        assert told(await refreshed(browser, refresh_token(before))) == REVOKED
    assert (await refreshed(browser, refresh_token(answer))).status_code == 200
    assert (await login(browser, password=PASSWORD)).status_code == 401
    assert (await login(browser, password=new)).status_code == 200
    assert await logged(database) == [(f"user:{user_id}", "password.changed", f"user:{user_id}")]


async def test_a_password_is_changed_only_by_who_knows_the_current_one(
    browser: httpx2.AsyncClient, api_token: str, database: Database
) -> None:
    await account(database)
    headers = await signed_in_at(browser)
    stored = await value(database, "select password_hash from users")
    for body, status in (
        ({"current_password": WRONG, "new_password": "quite another one"}, 401),
        ({"current_password": PASSWORD, "new_password": "short"}, 400),
        ({"new_password": "quite another one"}, 400),
    ):
        answer = await browser.post("/api/auth/password", json=body, headers=headers)
        assert answer.status_code == status
    good = {"current_password": PASSWORD, "new_password": "quite another one"}
    wrong = await browser.post("/api/auth/password", json=good | {"current_password": WRONG}, headers=headers)
    assert told(wrong) == (401, "Invalid current password")
    machine = {"Authorization": f"Bearer {api_token}"}
    for caller in ({}, machine):
        assert (await browser.post("/api/auth/password", json=good, headers=caller)).status_code == 401
    assert await value(database, "select password_hash from users") == stored
    assert (await me(browser, headers)).status_code == 200


async def test_what_ends_a_users_sessions_can_spare_one(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    user_id = await account(database)
    first = await login(browser)
    kept = await value(database, "select id from sessions")
    second = await login(browser)
    async with database.write() as session:
        assert await end_sessions(session, user_id, "disabled", except_session=kept) == 1
        assert await end_sessions(session, user_id, "disabled", except_session=kept) == 0
    assert (await me(browser, bearer(first))).status_code == 200
    assert (await me(browser, bearer(second))).status_code == 401


async def test_only_an_access_token_of_a_session_says_who_one_is(
    browser: httpx2.AsyncClient, api_token: str, database: Database
) -> None:
    await account(database)
    headers = await signed_in_at(browser)
    missing, invalid = (401, "Missing access token"), (401, "Invalid or expired access token")
    assert told(await me(browser, {})) == missing
    assert told(await me(browser, {"Authorization": "Basic eDp5"})) == missing
    for credential in (api_token, "cfm_" + "x" * 60, "x.y.z", browser.cookies["refresh_token"]):
        assert told(await me(browser, {"Authorization": f"Bearer {credential}"})) == invalid
    assert told(await me(browser, {"X-API-Key": api_token})) == invalid
    await run(database, "update users set status = 'DISABLED'")
    assert told(await me(browser, headers)) == invalid
    await run(database, "delete from users")
    assert told(await me(browser, headers)) == (401, "User not found")


@pytest.mark.attack("token in a URL")
async def test_a_token_in_a_url_opens_nothing(
    browser: httpx2.AsyncClient, api_token: str, database: Database
) -> None:
    await account(database, keys=["audits"])
    answer = await login(browser)
    refresh, access = refresh_token(answer), answer.json()["data"]["access_token"]
    browser.cookies.clear()
    for token in (access, api_token):
        for name in (
            "access_token",
            "token",
            "authorization",
            "Authorization",
            "api_key",
            "X-API-Key",
            "apikey",
        ):
            assert (await browser.get(f"/api/audits?{name}={token}")).status_code == 401
            assert (await browser.get(f"/api/auth/me?{name}={token}")).status_code == 401
    asked = await browser.post(f"/api/auth/refresh?refresh_token={refresh}")
    assert told(asked) == (401, "Missing refresh token")


async def test_without_a_key_nobody_signs_in_and_nothing_changes(
    api_app: FastAPI, api_token: str, database: Database
) -> None:
    await account(database)
    async with browsing(api_app) as client:
        opened = await login(client)
    async with browsing(api_app, settings=settings_of(jwt_access_secret=None)) as client:
        for path, body in (
            ("login", {"email": EMAIL, "password": PASSWORD}),
            ("refresh", {"refresh_token": refresh_token(opened)}),
            ("invite/accept", {"invite_token": "x" * 64, "password": PASSWORD}),
        ):
            answer = await client.post(f"/api/auth/{path}", json=body)
            assert (answer.status_code, answer.json()) == (
                500,
                {
                    "success": False,
                    "error": "Configuration error: JWT_ACCESS_SECRET is required",
                    "code": "CONFIGURATION_ERROR",
                },
            )
        assert (await client.get("/api/audits", headers=bearer(opened))).status_code == 401
        assert (await client.get("/health", headers=bearer(opened))).status_code == 200
        machine = {"Authorization": f"Bearer {api_token}"}
        assert (await client.get("/api/audits", headers=machine)).status_code == 200
        assert (await client.post("/api/auth/logout")).status_code == 200
    assert await value(database, "select count(*) from attempts where count > 0") == 0
    assert await value(database, "select count(*) from refresh_tokens where revoked_at is null") == 1
