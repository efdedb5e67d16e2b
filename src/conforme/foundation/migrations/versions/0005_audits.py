"""Audits, their verdicts and their evidence."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_transcript_snapshots()
    _create_audits()
    _index_audits()
    _create_audit_dropped_citations()
    _create_audit_step_results()
    _create_audit_step_result_control_points()
    _create_audit_step_result_citations()


def downgrade() -> None:
    for table in (
        "audit_step_result_citations",
        "audit_step_result_control_points",
        "audit_step_results",
        "audit_dropped_citations",
        "audits",
        "transcript_snapshots",
    ):
        op.drop_table(table)


def _create_transcript_snapshots() -> None:
    op.create_table(
        "transcript_snapshots",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("fiche_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("recordings_count", sa.BigInteger(), nullable=False),
        sa.Column("chunks_count", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_transcript_snapshots"),
        sa.UniqueConstraint("sha256", name="uq_transcript_snapshots_sha256"),
    )
    op.create_index("ix_transcript_snapshots_fiche_id", "transcript_snapshots", ["fiche_id"])


def _create_audits() -> None:
    op.create_table(
        "audits",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("tracking_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("fiche_id", sa.Text(), nullable=False),
        sa.Column("fiche_cache_id", sa.BigInteger(), nullable=True),
        sa.Column("audit_config_id", sa.BigInteger(), nullable=False),
        sa.Column("config_revision_id", sa.BigInteger(), nullable=False),
        sa.Column("transcript_snapshot_id", sa.BigInteger(), nullable=True),
        sa.Column("automation_schedule_id", sa.BigInteger(), nullable=True),
        sa.Column("automation_run_id", sa.BigInteger(), nullable=True),
        sa.Column("trigger_source", sa.Text(), nullable=True),
        sa.Column("trigger_user_id", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("use_rlm", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("prompt_version", sa.Text(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("overall_score", sa.Numeric(precision=5, scale=2), server_default="0", nullable=False),
        sa.Column("score_percentage", sa.Numeric(precision=5, scale=2), server_default="0", nullable=False),
        sa.Column("niveau", sa.Text(), server_default="PENDING", nullable=False),
        sa.Column("is_compliant", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("critical_passed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("critical_total", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("earned_weight", sa.Numeric(precision=10, scale=2), nullable=True),
        sa.Column("total_weight", sa.Numeric(precision=10, scale=2), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("failed_phase", sa.Text(), nullable=True),
        sa.Column("total_tokens", sa.BigInteger(), nullable=True),
        sa.Column("successful_steps", sa.BigInteger(), nullable=True),
        sa.Column("failed_steps", sa.BigInteger(), nullable=True),
        sa.Column("recordings_count", sa.BigInteger(), nullable=True),
        sa.Column("timeline_chunks", sa.BigInteger(), nullable=True),
        sa.Column("result_data", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("is_latest", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "status in ('pending', 'running', 'completed', 'failed')", name="ck_audits_status"
        ),
        sa.ForeignKeyConstraint(
            ["audit_config_id"], ["audit_configs.id"], name="fk_audits_audit_config_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["config_revision_id"],
            ["audit_config_revisions.id"],
            name="fk_audits_config_revision_id",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["fiche_cache_id"], ["fiche_cache.id"], name="fk_audits_fiche_cache_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["transcript_snapshot_id"],
            ["transcript_snapshots.id"],
            name="fk_audits_transcript_snapshot_id",
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_audits"),
        sa.UniqueConstraint("tracking_id", name="uq_audits_tracking_id"),
    )


def _index_audits() -> None:
    op.create_index("ix_audits_audit_config_id", "audits", ["audit_config_id"])
    op.create_index("ix_audits_automation_run_id", "audits", ["automation_run_id"])
    op.create_index("ix_audits_automation_schedule_id", "audits", ["automation_schedule_id"])
    op.create_index("ix_audits_config_revision_id", "audits", ["config_revision_id"])
    op.create_index("ix_audits_created_at_id", "audits", ["created_at", "id"])
    op.create_index("ix_audits_deleted_at", "audits", ["deleted_at"])
    op.create_index("ix_audits_fiche_cache_id", "audits", ["fiche_cache_id"])
    op.create_index("ix_audits_fiche_id_is_latest", "audits", ["fiche_id", "is_latest"])
    op.create_index("ix_audits_is_compliant", "audits", ["is_compliant"])
    op.create_index(
        "ix_audits_open",
        "audits",
        ["status", "updated_at"],
        postgresql_where=sa.text("status in ('pending', 'running')"),
    )
    op.create_index("ix_audits_transcript_snapshot_id", "audits", ["transcript_snapshot_id"])
    op.create_index("ix_audits_trigger_source", "audits", ["trigger_source"])


def _create_audit_dropped_citations() -> None:
    op.create_table(
        "audit_dropped_citations",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("audit_id", sa.BigInteger(), nullable=False),
        sa.Column("step_position", sa.BigInteger(), nullable=False),
        sa.Column("control_point_index", sa.BigInteger(), nullable=False),
        sa.Column("texte", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("enregistrement", sa.BigInteger(), nullable=False),
        sa.Column("tour", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.id"], name="fk_audit_dropped_citations_audit_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_audit_dropped_citations"),
    )
    op.create_index("ix_audit_dropped_citations_audit_id", "audit_dropped_citations", ["audit_id"])


def _create_audit_step_results() -> None:
    op.create_table(
        "audit_step_results",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("audit_id", sa.BigInteger(), nullable=False),
        sa.Column("step_position", sa.BigInteger(), nullable=False),
        sa.Column("step_name", sa.Text(), nullable=False),
        sa.Column("severity_level", sa.Text(), nullable=False),
        sa.Column("is_critical", sa.Boolean(), nullable=False),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.Column("traite", sa.Boolean(), nullable=False),
        sa.Column("conforme", sa.Text(), nullable=True),
        sa.Column("score", sa.Numeric(precision=7, scale=2), nullable=True),
        sa.Column("niveau_conformite", sa.Text(), nullable=True),
        sa.Column("commentaire_global", sa.Text(), server_default="", nullable=False),
        sa.Column("mots_cles_trouves", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("minutages", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("erreurs_transcription_tolerees", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_citations", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("dropped_citations", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("raw_result", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id"], ["audits.id"], name="fk_audit_step_results_audit_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_audit_step_results"),
        sa.UniqueConstraint("audit_id", "step_position", name="uq_audit_step_results_audit_id_step_position"),
    )
    op.create_index("ix_audit_step_results_conforme", "audit_step_results", ["conforme"])


def _create_audit_step_result_control_points() -> None:
    op.create_table(
        "audit_step_result_control_points",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("audit_id", sa.BigInteger(), nullable=False),
        sa.Column("step_position", sa.BigInteger(), nullable=False),
        sa.Column("control_point_index", sa.BigInteger(), nullable=False),
        sa.Column("point", sa.Text(), nullable=False),
        sa.Column("statut", sa.Text(), nullable=False),
        sa.Column("commentaire", sa.Text(), nullable=False),
        sa.Column("minutages", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("erreur_transcription_notee", sa.Boolean(), nullable=False),
        sa.Column("variation_phonetique_utilisee", sa.Text(), nullable=True),
        sa.Column("model_statut", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id", "step_position"],
            ["audit_step_results.audit_id", "audit_step_results.step_position"],
            name="fk_audit_step_result_control_points_step",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_audit_step_result_control_points"),
        sa.UniqueConstraint(
            "audit_id", "step_position", "control_point_index", name="uq_audit_control_points_place"
        ),
    )


def _create_audit_step_result_citations() -> None:
    op.create_table(
        "audit_step_result_citations",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("audit_id", sa.BigInteger(), nullable=False),
        sa.Column("step_position", sa.BigInteger(), nullable=False),
        sa.Column("control_point_index", sa.BigInteger(), nullable=False),
        sa.Column("citation_index", sa.BigInteger(), nullable=False),
        sa.Column("texte", sa.Text(), nullable=False),
        sa.Column("claimed", sa.Text(), nullable=False),
        sa.Column("minutage", sa.Text(), nullable=False),
        sa.Column("minutage_secondes", sa.Double(), nullable=True),
        sa.Column("speaker", sa.Text(), nullable=False),
        sa.Column("recording_index", sa.BigInteger(), nullable=False),
        sa.Column("chunk_index", sa.BigInteger(), nullable=False),
        sa.Column("recording_date", sa.Text(), nullable=False),
        sa.Column("recording_time", sa.Text(), nullable=False),
        sa.Column("recording_url", sa.Text(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=True),
        sa.Column("end_ms", sa.BigInteger(), nullable=True),
        sa.Column("match", sa.Text(), nullable=False),
        sa.Column("relocated", sa.Boolean(), nullable=False),
        sa.Column("beside_negation", sa.Boolean(), nullable=False),
        sa.Column("first_turn", sa.BigInteger(), nullable=False),
        sa.Column("last_turn", sa.BigInteger(), nullable=False),
        sa.Column("first_word", sa.BigInteger(), nullable=False),
        sa.Column("last_word", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit_id", "step_position", "control_point_index"],
            [
                "audit_step_result_control_points.audit_id",
                "audit_step_result_control_points.step_position",
                "audit_step_result_control_points.control_point_index",
            ],
            name="fk_audit_step_result_citations_point",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_audit_step_result_citations"),
        sa.UniqueConstraint(
            "audit_id",
            "step_position",
            "control_point_index",
            "citation_index",
            name="uq_audit_citations_place",
        ),
    )
