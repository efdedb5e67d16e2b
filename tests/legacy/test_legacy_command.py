"""`conforme import-legacy` as it is used: exit codes, reports, and a URL that nobody gets to see."""

import asyncio
import json
from pathlib import Path

import psycopg
import pytest
from old_database import OldDatabase
from psycopg import sql
from pydantic import SecretStr
from typer.testing import CliRunner

from conforme.cli import app
from conforme.foundation.database import Database
from conforme.foundation.embedded import sibling_url
from conforme.foundation.errors import Invalid
from conforme.legacy.cli import ALL_CAME, NOTHING_DONE, SOME_SET_ASIDE, Options, execute
from conforme.legacy.errors import NotTheOriginal
from conforme.legacy.source import opened

PASSWORD = "a-secret-of-the-original"
CLOSED = f"postgresql://reader:{PASSWORD}@127.0.0.1:9/old"


async def command(database: Database, options: Options) -> int:
    return await asyncio.to_thread(execute, database.url, options)


async def test_it_says_by_its_exit_code_how_it_went(
    old: OldDatabase, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old.person("ines@example.test")
    url, file = SecretStr(old.url), tmp_path / "report.json"
    assert await command(database, Options(url)) == ALL_CAME
    old.person("no address of Odile MARTEL")
    assert await command(database, Options(url, json_file=file)) == SOME_SET_ASIDE
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["set_aside"] == [
        {"table": "users", "id": 2, "reason": "email: is no address that can sign in"}
    ]
    assert report["kinds"]["users"] == {
        "source": 2,
        "imported": 0,
        "known": 1,
        "already_here": 0,
        "renumbered": 0,
        "quarantined": 1,
    }
    assert await command(database, Options(url, verify=True, only="roles")) == ALL_CAME
    shown = capsys.readouterr()
    assert "users 2: email: is no address that can sign in" in shown.out
    assert "MARTEL" not in shown.out + shown.err + file.read_text(encoding="utf-8")


@pytest.mark.parametrize("url", [CLOSED, f"mysql://reader:{PASSWORD}@127.0.0.1/old", f"postgresql://[{PASSWORD}"])
async def test_a_database_that_cannot_be_read_is_said_without_its_password(
    url: str, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await command(database, Options(SecretStr(url))) == NOTHING_DONE
    shown = capsys.readouterr()
    assert shown.err.startswith("conforme: ")
    assert PASSWORD not in shown.out + shown.err


async def test_a_kind_that_does_not_exist_is_refused_with_those_that_do(
    old: OldDatabase, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await command(database, Options(SecretStr(old.url), only="audits,chats")) == NOTHING_DONE
    assert "--only takes roles, teams, users, configs" in capsys.readouterr().err


async def test_the_command_takes_the_url_from_the_environment(old: OldDatabase, database: Database) -> None:
    old.config()
    given = {"LEGACY_DATABASE_URL": old.url, "DATABASE_URL": database.url}
    arguments = ["import-legacy", "--dry-run", "--batch", "1"]
    done = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=given)
    assert done.exit_code == 0, done.output
    assert "What an import would bring" in done.output


async def test_what_the_originals_own_client_says_in_a_url_is_understood(old: OldDatabase) -> None:
    mark = "&" if "?" in old.url and not old.url.endswith("?") else ""
    url = f"{old.url}{mark}schema=public&pgbouncer=true&connection_limit=5"
    async with opened(SecretStr(url)) as source:
        assert await source.count("users") == 0


async def test_it_cannot_write_to_the_original(old: OldDatabase) -> None:
    old.config()
    async with opened(SecretStr(old.url)) as source:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            async with source._moment():
                await source._rows(sql.SQL("delete from audit_configs returning id"))
    assert old.config() == 2


async def test_other_databases_are_not_taken_for_the_original(old: OldDatabase, server_url: str) -> None:
    with pytest.raises(NotTheOriginal, match="no table of the original"):
        async with opened(SecretStr(sibling_url(server_url, "postgres"))):
            pass
    with pytest.raises(Invalid, match="no table of the original in schema 'elsewhere'"):
        mark = "&" if "?" in old.url and not old.url.endswith("?") else ""
        async with opened(SecretStr(f"{old.url}{mark}schema=elsewhere")):
            pass
