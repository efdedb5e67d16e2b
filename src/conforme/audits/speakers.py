"""Who speaks in a recording: resolved once, corrected by people, nothing ever overwritten.

Each decision on a label is a row; the latest one counts, as long as the words are those it was made on.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Double, ForeignKey, Index, Text, insert, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from conforme.audits.roles import Role, Roles, Source, SpeakerRole, by_rules, from_json, to_json
from conforme.foundation.database import Base, Identified, ReadSession, WriteSession
from conforme.transcriptions.words import Turn

Session = ReadSession | WriteSession
MOST_SPEAKERS = 50
"""Labels of one recording that are resolved; no call has as many voices."""
LONGEST_LABEL = 200


class RecordingSpeaker(Identified, Base):
    """A decision: who one label of a recording is."""

    __tablename__ = "recording_speakers"
    __table_args__ = (
        CheckConstraint("role in ('advisor', 'client', 'other', 'unknown')", name="role"),
        CheckConstraint("source in ('rules', 'model', 'person')", name="source"),
        Index("ix_recording_speakers_recording_id_id", "recording_id", "id"),
    )

    recording_id: Mapped[int] = mapped_column(ForeignKey("recordings.id", ondelete="CASCADE"))
    words_sha256: Mapped[str] = mapped_column(Text)
    """Of the words it was decided on: other words, other labels."""
    speaker: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    confidence: Mapped[float] = mapped_column(Double)
    stretches: Mapped[list[list[Any]]] = mapped_column(JSONB)
    """Turns in which the label stands for somebody else: `[[first, last, role, confidence]]`."""
    source: Mapped[str] = mapped_column(Text)
    decided_by: Mapped[str] = mapped_column(Text)
    """The actor's name, or what decided: `rules`, the model's name."""
    reason: Mapped[str | None] = mapped_column(Text)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is decided of one label, and by whom."""

    found: SpeakerRole
    source: Source
    decided_by: str
    decided_at: datetime | None = None
    reason: str | None = None


def digest(turns: Iterable[Turn]) -> str:
    """Names the labels and the words under them."""
    summed = hashlib.sha256()
    for turn in turns:
        summed.update(f"{turn.speaker}\x1f{turn.text}\x1e".encode("utf-8", "surrogatepass"))
    return summed.hexdigest()


def decided_by_rules(turns: Sequence[Turn]) -> list[Decision]:
    return [Decision(found, "rules", "rules") for found in by_rules(turns)[:MOST_SPEAKERS]]


def roles_of(decisions: Iterable[Decision]) -> Roles:
    return {each.found.speaker: each.found for each in decisions}


async def history(session: Session, recording_id: int) -> list[Decision]:
    """Every decision on a recording, oldest first. The caller has checked that the recording is in scope."""
    query = (
        select(RecordingSpeaker)
        .where(RecordingSpeaker.recording_id == recording_id)
        .order_by(RecordingSpeaker.id)
        .limit(MOST_DECISIONS)
    )
    return [_decision(row) for row in await session.scalars(query)]


MOST_DECISIONS = 1_000


async def latest(session: Session, words: Mapping[int, str]) -> dict[int, dict[str, Decision]]:
    """The decisions that count, by recording and label; `words` gives the digest of each recording's words.

    What a person said counts until a person says otherwise, whoever wrote after them.
    """
    query = (
        select(RecordingSpeaker)
        .where(
            RecordingSpeaker.recording_id.in_(words), RecordingSpeaker.words_sha256.in_(set(words.values()))
        )
        .order_by(RecordingSpeaker.id)
    )
    found: dict[int, dict[str, Decision]] = {}
    for row in await session.scalars(query):
        if words[row.recording_id] == row.words_sha256:
            held = found.setdefault(row.recording_id, {})
            before = held.get(row.speaker)
            if before is None or before.source != "person" or row.source == "person":
                held[row.speaker] = _decision(row)
    return found


async def decide(
    session: WriteSession, recording_id: int, words_sha256: str, decisions: Sequence[Decision]
) -> None:
    """Appends decisions on a recording."""
    if decisions:
        await session.execute(
            insert(RecordingSpeaker), [_row(recording_id, words_sha256, each) for each in decisions]
        )


def _row(recording_id: int, words_sha256: str, decision: Decision) -> dict[str, Any]:
    found = decision.found
    return {
        "recording_id": recording_id,
        "words_sha256": words_sha256,
        "speaker": found.speaker,
        "role": found.role,
        "confidence": found.confidence,
        "stretches": to_json(found.stretches),
        "source": decision.source,
        "decided_by": decision.decided_by,
        "reason": decision.reason,
    }


def _decision(row: RecordingSpeaker) -> Decision:
    role: Role = row.role  # pyright: ignore[reportAssignmentType] -- the check constraint says so
    source: Source = row.source  # pyright: ignore[reportAssignmentType] -- likewise
    found = SpeakerRole(row.speaker, role, row.confidence, from_json(row.stretches))
    return Decision(found, source, row.decided_by, row.created_at, row.reason)
