"""The calls of many fiches as lists of fiches show them (spec/fiches §2.5)."""

from collections.abc import Sequence

from sqlalchemy import select

from conforme.accounts.actor import Actor
from conforme.fiches.list_schemas import ListedCall
from conforme.fiches.scope import visible_fiche_cache
from conforme.recordings.models import Recording
from conforme.recordings.queries import OLDEST_FIRST, Session


async def listed_calls(
    session: Session, actor: Actor, fiche_cache_ids: Sequence[int]
) -> dict[int, list[ListedCall]]:
    """By cache id, oldest first; nothing of fiches without calls or out of scope."""
    if not fiche_cache_ids:
        return {}
    query = (
        select(
            Recording.fiche_cache_id,
            Recording.id,
            Recording.call_id,
            Recording.has_transcription,
            Recording.transcribed_at,
            Recording.start_time,
            Recording.duration_seconds,
        )
        .where(
            Recording.fiche_cache_id.in_(fiche_cache_ids),
            visible_fiche_cache(actor, Recording.fiche_cache_id),
        )
        .order_by(Recording.fiche_cache_id, *OLDEST_FIRST)
    )
    calls: dict[int, list[ListedCall]] = {}
    for fiche_cache_id, number, call_id, heard, heard_at, start, seconds in await session.execute(query):
        call = ListedCall(
            id=number,
            call_id=call_id,
            has_transcription=heard,
            transcribed_at=heard_at,
            start_time=start,
            duration_seconds=seconds,
        )
        calls.setdefault(fiche_cache_id, []).append(call)
    return calls
