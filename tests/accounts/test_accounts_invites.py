"""Accepting an invitation (spec/http-auth §2.5)."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from accounts_room import EMAIL, PASSWORD, account, bearer, logged, login, run, told, value

from conforme.accounts.invites import mint_invite
from conforme.foundation.database import Database

WEEK = timedelta(days=7)


async def invited(database: Database) -> tuple[int, str]:
    """A person without a password, and their invitation."""
    user_id = await account(database, password_hash=None, status="INVITED")
    return user_id, await minted(database, user_id)


async def minted(database: Database, user_id: int, ttl: timedelta = WEEK) -> str:
    async with database.write() as session:
        return await mint_invite(session, user_id, ttl)


async def accept(client: httpx2.AsyncClient, token: str, password: str = PASSWORD) -> httpx2.Response:
    body = {"invite_token": token, "password": password}
    return await client.post("/api/auth/invite/accept", json=body)


async def test_accepting_sets_the_password_and_signs_in(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    user_id, token = await invited(database)
    assert len(token) == 64
    assert (await login(browser)).status_code == 401
    answer = await accept(browser, token)
    assert answer.status_code == 200
    assert answer.json()["data"]["user"]["email"] == EMAIL
    assert len(answer.cookies["refresh_token"]) == 64
    assert (await browser.get("/api/auth/me", headers=bearer(answer))).status_code == 200
    assert await value(database, "select status || (last_login_at is not null) from users") == "ACTIVEtrue"
    assert (await login(browser)).status_code == 200
    assert await logged(database) == [(f"user:{user_id}", "invite.accepted", f"user:{user_id}")]
    assert await value(database, "select token_hash from user_invite_tokens") != token


async def test_each_refusal_has_its_own_sentence(browser: httpx2.AsyncClient, database: Database) -> None:
    _, token = await invited(database)
    assert told(await accept(browser, "x" * 64)) == (401, "Invalid invite token")
    await run(database, "update users set status = 'DISABLED'")
    assert told(await accept(browser, token)) == (401, "Invite token invalid")
    await run(database, "update users set status = 'INVITED'")
    await run(database, "update user_invite_tokens set expires_at = now()")
    assert told(await accept(browser, token)) == (401, "Invite token expired")
    await run(database, "update user_invite_tokens set used_at = now()")
    assert told(await accept(browser, token)) == (401, "Invite token already used")
    assert await value(database, "select count(*) from users where password_hash is not null") == 0
    assert await value(database, "select count(*) from sessions") == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "invite_token"),
        ({"invite_token": "x" * 19, "password": PASSWORD}, "invite_token"),
        ({"invite_token": "x" * 501, "password": PASSWORD}, "invite_token"),
        ({"invite_token": "x" * 64 + "\0", "password": PASSWORD}, "invite_token"),
        ({"invite_token": "x" * 64, "password": "1234567"}, "password"),
        ({"invite_token": "x" * 64, "password": "x" * 201}, "password"),
    ],
)
async def test_what_cannot_be_an_invitation_is_named(
    browser: httpx2.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await browser.post("/api/auth/invite/accept", json=body)
    assert (answer.status_code, answer.json()["details"][0]["field"]) == (400, field)


@pytest.mark.attack("invite replay and race")
async def test_an_invitation_is_good_for_one_use_however_many_try_at_once(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    _, token = await invited(database)
    answers = await asyncio.gather(*(accept(browser, token, f"password number {n}") for n in range(4)))
    through = [answer for answer in answers if answer.status_code == 200]
    assert len(through) == 1
    refused = {told(answer) for answer in answers if answer.status_code != 200}
    assert refused == {(401, "Invite token already used")}
    assert await value(database, "select count(*) from sessions") == 1


@pytest.mark.attack("invite replay and race")
async def test_a_newer_invitation_supersedes_the_older_ones(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    user_id, first = await invited(database)
    other = await account(database, email="other@example.test", password_hash=None, status="INVITED")
    others = await minted(database, other)
    second = await minted(database, user_id)
    assert told(await accept(browser, first)) == (401, "Invite token expired")
    assert (await accept(browser, second)).status_code == 200
    assert (await accept(browser, others)).status_code == 200


async def test_of_invitations_made_at_once_one_is_good(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    user_id, _ = await invited(database)
    await asyncio.gather(*(minted(database, user_id) for _ in range(4)))
    good = "select count(*) from user_invite_tokens where used_at is null and expires_at > now()"
    assert await value(database, good) == 1


async def test_an_invitation_lasts_as_long_as_it_was_made_for(database: Database) -> None:
    user_id = await account(database, status="INVITED")
    await minted(database, user_id, timedelta(hours=1))
    lasts = "select extract(epoch from expires_at - created_at)::int from user_invite_tokens"
    assert await value(database, lasts) == 3600
