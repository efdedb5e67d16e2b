"""Counts what tests marked `attack` try, and says at the end of the run how many tried what."""

from collections import Counter
from collections.abc import Generator
from typing import Any

import httpx2
import pytest

PROPERTY = "attack"


@pytest.fixture(autouse=True)
def attempts_counted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Counts the requests of a test that is marked `attack(kind)`; one without any is one attempt."""
    marker = request.node.get_closest_marker("attack")
    if marker is None:
        yield
        return
    sent, made = httpx2.AsyncClient.send, Counter[str]()

    async def counted(client: httpx2.AsyncClient, *arguments: Any, **options: Any) -> httpx2.Response:
        made["requests"] += 1
        return await sent(client, *arguments, **options)

    monkeypatch.setattr(httpx2.AsyncClient, "send", counted)
    yield
    request.node.user_properties.append((PROPERTY, (marker.args[0], max(1, made["requests"]))))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints how many attacks were tried, by kind, and how many succeeded: those whose test failed."""
    tried = Counter[str]()
    for report in terminalreporter.getreports(
        ""
    ):  # what is neither passed nor failed: set-ups and tear-downs
        for name, value in report.user_properties:
            if name == PROPERTY and report.when == "teardown":
                tried[value[0]] += value[1]
    succeeded = sum("attack" in report.keywords for report in terminalreporter.getreports("failed"))
    if not tried:
        return
    terminalreporter.section("attacks")
    for kind, count in sorted(tried.items()):
        terminalreporter.write_line(f"{count:>6}  {kind}")
    terminalreporter.write_line(
        f"{tried.total():>6}  attempts of {len(tried)} kinds; tests in which one succeeded: {succeeded}"
    )
