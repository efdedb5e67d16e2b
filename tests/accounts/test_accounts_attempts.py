"""How often something may be tried: by account and by address, on all replicas together."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import httpx2
import pytest
from accounts_room import (
    EMAIL,
    PASSWORD,
    WRONG,
    account,
    bearer,
    browsing,
    login,
    refresh_token,
    run,
    settings_of,
    value,
    with_settings,
)
from fastapi import FastAPI

from conforme.accounts import passwords
from conforme.accounts.attempts import network_of
from conforme.foundation.database import Database

FEW = settings_of(auth_attempts_per_account=6, auth_attempts_per_address=8, auth_attempts_window_seconds=60)


@pytest.fixture(scope="module")
def strict(api_app: FastAPI) -> FastAPI:
    """A replica that lets nobody try often."""
    return with_settings(api_app, FEW)


def caller(app: FastAPI, address: str) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
    return browsing(app, address=address)


async def statuses(client: httpx2.AsyncClient, times: int, email: str = EMAIL) -> list[int]:
    return [(await login(client, email=email, password=WRONG)).status_code for _ in range(times)]


@pytest.mark.attack("brute force")
async def test_an_address_that_fails_too_often_on_an_account_has_to_wait(
    strict: FastAPI, database: Database
) -> None:
    await account(database)
    async with caller(strict, "203.0.113.1") as client:
        assert await statuses(client, 4) == [401, 401, 401, 429]
        answer = await login(client)
    assert answer.status_code == 429
    assert answer.json() == {
        "success": False,
        "error": "Too many attempts; try again later",
        "code": "RATE_LIMITED",
    }
    assert 0 < int(answer.headers["retry-after"]) <= 60
    async with caller(strict, "203.0.113.2") as owner:
        assert (await login(owner)).status_code == 200


@pytest.mark.attack("user enumeration")
async def test_an_account_that_many_addresses_fail_on_has_to_wait_and_tells_nobody_whether_it_exists(
    strict: FastAPI, database: Database
) -> None:
    await account(database)
    seen: dict[str, list[tuple[int, str]]] = {}
    for email in (EMAIL, "nobody@example.test"):
        seen[email] = []
        for number in range(4):
            async with caller(strict, f"203.0.113.{number}") as client:
                for _ in range(2):
                    answer = await login(client, email=email, password=WRONG)
                    seen[email].append((answer.status_code, answer.text))
    assert [status for status, _ in seen[EMAIL]] == [401] * 6 + [429] * 2
    assert seen[EMAIL] == seen["nobody@example.test"]


async def test_an_address_alone_cannot_lock_an_account(strict: FastAPI, database: Database) -> None:
    await account(database)
    async with caller(strict, "203.0.113.1") as client:
        assert (await statuses(client, 20))[3:] == [429] * 17
    async with caller(strict, "203.0.113.2") as owner:
        assert (await login(owner)).status_code == 200


@pytest.mark.attack("brute force")
async def test_guesses_made_at_once_and_on_several_replicas_do_not_slip_through(
    api_app: FastAPI, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await account(database)
    checked: list[str] = []
    real = passwords.check

    def counted(password: str, stored: str | None) -> passwords.Verdict:
        checked.append(password)
        return real(password, stored)

    monkeypatch.setattr(passwords, "check", counted)
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(caller(with_settings(api_app, FEW), "203.0.113.1"))
            for _ in range(3)
        ]
        answers = await asyncio.gather(*(login(replicas[n % 3], password=WRONG) for n in range(12)))
    assert sorted(answer.status_code for answer in answers) == [401] * 3 + [429] * 9
    assert len(checked) == 3


async def test_a_login_that_succeeds_clears_the_account_and_costs_the_address_nothing(
    strict: FastAPI, database: Database
) -> None:
    await account(database)
    async with caller(strict, "203.0.113.1") as client:
        for _ in range(3):
            assert await statuses(client, 2) == [401, 401]
            assert (await login(client)).status_code == 200
        assert await value(database, "select sum(count) from attempts") == 6
        for _ in range(20):
            client.cookies.set("refresh_token", refresh_token(await login(client)), path="/api/auth")
            assert (await client.post("/api/auth/refresh")).status_code == 200
        assert await statuses(client, 3) == [401, 401, 429]


@pytest.mark.attack("brute force")
async def test_an_address_has_one_limit_for_all_it_tries(strict: FastAPI, database: Database) -> None:
    async with caller(strict, "203.0.113.1") as client:
        tried = [
            await client.post("/api/auth/refresh", json={"refresh_token": "x" * 64}),
            await client.post(
                "/api/auth/invite/accept", json={"invite_token": "x" * 64, "password": PASSWORD}
            ),
        ]
        tried += [await login(client, email=f"nobody{n}@example.test") for n in range(6)]
        assert [answer.status_code for answer in tried] == [401] * 8
        refused = [
            await client.post("/api/auth/refresh", json={"refresh_token": "x" * 64}),
            await client.post(
                "/api/auth/invite/accept", json={"invite_token": "x" * 64, "password": PASSWORD}
            ),
            await login(client),
        ]
        assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(429, "RATE_LIMITED")}
        assert all("retry-after" in answer.headers for answer in refused)
    async with caller(strict, "203.0.113.2") as other:
        assert (await login(other)).status_code == 401


@pytest.mark.attack("brute force")
async def test_guesses_of_the_current_password_count_with_those_at_the_login(
    strict: FastAPI, database: Database
) -> None:
    await account(database)
    async with caller(strict, "203.0.113.1") as client:
        headers = bearer(await login(client))
        body = {"current_password": WRONG, "new_password": "quite another one"}
        tries = [await client.post("/api/auth/password", json=body, headers=headers) for _ in range(3)]
        assert [answer.status_code for answer in tries] == [401] * 3
        good = await client.post(
            "/api/auth/password", json=body | {"current_password": PASSWORD}, headers=headers
        )
        assert good.status_code == 429
        assert (await login(client)).status_code == 429


async def test_waiting_helps(strict: FastAPI, database: Database) -> None:
    await account(database)
    async with caller(strict, "203.0.113.1") as client:
        assert await statuses(client, 4) == [401, 401, 401, 429]
        await run(database, "update attempts set window_ends = now()")
        assert (await login(client)).status_code == 200


async def test_what_is_counted_names_no_account_and_no_address(strict: FastAPI, database: Database) -> None:
    async with caller(strict, "203.0.113.1") as client:
        await statuses(client, 1)
    keys = await value(database, "select string_agg(key, ' ') from attempts")
    assert "example" not in keys
    assert "203" not in keys.split()[0].split(":")[0]
    assert len(keys.split()) == 3


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("a socket", "a socket"),
        (None, "unknown"),
    ],
)
def test_one_subscriber_is_one_caller(address: str | None, network: str) -> None:
    assert network_of(address) == network
