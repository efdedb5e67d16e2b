"""The page of `conforme audit --html` in a real browser: opened from a file, with the network off."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Literal

import pytest
from playwright.async_api import Browser, Page, async_playwright

from conforme.audits.files import audit_call
from conforme.audits.report import as_html
from conforme.sandbox.model import ModelOptions
from conforme.transcriptions.formats import read_call
from file_audit_calls import CHAT, GREETING, HOSTILE, PLATE, desk, rubric

pytestmark = pytest.mark.browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LONG = "x" * 300
SPOKEN = [
    {"role": "agent", "text": f"Good morning, Larkfield garage {HOSTILE}", "start": 3725.5, "end": 3730},
    {"speaker": HOSTILE, "text": f"Hello {LONG}"},
    {"role": "agent", "text": "What is the licence plate number of the vehicle?"},
]


@dataclass
class Opened:
    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
async def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two calls on one page, one of them hostile in every place that a file or a rubric can reach."""
    rules = rubric(GREETING, {**PLATE, "name": f"Vehicle {HOSTILE}"})
    async with desk(rules, ModelOptions(fabricated_share=1.0)) as given:
        audits = [
            await audit_call(given.auditor, read_call(json.dumps(value).encode(), "call.json"), name)
            for name, value in ((f"{HOSTILE}{LONG}.json", SPOKEN), ("chat.json", CHAT))
        ]
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(as_html(audits, HOSTILE), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    """The system's Chromium, else the one Playwright installed."""
    executable = next((found for name in BROWSERS if (found := which(name))), None)
    switches = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=executable, args=switches)
        yield started
        await started.close()


@asynccontextmanager
async def opened(
    browser: Browser, path: Path, *, width: int = 1200, scheme: Literal["light", "dark"] = "light"
) -> AsyncGenerator[Opened]:
    """The page in a window of its own, without network."""
    context = await browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    shown = Opened(await context.new_page())
    shown.page.on("console", lambda message: shown.complaints.append(message.text))
    shown.page.on("pageerror", lambda error: shown.complaints.append(error.message))
    shown.page.on("request", lambda request: shown.requests.append(request.url))
    await shown.page.goto(path.as_uri())
    yield shown
    await context.close()


async def test_the_page_shows_scores_points_quotes_and_times_without_a_complaint(
    browser: Browser, report: Path
) -> None:
    async with opened(browser, report) as shown:
        text = await shown.page.inner_text("body")
        assert shown.complaints == []
        assert shown.requests == [report.as_uri()], "the page fetches nothing"
    for expected in (
        "Rapport de conformité · 2 appels",
        "chat.json",
        "1. Greeting",
        "1. The advisor asks for the licence plate number of the vehicle.",
        "What is the licence plate number of the vehicle, please?",
        "62:05",
        "citation(s) écartée(s)",
    ):
        assert expected in text


async def test_hostile_text_stays_text(browser: Browser, report: Path) -> None:
    async with opened(browser, report) as shown:
        assert HOSTILE in await shown.page.inner_text("body")
        assert await shown.page.locator("script, img").count() == 0
        assert await shown.page.title() != "pwned"
        assert shown.complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1200, "dark")])
async def test_nothing_overflows_at_any_width(
    browser: Browser, report: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    async with opened(browser, report, width=width, scheme=scheme) as shown:
        await shown.page.locator("summary").evaluate_all(
            "each => each.forEach(one => one.parentNode.open = true)"
        )
        assert await shown.page.evaluate("document.documentElement.scrollWidth") <= width
        wide = await shown.page.locator("body *").evaluate_all(
            "each => each.filter(one => one.getBoundingClientRect().right > innerWidth + 1).map(one => one.tagName)"
        )
        assert wide == []


async def test_light_and_dark_differ_and_both_can_be_read(browser: Browser, report: Path) -> None:
    grounds: list[str] = []
    for scheme in ("light", "dark"):
        async with opened(browser, report, scheme=scheme) as shown:
            colours = await shown.page.evaluate(
                "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
            )
            assert _contrast(*colours) >= 7
            grounds.append(colours[1])
    assert grounds[0] != grounds[1]


async def test_a_quote_leads_to_its_turn_in_the_transcript(browser: Browser, report: Path) -> None:
    async with opened(browser, report, width=360) as shown:
        turn = shown.page.locator("#appel-2-tour-3")
        assert not await turn.is_visible()
        await shown.page.locator("a[href='#appel-2-tour-3']").first.click()
        await turn.wait_for(state="visible")
        assert "licence plate" in await turn.inner_text()


async def test_on_paper_the_page_is_dark_on_white_and_complete(browser: Browser, report: Path) -> None:
    async with opened(browser, report, scheme="dark") as shown:
        await shown.page.emulate_media(media="print", color_scheme="dark")
        colour = await shown.page.evaluate("getComputedStyle(document.querySelector('h2')).color")
        assert _contrast(colour, "rgb(255, 255, 255)") >= 7
        assert await shown.page.locator("blockquote").first.is_visible()


def _contrast(one: str, other: str) -> float:
    """Ratio of luminances of two `rgb(…)` colours (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour[4:-1].split(",")]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
