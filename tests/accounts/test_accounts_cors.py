"""What browsers are told: whose pages may read, and what an answer may do (spec/http-auth §1.6)."""

from typing import Any

import httpx2
import pytest
from accounts_room import account, browsing, login, settings_of
from fastapi import FastAPI
from pydantic import ValidationError

from conforme.accounts import identity
from conforme.foundation.database import Database
from conforme.settings import Settings

LISTED = "http://localhost:3000"
FOREIGN = "https://evil.example.test"
METHODS = "GET,HEAD,PUT,PATCH,POST,DELETE"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/api/audits", 401),
        ("GET", "/nowhere", 404),
        ("POST", "/api/auth/login", 400),
        ("OPTIONS", "/api/audits", 204),
    ],
)
async def test_an_allowed_origin_is_echoed_on_every_answer_and_others_are_served_without(
    browser: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    allowed = await browser.request(method, path, headers={"Origin": LISTED})
    assert allowed.status_code == status
    assert allowed.headers["access-control-allow-origin"] == LISTED
    assert allowed.headers["access-control-allow-credentials"] == "true"
    exposed = {"X-Request-Id", "X-Backend-Instance", "Retry-After", "ETag"}
    assert set(allowed.headers["access-control-expose-headers"].split(", ")) == exposed
    for headers in ({"Origin": FOREIGN}, {"Origin": "null"}, {"Origin": f"{LISTED}.example.test"}, {}):
        other = await browser.request(method, path, headers=headers)
        assert other.status_code == status
        assert "access-control-allow-origin" not in other.headers
        assert "access-control-allow-credentials" not in other.headers
        assert "Origin" in other.headers["vary"]


async def test_refusals_of_the_border_and_failures_nobody_caught_are_labelled_too(
    browser: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> None:
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(identity, "of_token", fails)
    headers = {"Origin": LISTED, "Content-Type": "application/json"}
    malformed = await browser.post("/api/auth/login", content=b"{", headers=headers)
    failed = await browser.get("/api/audits", headers=headers | {"Authorization": "Bearer cfm_x"})
    assert (malformed.status_code, malformed.json()["code"]) == (400, "INVALID_JSON")
    assert (failed.status_code, failed.json()) == (
        500,
        {"success": False, "error": "Internal server error", "code": "INTERNAL_ERROR"},
    )
    for answer in (malformed, failed):
        assert answer.headers["access-control-allow-origin"] == LISTED
        assert answer.headers["x-request-id"]
        assert answer.headers["x-frame-options"] == "DENY"


async def test_every_preflight_is_answered_and_sane_header_names_are_echoed(
    browser: httpx2.AsyncClient,
) -> None:
    asked = "authorization, content-type,x-request-id"
    for path in ("/api/audits", "/api/auth/refresh", "/nowhere", "/api/fiches/1%00"):
        answer = await browser.options(
            path, headers={"Origin": LISTED, "Access-Control-Request-Headers": asked}
        )
        assert answer.status_code == 204
        assert answer.content == b""
        assert answer.headers["access-control-allow-methods"] == METHODS
        assert answer.headers["access-control-allow-headers"] == asked
        assert answer.headers["access-control-allow-origin"] == LISTED
        assert answer.headers["vary"] == "Access-Control-Request-Headers, Origin"
        assert answer.headers["x-backend-instance"]


@pytest.mark.parametrize("names", ["a b", "x" * 101, ",", "a,,b", "é", "<script>", ",".join("abc" * 17)])
async def test_what_is_no_list_of_header_names_is_not_echoed(browser: httpx2.AsyncClient, names: str) -> None:
    headers = {b"Origin": LISTED.encode(), b"Access-Control-Request-Headers": names.encode("latin-1")}
    answer = await browser.options("/api/audits", headers=headers)
    assert answer.status_code == 204
    assert "access-control-allow-headers" not in answer.headers


async def test_origins_are_a_setting(api_app: FastAPI, database: Database) -> None:
    chosen = settings_of(cors_allowed_origins="https://App.example.test:443, https://two.example.test:8443")
    async with browsing(api_app, settings=chosen) as client:
        for origin in ("https://app.example.test", "https://two.example.test:8443"):
            answer = await client.get("/health", headers={"Origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
        assert (
            "access-control-allow-origin"
            not in (await client.get("/health", headers={"Origin": LISTED})).headers
        )


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "example.test",
        "https://*.example.test",
        "https://example.test/",
        "https://example.test/path",
        "https://user@example.test",
        "https://example.test:99999",
        "https://",
        "ftp://example.test",
        "https://exa mple.test",
    ],
)
def test_what_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ValidationError, match="cors_allowed_origins"):
        Settings.model_validate({"cors_allowed_origins": origin})


async def test_every_answer_is_hardened(browser: httpx2.AsyncClient) -> None:
    for path in ("/health", "/api/audits", "/nowhere", "/api-docs.json"):
        headers = (await browser.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "strict-transport-security" not in headers


async def test_the_reference_runs_its_own_script_and_is_framed_by_nobody(browser: httpx2.AsyncClient) -> None:
    policy = (await browser.get("/api-docs")).headers["content-security-policy"]
    parts = [part.strip().partition(" ") for part in policy.split(";")]
    said = {name: sources for name, _, sources in parts}
    assert said["default-src"] == said["frame-ancestors"] == said["base-uri"] == "'none'"
    assert said["script-src"] == said["connect-src"] == "'self'"
    page = await browser.get("/api-docs/start.js")
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["content-type"].startswith("text/javascript")


async def test_what_is_served_over_https_alone_says_so(api_app: FastAPI, database: Database) -> None:
    async with browsing(api_app, settings=settings_of(node_env="production")) as client:
        headers = (await client.get("/health")).headers
    assert headers["strict-transport-security"] == "max-age=31536000"


async def test_nothing_about_accounts_is_kept_by_a_cache(
    browser: httpx2.AsyncClient, database: Database
) -> None:
    await account(database)
    assert (await login(browser)).headers["cache-control"] == "no-store"
    for path in ("/api/auth/me", "/API/Auth/ME/", "/api/admin/users", "/api/auth"):
        assert (await browser.get(path)).headers["cache-control"] == "no-store"
    assert "cache-control" not in (await browser.get("/api/authors")).headers
