"""Fetches of ranges of days: their state, who asked for them, and what a search of a range tells of days and sales."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

DATES = ("dates_already_fetched", "dates_remaining", "dates_failed")
COUNTS = {
    "progress": "0",
    "total_days": None,
    "days_known": "0",
    "completed_days": "0",
    "total_fiches": "0",
    "attempt": "1",
}


def upgrade() -> None:
    _ledger()
    _jobs()
    _askers()


def downgrade() -> None:
    op.drop_table("progressive_fetch_askers")
    op.drop_table("progressive_fetch_jobs")
    for column in ("searched_to", "searched_from", "quarantine"):
        op.drop_column("fiche_days", column)
    for column in ("sold_to", "sold_from"):
        op.drop_column("fiche_cache", column)


def _ledger() -> None:
    for column in ("sold_from", "sold_to"):
        op.add_column("fiche_cache", sa.Column(column, sa.Date(), nullable=True))
    op.add_column("fiche_days", sa.Column("quarantine", JSONB(), server_default="[]", nullable=False))
    for column in ("searched_from", "searched_to"):
        op.add_column("fiche_days", sa.Column(column, sa.Date(), nullable=True))


def _jobs() -> None:
    table = "progressive_fetch_jobs"
    op.create_table(
        table,
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("start_date", sa.Date(), nullable=False),
        sa.Column("end_date", sa.Date(), nullable=False),
        sa.Column("refresh", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        *(
            sa.Column(name, sa.Integer(), server_default=value, nullable=False)
            for name, value in COUNTS.items()
        ),
        *(sa.Column(name, ARRAY(sa.Date()), server_default="{}", nullable=False) for name in DATES),
        sa.Column("date_errors", JSONB(), server_default="{}", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        _moment("created_at"),
        _moment("updated_at"),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status in ('pending', 'processing', 'complete', 'failed')", name="status"),
    )
    op.create_index(
        "uq_progressive_fetch_jobs_processing",
        table,
        ["start_date", "end_date", "refresh"],
        unique=True,
        postgresql_where=sa.text("status = 'processing'"),
    )
    op.create_index("ix_progressive_fetch_jobs_range", table, ["start_date", "end_date"])
    for column in ("status", "created_at", "completed_at"):
        op.create_index(f"ix_{table}_{column}", table, [column])


def _askers() -> None:
    table = "progressive_fetch_askers"
    op.create_table(
        table,
        sa.Column(
            "job_id",
            sa.Text(),
            sa.ForeignKey("progressive_fetch_jobs.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        _moment("created_at"),
    )
    op.create_index(f"ix_{table}_user_id", table, ["user_id"])


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)
