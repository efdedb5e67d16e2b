"""The calls of a fiche as the room of fiches asks for them (`fiches.ports.RecordingsStore`)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from conforme.accounts.actor import Actor
from conforme.crm.schemas import GatewayRecording
from conforme.fiches.ports import RecordingFacts
from conforme.fiches.scope import visible_fiche_cache
from conforme.foundation.database import WriteSession
from conforme.foundation.web import iso
from conforme.recordings import queries, store
from conforme.recordings.gateway_shape import COLUMNS, as_told
from conforme.recordings.models import Recording
from conforme.recordings.names import CallFacts, parse, start_of


class FicheCalls:
    """Stores the gateway's calls of a fiche and shows them as it told them, newest first (spec/fiches §2.3).

    Added are `parsed`, what the file's name and the fields say of the call, and `transcription`, null until there is one.
    """

    async def upsert(
        self,
        session: WriteSession,
        fiche_cache_id: int,
        fiche_id: str,  # noqa: ARG002 -- the port names the fiche for stores that need it
        recordings: Sequence[GatewayRecording],
    ) -> None:
        await store.upsert(session, fiche_cache_id, map(_facts, recordings))

    async def listed(
        self, session: queries.Session, actor: Actor, fiche_cache_id: int
    ) -> list[dict[str, Any]]:
        also = (Recording.transcription_text, Recording.extra)
        rows = await queries.of_fiche(session, actor, fiche_cache_id, also=also)
        return [
            _stored(row) for row in sorted(rows, key=lambda row: (*_newest_first(row.start_time), row.id))
        ]

    def shown(self, recordings: Sequence[GatewayRecording]) -> list[dict[str, Any]]:
        told = [_facts(call) for call in recordings]
        return [_fresh(call) for call in sorted(told, key=lambda call: _newest_first(_started(call)))]

    async def facts(self, session: queries.Session, actor: Actor, fiche_cache_id: int) -> RecordingFacts:
        of_fiche = Recording.fiche_cache_id == fiche_cache_id
        query = select(func.count(), func.count().filter(Recording.recording_url == "")).where(
            of_fiche, visible_fiche_cache(actor, Recording.fiche_cache_id)
        )
        return RecordingFacts(*(await session.execute(query)).one())


def _newest_first(started: datetime | None) -> tuple[bool, float]:
    """Those without a time come last; calls of one moment as the gateway listed them."""
    return started is None, -started.timestamp() if started else 0.0


def _started(call: CallFacts) -> datetime | None:
    parsed = parse(call)
    return start_of(call.start_time) or (parsed and parsed.started)


def _facts(call: GatewayRecording) -> CallFacts:
    return CallFacts(
        call_id=call.call_id,
        recording_url=call.recording_url,
        start_time=call.start_time,
        duration_seconds=call.duration_seconds,
        direction=call.direction,
        answered=call.answered,
        from_number=call.from_number,
        to_number=call.to_number,
        told=call.model_dump(mode="json", exclude_unset=True),
    )


def _stored(row: Recording) -> dict[str, Any]:
    known = CallFacts(
        call_id=row.call_id,
        recording_url=row.recording_url,
        start_time=iso(row.start_time),
        direction=row.direction,
        from_number=row.from_number,
        to_number=row.to_number,
    )
    told = as_told({name: getattr(row, name) for name in COLUMNS}, row.extra)
    return _wire(told, known, row.transcription_text if row.has_transcription else None)


def _fresh(call: CallFacts) -> dict[str, Any]:
    told = dict(call.told or {})
    return _wire({name: told[name] for name in COLUMNS} | told, call, None)


def _wire(told: dict[str, Any], known: CallFacts, text: str | None) -> dict[str, Any]:
    """What the gateway told, and beside it what was read of the call and what was heard in it."""
    parsed = parse(known)
    heard = told.get("transcription") if text is None else {"conversation": text}
    return told | {"transcription": heard, "parsed": parsed and parsed.wire()}
