"""What `conforme config import|export|list` do."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from conforme.audit_configs import files, queries, service
from conforme.audit_configs.errors import InvalidConfiguration
from conforme.audit_configs.files import Format
from conforme.audit_configs.service import Imported
from conforme.foundation.database import ReadSession, WriteSession

AUTHOR = "cli"


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of `conforme config list`."""

    id: int
    name: str
    steps: int
    revisions: int
    is_active: bool
    updated_at: datetime


async def import_file(session: WriteSession, path: Path) -> Imported:
    """Creates the configuration that a file holds, or makes it the draft of the one with the same name.

    Raises:
        InvalidConfiguration: the file cannot be read, or what it holds could not run; each problem names its field.
        Conflict: several configurations have that name.
    """
    return await service.import_rules(
        session, files.load(_content(path), files.format_of(path)), created_by=AUTHOR
    )


async def export(session: ReadSession, id_or_name: str, kind: Format = "yaml") -> str:
    """The draft of a configuration as a file that `import_file` takes back.

    Raises:
        NotFound: no configuration has this id, name or slug.
        Conflict: several have this name.
    """
    return files.dump(await service.draft(session, await service.find(session, id_or_name)), kind)


async def listing(session: ReadSession) -> list[Listed]:
    """Every configuration, inactive ones too, newest first."""
    return [
        Listed(
            id=each.config.id,
            name=each.config.name,
            steps=each.steps_count,
            revisions=each.revisions_count,
            is_active=each.config.is_active,
            updated_at=each.config.updated_at,
        )
        for each in await queries.listed_configs(session, include_inactive=True)
    ]


def _content(path: Path) -> bytes:
    """At most one byte more than a file may have: enough for `load` to refuse it."""
    try:
        with path.open("rb") as file:
            return file.read(files.MAX_BYTES + 1)
    except OSError as error:
        raise InvalidConfiguration([f"file: {error.strerror or 'cannot be read'}"]) from None
