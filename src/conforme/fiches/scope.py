"""The scope predicate (spec/http-auth §3.3): which fiches an actor may see.

GROUP looks at the groupe of the fiche's details, and at the one on the cache row while there are none. SELF looks at
who the details say the fiche is attributed to.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, false, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute

from conforme.accounts.actor import Actor, Scope
from conforme.fiches.models import FicheCache, information
from conforme.foundation.database import ReadSession, WriteSession


def visible(actor: Actor) -> ColumnElement[bool]:
    """A condition on `fiche_cache`."""
    match actor.scope:
        case Scope.ALL:
            return true()
        case Scope.GROUP:
            return _of_groupes(actor.groupes)
        case Scope.SELF:
            return _attributed_to(actor.crm_user_id)


def visible_fiche_cache(
    actor: Actor, foreign_key: InstrumentedAttribute[Any] | ColumnElement[Any]
) -> ColumnElement[bool]:
    """The same condition for a table that points at `fiche_cache` by `foreign_key`."""
    if actor.scope is Scope.ALL:
        return true()
    return foreign_key.in_(select(FicheCache.id).where(visible(actor)))


def _of_groupes(groupes: frozenset[str]) -> ColumnElement[bool]:
    wanted = sorted(groupes - {""})
    if not wanted:
        return false()
    details = information.c.fiche_cache_id == FicheCache.id
    told = exists().where(details, information.c.groupe != "")
    return or_(
        exists().where(details, information.c.groupe.in_(wanted)),
        and_(FicheCache.groupe.in_(wanted), ~told),
    )


def _attributed_to(crm_user_id: str | None) -> ColumnElement[bool]:
    if not crm_user_id:
        return false()
    return exists().where(
        information.c.fiche_cache_id == FicheCache.id, information.c.attribution_user_id == crm_user_id
    )


async def visible_fiche_exists(session: ReadSession | WriteSession, actor: Actor, fiche_id: str) -> bool:
    """Whether the fiche is cached and the actor may see it."""
    found = select(FicheCache.id).where(FicheCache.fiche_id == fiche_id, visible(actor))
    return await session.scalar(found) is not None
