"""`/api/recordings/{fiche_id}/{call_id}/speakers`: who speaks in a recording, and its correction by a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from conforme.accounts.actor import Actor
from conforme.accounts.auth import may
from conforme.audits import speakers
from conforme.audits.roles import SpeakerRole, unsure
from conforme.audits.speakers import LONGEST_LABEL, MOST_SPEAKERS, Decision, Session, decided_by_rules
from conforme.foundation.errors import Conflict, Invalid, NotFound
from conforme.foundation.web import ERRORS, ResourcesDep, Text, Wire, WireTime
from conforme.recordings import queries as recordings
from conforme.transcriptions.queries import words_of
from conforme.transcriptions.words import Turn, turns_of

router = APIRouter(prefix="/api/recordings", tags=["recordings"], responses=ERRORS)

Reader = Annotated[Actor, may("transcriptions.read")]
Writer = Annotated[Actor, may("transcriptions.read", "audits.write")]
RoleName = Literal["advisor", "client", "other", "unknown"]


class NotTranscribed(Conflict):
    """The recording is not transcribed yet: nobody is told apart in it"""

    code = "NOT_TRANSCRIBED"


class SpeakerWish(BaseModel):
    model_config = ConfigDict(extra="ignore")

    speaker: Annotated[Text, Field(min_length=1, max_length=LONGEST_LABEL)]
    role: RoleName


class Correction(BaseModel):
    """Body of the correction: each label is that role in the whole recording."""

    model_config = ConfigDict(extra="ignore")

    speakers: Annotated[list[SpeakerWish], Field(min_length=1, max_length=MOST_SPEAKERS)]
    reason: Annotated[Text, Field(min_length=1, max_length=1_000)] | None = None


class StretchShown(Wire):
    first_turn: int
    last_turn: int
    role: RoleName
    confidence: float


class SpeakerShown(Wire):
    speaker: str
    role: RoleName
    confidence: float
    needs_review: bool
    """Not known well enough to decide anything on it."""
    source: Literal["rules", "model", "person"]
    decided_by: str
    decided_at: WireTime | None
    reason: str | None
    stretches: list[StretchShown]
    """Turns, counted from 0, in which the label stands for somebody else, or for nobody surely."""


class Speakers(Wire):
    fiche_id: str
    call_id: str
    speakers: list[SpeakerShown]
    history: list[SpeakerShown]
    """Every decision there was, oldest first."""


class SpeakersAnswer(BaseModel):
    success: bool = True
    data: Speakers


@dataclass(frozen=True)
class _Heard:
    recording_id: int
    turns: Sequence[Turn]
    digest: str
    stored: Mapping[str, Decision]

    @property
    def decisions(self) -> Mapping[str, Decision]:
        """What is stored, else what rules say now."""
        return self.stored or {each.found.speaker: each for each in decided_by_rules(self.turns)}


@router.get("/{fiche_id}/{call_id}/speakers")
async def read(fiche_id: str, call_id: str, actor: Reader, resources: ResourcesDep) -> SpeakersAnswer:
    """Who each label of a recording is, how sure that is, and who said so."""
    async with resources.database.read() as session:
        heard = await _heard(session, actor, fiche_id, call_id)
        past = await speakers.history(session, heard.recording_id)
    sure_from = resources.settings.audit_role_confidence
    return SpeakersAnswer(data=_shown(fiche_id, call_id, heard, past, sure_from))


@router.patch("/{fiche_id}/{call_id}/speakers")
async def correct(
    fiche_id: str, call_id: str, body: Correction, actor: Writer, resources: ResourcesDep
) -> SpeakersAnswer:
    """Says who speaks. Later audits judge by it; what was judged before keeps what it was judged by."""
    async with resources.database.write() as session:
        heard = await _heard(session, actor, fiche_id, call_id)
        decisions = [_wished(wish, body.reason, actor, heard) for wish in body.speakers]
        first = [] if heard.stored else list(heard.decisions.values())
        await speakers.decide(session, heard.recording_id, heard.digest, [*first, *decisions])
    return await read(fiche_id, call_id, actor, resources)


async def _heard(session: Session, actor: Actor, fiche_id: str, call_id: str) -> _Heard:
    """The recording with who speaks in it. Raises `NotFound`, `Forbidden` or `NotTranscribed`."""
    cache_id = await recordings.cached_fiche(session, actor, fiche_id)
    row = await recordings.one(session, actor, cache_id, call_id, also=recordings.TRANSCRIPT)
    if row is None:
        raise NotFound.of("Recording", call_id)
    if not row.has_transcription:
        raise NotTranscribed
    turns = turns_of(await words_of(session, row))
    named = speakers.digest(turns)
    stored = await speakers.latest(session, {row.id: named})
    return _Heard(row.id, turns, named, stored.get(row.id, {}))


def _wished(wish: SpeakerWish, reason: str | None, actor: Actor, heard: _Heard) -> Decision:
    if wish.speaker not in heard.decisions:
        known = ", ".join(heard.decisions) or "none"
        raise Invalid(f"No speaker '{wish.speaker}' in this recording; there are: {known}", field="speakers")
    sure = 0.0 if wish.role == "unknown" else 1.0
    return Decision(SpeakerRole(wish.speaker, wish.role, sure), "person", actor.name, reason=reason)


def _shown(
    fiche_id: str, call_id: str, heard: _Heard, past: Sequence[Decision], sure_from: float
) -> Speakers:
    doubtful = unsure((each.found for each in heard.decisions.values()), heard.turns, sure_from)

    def shown(decision: Decision, *, review: bool) -> SpeakerShown:
        found = decision.found
        return SpeakerShown(
            speaker=found.speaker,
            role=found.role,
            confidence=found.confidence,
            needs_review=review,
            source=decision.source,
            decided_by=decision.decided_by,
            decided_at=decision.decided_at,
            reason=decision.reason,
            stretches=[StretchShown.model_validate(each) for each in found.stretches],
        )

    return Speakers(
        fiche_id=fiche_id,
        call_id=call_id,
        speakers=[shown(each, review=name in doubtful) for name, each in heard.decisions.items()],
        history=[shown(each, review=False) for each in past],
    )
