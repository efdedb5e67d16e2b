"""The body of a delivery: keys in the order of the contract, the same bytes whenever it is made from its columns."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from webhook_room import PROGRESS

from conforme.foundation.web import INT64_MAX
from conforme.webhooks.body import (
    PAYLOAD_COLUMNS,
    Message,
    PartialFiche,
    Payload,
    body_of,
    columns_of,
    payload_of,
    rows_of,
)
from conforme.webhooks.ids import new_id

AT = datetime(2026, 1, 5, 9, 14, 2, 120_000, tzinfo=UTC)
_text = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_count = st.none() | st.integers(0, INT64_MAX)
_fiches = st.builds(
    PartialFiche,
    fiche_id=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    groupe=_text,
    prospect_nom=_text,
    prospect_prenom=_text,
    recordings_count=_count,
    created_at=_text,
)
payloads = st.builds(
    Payload,
    status=_text,
    progress=_count,
    completed_days=_count,
    total_days=_count,
    total_fiches=_count,
    current_fiches_count=_count,
    latest_date=_text,
    error=_text,
    data_url=_text,
    partial_data=st.lists(_fiches, max_size=4).map(tuple),
)


def body(event: str, payload: Payload) -> str:
    return body_of(Message(event, "j1", AT, payload)).decode()


def test_progress_is_told_as_the_contract_says() -> None:
    assert body("progress", PROGRESS) == (
        '{"event":"progress","jobId":"j1","timestamp":"2026-01-05T09:14:02.120Z","data":{"status":"processing",'
        '"progress":40,"completedDays":2,"totalDays":5,"totalFiches":1,"currentFichesCount":1,'
        '"latestDate":"2026-01-05","partialData":[{"ficheId":"4100123","groupe":"Équipe Nord",'
        '"prospectNom":"VANIER","prospectPrenom":"Régis","recordingsCount":2,'
        '"createdAt":"2026-01-05T09:14:02.120Z"}]}}'
    )


def test_what_is_absent_is_left_out() -> None:
    failed = Payload(status="failed", error="2 date(s) failed during progressive fetch")
    assert body("failed", failed) == (
        '{"event":"failed","jobId":"j1","timestamp":"2026-01-05T09:14:02.120Z",'
        '"data":{"status":"failed","error":"2 date(s) failed during progressive fetch"}}'
    )
    done = Payload(status="complete", progress=100, completed_days=5, total_days=5, total_fiches=0)
    assert "partialData" not in body("complete", done)
    assert '"totalFiches":0' in body("complete", done)
    bare = Payload(partial_data=(PartialFiche(fiche_id="1"),))
    assert '"partialData":[{"ficheId":"1"}]' in body("progress", bare)


@given(payloads)
def test_a_body_made_from_its_columns_is_the_same_to_the_byte(payload: Payload) -> None:
    columns = json.loads(json.dumps(columns_of(payload)))
    rows = json.loads(json.dumps(rows_of(payload, "d1")))
    assert set(columns) == set(PAYLOAD_COLUMNS)
    again = payload_of(columns, sorted(rows, key=lambda row: row["row_index"]))
    assert again == payload
    message, remade = Message("progress", "j1", AT, payload), Message("progress", "j1", AT, again)
    assert body_of(remade) == body_of(message)
    read = json.loads(body_of(message))
    assert list(read) == ["event", "jobId", "timestamp", "data"]
    assert read["data"].get("error") == payload.error
    assert len(read["data"].get("partialData", ())) == len(payload.partial_data)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 10_001])
def test_a_text_that_cannot_be_stored_is_refused_before_anything_is_written(text: str) -> None:
    with pytest.raises(ValidationError):
        Payload(error=text)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.integers(1, 10**9))  # noqa: DTZ001 -- Hypothesis wants them naive
def test_ids_sort_by_time_and_fit_in_a_url(moment: datetime, later_ms: int) -> None:
    moment = moment.replace(tzinfo=UTC)
    first, second = new_id(moment), new_id(moment + timedelta(milliseconds=later_ms))
    assert first < second
    assert len(first) == len(second) == 26
    assert first.isalnum()
    assert first.islower()
    assert new_id(moment) != first
