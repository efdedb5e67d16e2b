"""The draft becomes an immutable revision when it is first run; a run says which one it judged by."""

from collections import OrderedDict
from dataclasses import dataclass

from conforme.audit_configs import queries
from conforme.audit_configs.drafts import existing, require_complete, require_runnable, rules_of
from conforme.audit_configs.models import AuditConfigRevision
from conforme.audit_configs.rules import Rules
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.errors import NotFound

KEPT_RULES = 32


@dataclass(frozen=True, slots=True)
class Revision:
    """A numbered, unchanging state of a configuration."""

    id: int
    config_id: int
    number: int
    rules: Rules


@dataclass(frozen=True, slots=True)
class Written:
    """A revision as it stands in the database, with its rules."""

    row: AuditConfigRevision
    rules: Rules

    @property
    def revision(self) -> Revision:
        return Revision(self.row.id, self.row.audit_config_id, self.row.number, self.rules)


async def revision_for_run(
    session: WriteSession, config_id: int, *, created_by: str | None = None
) -> Revision:
    """The revision that a run started now is judged by.

    The latest revision serves again while the draft still says the same; otherwise the draft becomes the next one.
    However many callers meet here, one content makes one revision.

    Raises:
        NotFound: there is no such configuration.
        Invalid: it is inactive, or its draft cannot run.
    """
    rules = await require_runnable(session, config_id)
    latest = await _latest_saying(session, config_id, rules)
    return (latest or await publish(session, config_id, created_by=created_by)).revision


async def revision(session: ReadSession | WriteSession, revision_id: int) -> Revision:
    """A pinned revision, by its id.

    Raises:
        NotFound: there is no such revision.
    """
    row = await queries.revision(session, revision_id)
    if row is None:
        raise NotFound.of("Audit config revision", revision_id)
    return (await _written(session, row)).revision


async def publish(session: WriteSession, config_id: int, *, created_by: str | None = None) -> Written:
    """The draft as a revision, before any run asks for it; the latest one when it says the same.

    Made alone: whoever waited for the lock finds what the holder published.

    Raises:
        NotFound: there is no such configuration.
        InvalidConfiguration: its draft cannot run.
    """
    await queries.locked_config(session, config_id)
    rules = await require_complete(session, config_id)
    latest = await queries.latest_revision(session, config_id)
    if latest is not None and latest.sha256 == rules.sha256():
        return await _written(session, latest)
    row = AuditConfigRevision(
        audit_config_id=config_id,
        number=latest.number + 1 if latest else 1,
        content=rules.model_dump(mode="json"),
        sha256=rules.sha256(),
        created_by=created_by,
    )
    session.add(row)
    await session.flush()
    return Written(row, rules)


async def numbered(session: ReadSession | WriteSession, config_id: int, number: int) -> Written:
    """A revision of a configuration by its number.

    Raises:
        NotFound: there is no such revision of it.
    """
    row = await queries.revision_numbered(session, config_id, number)
    if row is None:
        raise NotFound.of(f"Revision of audit config '{config_id}'", number)
    return await _written(session, row)


async def state(session: ReadSession | WriteSession, config_id: int, number: int | None) -> Rules:
    """What a configuration says in its revision of that number, or in its draft (None).

    Raises:
        NotFound: there is no such configuration, or no such revision of it.
    """
    if number is None:
        return rules_of(await existing(session, config_id))
    return (await numbered(session, config_id, number)).rules


async def _latest_saying(session: WriteSession, config_id: int, rules: Rules) -> Written | None:
    latest = await queries.latest_revision(session, config_id)
    if latest is None or latest.sha256 != rules.sha256():
        return None
    return await _written(session, latest)


async def _written(session: ReadSession | WriteSession, row: AuditConfigRevision) -> Written:
    return Written(row, await _rules(session, row))


_read: OrderedDict[str, Rules] = OrderedDict()


async def _rules(session: ReadSession | WriteSession, row: AuditConfigRevision) -> Rules:
    """The rules of a revision; the last few are remembered by their digest, whatever revision holds them."""
    if (known := _read.get(row.sha256)) is not None:
        return known
    rules = _read[row.sha256] = Rules.model_validate(await queries.revision_content(session, row.id))
    while len(_read) > KEPT_RULES:
        _read.popitem(last=False)
    return rules
