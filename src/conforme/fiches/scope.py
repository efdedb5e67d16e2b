"""The scope predicate (spec/http-auth §3.3): which fiches an actor may see.

It looks at two facts, the same everywhere: the groupe of a fiche, and the CRM user it is attributed to. Both stand on
its cache row, put there by its details or, while there are none, by a listing that tells them. What is not told, or
empty, is nobody's: only scope ALL sees it.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, any_, false, func, select, true
from sqlalchemy.orm import InstrumentedAttribute

from conforme.accounts.actor import Actor, Scope
from conforme.fiches.models import FicheCache
from conforme.foundation.database import ReadSession, WriteSession


def visible(actor: Actor) -> ColumnElement[bool]:
    """A condition on `fiche_cache`."""
    match actor.scope:
        case Scope.ALL:
            return true()
        case Scope.GROUP:
            groupes = sorted(actor.groupes - {""})
            return FicheCache.groupe.in_(groupes) if groupes else false()
        case Scope.SELF:
            mine = actor.crm_user_id
            return FicheCache.attribution_user_id == mine if mine else false()


def visible_fiche_cache(
    actor: Actor, foreign_key: InstrumentedAttribute[Any] | ColumnElement[Any]
) -> ColumnElement[bool]:
    """The same condition for a table that points at `fiche_cache` by `foreign_key`."""
    if actor.scope is Scope.ALL:
        return true()
    return foreign_key.in_(select(FicheCache.id).where(visible(actor)))


def among_visible_fiches(
    actor: Actor, foreign_key: InstrumentedAttribute[Any] | ColumnElement[Any]
) -> ColumnElement[bool]:
    """The same once more, for gathering much of a table by its index on `foreign_key`, whose pages are read but once.

    All the actor may see is looked up first: to ask about few rows, `visible_fiche_cache` costs less.
    """
    if actor.scope is Scope.ALL:
        return true()
    ids = select(FicheCache.id).where(visible(actor)).scalar_subquery()
    return foreign_key == any_(func.array(ids))


def whose_is_told(actor: Actor, row: FicheCache) -> bool:
    """Whether it is known if the fiche is the actor's; of one that is only listed it may not be."""
    fact = row.groupe if actor.scope is Scope.GROUP else row.attribution_user_id
    return actor.scope is Scope.ALL or row.details_fetched_at is not None or bool(fact)


async def visible_fiche_exists(session: ReadSession | WriteSession, actor: Actor, fiche_id: str) -> bool:
    """Whether the fiche is cached and the actor may see it."""
    return bool(await visible_fiche_ids(session, actor, [fiche_id]))


async def visible_fiche_ids(
    session: ReadSession | WriteSession, actor: Actor, fiche_ids: Iterable[str]
) -> set[str]:
    """Those of these fiches that are cached and that the actor may see."""
    query = select(FicheCache.fiche_id).where(FicheCache.fiche_id.in_(list(fiche_ids)), visible(actor))
    return set(await session.scalars(query))
