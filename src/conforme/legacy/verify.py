"""After an import: are all rows accounted for, and do samples say the same here as there?

A sampled row is read again from the original, made into our columns as the import makes it, and compared with what is
stored. Sampled are rows that the import wrote; what was here already was left as it is, and is not compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import func, select

from conforme.accounts.models import Role, Team, User
from conforme.audit_configs.models import AuditConfig, AuditStep
from conforme.audits.models import AuditRow, ControlPointRow, StepResultRow
from conforme.automation.models import AutomationRun, AutomationRunFiche, AutomationSchedule
from conforme.fiches.models import FicheCache
from conforme.foundation.database import Base, Database, ReadSession, now
from conforme.legacy.errors import BadRow
from conforme.legacy.importing import Step, Tell, bringers, known, recognise
from conforme.legacy.layout import Kind
from conforme.legacy.models import LegacyId, LegacyQuarantine
from conforme.legacy.report import Report
from conforme.legacy.source import Source
from conforme.legacy.target import Bringer
from conforme.legacy.target_configs import columns
from conforme.recordings.models import Recording
from conforme.transcriptions.models import TranscriptionChunk

SAMPLE: Final = 200
"""Rows of each kind that are compared."""
TABLES: Final[dict[str, type[Base]]] = {
    "roles": Role,
    "teams": Team,
    "users": User,
    "configs": AuditConfig,
    "fiches": FicheCache,
    "recordings": Recording,
    "schedules": AutomationSchedule,
    "runs": AutomationRun,
    "audits": AuditRow,
}
CHANGE_HERE: Final = frozenset({"updated_at", "last_login_at", "result_data", "trigger_user_id", "raw_data"})
"""Columns that use changes, or that hold ids of here."""

SECRET: Final = frozenset({"password_hash"})
"""Renewed at the next sign-in."""


@dataclass(frozen=True, slots=True)
class Sampled:
    legacy_id: int
    id: int
    digest: str


async def verify(
    database: Database, source: Source, kinds: Sequence[Kind], tell: Tell, sample: int = SAMPLE
) -> Report:
    """Counts everything, compares a sample.

    Raises:
        AnotherOriginal: what came before came from another database.
    """
    report = Report("verify")
    await recognise(database, source)
    for bringer in bringers(now()):
        if bringer.kind in kinds and source.survey.has(bringer.kind):
            await _Check(database, source, bringer, report).run(sample)
            tell(Step(bringer.kind.name, 1, 1))
    return report


class _Check:
    """One kind of rows under examination."""

    def __init__(self, database: Database, source: Source, bringer: Bringer, report: Report) -> None:
        self._database = database
        self._source = source
        self._bringer = bringer
        self._kind = bringer.kind
        self._report = report
        self._counted = report.kind(bringer.kind.name)

    async def run(self, sample: int) -> None:
        await self._count()
        sampled = await self._sampled(sample)
        self._counted.sampled = len(sampled)
        bundles = {
            each.id: each
            for each in await self._source.with_ids(self._kind, [each.legacy_id for each in sampled])
        }
        async with self._database.read() as session:
            for each in sampled:
                bundle = bundles.get(each.legacy_id)
                if bundle is None:
                    self._differs(each.legacy_id, "the original does not have it any more")
                elif bundle.digest != each.digest:
                    self._differs(each.legacy_id, "it was changed in the original since it was imported")
                else:
                    await self._compare(session, each, bundle)

    async def _count(self) -> None:
        """Every row of the original has come, or was set aside; every row that came is here."""
        counted, kind = self._counted, self._kind
        counted.source = await self._source.count(kind.table)
        counted.known = await known(self._database, kind)
        async with self._database.read() as session:
            aside = (
                select(func.count()).select_from(LegacyQuarantine).where(LegacyQuarantine.kind == kind.name)
            )
            counted.quarantined = await session.scalar(aside) or 0
            gone = list(await session.scalars(_lost(kind)))
        missing = counted.source - counted.known - counted.quarantined
        if missing > 0:
            counted.different += missing
            self._report.notes[f"Rows of {kind.table} that have not come yet: import again"] += missing
        for number in gone:
            self._differs(number, "it was imported, and is not here any more")

    async def _sampled(self, sample: int) -> list[Sampled]:
        """Rows that the import wrote, scattered over all of them; the same ones each time."""
        query = (
            select(LegacyId.legacy_id, LegacyId.id, LegacyId.digest)
            .where(LegacyId.kind == self._kind.name, LegacyId.written)
            .order_by(func.md5(func.concat(LegacyId.kind, LegacyId.legacy_id)))
            .limit(sample)
        )
        async with self._database.read() as session:
            return [Sampled(*row) for row in await session.execute(query)]

    async def _compare(self, session: ReadSession, sampled: Sampled, bundle: Any) -> None:
        try:
            wanted = expected(self._kind, self._bringer.read(bundle))
        except BadRow as bad:
            self._differs(sampled.legacy_id, bad.reason)
            return
        stored = await _stored(session, self._kind, sampled.id)
        wrong = [name for name, value in wanted.items() if not _same(value, stored.get(name))]
        if stored and wrong:
            self._differs(sampled.legacy_id, f"differs here: {', '.join(sorted(wrong))}")

    def _differs(self, number: int, reason: str) -> None:
        self._counted.different += 1
        self._report.line(self._kind.table, number, reason)


def _lost(kind: Kind) -> Any:
    """Rows that came and are gone."""
    table = TABLES[kind.name]
    column = table.__table__.c.id
    here = select(column).where(column == LegacyId.id)
    return select(LegacyId.legacy_id).where(LegacyId.kind == kind.name, ~here.exists()).limit(1_000)


# What is compared


def expected(kind: Kind, value: Any) -> dict[str, Any]:
    """What should be stored of a row: its columns, and of what hangs on it the tellings that matter."""
    columns = _columns(kind, value)
    return {name: each for name, each in columns.items() if name not in CHANGE_HERE}


def _columns(kind: Kind, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return dict(value)
    if kind.name == "configs":
        steps = [[step.position, step.name, step.prompt, step.weight] for step in value.rules.steps]
        return {**columns(value), "steps": steps}
    below = _BELOW[kind.name](value) if kind.name in _BELOW else {}
    return {**{name: each for name, each in value.columns.items() if name not in SECRET}, **below}


def _chunks(recording: Any) -> dict[str, Any]:
    return {"chunks": [[each["chunk_index"], each["full_text"]] for each in recording.chunks]}


def _judged(audit: Any) -> dict[str, Any]:
    analysed = [step for step in audit.steps if step.analysed]
    return {
        "steps": [[step.judged.position, step.judged.name, step.judged.weight] for step in audit.steps],
        "statuts": [
            [step.judged.position, point.number, point.statut.value, point.commentaire]
            for step in analysed
            for point in step.points
        ],
    }


def _outcomes(run: Any) -> dict[str, Any]:
    return {"outcomes": sorted([each["fiche_id"], each["outcome"]] for each in run.fiches)}


_BELOW: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    "recordings": _chunks,
    "runs": _outcomes,
    "audits": _judged,
}


async def _stored(session: ReadSession, kind: Kind, number: int) -> Mapping[str, Any]:
    table = TABLES[kind.name]
    query = select(table.__table__).where(table.__table__.c.id == number)
    row = (await session.execute(query)).mappings().first()
    return {} if row is None else {**row, **await _below(session, kind, number)}


async def _below(session: ReadSession, kind: Kind, number: int) -> dict[str, Any]:
    match kind.name:
        case "configs":
            step = AuditStep
            query = select(step.position, step.name, step.prompt, step.weight)
            return {
                "steps": await _lists(
                    session, query.where(step.audit_config_id == number).order_by(step.position)
                )
            }
        case "recordings":
            chunk = TranscriptionChunk
            query = select(chunk.chunk_index, chunk.full_text).where(chunk.recording_id == number)
            return {"chunks": await _lists(session, query.order_by(chunk.chunk_index))}
        case "runs":
            fiche = AutomationRunFiche
            query = select(fiche.fiche_id, fiche.outcome).where(fiche.run_id == number)
            return {"outcomes": sorted(await _lists(session, query))}
        case "audits":
            return await _judged_here(session, number)
        case _:
            return {}


async def _judged_here(session: ReadSession, number: int) -> dict[str, Any]:
    step, point = StepResultRow, ControlPointRow
    steps = select(step.step_position, step.step_name, step.weight).where(step.audit_id == number)
    points = select(point.step_position, point.control_point_index, point.statut, point.commentaire)
    points = points.where(point.audit_id == number)
    return {
        "steps": await _lists(session, steps.order_by(step.step_position)),
        "statuts": await _lists(session, points.order_by(point.step_position, point.control_point_index)),
    }


async def _lists(session: ReadSession, query: Any) -> list[list[Any]]:
    return [list(row) for row in await session.execute(query)]


def _same(wanted: Any, stored: Any) -> bool:
    """Equal as values, whatever they are written like."""
    return _plain(wanted) == _plain(stored)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, Decimal | int | float) and not isinstance(value, bool):
        return Decimal(str(value)).normalize()
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
