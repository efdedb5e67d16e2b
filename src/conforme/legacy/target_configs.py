"""Configurations into our tables, and the revisions that imported audits pin."""

from collections.abc import Sequence

from sqlalchemy import func, select

from conforme.audit_configs import queries
from conforme.audit_configs.drafts import config_columns, rules_of, step_columns
from conforme.audit_configs.models import AuditConfig, AuditConfigRevision, AuditStep
from conforme.audit_configs.rules import Rules
from conforme.foundation.database import WriteSession
from conforme.foundation.rows import write_rows
from conforme.legacy import layout, mapping_configs, target
from conforme.legacy.layout import Kind
from conforme.legacy.mapping_configs import OldConfig
from conforme.legacy.source import Bundle
from conforme.legacy.target import IMPORTER, Brought, Mapped, Written


class Configs:
    kind: Kind = layout.CONFIGS

    def read(self, bundle: Bundle) -> OldConfig:
        return mapping_configs.config(bundle)

    async def write(self, session: WriteSession, rows: Sequence[Mapped]) -> Written:
        outcome = Written()
        numbers = await target.numbered(session, AuditConfig, [row.id for row in rows])
        steps = await target.numbered(
            session, AuditStep, [each for row in rows for each in row.value.step_ids]
        )
        configs = [{"id": numbers[row.id], **columns(row.value)} for row in rows]
        below = [
            {"id": steps[old], "audit_config_id": numbers[row.id], **step_columns(step)}
            for row in rows
            for old, step in zip(row.value.step_ids, row.value.rules.steps, strict=True)
        ]
        await write_rows(session, target.rows(AuditConfig, configs), target.rows(AuditStep, below))
        outcome.brought += [Brought(row.id, numbers[row.id]) for row in rows]
        for sentence, count in _notes(rows).items():
            if count:
                outcome.notes[sentence] += count
        return outcome


def columns(old: OldConfig) -> dict[str, object]:
    """What `audit_configs` holds of it."""
    return {**config_columns(old.rules), **old.flags}


def _notes(rows: Sequence[Mapped]) -> dict[str, int]:
    return {
        "Configurations whose steps were not counted from 1 are now": sum(
            row.value.renumbered for row in rows
        ),
        "Configurations that cannot run as they are: edit them before the next audit": sum(
            bool(row.value.rules.problems()) for row in rows
        ),
    }


class Revisions:
    """The revisions that a batch of audits pins: one content, one revision."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session
        self._known: dict[tuple[int, str], int] = {}

    async def of(self, config_id: int, rules: Rules) -> int:
        """The id of the configuration's revision that says these rules; made, and marked as imported, if there is none."""
        key = (config_id, rules.sha256())
        if key not in self._known:
            self._known[key] = await self._found(*key) or await self._made(config_id, rules)
        return self._known[key]

    async def _found(self, config_id: int, sha256: str) -> int | None:
        query = select(AuditConfigRevision.id).where(
            AuditConfigRevision.audit_config_id == config_id, AuditConfigRevision.sha256 == sha256
        )
        return await self._session.scalar(query.limit(1))

    async def _made(self, config_id: int, rules: Rules) -> int:
        await queries.locked_config(self._session, config_id)
        last = select(func.max(AuditConfigRevision.number)).where(
            AuditConfigRevision.audit_config_id == config_id
        )
        row = AuditConfigRevision(
            audit_config_id=config_id,
            number=(await self._session.scalar(last) or 0) + 1,
            content=rules.model_dump(mode="json"),
            sha256=rules.sha256(),
            created_by=IMPORTER,
        )
        self._session.add(row)
        await self._session.flush()
        return row.id


async def drafts(session: WriteSession, config_ids: Sequence[int]) -> dict[int, Rules]:
    """What the configurations say now, by id."""
    found: dict[int, Rules] = {}
    for config_id in sorted(set(config_ids)):
        config = await queries.config_with_steps(session, config_id)
        if config is not None:
            found[config_id] = rules_of(config)
    return found
