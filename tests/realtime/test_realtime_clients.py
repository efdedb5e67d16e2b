"""The clients of docs/realtime.md, taken from the page as they stand there, follow an audit."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from shutil import which

import pytest
from playwright.async_api import Page, Route, async_playwright, expect

from conforme.app import Role
from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.process import Served, http_server
from conforme.settings import settings_with
from product_fixtures import API_TOKEN, SETTINGS

PAGE = Path(__file__).parents[2] / "docs" / "realtime.md"
CHANNEL = "private-audit-31"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 30.0


def client(heading: str, language: str) -> str:
    """The first program of this language under a heading of the page."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found, heading
    return found[1]


@pytest.fixture
async def served(database_url: str, database: Database) -> AsyncGenerator[Served]:
    """A replica whose streams end at once and again: a client that does not come back misses something."""
    short = {"PORT": "0", "DRAIN_SECONDS": "1", "STREAM_MAX_SECONDS": "0.3"}
    async with http_server(settings_with(SETTINGS, short), database_url, Role.API) as served:
        yield served


async def tell(database: Database, name: str, status: str) -> None:
    async with database.write() as session:
        await events.record(session, name, {"status": status}, [CHANNEL])


async def _followed(command: list[str], served: Served, database: Database) -> list[str]:
    """What a client prints of three events, the last two of which happen while it runs."""
    await tell(database, "audit.started", "started")
    environment = dict(os.environ) | {"API": served.url, "TOKEN": API_TOKEN, "NO_PROXY": "*"}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(PATIENCE):
        for name, status in (("audit.progress", "in_progress"), ("audit.completed", "completed")):
            lines.append((await process.stdout.readline()).decode().strip())
            await tell(database, name, status)
        lines.append((await process.stdout.readline()).decode().strip())
        assert await process.wait() == 0
    return lines


EXPECTED = ["1 audit.started started", "2 audit.progress in_progress", "3 audit.completed completed"]


async def test_the_node_client_follows_to_the_end(served: Served, database: Database, tmp_path: Path) -> None:
    node = which("node")
    assert node, "node is not installed"
    program = tmp_path / "follow.mjs"
    program.write_text(client("In Node", "js"), encoding="utf-8")
    assert await _followed([node, str(program)], served, database) == EXPECTED


async def test_the_python_client_follows_to_the_end(
    served: Served, database: Database, tmp_path: Path
) -> None:
    program = tmp_path / "follow.py"
    program.write_text(client("In Python", "python"), encoding="utf-8")
    assert await _followed([sys.executable, str(program)], served, database) == EXPECTED


@pytest.fixture
async def page() -> AsyncGenerator[Page]:
    executable = next((found for name in BROWSERS if (found := which(name))), None)
    switches = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=switches)
        yield await browser.new_page()
        await browser.close()


@pytest.mark.browser
async def test_the_browser_page_shows_what_happens_and_comes_back(
    served: Served, database: Database, page: Page
) -> None:
    async def answer(route: Route) -> None:
        await route.fulfill(body=client("In a browser", "html"), content_type="text/html")

    await page.route("**/audit.html", answer)
    await page.add_init_script(f"sessionStorage.setItem('access_token', '{API_TOKEN}')")
    shown = page.locator("#events li")
    await page.goto(f"{served.url}/audit.html")
    told: list[str] = []
    for status in ("started", "in_progress", "completed"):
        async with page.expect_request("**/api/realtime/stream**", timeout=PATIENCE * 1000):
            pass  # it has come back once more
        await tell(database, "audit.progress", status)
        told.append(f"audit.progress {status}")
        await expect(shown).to_have_text(told, timeout=PATIENCE * 1000)
