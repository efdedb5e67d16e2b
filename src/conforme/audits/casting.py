"""Who speaks, for an audit: what is stored, else what rules say, and the model where they are unsure.

The model reads a bounded part of one recording, once; what it says is stored and serves every later audit. A person's
word stands above both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from conforme.accounts.actor import Actor
from conforme.audits import speakers
from conforme.audits.idempotency import one_at_a_time
from conforme.audits.roles import Role, Roles, SpeakerRole, unsure
from conforme.audits.speakers import Decision, decided_by_rules, roles_of
from conforme.audits.timeline import Call, Recording, build, speaker_shown, turn_line
from conforme.foundation.database import WriteSession
from conforme.foundation.ledger import PriceTable, model_call, record_call
from conforme.foundation.llm import ModelError, ModelRequest, Spent
from conforme.foundation.resources import Resources
from conforme.recordings import queries as recordings
from conforme.transcriptions.queries import TranscribedRecording, words_of
from conforme.transcriptions.words import Turn, turns_of

ACTOR = Actor.system("audit")
PURPOSE = "speaker-roles"
SHOWN_TURNS = 60
"""Turns of a recording that the model reads: the first ones, and those of the labels it is asked about."""
TURNS_OF_LABEL = 12
LONGEST_LINE = 300
MOST_SURE = 0.95
"""However sure the model says it is."""


@dataclass(frozen=True)
class Voices:
    """Who speaks in the recordings of one audit."""

    roles: Mapping[int, Roles]
    """By recording."""
    turns: Mapping[int, Sequence[Turn]]
    decisions: Mapping[int, Mapping[str, Decision]]

    def unsure(self, sure_from: float) -> list[int]:
        """Recordings in which somebody's role is not known well enough, and the model has not been asked."""
        return [
            number
            for number, decided in self.decisions.items()
            if _to_ask(decided, self.turns[number], sure_from)
        ]


async def known(session: WriteSession, fiche_id: str, heard: Sequence[TranscribedRecording]) -> Voices:
    """The stored decisions on a fiche's recordings; those without any are resolved by rules, and that is stored."""
    turns = {each.recording_id: each.turns for each in heard if each.has_transcription}
    digests = {number: speakers.digest(spoken) for number, spoken in turns.items()}
    found = await speakers.latest(session, digests)
    if new := {number: digest for number, digest in digests.items() if number not in found}:
        await one_at_a_time(session, f"speakers:{fiche_id}")
        found |= await speakers.latest(session, new)  # by another audit of these calls, meanwhile
    for number in new.keys() - found.keys():
        decided = decided_by_rules(turns[number])
        await speakers.decide(session, number, digests[number], decided)
        found[number] = {each.found.speaker: each for each in decided}
    return Voices({number: roles_of(each.values()) for number, each in found.items()}, turns, found)


def _to_ask(decisions: Mapping[str, Decision], turns: Sequence[Turn], sure_from: float) -> list[str]:
    """Labels that only rules have judged, and not surely."""
    judged = [each.found for each in decisions.values() if each.source == "rules"]
    return unsure(judged, turns, sure_from)


# Asking the model


def _named(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _percent(value: Any) -> Any:
    try:
        return max(0, min(100, int(float(value))))
    except (TypeError, ValueError, OverflowError):
        return 0


def _all_required(schema: dict[str, Any]) -> None:
    schema["additionalProperties"] = False
    schema["required"] = list(schema["properties"])


class Locuteur(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_extra=_all_required)

    locuteur: str
    role: Annotated[Literal["conseiller", "client", "tiers", "inconnu"], BeforeValidator(_named)]
    certitude: Annotated[int, BeforeValidator(_percent)]
    """From 0 to 100."""


class SpeakersVerdict(BaseModel):
    """What the model says of the labels it was asked about."""

    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_extra=_all_required)

    locuteurs: list[Locuteur]


_ROLES: Mapping[str, Role] = {
    "conseiller": "advisor",
    "client": "client",
    "tiers": "other",
    "inconnu": "unknown",
}


async def ask(resources: Resources, audit_id: int, recording_id: int) -> dict[str, Any]:
    """Has the model say who the unsure labels of a recording are, and stores it with its cost.

    Raises:
        ModelUnavailable, ModelRefused, ModelOutputInvalid, Misconfigured: it could not be asked.
    """
    settings = resources.settings
    async with resources.database.read() as session:
        row = await recordings.by_id(session, ACTOR, recording_id, also=recordings.TRANSCRIPT)
        words = await words_of(session, row)
        turns = turns_of(words)
        named = speakers.digest(turns)
        stored = (await speakers.latest(session, {recording_id: named})).get(recording_id, {})
    decisions = stored or {each.found.speaker: each for each in decided_by_rules(turns)}
    labels = _to_ask(decisions, turns, settings.audit_role_confidence)
    if not labels:
        return {"asked": 0}
    recording = build([Call("call", words, roles=roles_of(decisions.values()))]).recordings[0]
    try:
        reply = await resources.model.ask(question(recording, labels))
    except ModelError as error:
        await _bill(resources, audit_id, recording_id, error.spent)
        raise
    missing = [each for each in decisions.values() if not stored]
    answers = list(_answers(reply.output, labels, decisions, reply.model))
    async with resources.database.write() as session:
        call = replace(model_call(reply.spent, purpose=PURPOSE, audit_id=audit_id), recording_id=recording_id)
        await record_call(session, call, PriceTable.load(settings.price_table))
        await speakers.decide(session, recording_id, named, [*missing, *answers])
    return {"asked": len(labels)}


def question(recording: Recording, labels: Sequence[str]) -> ModelRequest[SpeakersVerdict]:
    """The request about these labels of one recording."""
    lines = "\n".join(turn_line(recording, at)[:LONGEST_LINE] for at in _shown(recording, labels))
    listed = "\n".join(map(speaker_shown, labels))
    prompt = f"<transcript>\n{lines}\n</transcript>\n\n<locuteurs>\n{listed}\n</locuteurs>"
    return ModelRequest(instructions=_instructions(), prompt=prompt, output=SpeakersVerdict)


def _shown(recording: Recording, labels: Sequence[str]) -> list[int]:
    shown = set(range(min(SHOWN_TURNS, len(recording.turns))))
    for label in labels:
        own = [at for at, turn in enumerate(recording.turns) if turn.speaker == label]
        shown.update(own[:TURNS_OF_LABEL])
    return sorted(shown)


@cache
def _instructions() -> str:
    return (files("conforme.audits") / "prompts" / "speakers.md").read_text(encoding="utf-8").strip()


def _answers(
    verdict: SpeakersVerdict, labels: Sequence[str], decisions: Mapping[str, Decision], model: str
) -> list[Decision]:
    """One decision per label asked about: an answer less sure than what is known changes nothing but who was asked."""
    told = {each.locuteur.strip(): each for each in verdict.locuteurs}
    return [_decided(decisions[label].found, told.get(speaker_shown(label)), model) for label in labels]


def _decided(known_role: SpeakerRole, answer: Locuteur | None, model: str) -> Decision:
    found = known_role
    if answer is not None and answer.role != "inconnu":
        sure = min(MOST_SURE, answer.certitude / 100)
        if sure > known_role.confidence or known_role.role == "unknown":
            found = SpeakerRole(known_role.speaker, _ROLES[answer.role], sure)
    return Decision(found, "model", model)


async def _bill(resources: Resources, audit_id: int, recording_id: int, spent: Spent | None) -> None:
    if spent is None or spent.attempts == 0:
        return
    async with resources.database.write() as session:
        call = replace(model_call(spent, purpose=PURPOSE, audit_id=audit_id), recording_id=recording_id)
        await record_call(session, call, PriceTable.load(resources.settings.price_table))
