"""`GET /api/recordings/{fiche_id}`."""

from typing import Annotated, Any

from fastapi import APIRouter

from conforme.accounts.actor import Actor
from conforme.accounts.auth import may
from conforme.foundation.web import ERRORS, ResourcesDep
from conforme.recordings import queries
from conforme.recordings.schemas import RecordingList, RecordingRow

router = APIRouter(prefix="/api/recordings", tags=["recordings"], responses=ERRORS)

Reader = Annotated[Actor, may("recordings.read")]


@router.get("/{fiche_id}", response_model=RecordingList)
async def list_recordings(fiche_id: str, actor: Reader, resources: ResourcesDep) -> Any:
    """The recordings of a fiche, oldest first."""
    async with resources.database.read() as session:
        cache_id = await queries.cached_fiche(session, actor, fiche_id)
        rows = await queries.of_fiche(session, actor, cache_id, also=queries.TEXT)
    data = [RecordingRow.model_validate(row) for row in rows]
    return RecordingList(data=data, count=len(data))
