"""How passwords are stored and checked (spec/http-auth §2.3)."""

import threading
from collections import Counter
from typing import Any

import httpx2
import pytest
from accounts_room import ARGON2, EMAIL, PASSWORD, SCRYPT, SCRYPT_PASSWORD, WRONG, account, login, value
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from conforme.accounts import passwords
from conforme.accounts.passwords import Verdict, check
from conforme.accounts.secrets import opaque_token, token_hash
from conforme.foundation.database import Database

HEAD, SALT, HASH = "scrypt$1$16384$8$1", SCRYPT.split("$")[5], SCRYPT.split("$")[6]


def test_the_vectors_of_the_contract_hold() -> None:
    assert check(SCRYPT_PASSWORD, SCRYPT) == Verdict(right=True, outdated=True)
    assert check("change-me-124", SCRYPT) == Verdict(right=False)
    assert token_hash("hello") == "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"
    assert len(opaque_token()) == 64


async def test_new_passwords_are_stored_by_argon2id_with_a_salt_of_their_own() -> None:
    one, other = await passwords.hashed(PASSWORD), await passwords.hashed(PASSWORD)
    assert one.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert one != other
    assert await passwords.checked(PASSWORD, one) == Verdict(right=True)
    assert await passwords.checked(WRONG, one) == Verdict(right=False)


def test_a_hash_of_other_parameters_is_good_once_more() -> None:
    cheaper = passwords.PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)
    assert check(PASSWORD, cheaper) == Verdict(right=True, outdated=True)
    assert check(WRONG, cheaper) == Verdict(right=False)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "",
        PASSWORD,
        "$2b$12$abcdefghijklmnopqrstuuLongEnoughToLookLikeBcrypt1234567890",
        ARGON2.replace("argon2id", "argon2i"),
        ARGON2[:-8],
        SCRYPT.replace("scrypt$1", "scrypt$2"),
        f"{SCRYPT}$more",
        f"{HEAD}${SALT}",
        f"{HEAD}$AAECAwQ${HASH}",
        f"{HEAD}${SALT}${HASH[:40]}",
        f"{HEAD}${SALT}$",
        f"{HEAD}${SALT}${HASH}\n",
        f"scrypt$1$16383$8$1${SALT}${HASH}",
        f"scrypt$1$0$8$1${SALT}${HASH}",
        f"scrypt$1$16384$0$1${SALT}${HASH}",
        f"scrypt$1$-16384$8$1${SALT}${HASH}",
        f"scrypt$1$16384$8$1${SALT}${HASH[:-1]}é",
    ],
)
def test_what_is_stored_in_no_known_way_matches_nothing(stored: str | None) -> None:
    for password in (PASSWORD, SCRYPT_PASSWORD, stored or ""):
        assert check(password, stored) == Verdict(right=False)


@pytest.mark.parametrize(
    "stored",
    [
        f"scrypt$1$1048576$8$1${SALT}${HASH}",
        f"scrypt$1$16384$999$1${SALT}${HASH}",
        f"scrypt$1$16384$8$999${SALT}${HASH}",
        ARGON2.replace("m=19456", "m=4194304"),
        ARGON2.replace("t=2", "t=100000"),
    ],
)
def test_a_stored_text_cannot_make_a_check_expensive(stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Any] = []
    monkeypatch.setattr(passwords, "argon2_matches", lambda _, stored: used.append(stored))  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(passwords, "scrypt_matches", lambda _, scrypt: used.append(scrypt))  # pyright: ignore[reportUnknownLambdaType]
    assert check(PASSWORD, stored) == Verdict(right=False)
    assert used == [passwords.ARGON2_STAND_IN, passwords.SCRYPT_OF_NOTHING]


@hypothesis_settings(max_examples=200)
@given(
    st.text(max_size=200)
    | st.from_regex(r"scrypt\$1\$[0-9]{1,8}\$[0-9]{1,4}\$[0-9]{1,4}\$\w{0,30}\$\w{0,60}")
)
def test_no_stored_text_is_read_as_costly_parameters(stored: str) -> None:
    scrypt = passwords.scrypt_of(stored)
    assert scrypt is None or (
        scrypt.n * scrypt.r * scrypt.p <= passwords.MAX_SCRYPT_WORK and scrypt.memory < 2**28
    )


async def test_every_attempt_does_the_same_work_in_a_thread_whether_or_not_there_is_an_account(
    browser: httpx2.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await account(database)
    await account(database, email="old@example.test", password_hash=SCRYPT)
    await account(database, email="off@example.test", status="DISABLED")
    await account(database, email="new@example.test", password_hash=None, status="INVITED")
    done: Counter[str] = Counter()
    threads: set[str] = set()
    for name in ("argon2_matches", "scrypt_matches"):
        real = getattr(passwords, name)

        def counted(password: str, stored: Any, name: str = name, real: Any = real) -> bool:
            done[name] += 1
            threads.add(threading.current_thread().name.split("_")[0])
            return real(password, stored)

        monkeypatch.setattr(passwords, name, counted)
    answers: set[str] = set()
    for email in (EMAIL, "old@example.test", "off@example.test", "new@example.test", "nobody@example.test"):
        done.clear()
        answer = await login(browser, email=email, password=WRONG)
        answers.add(f"{answer.status_code} {answer.text}")
        assert done == {"argon2_matches": 1, "scrypt_matches": 1}, email
    assert answers == {
        '401 {"success":false,"error":"Invalid email or password","code":"AUTHENTICATION_ERROR"}'
    }
    assert threads == {"password"}


async def test_an_old_hash_is_replaced_when_its_owner_signs_in(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database, password_hash=SCRYPT)
    assert (await login(browser, password=WRONG)).status_code == 401
    stored = "select password_hash from users"
    assert await value(database, stored) == SCRYPT
    assert (await login(browser, password=SCRYPT_PASSWORD)).status_code == 200
    renewed = await value(database, stored)
    assert renewed.startswith("$argon2id$")
    assert (await login(browser, password=SCRYPT_PASSWORD)).status_code == 200
    assert await value(database, stored) == renewed
