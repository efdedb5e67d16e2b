"""What a run's own token sees of its days, until its fiches are chosen; schedules of the original are taken over anew.

Imports before this one kept them as they were in `legacy_schedules`, where they stay.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

LISTED = "automation_run_listed"


def upgrade() -> None:
    op.create_table(
        LISTED,
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("fiche_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["automation_runs.id"], name="fk_automation_run_listed_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "fiche_id", name="pk_automation_run_listed"),
    )
    op.execute("delete from legacy_ids where kind in ('schedules', 'runs')")
    op.execute("delete from legacy_quarantine where kind in ('schedules', 'runs')")
    op.execute("delete from legacy_imports where kind in ('schedules', 'runs')")


def downgrade() -> None:
    op.drop_table(LISTED)
