"""The wire of batches, in snake_case as their contract is (spec/audits §11)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from conforme.audits.batches import MAX_FICHES
from conforme.audits.schemas import ConfigId, FicheId, UserId, UseRlm
from conforme.foundation.web import Pagination, WireId, WireTime


class AskBatch(BaseModel):
    """Body of a batch; unknown keys are dropped."""

    model_config = ConfigDict(extra="ignore")

    fiche_ids: Annotated[list[FicheId], Field(min_length=1, max_length=MAX_FICHES)]
    audit_config_id: ConfigId | None = None
    user_id: UserId = None
    use_rlm: UseRlm = False


class QueuedBatchOut(BaseModel):
    success: bool = True
    message: str
    fiche_ids: list[str]
    audit_config_id: int
    batch_id: str
    event_ids: list[str]
    """The tracking ids of its audits, in the order of the fiches."""


class BatchOut(BaseModel):
    batch_id: str
    audit_config_id: WireId
    status: str
    total: int
    completed: int
    succeeded: int
    failed: int
    cancelled: int
    progress_percentage: int
    attempt: int
    started_at: WireTime
    completed_at: WireTime | None


class Batches(BaseModel):
    success: bool = True
    data: list[BatchOut]
    pagination: Pagination


class ItemOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    fiche_id: str
    audit_id: str | None
    """Its tracking id; null until its audit is queued."""
    audit_db_id: WireId | None
    status: str | None
    outcome: str | None
    """Null while it is to be waited for."""
    error: str | None


class BatchItems(BaseModel):
    success: bool = True
    data: list[ItemOut]
    pagination: Pagination
