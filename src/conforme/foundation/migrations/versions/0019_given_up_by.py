"""Which job could not analyse a step: it is told once, however often that job is run again."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit_step_results", sa.Column("given_up_by", sa.Text()))


def downgrade() -> None:
    op.drop_column("audit_step_results", "given_up_by")
