"""What the work of a run keeps: its days, its configurations and sample, and of each fiche its place and its price."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

RUNS = "automation_runs"
FICHES = "automation_run_fiches"


def upgrade() -> None:
    op.add_column(RUNS, sa.Column("selected_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        RUNS,
        sa.Column(
            "audit_config_ids", sa.ARRAY(sa.BigInteger()), server_default=sa.text("'{}'"), nullable=False
        ),
    )
    op.add_column(RUNS, sa.Column("sample_seed", sa.BigInteger(), nullable=True))
    for name in ("left_fiches", "days_total", "days_done", "days_failed"):
        op.add_column(RUNS, _counter(name))
    for name in ("rank", "begun", "audits_run", "spent_micros", "reserved_micros"):
        op.add_column(FICHES, _counter(name))
    for name in ("spent_audio_seconds", "reserved_audio_seconds"):
        op.add_column(FICHES, sa.Column(name, sa.Numeric(), server_default="0", nullable=False))
    op.add_column(FICHES, sa.Column("job_id", sa.Text(), nullable=True))
    _index("waiting", "rank", "outcome is null and not queued")
    _index("in_work", "updated_at", "outcome is null and queued")


def downgrade() -> None:
    for name in ("in_work", "waiting"):
        op.drop_index(f"ix_{FICHES}_{name}", FICHES)
    for name in (
        "job_id",
        "reserved_audio_seconds",
        "spent_audio_seconds",
        "reserved_micros",
        "spent_micros",
        "audits_run",
        "begun",
        "rank",
    ):
        op.drop_column(FICHES, name)
    for name in (
        "days_failed",
        "days_done",
        "days_total",
        "left_fiches",
        "sample_seed",
        "audit_config_ids",
        "selected_at",
    ):
        op.drop_column(RUNS, name)


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def _index(name: str, column: str, where: str) -> None:
    op.create_index(f"ix_{FICHES}_{name}", FICHES, ["run_id", column], postgresql_where=sa.text(where))
