"""What an import writes beside the rows themselves, in the transaction that writes them: cursor, ids, quarantine."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Protocol

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from conforme.foundation.database import Base, ReadSession, WriteSession
from conforme.foundation.rows import Rows, write_rows
from conforme.legacy.errors import ImportOverlaps
from conforme.legacy.layout import Kind
from conforme.legacy.models import LegacyId, LegacyImport, LegacyQuarantine
from conforme.legacy.source import Bundle

IMPORTER: Final = "system:legacy-import"
"""Who made what was imported."""
REASON_CHARS: Final = 500
LOCK_KEY: Final = 7_266_013_016
"""Advisory lock of imports."""
Session = ReadSession | WriteSession


@dataclass(frozen=True, slots=True)
class Brought:
    """A row of the original, and its id here; `written` is False when it was here already."""

    legacy_id: int
    id: int
    written: bool = True


@dataclass(slots=True)
class Written:
    """What came of writing some rows."""

    brought: list[Brought] = field(default_factory=list[Brought])
    refused: dict[int, str] = field(default_factory=dict[int, str])
    """Why some of them could not be written, by the original's id."""
    notes: Counter[str] = field(default_factory=Counter[str])
    """What else whoever imports should know, and how often it happened."""

    def add(self, other: "Written") -> None:
        self.brought += other.brought
        self.refused |= other.refused
        self.notes += other.notes


@dataclass(frozen=True, slots=True)
class Mapped:
    """A row of the original as it was read, and what was made of it."""

    bundle: Bundle
    value: Any

    @property
    def id(self) -> int:
        return self.bundle.id


class Bringer(Protocol):
    """How one kind of rows is taken over."""

    @property
    def kind(self) -> Kind: ...

    def read(self, bundle: Bundle) -> Any:
        """What is made of a row; pure. Raises `BadRow`."""
        ...

    async def write(self, session: WriteSession, rows: Sequence[Mapped]) -> Written:
        """Writes rows that are not here yet."""
        ...


# How far it is


async def cursor_of(session: Session, kind: Kind) -> int:
    return await session.scalar(select(LegacyImport.cursor).where(LegacyImport.kind == kind.name)) or 0


async def alone(session: WriteSession) -> None:
    """One batch at a time, whoever brings it: held until the transaction ends."""
    await session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})


async def advance(session: WriteSession, kind: Kind, before: int, after: int) -> None:
    """Moves the cursor on.

    Raises:
        ImportOverlaps: somebody else has moved it.
    """
    values = {"kind": kind.name, "cursor": after}
    moved = insert(LegacyImport).values(values)
    moved = moved.on_conflict_do_update(
        index_elements=[LegacyImport.kind],
        set_={"cursor": after, "updated_at": func.now()},
        where=LegacyImport.cursor == before,
    )
    if await session.scalar(moved.returning(LegacyImport.cursor)) is None:
        raise ImportOverlaps


# What became of each row


async def ids_here(session: Session, kind: Kind, legacy_ids: Sequence[int | None]) -> dict[int, int]:
    """The ids here of rows of the original; those that did not come are not there."""
    wanted = sorted({each for each in legacy_ids if each is not None})
    query = select(LegacyId.legacy_id, LegacyId.id).where(
        LegacyId.kind == kind.name, LegacyId.legacy_id.in_(wanted)
    )
    return dict((await session.execute(query)).all()) if wanted else {}


async def keep(session: WriteSession, kind: Kind, rows: Sequence[Mapped], written: Written) -> None:
    """Notes what became of these rows."""
    digests = {row.id: row.bundle.digest for row in rows}
    known = [
        {
            "kind": kind.name,
            "legacy_id": each.legacy_id,
            "id": each.id,
            "written": each.written,
            "digest": digests[each.legacy_id],
        }
        for each in written.brought
    ]
    await write_rows(session, Rows(LegacyId, known))
    await _no_longer_aside(session, kind, [each.legacy_id for each in written.brought])
    await set_aside(session, kind, written.refused)


async def set_aside(session: WriteSession, kind: Kind, reasons: Mapping[int, str]) -> None:
    """Notes rows that could not be taken over, each with its reason."""
    values = [
        {"kind": kind.name, "legacy_id": number, "reason": reason[:REASON_CHARS]}
        for number, reason in sorted(reasons.items())
    ]
    again = "on conflict (kind, legacy_id) do update set reason = excluded.reason"
    await write_rows(session, Rows(LegacyQuarantine, values, again))


async def _no_longer_aside(session: WriteSession, kind: Kind, legacy_ids: Sequence[int]) -> None:
    await session.execute(
        delete(LegacyQuarantine).where(
            LegacyQuarantine.kind == kind.name, LegacyQuarantine.legacy_id.in_(legacy_ids)
        )
    )


async def forget_aside(session: WriteSession, kind: Kind, legacy_ids: Sequence[int]) -> None:
    """Rows set aside that the original does not have any more."""
    await _no_longer_aside(session, kind, legacy_ids)


async def aside(session: Session, kind: Kind, after: int, limit: int) -> list[int]:
    """The next rows set aside, by the original's id."""
    query = (
        select(LegacyQuarantine.legacy_id)
        .where(LegacyQuarantine.kind == kind.name, LegacyQuarantine.legacy_id > after)
        .order_by(LegacyQuarantine.legacy_id)
        .limit(limit)
    )
    return list(await session.scalars(query))


# Numbers


async def numbered(session: WriteSession, table: type[Base], legacy_ids: Sequence[int]) -> dict[int, int]:
    """Ids for rows of the original: the same where they are free here, else new ones.

    The sequence is moved beyond all of them first, so that nobody else draws them meanwhile.
    """
    if not legacy_ids:
        return {}
    name = table.__tablename__
    sequence = await session.scalar(select(func.pg_get_serial_sequence(name, "id")))
    beyond = text(
        f"select setval('{sequence}', :top) from {sequence}"  # noqa: S608 -- a name of our own
        " where last_value < :top or (last_value = :top and not is_called)"
    )
    await session.execute(beyond, {"top": max(legacy_ids)})
    column = table.__table__.c.id
    taken = set(await session.scalars(select(column).where(column.in_(legacy_ids))))
    fresh = await session.scalars(
        select(func.nextval(sequence)).select_from(func.generate_series(1, len(taken)).table_valued("n"))
    )
    anew = dict(zip(sorted(taken), fresh, strict=True))
    return {number: anew.get(number, number) for number in legacy_ids}


# Rows


def rows(table: type[Base], values: Sequence[Mapping[str, Any]], clause: str = "") -> Rows:
    """Python values as `write_rows` takes them."""
    return Rows(table, [{name: jsonable(value) for name, value in row.items()} for row in values], clause)


def jsonable(value: Any) -> Any:
    """A value as JSON that PostgreSQL reads back to the same."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(each) for each in value]
    return value


async def written(session: WriteSession, bringer: Bringer, these: Sequence[Mapped]) -> Written:
    """Writes rows; when the database refuses one, the others are written all the same."""
    if not these:
        return Written()
    try:
        async with session.begin_nested():
            return await bringer.write(session, these)
    except DBAPIError as error:
        if error.connection_invalidated or not _about_a_row(error):
            raise
        if len(these) == 1:
            return Written(refused={these[0].id: _refusal(error)})
    outcome = Written()
    for each in these:
        outcome.add(await written(session, bringer, [each]))
    return outcome


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", "") or "")


def _about_a_row(error: DBAPIError) -> bool:
    """Data exceptions (22), violated constraints (23) and values too large for an index (54)."""
    return _sqlstate(error)[:2] in {"22", "23", "54"}


def _refusal(error: DBAPIError) -> str:
    """Which rule of the database a row breaks, without what it holds."""
    diagnosis = getattr(error.orig, "diag", None)
    rule = getattr(diagnosis, "constraint_name", None) or getattr(diagnosis, "column_name", None)
    return f"the database refuses it: {rule or 'a value'} ({_sqlstate(error)})"
