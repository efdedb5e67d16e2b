"""Verdicts: what speaks against the status of a control point."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0009"
branch_labels = None
depends_on = None

POINTS = "audit_step_result_control_points"


def upgrade() -> None:
    op.add_column(POINTS, sa.Column("doubts", JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False))


def downgrade() -> None:
    op.drop_column(POINTS, "doubts")
