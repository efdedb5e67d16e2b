"""The API reference in a real browser: from our own origin alone, and without an error."""

from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import pytest
from playwright.async_api import async_playwright

from conforme.app import Role
from conforme.process import Served, http_server
from conforme.settings import Settings

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture
async def served(database_url: str) -> AsyncGenerator[Served]:
    async with http_server(
        Settings.model_validate({"port": 0, "drain_seconds": 1}), database_url, Role.API
    ) as served:
        yield served


@pytest.mark.browser
async def test_the_reference_shows_every_route_and_asks_nobody_else(served: Served) -> None:
    async with async_playwright() as player:
        browser = await player.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page()
        asked: set[str] = set()
        errors: list[str] = []
        page.on(
            "request", lambda request: asked.add(urlsplit(request.url).scheme + urlsplit(request.url).netloc)
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        await page.goto(f"{served.url}/api-docs")
        await page.get_by_text("/api/audits/run", exact=True).wait_for()
        assert await page.get_by_role("button", name="Authorize").count() == 1
        await browser.close()
    assert errors == []
    assert asked <= {"http" + urlsplit(served.url).netloc, "data"}
