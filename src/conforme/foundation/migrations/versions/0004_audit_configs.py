"""Audit configurations and their revisions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_configs()
    _create_steps()
    _create_revisions()


def downgrade() -> None:
    op.drop_table("audit_config_revisions")
    op.execute("DROP FUNCTION audit_config_revisions_are_immutable()")
    op.drop_table("audit_steps")
    op.drop_table("audit_configs")


def _times() -> list[sa.Column[object]]:
    zoned = sa.DateTime(timezone=True)
    return [
        sa.Column(name, zoned, server_default=sa.func.now(), nullable=False)
        for name in ("created_at", "updated_at")
    ]


def _flag(name: str, *, default: bool) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default="true" if default else "false", nullable=False)


def _create_configs() -> None:
    op.create_table(
        "audit_configs",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("system_prompt", sa.Text()),
        sa.Column("compliant_from", sa.Text(), server_default="ACCEPTABLE", nullable=False),
        sa.Column("valid_from", sa.Date()),
        sa.Column("valid_to", sa.Date()),
        sa.Column("call_origin", sa.Text()),
        _flag("is_active", default=True),
        _flag("run_automatically", default=False),
        sa.Column("created_by", sa.Text()),
        *_times(),
        sa.CheckConstraint(
            "compliant_from IN ('EXCELLENT', 'BON', 'ACCEPTABLE', 'INSUFFISANT')",
            name="compliant_from",
        ),
        sa.CheckConstraint("call_origin IN ('unsolicited', 'requested', 'client')", name="call_origin"),
    )
    for column in ("is_active", "run_automatically", "created_at"):
        op.create_index(f"ix_audit_configs_{column}", "audit_configs", [column])


def _create_steps() -> None:
    op.create_table(
        "audit_steps",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        sa.Column(
            "audit_config_id",
            sa.BigInteger(),
            sa.ForeignKey("audit_configs.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("severity_level", sa.Text(), nullable=False),
        _flag("is_critical", default=False),
        _flag("chronological_important", default=False),
        sa.Column("weight", sa.Integer(), server_default="5", nullable=False),
        _flag("verify_product_info", default=False),
        sa.Column("keywords", ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("control_points", ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("control_point_details", JSONB(), server_default="[]", nullable=False),
        *_times(),
        sa.UniqueConstraint("audit_config_id", "position", deferrable=True, initially="IMMEDIATE"),
        sa.CheckConstraint("severity_level IN ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')", name="severity_level"),
        sa.CheckConstraint(
            "jsonb_array_length(control_point_details) = cardinality(control_points)",
            name="details_match_points",
        ),
    )
    op.create_index("ix_audit_steps_position", "audit_steps", ["position"])


def _create_revisions() -> None:
    op.create_table(
        "audit_config_revisions",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        sa.Column(
            "audit_config_id",
            sa.BigInteger(),
            sa.ForeignKey("audit_configs.id", ondelete="RESTRICT"),
            nullable=False,
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", JSONB(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.UniqueConstraint("audit_config_id", "number"),
    )
    op.execute("""
        CREATE FUNCTION audit_config_revisions_are_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'a revision of an audit configuration never changes'
                USING ERRCODE = 'restrict_violation';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER audit_config_revisions_are_immutable
        BEFORE UPDATE OR DELETE ON audit_config_revisions
        FOR EACH ROW EXECUTE FUNCTION audit_config_revisions_are_immutable()
    """)
