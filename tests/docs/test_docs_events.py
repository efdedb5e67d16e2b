"""docs/events.md lists every event that is written, with the fields it carries."""

import json

import pytest
from markdown_pages import fences, in_code, prose, rows, section, text_of
from written_events import written_events

from conforme.foundation import events

PAGE = "docs/events.md"
FAMILIES = {
    "fiche/": "Fiches",
    "fiches.": "Fetch of a range",
    "batch.": "Batches",
    "automation.": "Automation",
    "automation/": "Automation",
    "transcription.": "Transcription",
    "audit.": "Audits",
    "audit/": "Audits",
    "account.": "Accounts",
}
ON_THE_STREAM = {"event_uid", "emitted_at"}


def _listed() -> dict[str, list[str]]:
    listed = (cells for heading in FAMILIES.values() for cells in rows(section(text_of(PAGE), heading)))
    return {in_code(cells[0])[0]: cells for cells in listed}


def _family(name: str) -> str:
    return section(
        text_of(PAGE), next(title for prefix, title in FAMILIES.items() if name.startswith(prefix))
    )


def test_exactly_the_events_that_are_written_are_listed() -> None:
    assert set(_listed()) == {event.name for event in written_events()}


def test_every_field_named_where_an_event_is_written_is_listed() -> None:
    missing: dict[str, frozenset[str]] = {}
    for event in written_events():
        introduction = prose(_family(event.name)).partition("\n|")[0]
        known = {*in_code(_listed()[event.name][2]), *in_code(introduction)}
        if unlisted := event.fields - known:
            missing[f"{event.name} at {event.place}"] = unlisted
    assert missing == {}


def test_the_events_of_every_room_are_found() -> None:
    found = {event.name for event in written_events()}
    assert all(any(name.startswith(prefix) for name in found) for prefix in FAMILIES)
    assert {
        "audit.completed",
        "audit.failed",
        "transcription.progress",
        "fiche/fetched",
        "account.changed",
    } <= found


@pytest.mark.parametrize("heading", dict.fromkeys(FAMILIES.values()))
def test_every_example_is_json_with_fields_that_are_listed(heading: str) -> None:
    text = section(text_of(PAGE), heading)
    [example] = [json.loads(fence.body) for fence in fences(text) if fence.language == "json"]
    assert set(example) - ON_THE_STREAM <= set(in_code(prose(text)))
    assert set(example) >= ON_THE_STREAM


def test_every_kind_of_channel_is_listed() -> None:
    listed = {in_code(cells[0])[0].partition("<")[0] for cells in rows(section(text_of(PAGE), "Channels"))}
    makers = (events.audit_channel, events.fiche_channel, events.job_channel, events.user_channel)
    made = [make("") for make in makers]
    assert listed == {*made, events.GLOBAL_CHANNEL}
