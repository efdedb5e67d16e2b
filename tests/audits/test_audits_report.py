"""The report on audited files: what it says, and what it must not invent nor let through."""

import json
import re
from html.parser import HTMLParser
from typing import Any

from conforme.audits.files import FileAudit, audit_call
from conforme.audits.report import as_html, as_json, visible
from conforme.sandbox.model import ModelOptions
from conforme.sandbox.weather import FaultPlan
from conforme.transcriptions.formats import read_call
from file_audit_calls import CHAT, GREETING, HOSTILE, PLATE, desk, rubric

TIMED = [
    {"role": "agent", "text": "Good morning, Larkfield garage.", "start": 61.25, "end": 64},
    {"role": "client", "text": "Hello.", "start": 64.5, "end": 64.75},
    {"role": "agent", "text": "What is the licence plate number of the vehicle?", "start": 65},
]


async def audited(value: Any, *, name: str = "chat.json", down: bool = False, lies: float = 0.0) -> FileAudit:
    rules = rubric(GREETING, {**PLATE, "name": f"Vehicle {HOSTILE}"})
    async with desk(rules, ModelOptions(fabricated_share=lies)) as given:
        given.service.faults = FaultPlan(down=down)
        return await audit_call(given.auditor, read_call(json.dumps(value).encode(), "call.json"), name)


def points(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [point for step in report["steps"] for point in step["points"]]


class _Page(HTMLParser):
    """What a browser would make of a page: tags with their attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_times_the_file_lacks_are_null_and_nowhere_on_the_page() -> None:
    audit = await audited(CHAT)
    quotes = [quote for point in points(as_json(audit, "m")) for quote in point["citations"]]
    assert quotes
    assert {(quote["minutage"], quote["start_ms"], quote["end_ms"]) for quote in quotes} == {
        (None, None, None)
    }
    page = _Page(as_html([audit], "m")).text
    assert re.search(r"\d\d:\d\d", page) is None
    assert "N/A" not in page


async def test_times_the_file_has_are_told_and_an_unknown_end_stays_unknown() -> None:
    report = as_json(await audited(TIMED), "m")
    told = [(q["minutage"], q["start_ms"], q["turn"]) for point in points(report) for q in point["citations"]]
    assert ("01:01", 61_250, 1) in told
    assert ("01:05", 65_000, 3) in told
    ends = {q["turn"]: q["end_ms"] for point in points(report) for q in point["citations"]}
    assert ends == {1: 64_000, 3: None}


async def test_a_quote_that_goes_over_two_turns_says_so() -> None:
    halves = [
        {"role": "agent", "text": "Good morning,"},
        {"role": "agent", "text": "Larkfield garage speaking"},
    ]
    audit = await audited(halves)
    spans = {(q["turn"], q["last_turn"]) for point in points(as_json(audit, "m")) for q in point["citations"]}
    assert spans == {(1, 2)}
    assert "tours 1 à 2" in _Page(as_html([audit], "m")).text


async def test_the_page_of_one_call_says_what_the_json_says() -> None:
    audit = await audited(CHAT, lies=1.0)
    report, page = as_json(audit, "gpt-x"), _Page(as_html([audit], "gpt-x"))
    assert json.loads(json.dumps(report)) == report
    for step in report["steps"]:
        assert step["name"] in page.text
    for point in points(report):
        assert point["point"] in page.text
        for quote in [*point["citations"], *point["dropped"]]:
            assert quote["texte"] in page.text
    for message in CHAT["message_list"]:
        assert " ".join(message["content"].split()) in page.text
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    targets = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    assert links
    assert links <= targets


async def test_the_page_carries_no_script_and_fetches_nothing() -> None:
    page = as_html([await audited(CHAT)], "m")
    seen = _Page(page)
    assert not {tag for tag, _ in seen.tags} & {"script", "img", "link", "iframe", "object", "form", "base"}
    for _, attributes in seen.tags:
        assert not {"src", "style", "onload", "onclick", "onerror"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(given["content"] or "" for _, given in seen.tags if given.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "url(" not in page
    assert "@import" not in page


async def test_hostile_text_is_text_wherever_it_stands() -> None:
    value = [{"speaker": HOSTILE, "text": f"Good morning, Larkfield garage {HOSTILE} \x1b[31m \u202e ok"}]
    audit = await audited(value, name=HOSTILE, lies=1.0)
    page = as_html([audit, await audited(CHAT, name=HOSTILE, down=True)], HOSTILE)
    seen = _Page(page)
    assert not {tag for tag, _ in seen.tags} & {"script", "img"}
    assert seen.text.count(HOSTILE[:20]) >= 5
    assert "\x1b" not in page
    assert "\u202e" not in page


async def test_an_outage_is_told_and_no_verdict_is_shown() -> None:
    audit = await audited(CHAT, down=True)
    report, page = as_json(audit, "m"), _Page(as_html([audit], "m")).text
    assert (report["score"], report["niveau"], report["is_compliant"]) == (None, "PENDING", False)
    assert [each["position"] for each in report["not_analysed"]] == [1, 2]
    assert "Étapes non analysées" in page
    assert "Non conforme" not in page


async def test_several_calls_are_listed_first_with_links_to_each() -> None:
    page = _Page(as_html([await audited(CHAT, name="un.json"), await audited(TIMED, name="deux.json")], "m"))
    assert page.text.index("un.json") < page.text.index("deux.json") < page.text.rindex("un.json")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"appel-1", "appel-2", "appel-1-tour-1", "appel-2-tour-2"} <= set(ids)


def test_visible_text_keeps_words_and_drops_what_steers() -> None:
    assert visible("l'été\x1b[2J\x07 \u202eabc\u2069 <b> 👩‍🔧") == "l'été[2J abc <b> 👩‍🔧"
    assert visible(3) == 3
