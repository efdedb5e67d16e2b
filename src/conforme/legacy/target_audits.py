"""Audits into our tables: pinned to a revision and to the words as they are stored, their quotes looked for again."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, text

from conforme.accounts.actor import Actor
from conforme.audit_configs.rules import Rules
from conforme.audits.case import freeze
from conforme.audits.models import AuditRow, CitationRow, ControlPointRow, StepResultRow, VerdictRow
from conforme.audits.passages import TranscriptIndex
from conforme.audits.timeline import Call, Timeline, build
from conforme.fiches.models import FicheCache
from conforme.foundation.database import WriteSession
from conforme.foundation.rows import write_rows
from conforme.legacy import layout, mapping_audits, target
from conforme.legacy.errors import BadRow
from conforme.legacy.layout import Kind
from conforme.legacy.mapping_audits import OldAudit
from conforme.legacy.mapping_configs import rules_of
from conforme.legacy.mapping_verdicts import Basis, StepRows, step_rows
from conforme.legacy.source import Bundle
from conforme.legacy.target import IMPORTER, Brought, Mapped, Written
from conforme.legacy.target_configs import Revisions, drafts
from conforme.recordings.models import Recording
from conforme.transcriptions.queries import TranscribedRecording, transcribed

ACTOR: Final = Actor.system("legacy-import")
LATEST: Final = """
    update audits set version = told.version, is_latest = told.latest
    from (
        select id,
               row_number() over (partition by fiche_id, audit_config_id order by created_at, id) as version,
               row_number() over (
                   partition by fiche_id, audit_config_id
                   order by deleted_at is null desc, created_at desc, id desc
               ) = 1 as latest
        from audits
        where (fiche_id, audit_config_id) in (
            select * from unnest(cast(:fiches as text[]), cast(:configs as bigint[]))
        )
    ) as told
    where audits.id = told.id and (audits.version, audits.is_latest) is distinct from (told.version, told.latest)
"""


@dataclass(frozen=True, slots=True)
class Words:
    """What an audit can have heard, frozen."""

    snapshot_id: int
    index: TranscriptIndex


Heard = tuple[TranscribedRecording, datetime | None]
"""A call in which something is said, and when it was transcribed."""


async def _heard(session: WriteSession, cache_id: int) -> list[Heard]:
    query = select(Recording.id, Recording.transcribed_at).where(Recording.fiche_cache_id == cache_id)
    times = dict((await session.execute(query)).all())
    calls = await transcribed(session, ACTOR, cache_id)
    return [(call, times.get(call.recording_id)) for call in calls if call.words]


def _call(heard: TranscribedRecording) -> Call:
    return Call(
        call_id=heard.call_id,
        words=heard.words,
        start_time=heard.start_time,
        duration_seconds=heard.duration_seconds,
        recording_url=heard.recording_url,
        recording_date=heard.recording_date,
        recording_time=heard.recording_time,
        from_number=heard.from_number,
        to_number=heard.to_number,
    )


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids here of what audits point at, by those of the original."""

    fiches: Mapping[int, int]
    configs: Mapping[int, int]
    users: Mapping[int, int]
    schedules: Mapping[int, int]
    runs: Mapping[int, int]
    names: Mapping[int, str]
    """What the CRM calls each fiche, by our cache id."""

    def missing(self, old: OldAudit) -> str | None:
        """What the audit points at that did not come."""
        if old.fiche_cache_id not in self.fiches:
            return f"fiche_cache_id: fiche {old.fiche_cache_id} did not come"
        if old.audit_config_id not in self.configs:
            return f"audit_config_id: configuration {old.audit_config_id} did not come"
        return None

    def automation(self, told: Mapping[str, str]) -> dict[str, int | None]:
        """The schedule and run that asked for it, where they came."""
        schedule, run = (int(told.get(name, 0)) for name in ("automation_schedule_id", "automation_run_id"))
        return {
            "automation_schedule_id": self.schedules.get(schedule),
            "automation_run_id": self.runs.get(run),
        }

    def user(self, told: str | None) -> str | None:
        """Who asked for it, by the id they have here."""
        return str(self.users.get(int(told), told)) if told and told.isdecimal() and len(told) < 19 else told


class Audits:
    kind: Kind = layout.AUDITS

    def __init__(self, now: datetime) -> None:
        self._now = now

    def read(self, bundle: Bundle) -> OldAudit:
        return mapping_audits.audit(bundle, self._now)

    async def write(self, session: WriteSession, rows: Sequence[Mapped]) -> Written:
        outcome = Written()
        ids = await _ids(session, rows)
        outcome.refused |= {row.id: why for row in rows if (why := ids.missing(row.value)) is not None}
        fit = [row for row in rows if row.id not in outcome.refused]
        if fit:
            await _Batch(session, ids, outcome).write(fit)
        return outcome


async def _ids(session: WriteSession, rows: Sequence[Mapped]) -> Ids:
    fiches = await target.ids_here(session, layout.FICHES, [row.value.fiche_cache_id for row in rows])
    configs = await target.ids_here(session, layout.CONFIGS, [row.value.audit_config_id for row in rows])
    askers = [row.value.columns["trigger_user_id"] or "" for row in rows]
    numbers = [int(each) for each in askers if each.isdecimal() and len(each) < 19]
    query = select(FicheCache.id, FicheCache.fiche_id).where(FicheCache.id.in_(list(fiches.values())))
    names = dict((await session.execute(query)).all())
    links = [row.value.columns["result_data"]["imported"] for row in rows]
    return Ids(
        fiches,
        configs,
        await target.ids_here(session, layout.USERS, numbers),
        await target.ids_here(session, layout.SCHEDULES, _numbers(links, "automation_schedule_id")),
        await target.ids_here(session, layout.RUNS, _numbers(links, "automation_run_id")),
        names,
    )


def _numbers(links: Sequence[Mapping[str, str]], name: str) -> list[int]:
    return [int(link[name]) for link in links if name in link]


class _Batch:
    """Audits that are written together."""

    def __init__(self, session: WriteSession, ids: Ids, outcome: Written) -> None:
        self._session = session
        self._ids = ids
        self._outcome = outcome
        self._revisions = Revisions(session)
        self._heard: dict[int, list[Heard]] = {}
        self._words: dict[tuple[int, tuple[int, ...]], Words | None] = {}
        self._tally: Counter[str] = Counter()

    async def write(self, rows: Sequence[Mapped]) -> None:
        numbers = await target.numbered(self._session, AuditRow, [row.id for row in rows])
        pinned = await self._pinned_all(rows, numbers)
        fit = [row for row in rows if row.id in pinned]
        tracking = await self._tracking_ids(fit)
        audits, below = [], StepRows([], [], [], [])
        for row in fit:
            basis, columns = pinned[row.id]
            links = self._ids.automation(row.value.columns["result_data"]["imported"])
            result = self._result(row, numbers[row.id])
            audits.append({**columns, **links, "tracking_id": tracking[row.id], **result})
            below.extend(await asyncio.to_thread(self._steps, row.value, basis))
        await self._insert(audits, below)
        await self._latest(fit)
        self._outcome.brought += [Brought(row.id, numbers[row.id]) for row in fit]
        self._outcome.notes += self._tally
        if unfinished := sum(row.value.unfinished for row in fit):
            self._outcome.notes["Audits that the original never ended came as failed"] += unfinished

    async def _insert(self, audits: Sequence[Mapping[str, Any]], below: StepRows) -> None:
        await write_rows(self._session, target.rows(AuditRow, audits))
        await write_rows(
            self._session,
            target.rows(StepResultRow, below.steps),
            target.rows(ControlPointRow, below.points),
            target.rows(CitationRow, below.citations),
        )
        once = "on conflict (reference) do nothing"
        await write_rows(self._session, target.rows(VerdictRow, below.verdicts, once))

    async def _pinned_all(
        self, rows: Sequence[Mapped], numbers: Mapping[int, int]
    ) -> dict[int, tuple[Basis, dict[str, Any]]]:
        """What each audit is pinned to; those whose rules no revision can hold are refused."""
        configs = [self._ids.configs[row.value.audit_config_id] for row in rows]
        today = await drafts(self._session, configs)
        pinned: dict[int, tuple[Basis, dict[str, Any]]] = {}
        for row in rows:
            try:
                pinned[row.id] = await self._pinned(row.value, numbers[row.id], today)
            except BadRow as bad:
                self._outcome.refused[row.id] = bad.reason
        return pinned

    async def _tracking_ids(self, rows: Sequence[Mapped]) -> dict[int, str]:
        """What clients know the audits by; where somebody else has it, with the original's number behind it."""
        wished = {row.id: row.value.tracking_id or f"legacy-audit-{row.id}" for row in rows}
        query = select(AuditRow.tracking_id).where(AuditRow.tracking_id.in_(list(wished.values())))
        taken = set(await self._session.scalars(query))
        given: dict[int, str] = {}
        for number, name in wished.items():
            given[number] = f"{name}-legacy-{number}" if name in taken else name
            taken.add(given[number])
        return given

    async def _pinned(
        self, old: OldAudit, audit_id: int, today: Mapping[int, Rules]
    ) -> tuple[Basis, dict[str, Any]]:
        """The rules and words of an audit, and the columns of its row."""
        config_id, cache_id = self._ids.configs[old.audit_config_id], self._ids.fiches[old.fiche_cache_id]
        judged = [step.judged for step in old.steps]
        rules = rules_of(today[config_id], judged, complete=old.completed and bool(judged))
        revision_id = await self._revisions.of(config_id, rules)
        words = await self._words_of(old, cache_id) if any(step.analysed for step in old.steps) else None
        snapshot_id = None if words is None else words.snapshot_id
        basis = Basis(audit_id, revision_id, snapshot_id, words and words.index)
        return basis, {
            **old.columns,
            "id": audit_id,
            "job_id": f"legacy-{audit_id}",
            "fiche_id": self._ids.names[cache_id],
            "fiche_cache_id": cache_id,
            "audit_config_id": config_id,
            "config_revision_id": revision_id,
            "transcript_snapshot_id": snapshot_id,
            "trigger_user_id": self._ids.user(old.columns["trigger_user_id"]),
            "requested_by": IMPORTER,
        }

    def _result(self, row: Mapped, audit_id: int) -> dict[str, Any]:
        stored: dict[str, Any] = row.value.columns["result_data"]
        stored = stored | {"imported": stored["imported"] | {"audit_id": str(row.id)}}
        return {"result_data": stored | ({"audit_db_id": str(audit_id)} if "audit_db_id" in stored else {})}

    async def _words_of(self, old: OldAudit, cache_id: int) -> Words | None:
        """The calls that were transcribed when the audit ended; None when nothing is said in them."""
        if cache_id not in self._heard:
            self._heard[cache_id] = await _heard(self._session, cache_id)
        ended: datetime | None = old.columns["completed_at"]
        calls = [call for call, at in self._heard[cache_id] if ended is None or at is None or at <= ended]
        key = (cache_id, tuple(call.recording_id for call in calls))
        if key not in self._words:
            self._words[key] = await self._frozen(cache_id, build(map(_call, calls)))
        return self._words[key]

    async def _frozen(self, cache_id: int, timeline: Timeline) -> Words | None:
        if not timeline.has_words:
            return None
        snapshot_id = await freeze(self._session, self._ids.names[cache_id], timeline)
        return Words(snapshot_id, await asyncio.to_thread(TranscriptIndex, timeline))

    def _steps(self, old: OldAudit, basis: Basis) -> StepRows:
        made = StepRows([], [], [], [])
        for step in old.steps:
            made.extend(step_rows(step, basis, self._tally))
        return made

    async def _latest(self, rows: Sequence[Mapped]) -> None:
        """Of all audits of a fiche by a configuration, the newest is the latest (spec/audits §14.5)."""
        pairs = {
            (
                self._ids.names[self._ids.fiches[row.value.fiche_cache_id]],
                self._ids.configs[row.value.audit_config_id],
            )
            for row in rows
        }
        values = {"fiches": [fiche for fiche, _ in pairs], "configs": [config for _, config in pairs]}
        await self._session.execute(text(LATEST), values)
