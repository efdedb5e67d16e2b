"""The calls of a fiche as the room of fiches asks for them (`fiches.ports.RecordingsStore`)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select

from conforme.accounts.actor import Actor
from conforme.crm.schemas import GatewayRecording
from conforme.fiches.ports import RecordingFacts
from conforme.fiches.scope import visible_fiche_cache
from conforme.foundation.database import WriteSession
from conforme.foundation.web import iso
from conforme.recordings import queries, store
from conforme.recordings.models import Recording
from conforme.recordings.names import CallFacts, parse, start_of


class FicheCalls:
    """Stores the gateway's calls of a fiche and shows them in its shape, newest first (spec/fiches §2.3)."""

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
        rows = await queries.of_fiche(session, actor, fiche_cache_id, also=(Recording.transcription_text,))
        return [_stored(row) for row in sorted(rows, key=_newest_first)]

    def shown(self, recordings: Sequence[GatewayRecording]) -> list[dict[str, Any]]:
        dated = [(start_of(call.start_time), call) for call in recordings]
        dated.sort(key=lambda pair: (pair[0] is not None, pair[0] and pair[0].timestamp()), reverse=True)
        return [_wire(_facts(call), iso(started), None) for started, call in dated]

    async def facts(self, session: queries.Session, actor: Actor, fiche_cache_id: int) -> RecordingFacts:
        of_fiche = Recording.fiche_cache_id == fiche_cache_id
        query = select(func.count(), func.count().filter(Recording.recording_url == "")).where(
            of_fiche, visible_fiche_cache(actor, Recording.fiche_cache_id)
        )
        return RecordingFacts(*(await session.execute(query)).one())


def _newest_first(row: Recording) -> tuple[bool, float, int]:
    """Those without a time come last."""
    started = row.start_time
    return started is None, -started.timestamp() if started else 0.0, -row.id


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
    )


def _stored(row: Recording) -> dict[str, Any]:
    facts = CallFacts(
        call_id=row.call_id,
        recording_url=row.recording_url or None,
        start_time=iso(row.start_time),
        duration_seconds=row.duration_seconds,
        direction=row.direction,
        answered=row.answered,
        from_number=row.from_number,
        to_number=row.to_number,
    )
    return _wire(facts, iso(row.start_time), row.transcription_text if row.has_transcription else None)


def _wire(facts: CallFacts, started: str | None, text: str | None) -> dict[str, Any]:
    parsed = parse(facts)
    return {
        "call_id": facts.call_id,
        "recording_url": facts.recording_url,
        "direction": facts.direction,
        "answered": facts.answered,
        "start_time": started,
        "duration_seconds": facts.duration_seconds,
        "from_number": facts.from_number,
        "to_number": facts.to_number,
        "transcription": None if text is None else {"conversation": text},
        "parsed": parsed and parsed.wire(),
    }
