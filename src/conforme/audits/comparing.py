"""`conforme compare-modes`: the same fiches audited in prompt mode and in tools mode, side by side.

Nothing is stored of the audits; what was paid is in the ledger, under `PURPOSE`. The words are those stored: fiches
that are not transcribed are left out.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select

from conforme.accounts.actor import Actor
from conforme.audit_configs import service
from conforme.audit_configs.drafts import latest_active, require_runnable
from conforme.audit_configs.rules import Rules
from conforme.audits import casting
from conforme.audits.case import Case, open_case
from conforme.audits.evidence import Policy
from conforme.audits.files import Auditor, FileAudit, audit_case
from conforme.audits.lookup import Budget
from conforme.audits.stages import known_origins
from conforme.audits.timeline import Call, build
from conforme.fiches.models import FicheCache
from conforme.foundation.database import Database, ReadSession
from conforme.foundation.errors import Invalid
from conforme.foundation.jobs import Retry
from conforme.foundation.ledger import PriceTable, model_call, record_call
from conforme.foundation.llm import LanguageModel, Spent
from conforme.recordings.models import Recording
from conforme.settings import Settings
from conforme.transcriptions.heard import HeardCall
from conforme.transcriptions.queries import TranscribedRecording, transcribed

PURPOSE = "compare-modes"
ACTOR = Actor.system("compare-modes")


@dataclass(frozen=True)
class Means:
    """What both modes are run with."""

    database: Database
    model: LanguageModel
    policy: Policy
    retry: Retry
    prices: PriceTable
    budget: Budget
    settings: Settings


@dataclass(frozen=True)
class Compared:
    """One fiche in both modes."""

    fiche_id: str
    prompt: FileAudit
    tools: FileAudit

    @property
    def same_statuts(self) -> float:
        """Share of the control points on which both agree, from 0 to 1; points only one answered count as different."""
        one, other = _statuts(self.prompt), _statuts(self.tools)
        named = one.keys() | other.keys()
        return sum(one.get(key) == other.get(key) for key in named) / len(named) if named else 1.0

    @property
    def shared_citations(self) -> int:
        """Passages that both quote for the same point: they overlap in the same turns."""
        other = _quoted(self.tools)
        return sum(key in other for key in _quoted(self.prompt))

    def as_json(self) -> dict[str, Any]:
        return {
            "fiche_id": self.fiche_id,
            "prompt": _measured(self.prompt),
            "tools": _measured(self.tools),
            "same_statuts": round(self.same_statuts, 4),
            "shared_citations": self.shared_citations,
            "prompt_token_ratio": round(_ratio(self), 4),
        }


def _ratio(compared: Compared) -> float:
    whole = compared.prompt.spending.usage.prompt_tokens
    return compared.tools.spending.usage.prompt_tokens / whole if whole else 0.0


def _measured(audit: FileAudit) -> dict[str, Any]:
    usage, spending = audit.spending.usage, audit.spending
    return {
        "score": str(audit.score.percentage),
        "niveau": audit.score.niveau.value,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "requests": spending.requests,
        "cost": str(spending.cost),
        "currency": spending.currency,
        "seconds": round(audit.seconds, 2),
        "citations": audit.evidence.located,
        "citations_dropped": audit.evidence.dropped,
        "steps_not_analysed": [step.position for step in audit.not_analysed],
    }


def _statuts(audit: FileAudit) -> dict[tuple[int, int], str]:
    return {
        (step.step.position, point.numero): point.statut.value
        for step in audit.steps
        for point in step.points
    }


def _quoted(audit: FileAudit) -> set[tuple[int, int, int, int]]:
    return {
        (step.step.position, point.numero, quote.recording_index, quote.first_turn)
        for step in audit.steps
        for point in step.points
        for quote in point.citations
    }


async def chosen_rules(session: ReadSession, config: str | None) -> Rules:
    """The configuration of that id or name, else the newest active one. Raises what a run would be refused with."""
    number = (await latest_active(session)).id if config is None else await service.find(session, config)
    return await require_runnable(session, number)


async def chosen_fiches(
    session: ReadSession, named: Sequence[str], random_count: int, seed: int | None = None
) -> list[str]:
    """The fiches named, else so many transcribed ones at random.

    Raises:
        Invalid: there is none, or one that is named is not transcribed.
    """
    query = (
        select(FicheCache.fiche_id)
        .join(Recording, Recording.fiche_cache_id == FicheCache.id)
        .where(Recording.has_transcription, Recording.silent.is_(False))
        .distinct()
        .order_by(FicheCache.fiche_id)
    )
    if named:
        found = set(await session.scalars(query.where(FicheCache.fiche_id.in_(named))))
        if missing := [each for each in named if each not in found]:
            raise Invalid(f"Not transcribed, or not known: {', '.join(missing)}", field="fiche")
        return list(dict.fromkeys(named))
    known = list(await session.scalars(query))
    if not known:
        raise Invalid("No fiche is transcribed yet", field="fiche")
    dice = random.Random(seed)  # noqa: S311 -- a sample, no secret
    return dice.sample(known, min(random_count, len(known)))


async def compare(means: Means, rules: Rules, fiche_id: str) -> Compared:
    """Audits one fiche in both modes, prompt mode first, and writes what was paid to the ledger."""
    case, call = await _opened(means, rules, fiche_id)
    spent: list[Spent] = []
    try:
        prompt = await audit_case(_auditor(means, rules, spent, None), case, call, fiche_id)
        tools = await audit_case(_auditor(means, rules, spent, means.budget), case, call, fiche_id)
    finally:  # what was paid is on the ledger, whatever went wrong behind it
        async with means.database.write() as session:
            for each in spent:
                await record_call(session, model_call(each, purpose=PURPOSE), means.prices)
    return Compared(fiche_id, prompt, tools)


def _auditor(means: Means, rules: Rules, spent: list[Spent], tools: Budget | None) -> Auditor:
    plain = Auditor(means.model, rules, means.policy, means.retry, means.prices, tools)
    return replace(plain, tell_spent=spent.append)


async def _opened(means: Means, rules: Rules, fiche_id: str) -> tuple[Case, HeardCall]:
    async with means.database.write() as session:
        cache_id = await session.scalar(select(FicheCache.id).where(FicheCache.fiche_id == fiche_id))
        recordings = await transcribed(session, ACTOR, cache_id or 0)
        voices = await casting.known(session, fiche_id, recordings)
        origins = await known_origins(session, fiche_id, means.settings)
    heard = [each for each in recordings if each.has_transcription]
    words = build((_call(each, voices) for each in heard), origins)
    seconds = sum(each.duration_seconds or 0 for each in heard)
    spoken = tuple(word for each in heard for word in each.words)
    return open_case(rules, words), HeardCall(spoken, seconds)


def _call(recording: TranscribedRecording, voices: casting.Voices) -> Call:
    return Call(
        call_id=recording.call_id,
        words=recording.words,
        start_time=recording.start_time,
        duration_seconds=recording.duration_seconds,
        recording_date=recording.recording_date or "",
        recording_time=recording.recording_time or "",
        roles=voices.roles.get(recording.recording_id, {}),
    )
