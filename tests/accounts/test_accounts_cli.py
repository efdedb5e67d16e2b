"""`conforme users` and `conforme audit-log`, as a person types them."""

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from admin_room import PASSWORD, fits, logged, open_sessions
from sqlalchemy import update
from typer.testing import CliRunner, Result

from conforme.accounts import queries
from conforme.accounts.actor import Scope
from conforme.accounts.models import User
from conforme.cli import app, main
from conforme.foundation.database import Database
from people import everything_within, signed_in
from product_fixtures import SETTINGS

EMAIL = "ana@example.test"


@pytest.fixture
def url(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CONFORME_DATA", str(tmp_path))
    monkeypatch.setenv("LOG_LEVEL", "error")
    return database_url


def conforme(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=given)


def create_admin(password: str = PASSWORD, email: str = EMAIL) -> Result:
    return conforme("users", "create-admin", "--email", email, "--password-stdin", given=f"{password}\n")


async def _user(database: Database, email: str = EMAIL) -> tuple[User, tuple[str, ...]]:
    async with database.read() as session:
        user = await queries.user_with_email(session, email)
        assert user is not None
        account = await queries.account(session, user.id)
        assert account is not None
        return user, account.roles


async def in_thread(command: Callable[[], Result]) -> Result:
    """A command has a loop of its own."""
    return await asyncio.to_thread(command)


async def test_the_first_administrator_is_made_on_an_empty_database(url: str, database: Database) -> None:
    answer = await in_thread(create_admin)
    assert answer.exit_code == 0, answer.output
    user, roles = await _user(database)
    assert answer.output.strip() == f"Created administrator {user.id}"
    assert (user.status, roles) == ("ACTIVE", ("admin",))
    assert fits(PASSWORD, user.password_hash)
    (row,) = await logged(database, "user.created")
    assert (row.actor, row.target) == ("system:cli", f"user:{user.id}")
    assert EMAIL not in str((row.details, row.target))


async def test_whoever_has_the_email_becomes_an_administrator_and_signs_in_anew(
    url: str, database: Database
) -> None:
    person = await signed_in(database, SETTINGS, everything_within(Scope.SELF))
    async with database.write() as session:
        await session.execute(update(User).values(status="DISABLED", email=EMAIL))
    answer = await in_thread(create_admin)
    assert answer.output.strip() == f"Promoted administrator {person.id}"
    user, roles = await _user(database)
    assert user.status == "ACTIVE"
    assert "admin" in roles
    assert fits(PASSWORD, user.password_hash)
    assert await open_sessions(database, person.id) == 0
    assert {row.actor for row in await logged(database, "user.changed")} == {"system:cli"}


@pytest.mark.parametrize(
    ("password", "email", "said"),
    [
        ("1234567", EMAIL, "The password must have 8 to 200 characters"),
        ("", EMAIL, "The password must have 8 to 200 characters"),
        ("x" * 201, EMAIL, "The password must have 8 to 200 characters"),
        (PASSWORD, "nobody", "--email must be an e-mail address"),
    ],
)
def test_a_weak_password_or_no_email_makes_nobody(
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    password: str,
    email: str,
    said: str,
) -> None:
    refused = create_admin(password, email)
    assert refused.exit_code != 0
    assert said in str(refused.exception)
    assert password == "" or password not in refused.output
    monkeypatch.setattr(sys, "argv", ["conforme", "users", "create-admin", "--email", "nobody"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "conforme: --email must be an e-mail address\n"
    assert conforme("users", "list").output == ""


def test_without_a_terminal_the_password_is_not_asked_for(url: str) -> None:
    answer = conforme("users", "create-admin", "--email", EMAIL, given=f"{PASSWORD}\n{PASSWORD}\n")
    assert answer.exit_code == 2
    assert "--password-stdin" in answer.output
    assert conforme("users", "list").output == ""


def _typed(url: str, *lines: str) -> tuple[int, str]:
    """Exit code and all that a terminal showed of `create-admin`, with these lines typed when asked."""
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).with_name("conforme")), "users", "create-admin", "--email", EMAIL]
    environment = {**os.environ, "DATABASE_URL": url, "LOG_LEVEL": "error"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        for line in lines:
            asked = shown.count(b": ")
            while shown.count(b": ") == asked:
                shown += os.read(ours, 1024)
            os.write(ours, f"{line}\n".encode())
        try:
            while read := os.read(ours, 1024):
                shown += read
        except OSError:  # the other end is closed
            pass
        code = process.wait(60)
    os.close(ours)
    return code, shown.decode()


def test_on_a_terminal_the_password_is_asked_for_twice_and_never_shown(url: str) -> None:
    code, shown = _typed(url, PASSWORD, PASSWORD)
    assert code == 0, shown
    assert "Created administrator" in shown
    assert PASSWORD not in shown
    assert EMAIL in conforme("users", "list").output


def test_everybody_is_listed(url: str) -> None:
    create_admin()
    create_admin(email="bob@example.test")
    lines = conforme("users", "list").output.splitlines()
    assert [line.split() for line in lines] == [
        ["1", "ACTIVE", EMAIL, "(admin)"],
        ["2", "ACTIVE", "bob@example.test", "(admin)"],
    ]


def test_an_unbroken_log_tells_its_rows_and_its_head(url: str) -> None:
    empty = conforme("audit-log", "verify")
    assert (empty.exit_code, empty.output) == (0, f"0 rows, unbroken; head {'0' * 64}\n")
    create_admin()
    answer = conforme("audit-log", "verify")
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*), max(id) from audit_log").fetchone()
        head = connection.execute("select hash from audit_log order by id desc limit 1").fetchone()
    assert row is not None
    assert head is not None
    assert answer.exit_code == 0
    assert answer.output == f"{row[0]} rows, unbroken; head {head[0].hex()}\n"


def test_a_broken_log_fails_and_names_the_row(url: str) -> None:
    create_admin()
    with psycopg.connect(url) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update audit_log set actor = 'user:2' where id = 2")
    answer = conforme("audit-log", "verify")
    assert answer.exit_code == 1
    assert answer.output.startswith("Broken at id 2; 1 rows before it are good, up to ")
