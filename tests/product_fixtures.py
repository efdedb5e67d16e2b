"""The product as its callers meet it: over HTTP, on a real database, with the sandbox behind it."""

import logging
from collections.abc import AsyncGenerator, Generator
from functools import cache

import httpcore2
import httpx2
import pytest
import structlog
from fastapi import FastAPI
from pydantic import SecretStr

from conforme.accounts import passwords
from conforme.app import Role, build
from conforme.foundation.database import Database
from conforme.settings import Settings

API_TOKEN = "test-token-of-the-suite"
SETTINGS = Settings(
    api_auth_token=SecretStr(API_TOKEN),
    jwt_access_secret=SecretStr("a key of the test suite, long enough"),
    node_env="test",
)
PUSHER = {
    "pusher_app_id": "1",
    "pusher_key": "k",
    "pusher_secret": SecretStr("s"),
    "pusher_cluster": "eu",
    "pusher_dry_run": True,
}
"""Settings of a provider of live events that is never called."""


@pytest.fixture(autouse=True)
def logging_left_as_it_was() -> Generator[None]:
    """What a test sets up of logging ends with it: the next one hears what it is told."""
    chain, root = structlog.get_config(), logging.getLogger()
    handlers, level, shown = root.handlers[:], root.level, logging.raiseExceptions
    yield
    structlog.configure(**chain)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = shown


@pytest.fixture(autouse=True, scope="session")
def passwords_checked_once() -> Generator[None]:
    """A check is slow on purpose: that of one password against one hash is made once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        for slow in (passwords.argon2_matches, passwords.scrypt_matches):
            patch.setattr(passwords, slow.__name__, cache(slow))
        yield


@pytest.fixture(autouse=True, scope="session")
def certificates_read_once() -> Generator[None]:
    """Each client reads the machine's certificates, for tens of milliseconds; no test meets anyone who has one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpcore2, "default_ssl_context", cache(httpcore2.default_ssl_context))
        yield


@pytest.fixture
def api_token() -> str:
    return API_TOKEN


@pytest.fixture(scope="session")
async def api_app(database_url: str) -> AsyncGenerator[FastAPI]:
    """The application without workers: what is queued stays queued."""
    app = build(SETTINGS, database_url, Role.API)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def api(api_app: FastAPI, database: Database) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client with the suite's token, on an empty database."""
    transport = httpx2.ASGITransport(app=api_app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://conforme.test", headers=headers
    ) as client:
        yield client
