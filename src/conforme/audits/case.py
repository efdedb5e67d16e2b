"""What one audit judges, frozen: rules, words, and both in the forms that the analysis needs."""

import asyncio
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from weakref import WeakValueDictionary

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from conforme.audit_configs.revisions import revision
from conforme.audit_configs.rules import Origins, Rules, StepRule
from conforme.audits import queries, timeline
from conforme.audits.desk import Catalogue
from conforme.audits.evidence import TranscriptIndex
from conforme.audits.models import TranscriptSnapshot
from conforme.audits.timeline import Timeline
from conforme.foundation.database import Connection, WriteSession, reading_on

KEPT_CASES = 16
"""Cases one process remembers, so that the steps of an audit share the work of reading it."""


@dataclass(frozen=True)
class Case:
    """Rules and words of one audit; immutable, since both are pinned."""

    rules: Rules
    timeline: Timeline
    index: TranscriptIndex
    transcript: str
    """The transcript block of the prompt."""
    day: date | None
    """When the last call took place: the rules of that day apply."""

    @property
    def origins(self) -> Origins:
        """Where the calls may come from; a configuration that is written for one origin is used for that."""
        origin = self.rules.call_origin
        return frozenset([origin]) if origin else self.timeline.origins

    @cached_property
    def catalogue(self) -> Catalogue:
        """The same words as tools mode searches them."""
        return Catalogue(self.index)

    def step(self, position: int) -> StepRule:
        return next(step for step in self.rules.steps if step.position == position)


def open_case(rules: Rules, words: Timeline) -> Case:
    """Everything the analysis of any step needs, computed once."""
    return Case(rules, words, TranscriptIndex(words), timeline.render(words), _day(words))


def _day(words: Timeline) -> date | None:
    starts = [recording.start_time for recording in words.recordings if recording.start_time is not None]
    last: datetime | None = max(starts, default=None)
    return last.date() if last else None


async def freeze(session: WriteSession, fiche_id: str, words: Timeline) -> int:
    """Stores the words once, whoever judges them, and returns the snapshot's id; holds it until the session ends."""
    frozen = timeline.to_json(words)
    sha256 = timeline.sha256(frozen)
    known = select(TranscriptSnapshot.id).where(TranscriptSnapshot.sha256 == sha256)
    if (stored := await session.scalar(known.with_for_update(read=True, key_share=True))) is not None:
        return stored
    values = {
        "fiche_id": fiche_id,
        "sha256": sha256,
        "content": zlib.compress(frozen.encode()),
        "recordings_count": len(words.recordings),
        "chunks_count": words.chunk_count,
    }
    written = insert(TranscriptSnapshot).values(values)
    kept = written.on_conflict_do_update(
        index_elements=[TranscriptSnapshot.sha256], set_={"sha256": written.excluded.sha256}
    )
    return (await session.scalars(kept.returning(TranscriptSnapshot.id))).one()


def thaw(content: bytes) -> Timeline:
    return timeline.from_json(zlib.decompress(content).decode())


_cases: OrderedDict[tuple[int, int], Case] = OrderedDict()
_openings: WeakValueDictionary[tuple[int, int], asyncio.Lock] = WeakValueDictionary()


async def case_of(connection: Connection, *, revision_id: int, snapshot_id: int) -> Case:
    """The case of a pinned revision and snapshot; the last few are remembered, and each is opened by one caller."""
    key = (revision_id, snapshot_id)
    if key not in _cases:
        async with _openings.setdefault(key, asyncio.Lock()):
            if key not in _cases:
                _remember(key, await _opened(connection, revision_id, snapshot_id))
    _cases.move_to_end(key)
    return _cases[key]


def _remember(key: tuple[int, int], case: Case) -> None:
    _cases[key] = case
    while len(_cases) > KEPT_CASES:
        _cases.popitem(last=False)


async def _opened(connection: Connection, revision_id: int, snapshot_id: int) -> Case:
    async with reading_on(connection) as session:
        pinned = await revision(session, revision_id)
        frozen = await queries.snapshot(session, snapshot_id)
    return await asyncio.to_thread(lambda: open_case(pinned.rules, thaw(frozen.content)))
