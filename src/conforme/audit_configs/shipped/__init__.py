"""The configurations that come with the product, as YAML files beside this one."""

from functools import cache
from importlib.resources import files as resources
from typing import Literal

from conforme.audit_configs import files, service
from conforme.audit_configs.queries import names
from conforme.audit_configs.rules import Rules
from conforme.audit_configs.service import Imported, find, slug
from conforme.foundation.database import WriteSession
from conforme.foundation.errors import NotFound

Shipped = Literal["vente-sante-courte", "vente-sante-complete"]
COMPLETE: Shipped = "vente-sante-complete"
SHORT: Shipped = "vente-sante-courte"
SHIPPED: tuple[Shipped, ...] = (SHORT, COMPLETE)
"""The complete one is loaded last: it is then the latest active one, which a run takes by default."""
AUTHOR = "system:shipped"


@cache
def shipped(name: Shipped) -> Rules:
    """The rules of a shipped configuration; needs no database."""
    return files.load((resources(__name__) / f"{name}.yaml").read_bytes(), "yaml")


async def seed(session: WriteSession) -> list[Imported]:
    """Loads the shipped configurations into a database that has none; does nothing where there is any.

    What a person edited or deleted stays edited or deleted.
    """
    await service.one_importer(session)
    if await names(session):
        return []
    return [await service.import_rules(session, shipped(name), created_by=AUTHOR) for name in SHIPPED]


async def ensure_shipped(session: WriteSession, name: Shipped) -> int:
    """The id of the configuration with the shipped one's name, loaded if there is none."""
    await service.one_importer(session)
    try:
        return await find(session, slug(shipped(name).name))
    except NotFound:
        return (await service.import_rules(session, shipped(name), created_by=AUTHOR)).id
