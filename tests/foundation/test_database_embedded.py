"""The embedded server, started, joined and left by several processes; migrations that race."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest
from replica_processes import is_alive

from conforme.foundation.embedded import database_url, ensure_database, sibling_url
from conforme.foundation.migrate import migrate, pending
from conforme.settings import Settings

JOIN = """
import sys
from conforme.foundation.embedded import database_url
from conforme.settings import Settings
with database_url(Settings.model_validate({"data": sys.argv[1]})):
    print("joined", flush=True)
    sys.stdin.readline()
"""


def postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]))


def join(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", JOIN, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, text=True)


def joined(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any("joined" in line for line in lines)


@pytest.mark.crash
def test_the_server_lives_as_long_as_somebody_uses_it_and_is_found_again(open_folder: Path) -> None:
    settings = Settings.model_validate({"data": open_folder})
    with database_url(settings) as url:
        with psycopg.connect(url) as connection:
            connection.execute("create table kept (answer int)")
            connection.execute("insert into kept values (42)")
        server = postmaster(open_folder)
        leaver, victim = join(open_folder), join(open_folder)
        joined(leaver)
        joined(victim)
        assert postmaster(open_folder).pid == server.pid, "the second process joins the server of the first"
        leaver.communicate("\n")
        victim.kill()
        victim.communicate()
        psycopg.connect(url).close()
    assert not is_alive(server.pid), "the last one to leave stops it, whoever was killed before"
    with database_url(settings) as url, psycopg.connect(url) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)


async def test_ten_replicas_that_migrate_together_migrate_once(server_url: str) -> None:
    name = "conforme_race"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"drop database if exists {name} with (force)")
    url = ensure_database(server_url, name)
    assert url == sibling_url(server_url, name)
    assert "engine" in await asyncio.to_thread(pending, url)
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(migrate, [url] * 10))
    assert pending(url) == []
    with psycopg.connect(url) as connection:
        assert connection.execute("select count(*) from alembic_version").fetchone() == (1,)
