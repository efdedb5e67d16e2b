"""The import: kind after kind, batch after batch, each batch one transaction that also moves its cursor.

Cut off anywhere, it goes on with the next batch when it is started again. What could not be read is set aside, and
tried again by the next import.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import func, select

from conforme.accounts.seeding import seed_roles
from conforme.fiches.models import FicheCache
from conforme.foundation.database import Database, now
from conforme.legacy import layout, target
from conforme.legacy.errors import AnotherOriginal, BadRow
from conforme.legacy.layout import BY_NAME, KINDS, LEFT_BEHIND, Kind
from conforme.legacy.models import LegacyId
from conforme.legacy.report import Mode, Report
from conforme.legacy.source import Bundle, Source, tables_beyond
from conforme.legacy.target import Bringer, Mapped, Written
from conforme.legacy.target_audits import Audits
from conforme.legacy.target_configs import Configs
from conforme.legacy.target_fiches import Fiches, Recordings
from conforme.legacy.target_people import Roles, Teams, Users
from conforme.legacy.target_schedules import Runs, Schedules

log = structlog.get_logger(__name__)
RECOGNISED: Final = 50
"""Fiches of an earlier import by which an original is recognised."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far a kind is."""

    kind: str
    done: int
    total: int


Tell = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What to bring."""

    kinds: Sequence[Kind] = KINDS
    batch: int = 100
    dry_run: bool = False

    @property
    def mode(self) -> Mode:
        return "dry-run" if self.dry_run else "import"


def bringers(at: datetime) -> tuple[Bringer, ...]:
    """How each kind is taken over, in the order in which they need each other."""
    return (
        Roles(),
        Teams(),
        Users(),
        Configs(),
        Fiches(),
        Recordings(),
        Schedules(),
        Runs(at),
        Audits(at),
    )


def kinds_named(names: Iterable[str]) -> tuple[Kind, ...]:
    """The kinds of these names, in the order in which they need each other. Raises `KeyError` for any other name."""
    wanted = {BY_NAME[name].name for name in names}
    return tuple(kind for kind in KINDS if kind.name in wanted)


async def run(database: Database, source: Source, wish: Wish, tell: Tell) -> Report:
    """Brings what has not come yet; of a dry run, says what would.

    Raises:
        AnotherOriginal: what came before came from another database.
        ImportOverlaps: another import is at work.
    """
    report = Report(wish.mode)
    await recognise(database, source)
    await say_what_stays(source, report)
    if not wish.dry_run and layout.ROLES in wish.kinds:
        async with database.write() as session:
            await seed_roles(session)
    at = now()
    for bringer in bringers(at):
        if bringer.kind in wish.kinds and source.survey.has(bringer.kind):
            await _Kind(database, source, bringer, report, wish).bring(tell)
    return report


async def recognise(database: Database, source: Source) -> None:
    """Makes sure that it is the database that was imported from before.

    Raises:
        AnotherOriginal: none of the fiches that came before is there under its number.
    """
    query = (
        select(LegacyId.legacy_id, FicheCache.fiche_id)
        .join(FicheCache, FicheCache.id == LegacyId.id)
        .where(LegacyId.kind == layout.FICHES.name)
        .order_by(LegacyId.legacy_id.desc())
        .limit(RECOGNISED)
    )
    async with database.read() as session:
        named = dict((await session.execute(query)).all())
    if not named or not source.survey.has(layout.FICHES):
        return
    found = await source.roots(layout.FICHES, list(named))
    if found and not any(str(row["fiche_id"]) == named[int(row["id"])] for row in found):
        raise AnotherOriginal


async def say_what_stays(source: Source, report: Report) -> None:
    """Names the tables that are not taken over, with their numbers of rows, and those that are not there."""
    for table in tables_beyond(source.survey, KINDS):
        if count := await source.count(table):
            why = LEFT_BEHIND.get(table)
            report.left[table] = f"{count} rows" + (f" ({why})" if why else "")
    for kind in KINDS:
        report.absent += source.survey.missing(kind)


class _Kind:
    """One kind of rows on its way."""

    def __init__(
        self, database: Database, source: Source, bringer: Bringer, report: Report, wish: Wish
    ) -> None:
        self._database = database
        self._source = source
        self._bringer = bringer
        self._kind = bringer.kind
        self._report = report
        self._counted = report.kind(bringer.kind.name)
        self._wish = wish

    async def bring(self, tell: Tell) -> None:
        async with self._database.read() as session:
            cursor = await target.cursor_of(session, self._kind)
        self._counted.known = await known(self._database, self._kind)
        self._counted.source = total = await self._source.count(self._kind.table)
        done = await self._source.counted_to(self._kind, cursor)
        tell(Step(self._kind.name, done, total))
        await self._try_again()
        while bundles := await self._source.after(self._kind, cursor, self._wish.batch):
            last = bundles[-1].id
            await self._batch(bundles, cursor, last)
            cursor, done = last, done + len(bundles)
            tell(Step(self._kind.name, done, total))
        log.info("legacy_kind_done", kind=self._kind.name, imported=self._counted.imported)

    async def _try_again(self) -> None:
        """Rows that earlier imports set aside."""
        after = 0
        while True:
            async with self._database.read() as session:
                waiting = await target.aside(session, self._kind, after, self._wish.batch)
            if not waiting:
                return
            after = waiting[-1]
            bundles = await self._source.with_ids(self._kind, waiting)
            gone = sorted(set(waiting) - {bundle.id for bundle in bundles})
            await self._batch(bundles, None, None, gone=gone)

    async def _batch(
        self, bundles: Sequence[Bundle], before: int | None, after: int | None, *, gone: Sequence[int] = ()
    ) -> None:
        """One transaction: the rows, what became of them, and how far that is."""
        rows, unread = self._read(bundles)
        if self._wish.dry_run:
            self._count(Written(refused=unread), len(rows))
            return
        async with self._database.write() as session:
            await target.alone(session)
            if before is not None and after is not None:
                await target.advance(session, self._kind, before, after)
            come = await target.ids_here(session, self._kind, [row.id for row in rows])
            rows = [row for row in rows if row.id not in come]
            outcome = await target.written(session, self._bringer, rows)
            outcome.refused |= unread
            await target.keep(session, self._kind, rows, outcome)
            await target.forget_aside(session, self._kind, gone)
        self._count(outcome, sum(each.written for each in outcome.brought))

    def _read(self, bundles: Sequence[Bundle]) -> tuple[list[Mapped], dict[int, str]]:
        """What can be made of the rows, and why nothing can of the others."""
        rows: list[Mapped] = []
        unread: dict[int, str] = {}
        for bundle in bundles:
            try:
                rows.append(Mapped(bundle, self._bringer.read(bundle)))
            except BadRow as bad:
                unread[bundle.id] = bad.reason
        return rows, unread

    def _count(self, outcome: Written, imported: int) -> None:
        counted = self._counted
        counted.imported += imported
        counted.already_here += sum(not each.written for each in outcome.brought)
        counted.renumbered += sum(each.written and each.id != each.legacy_id for each in outcome.brought)
        counted.quarantined += len(outcome.refused)
        self._report.notes += outcome.notes
        for number, reason in sorted(outcome.refused.items()):
            self._report.line(self._kind.table, number, reason)


async def known(database: Database, kind: Kind) -> int:
    """How many rows of a kind came with earlier imports."""
    query = select(func.count()).select_from(LegacyId).where(LegacyId.kind == kind.name)
    async with database.read() as session:
        return await session.scalar(query) or 0
