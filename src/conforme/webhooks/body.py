"""The body of a delivery, from and to the columns that hold it (spec/automation §7). Pure.

What is stored is the payload, not its text: the text is made anew before each sending, the same bytes every time.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from conforme.foundation.web import INT64_MAX, Text, iso


def _storable(value: str) -> str:
    """A lone surrogate is no character: neither PostgreSQL nor UTF-8 can hold it."""
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must be valid Unicode")
    return value


Told = Annotated[Text, AfterValidator(_storable), Field(max_length=10_000)]
Count = Annotated[int, Field(ge=0, le=INT64_MAX)]


class PartialFiche(BaseModel):
    """One fiche in a progress report; the fields in the order of the wire."""

    model_config = ConfigDict(frozen=True)

    fiche_id: Told
    groupe: Told | None = None
    prospect_nom: Told | None = None
    prospect_prenom: Told | None = None
    recordings_count: Count | None = None
    created_at: Told | None = None


class Payload(BaseModel):
    """What a delivery tells: `data` on the wire, the fields in its order, those that are None left out."""

    model_config = ConfigDict(frozen=True)

    status: Told | None = None
    progress: Count | None = None
    completed_days: Count | None = None
    total_days: Count | None = None
    total_fiches: Count | None = None
    current_fiches_count: Count | None = None
    latest_date: Told | None = None
    error: Told | None = None
    data_url: Told | None = None
    partial_data: tuple[PartialFiche, ...] = ()
    """Fiches that whoever asked may see."""


@dataclass(frozen=True, slots=True)
class Message:
    """A body before it is text."""

    event: str
    job_id: str
    timestamp: datetime
    payload: Payload | Mapping[str, Any]
    """A mapping is the whole body, in the words of the room that tells it; what it holds is JSON."""


_IN_COLUMNS = tuple(name for name in Payload.model_fields if name != "partial_data")
PAYLOAD_COLUMNS = tuple(f"payload_{name}" for name in _IN_COLUMNS)
"""The columns of a delivery that hold its payload, all but the time and the fiches."""
_WIRE_NAMES = {
    "completed_days": "completedDays",
    "total_days": "totalDays",
    "total_fiches": "totalFiches",
    "current_fiches_count": "currentFichesCount",
    "latest_date": "latestDate",
    "data_url": "dataUrl",
    "fiche_id": "ficheId",
    "prospect_nom": "prospectNom",
    "prospect_prenom": "prospectPrenom",
    "recordings_count": "recordingsCount",
    "created_at": "createdAt",
}


def columns_of(payload: Payload | Mapping[str, Any]) -> dict[str, Any]:
    """The values of `PAYLOAD_COLUMNS`, or of `payload` for a body of its own words."""
    if isinstance(payload, Mapping):
        return {"payload": dict(payload)}
    return {f"payload_{name}": getattr(payload, name) for name in _IN_COLUMNS}


def rows_of(payload: Payload | Mapping[str, Any], delivery_id: str) -> list[dict[str, Any]]:
    """The rows of its partial data, in their order."""
    if isinstance(payload, Mapping):
        return []
    return [
        {
            "delivery_id": delivery_id,
            "row_index": index,
            "fiche_id": fiche.fiche_id,
            "groupe": fiche.groupe,
            "prospect_nom": fiche.prospect_nom,
            "prospect_prenom": fiche.prospect_prenom,
            "recordings_count": fiche.recordings_count,
            "fiche_created_at": fiche.created_at,
        }
        for index, fiche in enumerate(payload.partial_data)
    ]


def payload_of(columns: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> Payload:
    """The payload that columns and rows (in the order of `row_index`) hold."""
    fiches = tuple(
        PartialFiche(
            fiche_id=row["fiche_id"],
            groupe=row["groupe"],
            prospect_nom=row["prospect_nom"],
            prospect_prenom=row["prospect_prenom"],
            recordings_count=row["recordings_count"],
            created_at=row["fiche_created_at"],
        )
        for row in rows
    )
    return Payload(partial_data=fiches, **{name: columns[f"payload_{name}"] for name in _IN_COLUMNS})


def body_of(message: Message) -> bytes:
    """The bytes that are signed and sent."""
    if isinstance(message.payload, Mapping):
        return json.dumps(dict(message.payload), ensure_ascii=False, separators=(",", ":")).encode()
    data = _present(message.payload, _IN_COLUMNS)
    if message.payload.partial_data:
        data["partialData"] = [
            _present(fiche, tuple(PartialFiche.model_fields)) for fiche in message.payload.partial_data
        ]
    whole = {
        "event": message.event,
        "jobId": message.job_id,
        "timestamp": iso(message.timestamp),
        "data": data,
    }
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def _present(model: BaseModel, names: Sequence[str]) -> dict[str, Any]:
    values = ((name, getattr(model, name)) for name in names)
    return {_WIRE_NAMES.get(name, name): value for name, value in values if value is not None}
