"""Recordings in the database: what the gateway tells of them, and how far their transcription is."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text

from conforme.accounts.actor import Actor, Scope
from conforme.fiches.models import FicheCache
from conforme.foundation.database import Database
from conforme.foundation.errors import Forbidden, NotFound
from conforme.recordings import queries, store
from conforme.recordings.models import Recording
from conforme.recordings.names import CallFacts

ALL = Actor.system("test")
TEAM = Actor("user:1", Scope.GROUP, groupes=frozenset({"EQUIPE R1"}))
OTHERS = Actor("user:2", Scope.GROUP, groupes=frozenset({"EQUIPE R2"}))

FULL = CallFacts(
    call_id="77001",
    recording_url=(
        "https://cdn.example.test/r/0a1b2c3d-1111-4222-8333-444455556666-05-01-26-08h14-33199001234-33639981122.mp3"
    ),
    start_time="2026-01-05T08:14:03.120+00:00",
    duration_seconds=312,
    direction="out",
    answered=True,
    from_number="33199001234",
    to_number="33639981122",
)


@pytest.fixture
async def fiche(database: Database) -> int:
    """The cache id of fiche 900101."""
    async with database.write() as session:
        row = FicheCache(fiche_id="900101", groupe="EQUIPE R1", expires_at=datetime(2099, 1, 1, tzinfo=UTC))
        session.add(row)
        await session.flush()
        return row.id


async def _upsert(database: Database, fiche: int, *calls: CallFacts) -> int:
    async with database.write() as session:
        return await store.upsert(session, fiche, calls)


async def _stored(database: Database, fiche: int) -> list[Recording]:
    async with database.read() as session:
        return list(await queries.of_fiche(session, ALL, fiche))


async def test_a_call_is_stored_with_what_its_name_tells(database: Database, fiche: int) -> None:
    assert await _upsert(database, fiche, FULL) == 1
    [row] = await _stored(database, fiche)
    assert (row.call_id, row.uuid) == ("77001", "0a1b2c3d-1111-4222-8333-444455556666")
    assert (row.recording_date, row.recording_time) == ("05/01/2026", "08:14")
    assert row.start_time == datetime(2026, 1, 5, 8, 14, 3, 120_000, UTC)
    assert (row.duration_seconds, row.direction, row.answered) == (312, "out", True)
    assert (row.transcription_state, row.has_transcription, row.silent) == ("pending", False, False)


async def test_many_calls_take_one_statement(database: Database, fiche: int) -> None:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        await _upsert(database, fiche, *(replace(FULL, call_id=str(n)) for n in range(2000)))
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    assert len([statement for statement in statements if "recordings" in statement]) == 1
    assert len(await _stored(database, fiche)) == 2000


async def test_the_same_calls_again_change_nothing(database: Database, fiche: int) -> None:
    await _upsert(database, fiche, FULL)
    before = (await _stored(database, fiche))[0].updated_at
    assert await _upsert(database, fiche, FULL) == 0
    assert (await _stored(database, fiche))[0].updated_at == before


@pytest.mark.parametrize("url", [None, "", "\0"])
async def test_a_known_url_is_never_blanked(database: Database, fiche: int, url: str | None) -> None:
    await _upsert(database, fiche, FULL)
    await _upsert(database, fiche, CallFacts("77001", recording_url=url, duration_seconds=313))
    [row] = await _stored(database, fiche)
    assert row.recording_url == FULL.recording_url
    assert (row.duration_seconds, row.direction, row.uuid) == (
        313,
        "out",
        "0a1b2c3d-1111-4222-8333-444455556666",
    )


async def test_a_call_without_url_is_stored_and_its_url_comes_later(database: Database, fiche: int) -> None:
    await _upsert(database, fiche, replace(FULL, recording_url=None))
    assert (await _stored(database, fiche))[0].recording_url == ""
    await _upsert(database, fiche, FULL)
    assert (await _stored(database, fiche))[0].recording_url == FULL.recording_url


async def test_a_call_given_twice_is_stored_once_with_all_that_was_said(
    database: Database, fiche: int
) -> None:
    await _upsert(database, fiche, FULL, CallFacts("77001", duration_seconds=400, answered=False))
    [row] = await _stored(database, fiche)
    assert (row.duration_seconds, row.answered, row.direction) == (400, False, "out")


async def test_calls_that_are_not_mentioned_any_more_stay(database: Database, fiche: int) -> None:
    await _upsert(database, fiche, FULL)
    await _upsert(database, fiche, replace(FULL, call_id="77002"))
    assert {row.call_id for row in await _stored(database, fiche)} == {"77001", "77002"}


async def test_nothing_to_store_is_no_error(database: Database, fiche: int) -> None:
    assert await _upsert(database, fiche) == 0
    assert await _upsert(database, fiche, CallFacts(" \0 ")) == 0


@given(
    st.lists(
        st.builds(
            CallFacts,
            call_id=st.text(max_size=6),
            recording_url=st.none() | st.text(max_size=30),
            start_time=st.none() | st.text(max_size=20),
            duration_seconds=st.none() | st.integers(),
            from_number=st.none() | st.text(max_size=5),
            answered=st.none() | st.booleans(),
        ),
        max_size=5,
    )
)
async def test_whatever_the_gateway_sends_is_stored_or_left_out(
    database: Database, fiche: int, calls: list[CallFacts]
) -> None:
    async with database.write() as session:
        await store.upsert(session, fiche, calls)
        await session.execute(text("delete from recordings"))


async def test_recordings_come_oldest_first_and_those_without_time_last(
    database: Database, fiche: int
) -> None:
    await _upsert(
        database,
        fiche,
        CallFacts("c"),
        CallFacts("b", start_time="2026-01-06T08:00:00Z"),
        CallFacts("a", start_time="2026-01-05T08:00:00Z"),
    )
    assert [row.call_id for row in await _stored(database, fiche)] == ["a", "b", "c"]


async def test_transcript_columns_are_loaded_only_when_named(database: Database, fiche: int) -> None:
    await _upsert(database, fiche, FULL)
    async with database.read() as session:
        row = await queries.one(session, ALL, fiche, "77001", also=queries.TRANSCRIPT)
    assert row is not None
    assert row.transcription_words is None


async def test_an_unknown_fiche_is_not_found(database: Database) -> None:
    async with database.read() as session:
        with pytest.raises(NotFound, match="Fiche 1 not found in cache"):
            await queries.cached_fiche(session, ALL, "1")


async def test_a_fiche_out_of_scope_is_forbidden_known_or_not(database: Database, fiche: int) -> None:
    async with database.read() as session:
        assert await queries.cached_fiche(session, TEAM, "900101") == fiche
        for fiche_id in ("900101", "1"):
            with pytest.raises(Forbidden):
                await queries.cached_fiche(session, OTHERS, fiche_id)


async def test_recordings_out_of_scope_are_not_read(database: Database, fiche: int) -> None:
    await _upsert(database, fiche, FULL)
    async with database.read() as session:
        assert len(await queries.of_fiche(session, TEAM, fiche)) == 1
        assert await queries.of_fiche(session, OTHERS, fiche) == []
        assert await queries.one(session, OTHERS, fiche, "77001") is None


async def test_every_fiche_asked_for_must_be_visible(database: Database, fiche: int) -> None:
    async with database.read() as session:
        await queries.require_visible(session, ALL, ["900101", "1"])
        await queries.require_visible(session, TEAM, ["900101"])
        with pytest.raises(Forbidden):
            await queries.require_visible(session, TEAM, ["900101", "1"])


async def test_a_run_takes_a_recording_up_once(database: Database, fiche: int) -> None:
    await _upsert(database, fiche, FULL)
    [row] = await _stored(database, fiche)
    async with database.write() as session:
        assert await store.take_up(session, row.id, "run-1")
        assert not await store.take_up(session, row.id, "run-1")
        assert await store.take_up(session, row.id, "run-2")


async def test_a_transcript_that_is_kept_is_never_overwritten(database: Database, fiche: int) -> None:
    await _upsert(database, fiche, FULL)
    [row] = await _stored(database, fiche)
    first = store.StoredTranscript(
        "tr-1", "bonjour", {"v": 1}, silent=False, language_code="fra", language_probability=0.9
    )
    async with database.write() as session:
        assert await store.keep_transcript(session, row.id, "run-1", first)
        assert not await store.keep_transcript(
            session, row.id, "run-2", replace(first, transcription_id="tr-2")
        )
        assert not await store.mark_failed(session, row.id, "run-2", "late")
    [row] = await _stored(database, fiche)
    assert (row.transcription_id, row.transcription_state, row.transcription_error) == ("tr-1", "done", None)


async def test_counts_tell_what_one_run_has_ended(database: Database, fiche: int) -> None:
    await _upsert(database, fiche, *(replace(FULL, call_id=str(n)) for n in range(4)))
    rows = await _stored(database, fiche)
    heard = store.StoredTranscript(
        "tr", "", {"v": 1}, silent=True, language_code=None, language_probability=None
    )
    async with database.write() as session:
        await store.keep_transcript(session, rows[0].id, "before", heard)
        await store.keep_transcript(session, rows[1].id, "now", heard)
        await store.mark_failed(session, rows[2].id, "now", "Audio download failed status=404\0")
        counts = await queries.counts(session, ALL, fiche, "now")
    assert counts == queries.Counts(total=4, transcribed=2, failed=1, settled=2)
    assert (counts.pending, counts.percentage) == (2, 50)


@given(st.integers(1, 500), st.integers(0, 500))
def test_a_percentage_is_whole_and_between_0_and_100(total: int, transcribed: int) -> None:
    percentage = queries.Counts(total, min(transcribed, total), 0, 0).percentage
    assert 0 <= percentage <= 100
    assert (percentage == 100) or transcribed < total


def test_of_no_recordings_nothing_is_transcribed() -> None:
    assert queries.Counts.of([]).percentage == 0
