"""Verdicts are appended: what was said of each step, by whom; reruns; what speaks against a status."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STEPS, POINTS = "audit_step_results", "audit_step_result_control_points"

HUMAN_REVIEWS = """
CREATE VIEW audit_step_result_human_reviews AS
SELECT id, audit_id, step_position, created_at AS reviewed_at, author AS reviewer, reason,
       CASE WHEN control_point_index IS NULL THEN 'step' ELSE 'control_point' END AS kind,
       control_point_index, content->>'point' AS point,
       (before->>'traite')::boolean AS previous_traite, before->>'conforme' AS previous_conforme,
       (before->>'score')::numeric AS previous_score, before->>'niveau_conformite' AS previous_niveau_conformite,
       before->>'statut' AS previous_statut, before->>'commentaire' AS previous_commentaire,
       (after->>'traite')::boolean AS override_traite, after->>'conforme' AS override_conforme,
       (after->>'score')::numeric AS override_score, after->>'niveau_conformite' AS override_niveau_conformite,
       after->>'statut' AS override_statut, after->>'commentaire' AS override_commentaire
FROM audit_verdicts WHERE kind = 'review'
"""
RERUN_EVENTS = """
CREATE VIEW audit_step_result_rerun_events AS
SELECT id, audit_id, step_position, created_at AS occurred_at,
       CASE WHEN control_point_index IS NULL THEN 'step_rerun' ELSE 'control_point_rerun' END AS kind,
       reference AS rerun_id, event_id, custom_prompt, control_point_index, content->>'point' AS point,
       (before->>'score')::numeric AS previous_score, before->>'conforme' AS previous_conforme,
       (before->>'total_citations')::bigint AS previous_total_citations,
       before->>'statut' AS previous_statut, before->>'commentaire' AS previous_commentaire,
       (before->>'citations')::bigint AS previous_citations,
       (before->>'step_score')::numeric AS previous_step_score,
       before->>'step_conforme' AS previous_step_conforme,
       (after->>'score')::numeric AS next_score, after->>'conforme' AS next_conforme,
       (after->>'total_citations')::bigint AS next_total_citations,
       after->>'statut' AS next_statut, after->>'commentaire' AS next_commentaire,
       (after->>'citations')::bigint AS next_citations,
       (after->>'step_score')::numeric AS next_step_score, after->>'step_conforme' AS next_step_conforme
FROM audit_verdicts WHERE kind = 'rerun'
"""


def upgrade() -> None:
    op.add_column(STEPS, sa.Column("decided", JSONB()))
    op.add_column(POINTS, sa.Column("doubts", JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False))
    op.add_column(POINTS, sa.Column("certainty", sa.Double()))
    op.create_index(
        "ix_audit_control_points_unsure",
        POINTS,
        ["certainty", "id"],
        postgresql_where=sa.text("certainty is not null"),
    )
    _create_verdicts()
    _create_reruns()
    op.execute(HUMAN_REVIEWS)
    op.execute(RERUN_EVENTS)


def downgrade() -> None:
    op.execute("DROP VIEW audit_step_result_rerun_events")
    op.execute("DROP VIEW audit_step_result_human_reviews")
    op.drop_table("audit_reruns")
    op.drop_table("audit_verdicts")
    op.execute("DROP FUNCTION audit_verdicts_are_appended()")
    op.drop_index("ix_audit_control_points_unsure", POINTS)
    op.drop_column(POINTS, "certainty")
    op.drop_column(POINTS, "doubts")
    op.drop_column(STEPS, "decided")


def _reference(name: str, target: str, *, nullable: bool) -> sa.Column[int]:
    return sa.Column(
        name, sa.BigInteger(), sa.ForeignKey(f"{target}.id", ondelete="RESTRICT"), nullable=nullable
    )


def _moment(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _create_verdicts() -> None:
    op.create_table(
        "audit_verdicts",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        _reference("audit_id", "audits", nullable=False),
        sa.Column("step_position", sa.BigInteger(), nullable=False),
        sa.Column("control_point_index", sa.BigInteger()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger()),
        sa.Column("model", sa.Text()),
        sa.Column("prompt_version", sa.Text()),
        _reference("config_revision_id", "audit_config_revisions", nullable=True),
        _reference("transcript_snapshot_id", "transcript_snapshots", nullable=True),
        sa.Column("reference", sa.Text(), unique=True),
        sa.Column("event_id", sa.Text()),
        sa.Column("custom_prompt", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("replaces_reviews", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("content", JSONB(), nullable=False),
        sa.Column("before", JSONB()),
        sa.Column("after", JSONB()),
        _moment("created_at"),
        sa.CheckConstraint("kind in ('run', 'confirmation', 'rerun', 'review')", name="kind"),
    )
    op.create_index(
        "ix_audit_verdicts_audit_id_step_position_id", "audit_verdicts", ["audit_id", "step_position", "id"]
    )
    op.execute("""
        CREATE FUNCTION audit_verdicts_are_appended() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'a verdict is never changed nor deleted: append another one'
                USING ERRCODE = 'restrict_violation';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER audit_verdicts_are_appended
        BEFORE UPDATE OR DELETE ON audit_verdicts
        FOR EACH ROW EXECUTE FUNCTION audit_verdicts_are_appended()
    """)


def _create_reruns() -> None:
    op.create_table(
        "audit_reruns",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        _reference("audit_id", "audits", nullable=False),
        sa.Column("step_position", sa.BigInteger(), nullable=False),
        sa.Column("control_point_index", sa.BigInteger()),
        sa.Column("event_id", sa.Text(), nullable=False, unique=True),
        sa.Column("custom_prompt", sa.Text()),
        sa.Column("use_current", sa.Boolean(), nullable=False),
        sa.Column("replace_reviews", sa.Boolean(), nullable=False),
        _reference("config_revision_id", "audit_config_revisions", nullable=False),
        _reference("transcript_snapshot_id", "transcript_snapshots", nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger()),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("error_code", sa.Text()),
        _moment("created_at"),
        _moment("updated_at"),
        sa.CheckConstraint("status in ('queued', 'running', 'completed', 'failed')", name="status"),
    )
    op.create_index("ix_audit_reruns_audit_id_id", "audit_reruns", ["audit_id", "id"])
    op.create_index(
        "ix_audit_reruns_open",
        "audit_reruns",
        ["updated_at"],
        postgresql_where=sa.text("status in ('queued', 'running')"),
    )
