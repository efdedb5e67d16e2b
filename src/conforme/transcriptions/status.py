"""How far the transcription of a fiche is, for the fiche's status (spec/fiches §2.5)."""

from collections.abc import Sequence

from sqlalchemy import func, select

from conforme.accounts.actor import Actor
from conforme.fiches.schemas import TranscriptionStatus
from conforme.fiches.scope import visible_fiche_cache
from conforme.recordings.models import Recording
from conforme.recordings.queries import Session


async def transcription_status(session: Session, actor: Actor, fiche_cache_id: int) -> TranscriptionStatus:
    """Counts over the recordings of a fiche the actor may see; zeros otherwise."""
    counted = await transcription_statuses(session, actor, [fiche_cache_id])
    return counted.get(fiche_cache_id) or TranscriptionStatus()


async def transcription_statuses(
    session: Session, actor: Actor, fiche_cache_ids: Sequence[int]
) -> dict[int, TranscriptionStatus]:
    """The same for many fiches, by cache id; nothing of those without recordings."""
    if not fiche_cache_ids:
        return {}
    query = (
        select(
            Recording.fiche_cache_id,
            func.count(),
            func.count().filter(Recording.has_transcription),
            func.max(Recording.transcribed_at),
        )
        .where(
            Recording.fiche_cache_id.in_(fiche_cache_ids),
            visible_fiche_cache(actor, Recording.fiche_cache_id),
        )
        .group_by(Recording.fiche_cache_id)
    )
    rows = (await session.execute(query)).all()
    return {
        fiche_cache_id: TranscriptionStatus(
            total=total,
            transcribed=transcribed,
            pending=total - transcribed,
            percentage=100 * transcribed / total,
            is_complete=transcribed == total,
            last_transcribed_at=last,
        )
        for fiche_cache_id, total, transcribed, last in rows
    }
