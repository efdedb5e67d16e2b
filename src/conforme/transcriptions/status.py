"""How far the transcription of a fiche is, for the fiche's status (spec/fiches §2.5)."""

from sqlalchemy import func, select

from conforme.accounts.actor import Actor
from conforme.fiches.schemas import TranscriptionStatus
from conforme.fiches.scope import visible_fiche_cache
from conforme.recordings.models import Recording
from conforme.recordings.queries import Session


async def transcription_status(session: Session, actor: Actor, fiche_cache_id: int) -> TranscriptionStatus:
    """Counts over the recordings of a fiche the actor may see; zeros otherwise."""
    query = select(
        func.count(),
        func.count().filter(Recording.has_transcription),
        func.max(Recording.transcribed_at),
    ).where(Recording.fiche_cache_id == fiche_cache_id, visible_fiche_cache(actor, Recording.fiche_cache_id))
    total, transcribed, last = (await session.execute(query)).one()
    return TranscriptionStatus(
        total=total,
        transcribed=transcribed,
        pending=total - transcribed,
        percentage=100 * transcribed / total if total else 0.0,
        is_complete=total > 0 and transcribed == total,
        last_transcribed_at=last,
    )
