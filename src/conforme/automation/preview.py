"""The dry run: what a run started now would take and cost, without asking anybody (beyond the contract).

The same decisions as a run's, over what is known. The calls of fiches without details are in none of its figures; what
they may come to is an estimate of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

from sqlalchemy import any_, func, select

from conforme.accounts.actor import Actor
from conforme.audit_configs.drafts import require_runnable
from conforme.audits.budget import estimated_cost, speech_cost
from conforme.automation.outcomes import MICROS, exhausted_by
from conforme.automation.run_work import (
    candidates_of,
    days_at,
    require_short,
    resolved_configs,
    seed_of,
    unknown_days,
)
from conforme.automation.selection import Choice, Details, choose, late_reason, most_recordings
from conforme.automation.snapshots import Plan
from conforme.fiches.models import FicheCache
from conforme.fiches.scope import visible
from conforme.foundation.arrays import texts
from conforme.foundation.database import ReadSession, now
from conforme.foundation.ledger import PriceTable
from conforme.foundation.resources import Resources
from conforme.recordings.models import Recording
from conforme.settings import MAX_RECORDINGS_PER_FICHE
from conforme.transcriptions.queries import TranscribedRecording

HOUR: Final = 3600
RECENT: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of some fiches together."""

    recordings: int = 0
    seconds: int = 0
    unheard_seconds: int = 0

    def plus(self, other: "Calls") -> "Calls":
        return Calls(
            self.recordings + other.recordings,
            self.seconds + other.seconds,
            self.unheard_seconds + other.unheard_seconds,
        )


@dataclass(frozen=True, slots=True)
class Price:
    transcription: Decimal
    audits: Decimal
    currency: str

    @property
    def total(self) -> Decimal:
        return self.transcription + self.audits


@dataclass(frozen=True, slots=True)
class Estimate:
    """What fiches without details may come to, if they are like those that are known."""

    basis: str
    """`range`: the other fiches of this selection; `last_30_days`: all that the owner sees."""
    fiches: int
    calls: Calls
    price: Price
    exhausted: str | None
    """Which budget all of it together would go beyond."""


@dataclass(frozen=True, slots=True)
class Preview:
    days: tuple[date, ...]
    days_unknown: tuple[date, ...]
    config_ids: tuple[int, ...]
    left_out: dict[int, str]
    candidates: int
    choice: Choice
    seed: int | None
    without_details: int
    calls: Calls
    price: Price
    exhausted: str | None
    estimated: Estimate | None
    """None where nothing is to be estimated, or nothing to do it by."""


async def preview(
    session: ReadSession, resources: Resources, owner: Actor, plan: Plan, *, own_token: bool
) -> Preview:
    """What a run of this plan would do for this owner; with a token of its own it lists every day anew.

    Raises:
        Invalid: it looks at more days than are fetched at once.
    """
    days = days_at(plan.selection, plan.rules.timing.timezone, now())
    require_short(resources, days)
    configs, left_out = await resolved_configs(session, plan.rules)
    candidates = await candidates_of(session, owner, plan, days, configs)
    sample = plan.selection.sample
    seed = None if sample is None else seed_of(sample)
    chosen = choose(candidates, plan.selection, seed=seed or 0)
    known = await _known(session, chosen.taken)
    choice, calls = _by_details(resources, plan, chosen, known)
    worked_on = [known[fiche_id][1] for fiche_id in choice.taken if fiche_id in known]
    price = await _price(session, resources, plan, configs, calls, len(worked_on))
    lacking = len(choice.taken) - len(worked_on)
    like = await _like(session, owner, worked_on) if lacking else None
    estimated = None
    if like is not None:
        guessed = like.of(lacking)
        its_price = await _price(session, resources, plan, configs, guessed, lacking)
        fits = _exhausted(plan, calls.plus(guessed), price.total + its_price.total, len(choice.taken))
        estimated = Estimate(like.basis, lacking, guessed, its_price, fits)
    return Preview(
        days=days,
        days_unknown=days if own_token else await unknown_days(session, resources, days),
        config_ids=configs,
        left_out=left_out,
        candidates=len(candidates),
        choice=choice,
        seed=seed,
        without_details=lacking,
        calls=calls,
        price=price,
        exhausted=_exhausted(plan, calls, price.total, len(choice.taken)),
        estimated=estimated,
    )


def _exhausted(plan: Plan, calls: Calls, cost: Decimal, fiches: int) -> str | None:
    return exhausted_by(
        plan.rules.budget,
        micros=int(cost * MICROS),
        audio_seconds=Decimal(calls.unheard_seconds if plan.rules.run_transcription else 0),
        fiches=fiches,
    )


@dataclass(frozen=True, slots=True)
class Like:
    """Fiches that are known, by which others are estimated."""

    basis: str
    fiches: int
    recordings: int
    seconds: int

    def of(self, fiches: int) -> Calls:
        """The calls of so many fiches like these, rounded; nobody has heard any of them."""
        seconds = round(Fraction(self.seconds * fiches, self.fiches))
        return Calls(round(Fraction(self.recordings * fiches, self.fiches)), seconds, seconds)


async def _like(session: ReadSession, owner: Actor, known: Sequence[Calls]) -> Like | None:
    """What there is to estimate by: the fiches at hand, else those of the last thirty days."""
    if known:
        recordings = sum(each.recordings for each in known)
        return Like("range", len(known), recordings, sum(each.seconds for each in known))
    recent = (
        FicheCache.details_success.is_(True),
        FicheCache.details_fetched_at > now() - RECENT,
        visible(owner),
    )
    query = (
        select(
            func.count(FicheCache.id.distinct()),
            func.count(Recording.id),
            func.coalesce(func.sum(func.coalesce(Recording.duration_seconds, 0)), 0),
        )
        .select_from(FicheCache)
        .outerjoin(Recording, Recording.fiche_cache_id == FicheCache.id)
        .where(*recent)
    )
    fiches, recordings, seconds = (await session.execute(query)).one()
    return Like("last_30_days", fiches, recordings, int(seconds)) if fiches else None


Known = dict[str, tuple[str | None, Calls]]


async def _known(session: ReadSession, fiche_ids: Sequence[str]) -> Known:
    """By fiche whose details are known: its group and its calls; in one statement."""
    seconds = func.coalesce(Recording.duration_seconds, 0)
    query = (
        select(
            FicheCache.fiche_id,
            FicheCache.groupe,
            func.count(Recording.id),
            func.coalesce(func.sum(seconds), 0),
            func.coalesce(func.sum(seconds).filter(~Recording.has_transcription), 0),
        )
        .outerjoin(Recording, Recording.fiche_cache_id == FicheCache.id)
        .where(FicheCache.fiche_id == any_(texts(fiche_ids)), FicheCache.details_success.is_(True))
        .group_by(FicheCache.id)
    )
    return {
        fiche_id: (groupe, Calls(count, int(whole or 0), int(unheard or 0)))
        for fiche_id, groupe, count, whole, unheard in await session.execute(query)
    }


def _by_details(resources: Resources, plan: Plan, chosen: Choice, known: Known) -> tuple[Choice, Calls]:
    """What the details that are known leave of a choice, and the calls of what is left."""
    configured = resources.settings.automation_max_recordings_per_fiche
    most = most_recordings(plan.selection, configured, MAX_RECORDINGS_PER_FICHE)
    ignored, taken, calls = dict(chosen.ignored), list[str](), Calls()
    for fiche_id in chosen.taken:
        groupe, own = known.get(fiche_id, (None, Calls()))
        details = Details(found=True, groupe=groupe, recordings=own.recordings)
        reason = late_reason(details, plan.selection, most_recordings=most) if fiche_id in known else None
        if reason is not None:
            ignored[fiche_id] = reason
            continue
        taken.append(fiche_id)
        calls = calls.plus(own)
    return Choice(tuple(taken), ignored, chosen.left), calls


async def _price(
    session: ReadSession,
    resources: Resources,
    plan: Plan,
    config_ids: Sequence[int],
    calls: Calls,
    fiches: int,
) -> Price:
    """A question costs so much, and so much more for each second of speech it is asked about."""
    transcription = Decimal(0)
    if plan.rules.run_transcription:
        transcription = speech_cost(resources, Decimal(calls.unheard_seconds))
    audits = Decimal(0)
    for config_id in config_ids:
        rules = await require_runnable(session, config_id)
        silent = estimated_cost(resources, rules, [_call(0)])
        per_hour = estimated_cost(resources, rules, [_call(HOUR)]) - silent
        audits += silent * fiches + per_hour * calls.seconds / HOUR
    currency = PriceTable.load(resources.settings.price_table).currency
    return Price(transcription, audits, currency)


def _call(seconds: int) -> TranscribedRecording:
    """A call of that length that has been transcribed."""
    return TranscribedRecording(0, "", None, seconds, "", "", "", "", "", True, None, ())
