"""Tables of the automation (spec/automation §10): schedules, their runs, one row per fiche and run, and what is logged."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Numeric,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from conforme.foundation.database import Base, Updated

PENDING, RUNNING, COMPLETED, PARTIAL, FAILED, CANCELLED = (
    "pending",
    "running",
    "completed",
    "partial",
    "failed",
    "cancelled",
)
OPEN = (PENDING, RUNNING)
SUCCESSFUL, IGNORED = "successful", "ignored"
OUTCOMES = (SUCCESSFUL, FAILED, IGNORED)
BY_SCHEDULE, CAUGHT_UP, BY_HAND = "schedule", "catch_up", "manual"
_EMPTY_ARRAY = text("'{}'")


class AutomationSchedule(Updated, Base):
    """What is to be done when; `fiche_selection_*` are the members of its selection, whoever it acts for beside it."""

    __tablename__ = "automation_schedules"
    __table_args__ = (
        CheckConstraint(
            "schedule_type in ('MANUAL', 'DAILY', 'WEEKLY', 'MONTHLY', 'CRON')", name="schedule_type"
        ),
        CheckConstraint("fiche_selection_mode in ('date_range', 'manual', 'filter')", name="mode"),
        CheckConstraint("transcription_priority in ('low', 'normal', 'high')", name="transcription_priority"),
        CheckConstraint("overlap in ('refuse', 'queue')", name="overlap"),
        CheckConstraint("catch_up in ('last', 'none')", name="catch_up"),
        CheckConstraint(
            "last_run_status in ('running', 'success', 'partial', 'failed')", name="last_run_status"
        ),
        Index(None, "is_active"),
        Index(None, "schedule_type"),
        Index(None, "last_run_at"),
        Index(None, "created_at"),
        Index("ix_automation_schedules_due", "next_due_at", postgresql_where=text("is_active")),
    )

    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str | None] = mapped_column(Text)
    """As the body says; who it was in truth is `asked_by`."""
    is_active: Mapped[bool] = mapped_column(server_default="true")

    schedule_type: Mapped[str] = mapped_column(Text)
    cron_expression: Mapped[str | None] = mapped_column(Text)
    timezone: Mapped[str] = mapped_column(Text, server_default="UTC")
    time_of_day: Mapped[str | None] = mapped_column(Text)
    day_of_week: Mapped[int | None]
    day_of_month: Mapped[int | None]
    next_due_at: Mapped[datetime | None]
    """The first due time that has not been dealt with; None when there is none to come."""

    fiche_selection_mode: Mapped[str] = mapped_column(Text, server_default="date_range")
    fiche_selection_date_range: Mapped[str | None] = mapped_column(Text)
    fiche_selection_custom_start_date: Mapped[str | None] = mapped_column(Text)
    fiche_selection_custom_end_date: Mapped[str | None] = mapped_column(Text)
    fiche_selection_groupes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=_EMPTY_ARRAY)
    fiche_selection_only_with_recordings: Mapped[bool] = mapped_column(server_default="false")
    fiche_selection_only_unaudited: Mapped[bool] = mapped_column(server_default="false")
    fiche_selection_use_rlm: Mapped[bool] = mapped_column(server_default="false")
    fiche_selection_max_fiches: Mapped[int | None]
    fiche_selection_max_recordings_per_fiche: Mapped[int | None]
    fiche_selection_fiche_ids: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=_EMPTY_ARRAY)
    fiche_selection_sample: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))

    run_transcription: Mapped[bool] = mapped_column(server_default="true")
    skip_if_transcribed: Mapped[bool] = mapped_column(server_default="true")
    transcription_priority: Mapped[str] = mapped_column(Text, server_default="normal")
    run_audits: Mapped[bool] = mapped_column(server_default="true")
    use_automatic_audits: Mapped[bool] = mapped_column(server_default="true")
    specific_audit_configs: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=_EMPTY_ARRAY)
    continue_on_error: Mapped[bool] = mapped_column(server_default="true")
    retry_failed: Mapped[bool] = mapped_column(server_default="false")
    max_retries: Mapped[int] = mapped_column(server_default="0")
    overlap: Mapped[str] = mapped_column(Text, server_default="refuse")
    catch_up: Mapped[str] = mapped_column(Text, server_default="last")
    max_cost: Mapped[Decimal | None] = mapped_column(Numeric(13, 6))
    max_audio_minutes: Mapped[int | None]
    max_fiches: Mapped[int | None]

    notify_on_complete: Mapped[bool] = mapped_column(server_default="true")
    notify_on_error: Mapped[bool] = mapped_column(server_default="true")
    webhook_url: Mapped[str | None] = mapped_column(Text)
    webhook_endpoint_id: Mapped[str | None] = mapped_column(Text)
    """Where deliveries go, registered with the webhooks under `schedule:<id>`; signed when a secret was given."""
    webhook_signed: Mapped[bool] = mapped_column(server_default="false")
    notify_emails: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=_EMPTY_ARRAY)
    external_api_key: Mapped[str | None] = mapped_column(Text)
    """Sealed (foundation.sealing): the gateway's token for this schedule."""

    asked_by: Mapped[str] = mapped_column(Text, index=True)
    """Name of the actor who created it; with the next four, whose fiches its runs may take."""
    scope: Mapped[str] = mapped_column(Text)
    groupes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=_EMPTY_ARRAY)
    crm_user_id: Mapped[str | None] = mapped_column(Text)
    user_id: Mapped[int | None] = mapped_column(index=True)

    last_run_at: Mapped[datetime | None]
    last_run_status: Mapped[str | None] = mapped_column(Text)
    total_runs: Mapped[int] = mapped_column(server_default="0")
    successful_runs: Mapped[int] = mapped_column(server_default="0")
    failed_runs: Mapped[int] = mapped_column(server_default="0")


class AutomationRun(Updated, Base):
    """One execution of a schedule. Its counters are those of its fiches' outcomes, kept in the same transaction."""

    __tablename__ = "automation_runs"
    __table_args__ = (
        CheckConstraint(
            "status in ('pending', 'running', 'completed', 'partial', 'failed', 'cancelled')", name="status"
        ),
        CheckConstraint("trigger in ('schedule', 'catch_up', 'manual')", name="trigger"),
        # A due time is one run, whoever fires it and however often.
        UniqueConstraint("schedule_id", "due_at"),
        Index(None, "schedule_id", "id"),
        Index(None, "status"),
        Index(None, "started_at"),
        Index(
            "ix_automation_runs_open",
            "schedule_id",
            "status",
            postgresql_where=text("status in ('pending', 'running')"),
        ),
    )

    schedule_id: Mapped[int] = mapped_column(ForeignKey("automation_schedules.id", ondelete="CASCADE"))
    job_id: Mapped[str] = mapped_column(Text, unique=True)
    """The durable job that carries it out."""
    trigger: Mapped[str] = mapped_column(Text)
    due_at: Mapped[datetime | None]
    """The due time it is for; None when somebody asked for it."""
    requested_by: Mapped[str] = mapped_column(Text)
    """Name of the actor who asked."""
    user_id: Mapped[int | None]
    status: Mapped[str] = mapped_column(Text, server_default=PENDING)
    waiting: Mapped[bool] = mapped_column(server_default="false")
    """It stands in line behind another run of its schedule; its job is not queued yet."""
    attempt: Mapped[int] = mapped_column(server_default="1")
    """The first, and one for each time that what failed was taken up again."""
    cancel_requested_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    duration_ms: Mapped[int | None]

    total_fiches: Mapped[int] = mapped_column(server_default="0")
    """Without those that were ignored (spec/automation §4.4)."""
    successful_fiches: Mapped[int] = mapped_column(server_default="0")
    failed_fiches: Mapped[int] = mapped_column(server_default="0")
    ignored_fiches: Mapped[int] = mapped_column(server_default="0")
    transcriptions_run: Mapped[int] = mapped_column(server_default="0")
    audits_run: Mapped[int] = mapped_column(server_default="0")

    spent_micros: Mapped[int] = mapped_column(server_default="0")
    """Paid for this run, in micro-units of the price table's currency."""
    spent_audio_seconds: Mapped[Decimal] = mapped_column(Numeric, server_default="0")
    spent_fiches: Mapped[int] = mapped_column(server_default="0")
    exhausted: Mapped[str | None] = mapped_column(Text)
    """Which budget ended it early: `cost`, `audio_minutes` or `fiches`."""

    selected_at: Mapped[datetime | None]
    """When its fiches were known; None while they are looked for."""
    audit_config_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=_EMPTY_ARRAY)
    """The configurations every fiche is audited by."""
    sample_seed: Mapped[int | None]
    """What its sample was drawn with."""
    left_fiches: Mapped[int] = mapped_column(server_default="0")
    """Eligible, and neither in the sample nor within the selection's limit."""
    days_total: Mapped[int] = mapped_column(server_default="0")
    days_done: Mapped[int] = mapped_column(server_default="0")
    days_failed: Mapped[int] = mapped_column(server_default="0")
    """Of those done: days whose sales could not be listed."""

    error_message: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(Text)
    error_details: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    config_snapshot: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """What it goes by, as it was when it was asked for (`snapshots`)."""
    result_summary: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class AutomationRunFiche(Base):
    """One fiche of a run: an item of work until it has its one outcome."""

    __tablename__ = "automation_run_fiches"
    __table_args__ = (
        CheckConstraint("outcome in ('successful', 'failed', 'ignored')", name="outcome"),
        Index(None, "run_id", "outcome"),
        Index(
            "ix_automation_run_fiches_open", "run_id", "fiche_id", postgresql_where=text("outcome is null")
        ),
        Index(
            "ix_automation_run_fiches_waiting",
            "run_id",
            "rank",
            postgresql_where=text("outcome is null and not queued"),
        ),
        Index(
            "ix_automation_run_fiches_in_work",
            "run_id",
            "updated_at",
            postgresql_where=text("outcome is null and queued"),
        ),
    )

    run_id: Mapped[int] = mapped_column(
        ForeignKey("automation_runs.id", ondelete="CASCADE"), primary_key=True
    )
    fiche_id: Mapped[str] = mapped_column(Text, primary_key=True, index=True)
    stage: Mapped[str] = mapped_column(Text, server_default="selected")
    """How far it has come; the words are those of whoever works on it."""
    queued: Mapped[bool] = mapped_column(server_default="false")
    attempt: Mapped[int] = mapped_column(server_default="0")
    """How often it was tried again."""
    outcome: Mapped[str | None] = mapped_column(Text)
    """None while it is to be waited for."""
    error: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(Text)
    ignore_reason: Mapped[str | None] = mapped_column(Text)
    recordings_count: Mapped[int | None]
    transcriptions_run: Mapped[int] = mapped_column(server_default="0")
    audit_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=_EMPTY_ARRAY)
    """Its audits, one per configuration."""
    rank: Mapped[int] = mapped_column(server_default="0")
    """Its place in the order of work."""
    begun: Mapped[int] = mapped_column(server_default="0")
    """How often work on it was begun, over all attempts of the run."""
    job_id: Mapped[str | None] = mapped_column(Text)
    """The durable job that works on it now, or worked on it last."""
    audits_run: Mapped[int] = mapped_column(server_default="0")
    """Its audits that were completed."""
    spent_micros: Mapped[int] = mapped_column(server_default="0")
    spent_audio_seconds: Mapped[Decimal] = mapped_column(Numeric, server_default="0")
    reserved_micros: Mapped[int] = mapped_column(server_default="0")
    """What it is expected to cost, held back from the run's budget while it is in work; and the next likewise."""
    reserved_audio_seconds: Mapped[Decimal] = mapped_column(Numeric, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class AutomationRunListed(Base):
    """A fiche that the token of a run's schedule sees among the sales of its days; until the run has chosen."""

    __tablename__ = "automation_run_listed"

    run_id: Mapped[int] = mapped_column(
        ForeignKey("automation_runs.id", ondelete="CASCADE"), primary_key=True
    )
    fiche_id: Mapped[str] = mapped_column(Text, primary_key=True)


class AutomationLog(Base):
    """A line of a run's log, redacted before it is written."""

    __tablename__ = "automation_logs"
    __table_args__ = (
        CheckConstraint("level in ('debug', 'info', 'warning', 'error')", name="level"),
        # A step that is run again after a crash writes its lines once.
        UniqueConstraint("run_id", "key"),
        Index(None, "run_id", "id"),
        Index(None, "level"),
        Index(None, "timestamp"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("automation_runs.id", ondelete="CASCADE"))
    key: Mapped[str | None] = mapped_column(Text)
    level: Mapped[str] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default=text("'{}'::jsonb"))
    timestamp: Mapped[datetime] = mapped_column(server_default=func.now())


class AutomationTick(Base):
    """When due times were last looked at, by whichever replica it was; one row."""

    __tablename__ = "automation_ticks"

    id: Mapped[int] = mapped_column(primary_key=True, server_default="1")
    at: Mapped[datetime]
    fired: Mapped[int] = mapped_column(server_default="0")
    missed: Mapped[int] = mapped_column(server_default="0")
