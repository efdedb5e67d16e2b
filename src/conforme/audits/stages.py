"""The stages of one audit, each one durable step: load → close → call → open → save.

Every stage may run again after a crash, so each is written to be repeated: what is stored already is not stored, nor
told, a second time.
"""

from collections.abc import Mapping
from typing import Any

from conforme.accounts.actor import Actor
from conforme.audit_configs.revisions import Revision, revision
from conforme.audit_configs.rules import Origins
from conforme.audits import budget, casting, dialogues, facts, queries, store, telling, validity
from conforme.audits.analysis import StepAnalysis, ToolsMode, analyse_step
from conforme.audits.case import Case, case_of, freeze
from conforme.audits.desk import Limits
from conforme.audits.dialogues import StoredDialogue
from conforme.audits.errors import AnswerIncomplete, AuditFailed
from conforme.audits.evidence import Policy
from conforme.audits.lookup import Budget, Remembered
from conforme.audits.models import OPEN, AuditRow
from conforme.audits.origin import meanings, origins_of
from conforme.audits.prompting import prompt_version
from conforme.audits.queries import AuditInWork, Standing
from conforme.audits.roles import Roles
from conforme.audits.store import Outage
from conforme.audits.timeline import Call, Timeline, build
from conforme.foundation import events
from conforme.foundation.database import Connection, ReadSession, Writer, WriteSession, now
from conforme.foundation.durable import Priority
from conforme.foundation.ledger import PriceTable, line_of, model_call, record_call
from conforme.foundation.llm import ModelError, Spent
from conforme.foundation.resources import Resources
from conforme.foundation.rows import write_rows
from conforme.foundation.web import iso
from conforme.settings import MAX_RECORDINGS_PER_FICHE, Settings
from conforme.transcriptions.queries import TranscribedRecording, transcribed

ACTOR = Actor.system("audit")
BATCH = "batch"
"""What audits of a batch were triggered by."""


async def begin(resources: Resources, audit_id: int) -> dict[str, Any]:
    """Marks the audit as running; says whether its words are frozen already (a resumed audit)."""
    async with resources.database.write() as session:
        audit = await open_audit(session, audit_id)
        if audit.status == "pending":
            pinned = await revision(session, audit.config_revision_id)
            await _start(session, audit, pinned, resources)
        return {
            "fiche_id": audit.fiche_id,
            "frozen": audit.transcript_snapshot_id is not None,
            "priority": int(priority_of(audit)),
            "schedule_id": audit.automation_schedule_id,
        }


def priority_of(audit: AuditRow) -> Priority:
    """What somebody waits for goes ahead of what was asked for by the hundred."""
    in_bulk = audit.automation_run_id or audit.trigger_source == BATCH
    return Priority.BULK if in_bulk else Priority.INTERACTIVE


async def open_audit(session: WriteSession, audit_id: int) -> AuditRow:
    """The audit, held; one that has ended meanwhile (reaped, deleted) is not worked on."""
    return require_open(await queries.locked(session, audit_id))


def require_open(audit: AuditRow | None) -> AuditRow:
    if audit is None or audit.status not in OPEN:
        raise AuditFailed("The audit is no longer open", phase="cancelled")
    return audit


async def _start(session: WriteSession, audit: AuditRow, pinned: Revision, resources: Resources) -> None:
    audit.status = "running"
    audit.started_at = audit.started_at or now()
    audit.model = audit.model or resources.model.name
    audit.prompt_version = prompt_version(tools=audit.use_rlm)
    audit.result_data = {
        "audit_id": audit.tracking_id,
        "status": "running",
        "started_at": iso(audit.started_at),
        "approach": telling.approach(audit),
    }
    await session.flush()
    told = [telling.started(audit, pinned.rules)]
    if audit.transcript_snapshot_id is None:
        told.append(telling.told(audit, "fiche_fetch_started", "fetching", from_cache=False))
    await events.record_all(session, told)


async def link(resources: Resources, audit_id: int, fetched: Mapping[str, Any]) -> dict[str, Any]:
    """Ties the audit to its fiche, counts what is transcribed, and refuses what would cost too much."""
    async with resources.database.write() as session:
        audit = await open_audit(session, audit_id)
        audit.fiche_cache_id = fetched["cache_id"]
        await session.flush()
        priced = resources.settings.audit_max_cost is not None
        recordings = await transcribed(session, ACTOR, fetched["cache_id"], words=priced)
        missing = [recording for recording in recordings if not recording.has_transcription]
        total = len(recordings)
        await events.record_all(
            session,
            [
                telling.told(
                    audit,
                    "fiche_fetch_completed",
                    "fetched",
                    recordings_count=total,
                    prospect_name=None,
                    from_cache=bool(fetched["cached"]),
                ),
                telling.told(
                    audit,
                    "transcription_check",
                    "checked",
                    total_recordings=total,
                    transcribed=total - len(missing),
                    needs_transcription=len(missing),
                ),
            ],
        )
        pinned = await revision(session, audit.config_revision_id)
        origins = await known_origins(session, audit.fiche_id, resources.settings)
    _require_recordings(recordings)
    validity.require_in_force(pinned.rules, [each.start_time for each in recordings], origins)
    budget.require_affordable(resources, pinned.rules, recordings, tools=audit.use_rlm)
    return {"needs_transcription": bool(missing)}


def _require_recordings(recordings: list[TranscribedRecording]) -> None:
    if not recordings:
        raise AuditFailed("The fiche has no recordings", phase="missing_transcription", code="NO_RECORDINGS")
    if len(recordings) > MAX_RECORDINGS_PER_FICHE:
        reason = f"Too many recordings ({len(recordings)} > {MAX_RECORDINGS_PER_FICHE})"
        raise AuditFailed(reason, phase="missing_transcription", code="TOO_MANY_RECORDINGS")


async def prepare(resources: Resources, audit_id: int, *, ask_who_speaks: bool = True) -> dict[str, Any]:
    """Freezes the words, and says which steps are to be analysed.

    Where rules alone do not tell who speaks, nothing is frozen yet unless `ask_who_speaks` is off: `unsure` names the
    recordings to ask the model about.
    """
    async with resources.database.write() as session:
        audit = await open_audit(session, audit_id)
        pinned = await revision(session, audit.config_revision_id)
        if audit.transcript_snapshot_id is None:
            recordings = await _recordings(session, audit)
            voices = await casting.known(session, audit.fiche_id, recordings)
            origins = await known_origins(session, audit.fiche_id, resources.settings)
            words = _words(recordings, voices, origins)
            if ask_who_speaks and (unsure := voices.unsure(resources.settings.audit_role_confidence)):
                return {"positions": [], "unsure": unsure}
            await _freeze(session, audit, words, recordings)
        done = await queries.analysed_positions(session, audit_id)
        total = len(pinned.rules.steps)
        await events.record_all(session, _prepared(audit, pinned, len(done), total, resources.model.name))
    positions = [step.position for step in pinned.rules.steps if step.position not in done]
    return {"positions": sorted(positions), "unsure": []}


async def heard(
    session: WriteSession, audit: AuditRow, settings: Settings
) -> tuple[Timeline, list[TranscribedRecording]]:
    """The words of the fiche's calls as they are known now, with who speaks, and the calls.

    Raises:
        AuditFailed: there are none.
    """
    recordings = await _recordings(session, audit)
    origins = await known_origins(session, audit.fiche_id, settings)
    voices = await casting.known(session, audit.fiche_id, recordings)
    return _words(recordings, voices, origins), recordings


async def known_origins(session: ReadSession | WriteSession, fiche_id: str, settings: Settings) -> Origins:
    """Where the calls of a fiche may come from, as far as the CRM tells."""
    told = await queries.told_of_origin(session, fiche_id)
    return origins_of(told, meanings(settings.audit_call_origins))


async def _recordings(session: WriteSession, audit: AuditRow) -> list[TranscribedRecording]:
    assert audit.fiche_cache_id is not None  # noqa: S101 -- linked by the stage before
    return await transcribed(session, ACTOR, audit.fiche_cache_id)


async def _freeze(
    session: WriteSession, audit: AuditRow, words: Timeline, recordings: list[TranscribedRecording]
) -> None:
    audit.transcript_snapshot_id = await freeze(session, audit.fiche_id, words)
    audit.recordings_count = len(recordings)
    audit.timeline_chunks = words.chunk_count
    audit.result_data = audit.result_data | {"coverage": _coverage(recordings)}
    await session.flush()


def _words(recordings: list[TranscribedRecording], voices: casting.Voices, origins: Origins) -> Timeline:
    transcribed_ones = [recording for recording in recordings if recording.has_transcription]
    calls = [_call(recording, voices.roles.get(recording.recording_id, {})) for recording in transcribed_ones]
    words = build(calls, origins)
    if not words.recordings:
        raise AuditFailed(
            "No recording could be transcribed", phase="missing_transcription", code="NOT_TRANSCRIBED"
        )
    if not words.has_words:
        raise AuditFailed(
            "Nothing is said in the recordings", phase="missing_transcription", code="EMPTY_TIMELINE"
        )
    return words


def _coverage(recordings: list[TranscribedRecording]) -> dict[str, Any]:
    """Which calls the audit could not hear: an audit of a part says so."""
    unheard = [recording.call_id for recording in recordings if not recording.has_transcription]
    return {"complete": not unheard, "recordings": len(recordings), "not_transcribed": unheard}


def _call(recording: TranscribedRecording, roles: Roles) -> Call:
    return Call(
        roles=roles,
        call_id=recording.call_id,
        words=recording.words,
        start_time=recording.start_time,
        duration_seconds=recording.duration_seconds,
        recording_url=recording.recording_url,
        recording_date=recording.recording_date or "",
        recording_time=recording.recording_time or "",
        from_number=recording.from_number or "",
        to_number=recording.to_number or "",
    )


def _prepared(audit: AuditRow, pinned: Revision, done: int, total: int, model: str) -> list[events.Draft]:
    return [
        telling.told(
            audit,
            "config_loaded",
            "loaded",
            config_id=str(audit.audit_config_id),
            config_name=pinned.rules.name,
            steps_count=total,
        ),
        telling.told(
            audit,
            "timeline_generated",
            "generated",
            recordings_count=audit.recordings_count,
            total_chunks=audit.timeline_chunks,
        ),
        telling.progress(audit, done=done, failed=0, total=total, phase="timeline"),
        telling.told(audit, "analysis_started", "analyzing", total_steps=total, model=model),
    ]


async def analyse(resources: Resources, audit_id: int, position: int) -> dict[str, Any]:
    """Asks about one step and stores what comes of it: verdicts, quotes, cost and event in one transaction."""
    async with resources.database.alone() as connection:
        audit = await queries.to_analyse(connection, audit_id, position)
        if audit is None:
            return {"ok": True, "cached": True}
        case = await _case(connection, audit)
        step = case.step(position)
        await events.record_all(connection, [telling.step_started(audit, step, len(case.rules.steps))])
    try:
        analysis = await analyse_step(
            resources.model,
            case,
            step,
            cache_key=f"audit-{audit_id}",
            policy=policy_of(resources.settings),
            model_name=audit.model,
            tools=_tools(resources, audit, position),
        )
    except ModelError as error:
        await _bill(resources, audit_id, position, error.spent)
        raise
    if analysis.finding.missing:
        await _bill(resources, audit_id, position, analysis.spent)
        raise AnswerIncomplete(analysis.finding.missing)
    await _keep(resources, audit, len(case.rules.steps), analysis)
    return {"ok": True, "cached": False}


def policy_of(settings: Settings) -> Policy:
    return Policy(
        settings.audit_evidence_gating,
        settings.audit_evidence_min_quote_chars,
        settings.audit_role_confidence,
    )


def budget_of(settings: Settings) -> Budget:
    """How much tools mode may use on one step."""
    return Budget(
        messages=settings.audit_tools_max_messages,
        prompt_tokens=settings.audit_tools_token_budget,
        limits=Limits(
            results=settings.audit_tools_max_results,
            chunks=settings.audit_tools_max_chunks,
            chars=settings.audit_tools_max_chars,
            preview=settings.audit_tools_preview_chars,
        ),
    )


def tools_again(settings: Settings, audit: AuditRow) -> ToolsMode | None:
    """The audit's own mode, for a question that is asked once more; what it asks on the way is told to nobody."""
    return ToolsMode(budget_of(settings), Remembered()) if audit.use_rlm else None


async def asked_on_the_way(tools: ToolsMode | None) -> list[Spent]:
    """What a question asked once more has cost besides its answer."""
    return [] if tools is None else [asked.spent for asked in await tools.memory.recalled()]


def _tools(resources: Resources, audit: AuditInWork, position: int) -> ToolsMode | None:
    if not audit.use_rlm:
        return None
    return ToolsMode(budget_of(resources.settings), StoredDialogue(resources, audit.id, position))


async def _case(connection: Connection, audit: AuditInWork) -> Case:
    assert audit.transcript_snapshot_id is not None  # noqa: S101 -- frozen before any step is dispatched
    return await case_of(
        connection, revision_id=audit.config_revision_id, snapshot_id=audit.transcript_snapshot_id
    )


async def _bill(resources: Resources, audit_id: int, position: int, spent: Spent | None) -> None:
    """A failed call may have cost money: the ledger says so."""
    if spent is None or spent.attempts == 0:
        return
    async with resources.database.write() as session:
        call = model_call(spent, purpose="audit-step", audit_id=audit_id, step_position=position)
        await record_call(session, call, PriceTable.load(resources.settings.price_table))


async def _keep(resources: Resources, audit: AuditInWork, total: int, analysis: StepAnalysis) -> None:
    position = analysis.step.position
    call = model_call(analysis.spent, purpose="audit-step", audit_id=audit.id, step_position=position)
    bill = line_of(call, PriceTable.load(resources.settings.price_table))
    async with resources.database.transaction() as connection:
        standing = await _to_settle(connection, audit.id, position)
        if standing is None:  # paid all the same
            await write_rows(connection, bill)
            return
        if standing.analysed is not None:
            await store.clear(connection, audit.id, position)
        basis = facts.Basis(audit.config_revision_id, audit.transcript_snapshot_id)
        done, failed = standing.others_done + 1, standing.others_failed
        progress = telling.progress(audit, done=done, failed=failed, total=total, phase="analysis")
        told = events.rows_of([telling.step_completed(audit, analysis), progress])
        said = facts.run_rows(audit.id, analysis, basis)
        if audit.use_rlm:
            await dialogues.forget(connection, audit.id, position)
        await write_rows(connection, bill, *store.rows_of(audit.id, analysis), said, told)
        if standing.analysed is not None:
            await facts.hold_again(connection, audit.id, analysis.step)


async def _to_settle(session: Writer, audit_id: int, position: int) -> Standing | None:
    """How the step stands; None when another execution stored it meanwhile, or the audit is gone.

    Holds the audit until the transaction ends: steps are stored one after the other, so that a replica which slept
    through the loss of its work changes nothing, and every count of steps that is told is right.
    """
    if not await queries.hold(session, audit_id):
        return None
    standing = await queries.standing(session, audit_id, position)
    return None if standing.analysed else standing


async def give_up(
    resources: Resources, audit_id: int, position: int, reason: str, *, job_id: str
) -> dict[str, Any]:
    """Stores that a step could not be analysed by that job, and tells it once."""
    async with resources.database.write() as session:
        standing = await _to_settle(session, audit_id, position)
        if standing is None:
            return {"ok": True, "cached": True}
        if standing.given_up_by != job_id:
            await _keep_outage(session, audit_id, position, standing, Outage(reason, job_id))
    return {"ok": False, "error": reason}


async def _keep_outage(
    session: WriteSession, audit_id: int, position: int, standing: Standing, outage: Outage
) -> None:
    audit = await queries.row(session, audit_id)
    pinned = await revision(session, audit.config_revision_id)
    step = next(step for step in pinned.rules.steps if step.position == position)
    if standing.analysed is None or not await facts.anything_said(session, audit_id, position):
        await store.keep_outage(session, audit_id, step, outage)
    else:
        await store.mark_given_up(session, audit_id, position, outage.job_id)
    if audit.use_rlm:  # an attempt asked for by `resume` begins anew
        await dialogues.forget(session, audit_id, position)
    done, failed, total = standing.others_done, standing.others_failed + 1, len(pinned.rules.steps)
    told = telling.progress(audit, done=done, failed=failed, total=total, phase="analysis")
    await events.record_all(session, [telling.step_failed(audit, step, outage.reason), told])
