"""The stages of one fiche of a run: judged by its details, transcribed, audited; each one durable step.

A stage whose fiche has been settled, or begun anew, meanwhile does nothing and says so (`go` is false).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import select

from conforme.accounts.actor import Actor
from conforme.audit_configs.drafts import require_runnable
from conforme.audit_configs.revisions import Revision, revision_for_run
from conforme.audits import queries as audit_queries
from conforme.audits.budget import estimated_cost, speech_cost
from conforme.audits.requests import AuditWish, create_audit, queue_again
from conforme.audits.versions import hold_versions
from conforme.automation import outcomes, run_logs, run_queries
from conforme.automation.models import FAILED, IGNORED, OPEN, AutomationRun, AutomationRunFiche
from conforme.automation.outcomes import AUDITS, MICROS, SUCCESS, TRANSCRIPTION, End, Reserved
from conforme.automation.run_work import owner_of_run
from conforme.automation.selection import OUT_OF_SCOPE, Details, late_reason, most_recordings
from conforme.automation.snapshots import Plan, plan_of
from conforme.fiches.models import FicheCache
from conforme.fiches.scope import visible_fiche_exists
from conforme.foundation.database import ReadSession, WriteSession
from conforme.foundation.errors import ConformeError, Invalid, NotFound
from conforme.foundation.resources import Resources
from conforme.settings import MAX_RECORDINGS_PER_FICHE
from conforme.transcriptions.queries import TranscribedRecording, transcribed

_SYSTEM: Final = Actor.system("automation")
TRIGGER: Final = "automation"
NOT_FETCHED: Final = "Fiche details not fetched (cache incomplete)"
NOT_TRANSCRIBED: Final = "Transcription incomplete (timeout/stall)"
STALLED: Final = "STALLED"
"""Code of what did not end in its time."""
NOTHING_HEARD: Final = "No transcribed recordings (empty timeline)"
OVER: Final[dict[str, Any]] = {"go": False}


@dataclass(frozen=True, slots=True)
class Work:
    """One try at one fiche of a run."""

    run_id: int
    fiche_id: str
    begun: int
    """Which try: an older one, come late, does nothing."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A fiche as the cache has it now."""

    details: Details
    recordings: Sequence[TranscribedRecording]
    in_scope: bool

    @property
    def unheard(self) -> int:
        return sum(not each.has_transcription for each in self.recordings)


async def held(session: WriteSession, work: Work) -> tuple[AutomationRun, AutomationRunFiche] | None:
    """The run and the fiche, held; None when this try is over."""
    run = await run_queries.held(session, work.run_id)
    item = await run_queries.item(session, work.run_id, work.fiche_id)
    if run is None or item is None or run.status not in OPEN:
        return None
    return (run, item) if _is_of(work, item) else None


def _is_of(work: Work, item: AutomationRunFiche) -> bool:
    return item.outcome is None and item.queued and item.begun == work.begun


async def judge(resources: Resources, work: Work, fetched: Mapping[str, Any]) -> dict[str, Any]:
    """Decides by the details whether the fiche is worked on; `transcribe` says whether it lacks words."""
    if fetched["error"] is not None:
        return await end(resources, work, End(FAILED, fetched["error"] or NOT_FETCHED, fetched["code"]))
    async with resources.database.read() as session:
        run = await session.get(AutomationRun, work.run_id)
        if run is None:
            return OVER
        plan, found = plan_of(run), not fetched["not_found"]
        known = await _known(session, run, work.fiche_id, found=found)
        needs = await _needs(session, resources, run, plan, known)
    configured = resources.settings.automation_max_recordings_per_fiche
    most = most_recordings(plan.selection, configured, MAX_RECORDINGS_PER_FICHE)
    reason = late_reason(known.details, plan.selection, most_recordings=most)
    if reason is None and not known.in_scope:
        reason = OUT_OF_SCOPE
    async with resources.database.write() as session:
        both = await held(session, work)
        if both is None:
            return OVER
        run, item = both
        first, item.recordings_count = item.recordings_count is None, known.details.recordings
        reason = reason or outcomes.why_to_stop(run, plan)
        if reason is None and not await outcomes.reserve(session, run, item, needs, first=first):
            reason = outcomes.OVER_BUDGET
        if reason is not None:
            await outcomes.end_fiche(session, resources.durable, run, item, End(IGNORED, reason))
            return OVER
        item.stage = TRANSCRIPTION
    return {"go": True, "transcribe": _is_transcribed(plan, known)}


def _is_transcribed(plan: Plan, known: _Known) -> bool:
    """Whether the fiche goes through transcription; what is transcribed already is not paid for again there."""
    wanted = known.unheard if plan.rules.skip_if_transcribed else len(known.recordings)
    return plan.rules.run_transcription and wanted > 0


async def _known(session: ReadSession, run: AutomationRun, fiche_id: str, *, found: bool) -> _Known:
    row = await session.scalar(select(FicheCache).where(FicheCache.fiche_id == fiche_id))
    if row is None or not found:
        return _Known(Details(found=False), (), in_scope=True)
    owner = await owner_of_run(session, run)
    recordings = await transcribed(session, owner, row.id, words=False)
    details = Details(found=True, groupe=row.groupe, recordings=len(recordings))
    return _Known(details, recordings, await visible_fiche_exists(session, owner, fiche_id))


async def _needs(
    session: ReadSession, resources: Resources, run: AutomationRun, plan: Plan, known: _Known
) -> Reserved:
    """What the fiche is expected to take; only what a budget limits is worked out."""
    limits, seconds = plan.rules.budget, Decimal(0)
    if plan.rules.run_transcription:
        lacking = (each for each in known.recordings if not each.has_transcription)
        seconds = Decimal(sum(each.duration_seconds or 0 for each in lacking))
    if limits.max_cost is None:
        return Reserved(0, seconds)
    cost = await expected_cost(session, resources, run.audit_config_ids, known.recordings, seconds)
    return Reserved(int(cost * MICROS), seconds)


async def expected_cost(
    session: ReadSession,
    resources: Resources,
    config_ids: Sequence[int],
    recordings: Sequence[TranscribedRecording],
    seconds: Decimal,
) -> Decimal:
    """Money for so many seconds of speech, and for an audit by each configuration; in the table's currency."""
    cost = speech_cost(resources, seconds)
    unheard = sum(each.duration_seconds or 0 for each in recordings if not each.has_transcription)
    for config_id in config_ids if recordings else ():
        rules = await require_runnable(session, config_id)
        cost += estimated_cost(resources, rules, list(recordings))
        cost -= speech_cost(resources, Decimal(unheard))  # which is paid once, however many audits hear it
    return cost


async def begin_audits(resources: Resources, work: Work, heard: Mapping[str, Any]) -> dict[str, Any]:
    """Begins the audits of a fiche, or goes on with those it has; ends it when there is none to wait for."""
    async with resources.database.write() as session:
        # Nobody cancels the run from here on: what is begun is found by whoever does so later.
        await run_queries.share(session, work.run_id)
        run = await session.get(AutomationRun, work.run_id)
        item = await run_queries.item(session, work.run_id, work.fiche_id)
        if run is None or item is None or not _is_of(work, item):
            return OVER
        end = await _end_before_audits(session, run, item, heard)
        audit_ids: list[int] = []
        if end is None:
            try:
                audit_ids = await _begun(session, resources, run, item)
            except (Invalid, NotFound) as error:  # a configuration was changed since the run began
                end = End(FAILED, error.message, error.code)
        both = await held(session, work)
        if both is None:
            raise _Superseded
        run, item = both
        if end is None:
            item.audit_ids, item.stage = audit_ids, AUDITS
            await session.flush()
            await outcomes.end_with_audits(session, resources.durable, run, item)
        else:
            await outcomes.end_fiche(session, resources.durable, run, item, end)
    return {"go": True, "audits": len(audit_ids)}


class _Superseded(ConformeError):
    """The run has ended meanwhile: what was begun with this transaction is undone with it"""


async def _end_before_audits(
    session: WriteSession, run: AutomationRun, item: AutomationRunFiche, heard: Mapping[str, Any]
) -> End | None:
    """Why the fiche ends without an audit being begun; None: audits are begun."""
    plan = plan_of(run)
    stopped = outcomes.why_to_stop(run, plan)
    if stopped is not None and stopped != outcomes.OVER_BUDGET:  # its share of the budget is held back
        return End(IGNORED, stopped)
    known = await _known_words(session, item.fiche_id)
    lost = heard["failed"] or heard["error"] is not None
    if lost:
        await run_logs.write(
            session,
            run.id,
            "warning",
            "Recordings could not be transcribed",
            key=f"unheard-{item.fiche_id}-{item.begun}",
            fiche_id=item.fiche_id,
            failed=heard["failed"],
            why=heard["error"],
        )
    if not plan.rules.run_audits:
        return End(FAILED, heard["error"] or NOT_TRANSCRIBED, heard["code"]) if lost else SUCCESS
    if known == 0:
        return (
            End(FAILED, heard["error"] or NOT_TRANSCRIBED, heard["code"])
            if lost
            else End(IGNORED, NOTHING_HEARD)
        )
    return None


async def _known_words(session: WriteSession, fiche_id: str) -> int:
    """How many calls of a fiche can be heard."""
    row = await session.scalar(select(FicheCache).where(FicheCache.fiche_id == fiche_id))
    if row is None:
        return 0
    recordings = await transcribed(session, _SYSTEM, row.id, words=False)
    return sum(each.has_transcription for each in recordings)


async def _begun(
    session: WriteSession, resources: Resources, run: AutomationRun, item: AutomationRunFiche
) -> list[int]:
    """The audits of a fiche, one per configuration: those that failed go on, those that are missing begin."""
    revisions = [
        await revision_for_run(session, config_id, created_by=run.requested_by)
        for config_id in sorted(run.audit_config_ids)  # the order in which whoever creates several holds them
    ]
    known = {each.config_id: each for each in await run_queries.audits_of(session, item.audit_ids)}
    ids: list[int] = []
    for revision in revisions:
        audit = known.get(revision.config_id)
        if audit is None:
            ids.append(await _create(session, resources, run, item, revision))
            continue
        row = await audit_queries.locked(session, audit.id)
        if row is not None and row.status == "failed":
            await queue_again(
                session, resources.durable, row, transcribe=False, within=_seconds_of_audit(resources)
            )
        ids.append(audit.id)
    return ids


async def _create(
    session: WriteSession,
    resources: Resources,
    run: AutomationRun,
    item: AutomationRunFiche,
    revision: Revision,
) -> int:
    wish = AuditWish(
        item.fiche_id,
        revision.config_id,
        trigger_source=TRIGGER,
        user_id=None if run.user_id is None else str(run.user_id),
        use_rlm=plan_of(run).selection.use_rlm,
        automation_schedule_id=run.schedule_id,
        automation_run_id=run.id,
    )
    name = f"automation-{run.id}-audit-{item.fiche_id}-{revision.config_id}"
    taken = await audit_queries.tracking_id_taken(session, name)  # by one that was deleted
    await hold_versions(session, item.fiche_id, revision.config_id)
    audit = await create_audit(
        session,
        resources.durable,
        wish,
        revision,
        requested_by=run.requested_by,
        tracking_id=f"{name}-{item.begun}" if taken else name,
        transcribe=False,
        within=_seconds_of_audit(resources),
    )
    return audit.id


def _seconds_of_audit(resources: Resources) -> float:
    return resources.settings.automation_audit_max_wait_ms / 1000


async def end(resources: Resources, work: Work, how: End) -> dict[str, Any]:
    """Ends this try at the fiche, unless it is over."""
    async with resources.database.write() as session:
        both = await held(session, work)
        if both is not None:
            await outcomes.end_fiche(session, resources.durable, *both, how)
    return OVER
