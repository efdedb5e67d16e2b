"""Automation: schedules, their runs, one row per fiche and run, and what runs log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

RESULTS = """
CREATE VIEW automation_run_fiche_results AS
SELECT run_id, fiche_id, outcome AS status, error, ignore_reason, recordings_count, created_at
FROM automation_run_fiches WHERE outcome IS NOT NULL
"""


def upgrade() -> None:
    _create_schedules()
    _index_schedules()
    _create_runs()
    _create_run_fiches()
    _create_logs()
    _create_ticks()
    op.execute(RESULTS)


def downgrade() -> None:
    op.execute("DROP VIEW automation_run_fiche_results")
    op.drop_table("automation_ticks")
    op.drop_table("automation_logs")
    op.drop_table("automation_run_fiches")
    op.drop_table("automation_runs")
    op.drop_table("automation_schedules")


def _create_schedules() -> None:
    op.create_table(
        "automation_schedules",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("schedule_type", sa.Text(), nullable=False),
        sa.Column("cron_expression", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("time_of_day", sa.Text(), nullable=True),
        sa.Column("day_of_week", sa.BigInteger(), nullable=True),
        sa.Column("day_of_month", sa.BigInteger(), nullable=True),
        sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fiche_selection_mode", sa.Text(), server_default="date_range", nullable=False),
        sa.Column("fiche_selection_date_range", sa.Text(), nullable=True),
        sa.Column("fiche_selection_custom_start_date", sa.Text(), nullable=True),
        sa.Column("fiche_selection_custom_end_date", sa.Text(), nullable=True),
        sa.Column(
            "fiche_selection_groupes", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column(
            "fiche_selection_only_with_recordings", sa.Boolean(), server_default="false", nullable=False
        ),
        sa.Column("fiche_selection_only_unaudited", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("fiche_selection_use_rlm", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("fiche_selection_max_fiches", sa.BigInteger(), nullable=True),
        sa.Column("fiche_selection_max_recordings_per_fiche", sa.BigInteger(), nullable=True),
        sa.Column(
            "fiche_selection_fiche_ids", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column(
            "fiche_selection_sample",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
        ),
        sa.Column("run_transcription", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("skip_if_transcribed", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("transcription_priority", sa.Text(), server_default="normal", nullable=False),
        sa.Column("run_audits", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("use_automatic_audits", sa.Boolean(), server_default="true", nullable=False),
        sa.Column(
            "specific_audit_configs",
            sa.ARRAY(sa.BigInteger()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("continue_on_error", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("retry_failed", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("max_retries", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("overlap", sa.Text(), server_default="refuse", nullable=False),
        sa.Column("catch_up", sa.Text(), server_default="last", nullable=False),
        sa.Column("max_cost", sa.Numeric(precision=13, scale=6), nullable=True),
        sa.Column("max_audio_minutes", sa.BigInteger(), nullable=True),
        sa.Column("max_fiches", sa.BigInteger(), nullable=True),
        sa.Column("notify_on_complete", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("notify_on_error", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("webhook_endpoint_id", sa.Text(), nullable=True),
        sa.Column("webhook_signed", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("notify_emails", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("external_api_key", sa.Text(), nullable=True),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("groupes", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("crm_user_id", sa.Text(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_run_status", sa.Text(), nullable=True),
        sa.Column("total_runs", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("successful_runs", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failed_runs", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        *_schedule_checks(),
        sa.PrimaryKeyConstraint("id", name="pk_automation_schedules"),
    )


def _schedule_checks() -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint("catch_up in ('last', 'none')", name="ck_automation_schedules_catch_up"),
        sa.CheckConstraint(
            "fiche_selection_mode in ('date_range', 'manual', 'filter')",
            name="ck_automation_schedules_mode",
        ),
        sa.CheckConstraint(
            "last_run_status in ('running', 'success', 'partial', 'failed')",
            name="ck_automation_schedules_last_run_status",
        ),
        sa.CheckConstraint("overlap in ('refuse', 'queue')", name="ck_automation_schedules_overlap"),
        sa.CheckConstraint(
            "schedule_type in ('MANUAL', 'DAILY', 'WEEKLY', 'MONTHLY', 'CRON')",
            name="ck_automation_schedules_schedule_type",
        ),
        sa.CheckConstraint(
            "transcription_priority in ('low', 'normal', 'high')",
            name="ck_automation_schedules_transcription_priority",
        ),
    ]


def _index_schedules() -> None:
    op.create_index("ix_automation_schedules_asked_by", "automation_schedules", ["asked_by"])
    op.create_index("ix_automation_schedules_created_at", "automation_schedules", ["created_at"])
    op.create_index(
        "ix_automation_schedules_due",
        "automation_schedules",
        ["next_due_at"],
        postgresql_where=sa.text("is_active"),
    )
    op.create_index("ix_automation_schedules_is_active", "automation_schedules", ["is_active"])
    op.create_index("ix_automation_schedules_last_run_at", "automation_schedules", ["last_run_at"])
    op.create_index("ix_automation_schedules_schedule_type", "automation_schedules", ["schedule_type"])
    op.create_index("ix_automation_schedules_user_id", "automation_schedules", ["user_id"])


def _create_runs() -> None:
    op.create_table(
        "automation_runs",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("schedule_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("waiting", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("total_fiches", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("successful_fiches", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failed_fiches", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ignored_fiches", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("transcriptions_run", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("audits_run", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("spent_micros", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("spent_audio_seconds", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("spent_fiches", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("exhausted", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_details", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("config_snapshot", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "result_summary", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "status in ('pending', 'running', 'completed', 'partial', 'failed', 'cancelled')",
            name="ck_automation_runs_status",
        ),
        sa.CheckConstraint(
            "trigger in ('schedule', 'catch_up', 'manual')", name="ck_automation_runs_trigger"
        ),
        sa.ForeignKeyConstraint(
            ["schedule_id"],
            ["automation_schedules.id"],
            name="fk_automation_runs_schedule_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_automation_runs"),
        sa.UniqueConstraint("job_id", name="uq_automation_runs_job_id"),
        sa.UniqueConstraint("schedule_id", "due_at", name="uq_automation_runs_schedule_id_due_at"),
    )
    op.create_index(
        "ix_automation_runs_open",
        "automation_runs",
        ["schedule_id", "status"],
        postgresql_where=sa.text("status in ('pending', 'running')"),
    )
    op.create_index("ix_automation_runs_schedule_id_id", "automation_runs", ["schedule_id", "id"])
    op.create_index("ix_automation_runs_started_at", "automation_runs", ["started_at"])
    op.create_index("ix_automation_runs_status", "automation_runs", ["status"])


def _create_run_fiches() -> None:
    op.create_table(
        "automation_run_fiches",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("fiche_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), server_default="selected", nullable=False),
        sa.Column("queued", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("ignore_reason", sa.Text(), nullable=True),
        sa.Column("recordings_count", sa.BigInteger(), nullable=True),
        sa.Column("transcriptions_run", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("audit_ids", sa.ARRAY(sa.BigInteger()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "outcome in ('successful', 'failed', 'ignored')", name="ck_automation_run_fiches_outcome"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["automation_runs.id"], name="fk_automation_run_fiches_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "fiche_id", name="pk_automation_run_fiches"),
    )
    op.create_index("ix_automation_run_fiches_fiche_id", "automation_run_fiches", ["fiche_id"])
    op.create_index(
        "ix_automation_run_fiches_open",
        "automation_run_fiches",
        ["run_id", "fiche_id"],
        postgresql_where=sa.text("outcome is null"),
    )
    op.create_index("ix_automation_run_fiches_run_id_outcome", "automation_run_fiches", ["run_id", "outcome"])


def _create_logs() -> None:
    op.create_table(
        "automation_logs",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column(
            "metadata",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("timestamp", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("level in ('debug', 'info', 'warning', 'error')", name="ck_automation_logs_level"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["automation_runs.id"], name="fk_automation_logs_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_automation_logs"),
        sa.UniqueConstraint("run_id", "key", name="uq_automation_logs_run_id_key"),
    )
    op.create_index("ix_automation_logs_level", "automation_logs", ["level"])
    op.create_index("ix_automation_logs_run_id_id", "automation_logs", ["run_id", "id"])
    op.create_index("ix_automation_logs_timestamp", "automation_logs", ["timestamp"])


def _create_ticks() -> None:
    op.create_table(
        "automation_ticks",
        sa.Column("id", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fired", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("missed", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_automation_ticks"),
    )
