"""Writes of recordings: what the gateway tells of them, and how far their transcription is.

Transcripts themselves are the matter of `transcriptions`; this file keeps the columns of the recording's row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, Update, cast, func, literal, null, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from conforme.fiches import bulk
from conforme.foundation.database import WriteSession
from conforme.recordings.gateway_shape import beyond_columns
from conforme.recordings.models import DONE, FAILED, PENDING, RUNNING, Recording
from conforme.recordings.names import CallFacts, ParsedCall, parse, start_of

INT32_MAX: Final = 2**31 - 1

_GATEWAY_COLUMNS: Final = (
    "call_id",
    "recording_url",
    "recording_date",
    "recording_time",
    "from_number",
    "to_number",
    "uuid",
    "direction",
    "answered",
    "start_time",
    "duration_seconds",
    "extra",
)
_KEY: Final = ("fiche_cache_id", "call_id")


async def upsert(session: WriteSession, fiche_cache_id: int, calls: Iterable[CallFacts]) -> int:
    """Stores the calls of a fiche in one statement; returns how many rows it created or changed.

    Only supplied values are set, a known URL is never blanked and nothing is deleted (spec/fiches §3).
    """
    rows = [_row(call) for call in _merged(calls)]
    if not rows:
        return 0
    given = bulk.recordset("rows", Recording.__table__, _GATEWAY_COLUMNS, rows)
    values = [
        func.coalesce(given.c.recording_url, "") if name == "recording_url" else given.c[name]
        for name in _GATEWAY_COLUMNS
    ]
    statement = insert(Recording).from_select(
        ["fiche_cache_id", *_GATEWAY_COLUMNS],
        select(literal(fiche_cache_id), *values),
        include_defaults=False,
    )
    kept = {name: _supplied(statement.excluded[name], name) for name in _GATEWAY_COLUMNS if name != "call_id"}
    changed = or_(*(_differs(name, value) for name, value in kept.items()))
    written = await session.scalars(
        statement.on_conflict_do_update(
            index_elements=_KEY, set_={**kept, "updated_at": func.now()}, where=changed
        ).returning(Recording.id)
    )
    return len(written.all())


def _supplied(given: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    known = getattr(Recording, name)
    return func.coalesce(func.nullif(given, "") if name == "recording_url" else given, known)


def _differs(name: str, value: ColumnElement[Any]) -> ColumnElement[bool]:
    known = getattr(Recording, name)
    if name == "extra":  # json has no equality of its own
        known, value = cast(known, Text), cast(value, Text)
    return known.is_distinct_from(value)


def _merged(calls: Iterable[CallFacts]) -> Sequence[CallFacts]:
    """One entry per call; of a call given twice, each value is the last one supplied."""
    merged: dict[str, CallFacts] = {}
    for call in calls:
        call_id = _storable(call.call_id.strip())
        if call_id is not None:
            supplied = _given({field.name: getattr(call, field.name) for field in fields(call)})
            known = merged.get(call_id, call)
            if known.told is not None and call.told is not None:
                supplied["told"] = {**known.told, **_given(call.told)}
            merged[call_id] = replace(known, **{**supplied, "call_id": call_id})
    return tuple(merged.values())


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "")}


def _row(call: CallFacts) -> dict[str, Any]:
    parsed = parse(call) or ParsedCall()
    started = start_of(call.start_time) or parsed.started
    values = {
        "call_id": call.call_id,
        "recording_url": call.recording_url,
        "recording_date": parsed.date,
        "recording_time": parsed.time,
        "from_number": call.from_number or parsed.from_number_raw,
        "to_number": call.to_number or parsed.to_number_raw,
        "uuid": parsed.uuid,
        "direction": call.direction,
        "answered": call.answered,
        "duration_seconds": _int32(call.duration_seconds),
    }
    columns = {name: _storable(value) for name, value in values.items()} | {"start_time": started}
    told = None if call.told is None else {**call.told, "call_id": call.call_id}
    extra = None if told is None else beyond_columns(columns, told)
    return columns | {"start_time": started and started.isoformat(), "extra": extra}


def _int32(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= INT32_MAX else None


def _storable(value: Any) -> Any:
    """Text as PostgreSQL can store it, and nothing instead of an empty one."""
    if not isinstance(value, str):
        return value
    return value.replace("\0", "").encode("utf-8", "ignore").decode("utf-8") or None


@dataclass(frozen=True, slots=True)
class StoredTranscript:
    """What a transcription leaves on the row of its recording; `words` is packed."""

    transcription_id: str
    text: str
    words: Mapping[str, Any]
    silent: bool
    language_code: str | None
    language_probability: float | None


async def take_up(session: WriteSession, recording_id: int, run: str) -> bool:
    """Marks the recording as being transcribed by `run`; False when it already is, or is transcribed."""
    return await _changed(
        session,
        _transcription_of(recording_id)
        .where(Recording.transcription_run.is_distinct_from(run))
        .values(transcription_state=RUNNING, transcription_error=None, transcription_run=run),
    )


async def keep_transcript(
    session: WriteSession, recording_id: int, run: str, stored: StoredTranscript
) -> bool:
    """Marks the recording as transcribed; False when it already was, and then nothing is changed."""
    probability = stored.language_probability
    return await _changed(
        session,
        _transcription_of(recording_id).values(
            transcription_id=stored.transcription_id,
            transcription_text=stored.text,
            transcription_words=dict(stored.words),
            transcription_data=null(),
            transcription_language_code=stored.language_code,
            transcription_language_probability=None if probability is None else Decimal(str(probability)),
            transcription_state=DONE,
            transcription_error=None,
            transcription_run=run,
            silent=stored.silent,
            has_transcription=True,
            transcribed_at=func.now(),
        ),
    )


async def mark_failed(session: WriteSession, recording_id: int, run: str, reason: str) -> bool:
    """Keeps why `run` could not transcribe the recording; False when that was already kept."""
    return await _changed(
        session,
        _transcription_of(recording_id)
        .where(
            or_(Recording.transcription_state != FAILED, Recording.transcription_run.is_distinct_from(run))
        )
        .values(transcription_state=FAILED, transcription_error=_storable(reason), transcription_run=run),
    )


async def release(session: WriteSession, recording_id: int, run: str) -> bool:
    """Puts the recording back to pending when `run` left it running."""
    left = (Recording.transcription_run == run) & (Recording.transcription_state == RUNNING)
    return await _changed(
        session, _transcription_of(recording_id).where(left).values(transcription_state=PENDING)
    )


def _transcription_of(recording_id: int) -> Update:
    """The row, unless its transcription is done: what was paid for is never overwritten."""
    return update(Recording).where(Recording.id == recording_id, ~Recording.has_transcription)


async def _changed(session: WriteSession, statement: Update) -> bool:
    return await session.scalar(statement.returning(Recording.id)) is not None
