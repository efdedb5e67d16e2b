"""The audit log cannot be changed unnoticed, and administrators read it."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from admin_room import data, new_user, refusal, seeded
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from conforme.accounts import audit_log
from conforme.accounts.actor import Scope
from conforme.accounts.audit_log import GENESIS, Entry, chained
from conforme.foundation.database import Database, now
from people import everything_within, granting, signed_in
from product_fixtures import SETTINGS

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=3),
)
entries = st.builds(
    Entry, actor=words, action=words, target=words, details=st.dictionaries(words, values, max_size=3)
)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.timezones())  # noqa: DTZ001 -- the strategy adds the zone
numbers = st.integers(1, 2**63 - 1)
hashes = st.binary(min_size=32, max_size=32)
rows = st.tuples(hashes, numbers, moments, entries, st.none() | words)


@given(one=rows, other=rows)
def test_two_rows_have_one_hash_only_when_every_field_is_the_same(one: Any, other: Any) -> None:
    assert (chained(*one) == chained(*other)) is (repr_of(one) == repr_of(other))


@given(row=rows, other=rows, field=st.integers(0, 4))
def test_a_change_of_any_field_changes_the_hash(row: Any, other: Any, field: int) -> None:
    changed = (*row[:field], other[field], *row[field + 1 :])
    assert (chained(*changed) == chained(*row)) is (repr_of(changed) == repr_of(row))


@given(row=rows, part=st.sampled_from(["actor", "action", "target"]), moved=words)
def test_a_word_moved_from_one_field_to_the_next_changes_the_hash(row: Any, part: str, moved: str) -> None:
    previous, number, at, entry, request_id = row
    changed = Entry(
        **{
            name: getattr(entry, name) + (moved if name == part else "")
            for name in ("actor", "action", "target")
        },
        details=entry.details,
    )
    assert (chained(previous, number, at, changed, request_id) == chained(*row)) is (moved == "")


def repr_of(row: Any) -> tuple[Any, ...]:
    """What tells rows apart: times as moments, `True` as no number."""
    previous, number, at, entry, request_id = row
    details = sorted((name, repr(value)) for name, value in entry.details.items())
    return (
        previous,
        number,
        at.astimezone(UTC),
        entry.actor,
        entry.action,
        entry.target,
        details,
        request_id,
    )


async def _filled(database: Database, count: int = 5) -> None:
    for number in range(1, count + 1):
        async with database.write() as session:
            details = {"roles": [["viewer"], ["é", "operator"]], "flag": True, "count": number, "none": None}
            await audit_log.record(session, "user:1", "user.changed", f"user:{number}", **details)


async def _broken_at(database: Database) -> int | None:
    async with database.read() as session:
        return (await audit_log.verify(session)).broken_at


async def test_what_was_recorded_is_unbroken_whoever_wrote_at_once(database: Database) -> None:
    async def add(number: int) -> None:
        async with database.write() as session:
            await audit_log.record(session, f"user:{number}", "user.changed", "user:1", at=str(number))

    await asyncio.gather(*(add(number) for number in range(12)))
    async with database.read() as session:
        verdict = await audit_log.verify(session)
        head = await session.scalar(text("select hash from audit_log order by id desc limit 1"))
    assert (verdict.rows, verdict.broken_at) == (12, None)
    assert verdict.head == head
    assert len(verdict.head) == len(GENESIS)


async def test_nothing_recorded_is_unbroken(database: Database) -> None:
    assert await _broken_at(database) is None


async def test_what_is_rolled_back_leaves_no_gap(database: Database) -> None:
    await _filled(database, 2)

    async def abandoned() -> None:
        async with database.write() as session:
            await audit_log.record(session, "user:1", "user.changed", "user:2")
            raise KeyError

    with pytest.raises(KeyError):
        await abandoned()
    await _filled(database, 1)
    async with database.read() as session:
        verdict = await audit_log.verify(session)
    assert (verdict.rows, verdict.broken_at) == (3, None)


@pytest.mark.parametrize(
    "statement",
    [
        "update audit_log set actor = 'user:2' where id = 3",
        "update audit_log set actor = 'user:2' where false",
        "delete from audit_log where id = 3",
        "truncate audit_log",
    ],
)
async def test_the_database_refuses_to_change_the_log(database: Database, statement: str) -> None:
    await _filled(database)

    async def change() -> None:
        async with database.write() as session:
            await session.execute(text(statement))

    with pytest.raises(ProgrammingError, match="audit_log is append-only"):
        await change()
    assert await _broken_at(database) is None


@pytest.mark.parametrize(
    ("tampering", "broken_at"),
    [
        ("update audit_log set actor = 'user:2' where id = 3", 3),
        ("update audit_log set action = 'user.deleted' where id = 3", 3),
        ("update audit_log set target = 'user:9' where id = 3", 3),
        ("update audit_log set details = details || '{\"flag\": false}' where id = 3", 3),
        ("update audit_log set details = details - 'none' where id = 3", 3),
        ("update audit_log set at = at + interval '1 microsecond' where id = 3", 3),
        ("update audit_log set request_id = 'another' where id = 3", 3),
        ("update audit_log set previous = decode(repeat('00', 32), 'hex') where id = 3", 3),
        ("update audit_log set hash = decode(repeat('00', 32), 'hex') where id = 5", 5),
        ("update audit_log set id = 9 where id = 5", 5),
        ("delete from audit_log where id = 3", 3),
        ("delete from audit_log where id = 1", 1),
        ("delete from audit_log where id = 3; update audit_log set id = id - 1 where id > 3", 3),
    ],
)
async def test_whoever_goes_around_the_database_is_found_at_the_row(
    database: Database, tampering: str, broken_at: int
) -> None:
    await _filled(database)
    async with database.write() as session:
        await session.execute(text("set local session_replication_role = replica"))
        for statement in tampering.split(";"):
            await session.execute(text(statement))
    assert await _broken_at(database) == broken_at


async def test_a_log_cut_off_at_its_end_shows_by_the_head_kept_elsewhere(database: Database) -> None:
    await _filled(database)
    async with database.read() as session:
        kept = await audit_log.verify(session)
    async with database.write() as session:
        await session.execute(text("set local session_replication_role = replica"))
        await session.execute(text("delete from audit_log where id = 5"))
    async with database.read() as session:
        cut = await audit_log.verify(session)
    assert cut.broken_at is None
    assert (cut.rows, cut.head) != (kept.rows, kept.head)


async def test_a_walk_goes_on_over_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "VERIFY_PAGE", 2)
    await _filled(database, 4)
    async with database.read() as session:
        assert (await audit_log.verify(session)).rows == 4


async def test_the_log_is_read_newest_first_and_paged(api: httpx2.AsyncClient, database: Database) -> None:
    await seeded(database)
    ids = [await new_user(api, f"p{number}@example.test") for number in range(3)]
    answer = await data(await api.get("/api/admin/audit-log?action=user.created&limit=2"))
    assert [entry["target"] for entry in answer["entries"]] == [f"user:{ids[2]}", f"user:{ids[1]}"]
    assert answer["pagination"] == {
        "total": 3,
        "limit": 2,
        "offset": 0,
        "current_page": 1,
        "total_pages": 2,
        "has_next_page": True,
        "has_prev_page": False,
    }
    entry = answer["entries"][0]
    assert set(entry) == {"id", "at", "actor", "action", "target", "details", "request_id", "hash"}
    assert entry["actor"].startswith("token:")
    assert entry["details"] == {"status": "ACTIVE", "roles": ["viewer"]}
    assert entry["at"] <= now().isoformat()
    async with database.read() as session:
        assert entry["hash"] == (await audit_log.verify(session)).head.hex()
    rest = await data(await api.get("/api/admin/audit-log?action=user.created&limit=2&offset=2"))
    assert [each["target"] for each in rest["entries"]] == [f"user:{ids[0]}"]
    everything = await data(await api.get("/api/admin/audit-log"))
    numbers = [int(each["id"]) for each in everything["entries"]]
    assert numbers == list(range(len(numbers), 0, -1))
    assert (await data(await api.get("/api/admin/audit-log?action=nothing")))["entries"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "offset=-1", "action=" + "a" * 101])
async def test_a_page_of_the_log_is_bounded(api: httpx2.AsyncClient, database: Database, query: str) -> None:
    assert refusal(await api.get(f"/api/admin/audit-log?{query}"))[:2] == (400, "VALIDATION_ERROR")


async def test_the_log_is_read_only_by_a_permission_over_everybody(
    api: httpx2.AsyncClient, database: Database
) -> None:
    manager = await signed_in(database, SETTINGS, everything_within(Scope.GROUP), groupes=["EQUIPE R1"])
    nobody = await signed_in(database, SETTINGS, granting(["audits"], Scope.ALL))
    reader = await signed_in(database, SETTINGS, granting(["admin.users"], Scope.ALL))
    forbidden = (403, "AUTHORIZATION_ERROR", "Forbidden")
    missing = (403, "AUTHORIZATION_ERROR", "Missing permission")
    assert refusal(await api.get("/api/admin/audit-log", headers=manager.headers)) == forbidden
    assert refusal(await api.get("/api/admin/audit-log", headers=nobody.headers)) == missing
    listed = await data(await api.get("/api/admin/audit-log", headers=reader.headers))
    assert [each["action"] for each in listed["entries"]] == ["authorisation.refused"] * 2
