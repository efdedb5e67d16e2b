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
from conforme.legacy.cli import ALL_CAME, NOTHING_DONE, SOME_SET_ASIDE, Options, execute
from conforme.legacy.errors import NotTheOriginal
from conforme.legacy.source import Source, opened

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


@pytest.mark.parametrize(
    "url", [CLOSED, f"mysql://reader:{PASSWORD}@127.0.0.1/old", f"postgresql://[{PASSWORD}"]
)
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


async def write(source: Source) -> None:
    async with source.moment():
        await source.rows(sql.SQL("delete from audit_configs returning id"))


async def test_it_cannot_write_to_the_original(old: OldDatabase) -> None:
    old.config()
    async with opened(SecretStr(old.url)) as source:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await write(source)
    assert old.config() == 2


async def look(url: str) -> None:
    async with opened(SecretStr(url)):
        pass


async def test_other_databases_are_not_taken_for_the_original(old: OldDatabase, server_url: str) -> None:
    with pytest.raises(NotTheOriginal, match="no table of the original in schema 'public'"):
        await look(sibling_url(server_url, "postgres"))
    mark = "&" if "?" in old.url and not old.url.endswith("?") else ""
    with pytest.raises(NotTheOriginal, match="no table of the original in schema 'elsewhere'"):
        await look(f"{old.url}{mark}schema=elsewhere")


async def test_a_table_without_a_column_that_nothing_goes_without_is_named(old: OldDatabase) -> None:
    old.run("alter table fiche_cache rename fiche_id to numero")
    try:
        with pytest.raises(NotTheOriginal, match="Table fiche_cache has no column fiche_id"):
            await look(old.url)
    finally:
        old.run("alter table fiche_cache rename numero to fiche_id")


async def test_tables_and_columns_that_an_original_lacks_are_done_without(
    old: OldDatabase, database: Database, tmp_path: Path
) -> None:
    old.judged(old.detailed_fiche("900101"), old.config())
    old.put("chat_conversations", fiche_id="900101")
    lacking = ("table audit_step_result_human_reviews", "table fiche_cache_mails", "table automation_runs")
    old.run(
        "begin; "
        + "; ".join(f"alter {each} rename to hidden_{n}" for n, each in enumerate(lacking))
        + "; commit"
    )
    old.run("alter table audits rename total_tokens to hidden")
    file = tmp_path / "report.json"
    try:
        assert await command(database, Options(SecretStr(old.url), json_file=file)) == ALL_CAME
    finally:
        back = (f"alter table hidden_{n} rename to {each.split()[1]}" for n, each in enumerate(lacking))
        old.run("begin; " + "; ".join(back) + "; commit")
        old.run("alter table audits rename hidden to total_tokens")
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["kinds"]["audits"]["imported"] == 1
    assert {"audit_step_result_human_reviews", "fiche_cache_mails", "automation_runs"} <= set(
        report["absent"]
    )
    assert report["not_taken_over"] == {"chat_conversations": "1 rows"}
